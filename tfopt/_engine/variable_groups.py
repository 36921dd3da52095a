"""Groups and roles of variables, on which the scalars of a step depend: `h`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tfopt._engine.rules import Rule
from tfopt._libraries import tf_variables
from tfopt._libraries.tf_variables import compute_dtype

if TYPE_CHECKING:
    from tfopt._engine.step_records import Work
    from tfopt._state.state import State

Group = tuple[Rule, ...]
Key = tuple[tf.DType, Group, str]


class Seen(NamedTuple):
    """What the engine knows of a variable that it has seen."""

    original: Any  # the variable, as the user knows it
    group: Group = ()  # the rules that hold for it
    role: str = ""  # how the optimizer treats it; "" if it treats all variables alike


def key_of(work: Work) -> Key:
    """Returns the key under which a work finds its scalars in `Step.scalars`."""
    return compute_dtype(work.variable.dtype), work.group, work.role


def keys_of(works: Sequence[Work]) -> tuple[Key, ...]:
    """Returns the dtypes, groups and roles of works."""
    return tuple(dict.fromkeys(map(key_of, works)))


def numeric(group: Group) -> Group:
    """Returns the rules of a group that have numbers of their own."""
    return tuple(rule for rule in group if rule.names)


def suffix_of(group: Group) -> str:
    """Returns what is appended to the names of scalars that belong to a numeric group."""
    return "".join(f"_{rule.position}" for rule in group)


class Sorting:
    """The groups of variables that are seen for the first time. It changes nothing until `keep`.

    Args:
        rules: the rules of an optimizer.
        role: returns the role of a variable, given what a rule says of it, or None.
        variables: the new variables, as the user knows them.
        first: whether no others were seen before.

    Raises:
        ValueError: if two rules give the same number for one variable.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        role: Callable[[Any, Any], str],
        variables: Iterable[Any],
        first: bool,
    ):
        self._variables, self._first = list(variables), first
        self._members = {rule: rule.members.resolved(self._variables, first) for rule in rules}
        self._tests = {rule: members.test() for rule, members in self._members.items()}
        self.found = {tf_variables.key(v): self._seen(v, role) for v in self._variables}

    def _seen(self, variable: Any, role: Callable[[Any, Any], str]) -> Seen:
        group = tuple(rule for rule, covers in self._tests.items() if covers(variable))
        for number, rule in enumerate(group):
            for other in group[:number]:
                for name in sorted(rule.given() & other.given()):
                    _check_that_both_hold(name, rule, other, variable)
        given = next((rule.role for rule in group if rule.role is not None), None)
        return Seen(variable, group, role(variable, given))

    def keep(self, warns: bool = True) -> None:
        """Tells the rules which variables they have found, and warns of those that are missing."""
        for rule, members in self._members.items():
            rule.members = members
            if warns and self._variables:
                members.warn_of_missing(self._variables, self._first, rule.partition is None)


def _check_that_both_hold(name: str, rule: Rule, other: Rule, variable: Any) -> None:
    both_factors = name in rule.factors and name in other.factors
    if both_factors and rule.partition != other.partition or name in rule.off | other.off:
        return  # what is off needs no number
    how = ", or by factors in different mappings" if name in {*rule.factors, *rule.values} else ""
    raise ValueError(
        f"`{rule.members.keyword}` must give `{name}` once for each variable{how}; "
        f"`{tf_variables.variable_path(variable)}` has {other.text(name)} and {rule.text(name)}."
    )


class Grouping:
    """The rules of one optimizer, and the groups and roles of the variables that it has seen.

    Args:
        state: the optimizer's state.
        rules: the rules of policies.
        role: returns the role of a variable, given what a rule says of it, or None.
    """

    def __init__(self, state: State, rules: Iterable[Rule], role: Callable[[Any, Any], str]):
        self._state, self._role = state, role
        self.rules = list(rules)
        self._seen: dict[Any, Seen] = {}  # by key, in order
        self._assumed = threading.local()  # what was found of variables, without keeping it
        self.part_of: Grouping | None = None  # of an optimizer that takes the steps of this one
        self.is_role_of = False  # whether all of it is one role there, or begins with that

    def copied(self, state: State, role: Callable[[Any, Any], str]) -> Grouping:
        """Returns the same rules for a copy of the optimizer, which has seen nothing."""
        return Grouping(state, [rule.copied() for rule in self.rules], role)

    def rules_of(self, owner: Any) -> list[Rule]:
        """Returns the rules of a policy."""
        return [rule for rule in self.rules if rule.owner is owner]

    def add(self, rule: Rule) -> None:
        """Adds a rule. Its numbers become hyperparameters, so they can change without a retrace."""
        if self._seen:
            raise ValueError("A rule must be added before the optimizer sees variables.")
        hypers = self._state.hypers
        position = rule.position = sum(bool(other.names) for other in self.rules)
        for name, (base, what, value) in rule.numbers.items():
            hyper = hypers[base].hyper.for_rule(f"{name}_{position}", what)
            rule.names[name] = hyper.name
            hypers.add(hyper, value)
        rule.start(hypers)
        self.rules.append(rule)

    def names(self) -> set[str]:
        """Returns the names of the rules' numbers among the hyperparameters."""
        return {name for rule in self.rules for name in rule.names.values()}

    # --- the groups of variables ------------------------------------------------------------------

    def seen(self) -> list[Any]:
        """Returns the variables seen, as the user knows them, in order; also those left alone."""
        if self.part_of is not None:
            return self.part_of.seen()
        return [seen.original for seen in self._seen.values()]

    def has_seen(self, variable: Any) -> bool:
        """Returns whether a variable was seen."""
        return tf_variables.key(variable) in self._seen

    def sort(self, variables: Sequence[Any]) -> Sorting:
        """Finds the groups of variables, given as the user knows them; changes nothing yet."""
        new = [v for v in variables if tf_variables.key(v) not in self._seen]
        return Sorting(self.rules, self._role, new, first=not self._seen)

    @contextlib.contextmanager
    def sorted(self, variables: Sequence[Any]) -> Iterator[None]:
        """Sorts variables, and keeps what was found if nothing fails while it is used."""
        sorting = self.sort(variables)
        with self.assumed(sorting):
            yield
        self.keep(sorting)

    @contextlib.contextmanager
    def assumed(self, sorting: Sorting) -> Iterator[None]:
        """Uses what was found of variables, without keeping it."""
        self._assumed.found = sorting.found
        try:
            yield
        finally:
            self._assumed.found = {}

    def _new(self) -> dict[Any, Seen]:
        return getattr(self._assumed, "found", {})

    def keep(self, sorting: Sorting, warns: bool = True) -> None:
        """Keeps the groups of new variables, whether they get slots or are left alone."""
        self._seen = {**self._seen, **sorting.found}
        sorting.keep(warns)

    def planned(self, variables: Sequence[Any], seen: Iterable[Seen], state: State) -> Grouping:
        """Returns the same with other variables, which stand in for those of which all is known."""
        twin = Grouping(state, self.rules, self._role)
        for variable, known in zip(variables, seen, strict=True):
            twin._seen[tf_variables.key(variable)] = known._replace(original=variable)
        return twin

    def of(self, variable: Any) -> Seen:
        """Returns what is known of a variable."""
        if self.part_of is not None:
            seen = self.part_of.of(variable)
            return seen._replace(role=seen.role.partition("/")[2]) if self.is_role_of else seen
        key = tf_variables.key(variable)
        return self._seen.get(key) or self._new().get(key) or Seen(variable)

    def numeric(self) -> list[Group]:
        """Returns the groups with numbers of their own, after the one of all other variables."""
        groups = [seen.group for seen in (*self._seen.values(), *self._new().values())]
        return list(dict.fromkeys([(), *map(numeric, groups)]))

    # --- variables that are left alone ------------------------------------------------------------

    def off(self) -> set[Rule]:
        """Returns the rules that leave their variables alone: no slots, no update."""
        return {rule for rule in self.rules if rule.leaves_alone(self._state.hypers)}

    def have_slots(self, variables: Sequence[Any]) -> bool:
        """Returns whether all of these objects were seen, and have slots unless left alone."""
        off = self.off()
        if off:
            variables = [v for v in variables if not off & set(self.of(v).group)]
        return self._state.slots.knows(variables)

    def moving(self, works: Sequence[Work]) -> list[Work]:
        """Returns the works without those of variables that are left alone."""
        off = self.off()
        if not off:
            return list(works)
        for rule in off if tf.inside_function() else ():
            rule.left_out = True
        return [work for work in works if not off & set(self.of(work.variable).group)]

    def wake(self, variables: Iterable[Any]) -> None:
        """Lets the rules of variables know that these have slots."""
        for variable in variables:
            for rule in self.of(variable).group:
                rule.wake()
