"""Groups: parts of a model with numbers of their own, such as a learning rate for each part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tfopt import schedules
from tfopt._engine.engine import Engine
from tfopt._engine.members import Members, as_entries
from tfopt._engine.policy import Policy
from tfopt._engine.rules import Rule
from tfopt._libraries.messages import shown
from tfopt._libraries.warnings import warn
from tfopt.hyper import attribute

KEYWORD, FACTOR = "groups", "_factor"
_FIXED = (
    f"`{KEYWORD}` is fixed when the optimizer is made. Change a number as "
    f'`optimizer.{KEYWORD}[0]["learning_rate{FACTOR}"] = 0.1`, or make a new optimizer.'
)
ENTRY, SAVED = {"members", "numbers"}, {"began_off", "is_on"}  # of a group, in a config


class Group(Mapping[str, Any]):
    """One group of an optimizer: its numbers, by name. Assign to change one while training.

    Args:
        engine: the optimizer's parts.
        rule: what differs for the group.
    """

    def __init__(self, engine: Engine, rule: Rule):
        self._engine, self._rule = engine, rule

    def __getitem__(self, name: str) -> Any:
        if name not in self._rule.names:
            raise KeyError(f"The group has no number {name!r}; it has {sorted(self._rule.names)}.")
        return attribute(self._engine.optimizer, self._rule.names[name])

    def __setitem__(self, name: str, value: Any) -> None:
        _ = self[name]
        was_left_alone = self._rule.leaves_alone(self._engine.hypers)
        self._engine.set_hyper(self._rule.names[name], value)
        is_left_alone = self._rule.leaves_alone(self._engine.hypers)
        if self._rule.left_out and was_left_alone and not is_left_alone:
            warn(
                f"`{name}` of {self!r} is no longer 0, but functions traced earlier leave these "
                "variables alone: trace them again, or compile the model again."
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self._rule.names)

    def __len__(self) -> int:
        return len(self._rule.names)

    def __repr__(self) -> str:
        return f"<group of {self._rule.members!r}: {self._numbers()}>"

    def _numbers(self) -> str:
        """Returns its numbers as text."""
        hypers, schedules = self._engine.hypers, self._engine.hypers.texts()
        texts = {n: schedules.get(h, repr(hypers[h].config())) for n, h in self._rule.names.items()}
        return "{" + ", ".join(f"{name!r}: {text}" for name, text in texts.items()) + "}"


class GroupList(tuple[Group, ...]):
    """The groups of an optimizer, by position, or by the pattern with which they were given."""

    def __getitem__(self, which: Any) -> Any:
        if not isinstance(which, str):
            return super().__getitem__(which)
        found = [group for group in self if group._rule.members.holds(which)]
        if len(found) != 1:
            raise KeyError(
                f"{len(found)} groups have the pattern {which!r}; the groups are {self}."
            )
        return found[0]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            _FIXED if hasattr(list, name) else f"`{KEYWORD}` has no attribute {name!r}."
        )

    def text(self) -> str:
        """Returns the groups as they are given: as a mapping if they are patterns of one."""
        texts = [(repr(group._rule.members), group._numbers()) for group in self]
        is_one = len({group._rule.partition for group in self}) == 1
        if is_one and all(members[0] in "'\"" for members, _ in texts):
            return "{" + ", ".join(f"{members}: {numbers}" for members, numbers in texts) + "}"
        return "[" + ", ".join(f"({members}, {numbers})" for members, numbers in texts) + "]"


def _groups(self: Any) -> GroupList:
    """The groups that the constructor was given, in order; each is a mapping of its numbers.

    >>> x, y = (tf.Variable(1.0, name=name) for name in ("body", "head"))
    >>> opt = tfopt.SGD(0.5, groups={"body": {"learning_rate_factor": 0.5}})
    >>> _ = opt.apply_gradients([(1.0, x), (1.0, y)])
    >>> float(x), float(y)
    (0.75, 0.5)
    >>> opt.groups["body"]["learning_rate_factor"] = 0.0
    """
    return GroupList(Group(self._engine, rule) for rule in self._engine.groups.rules_of(Groups))


class _Fixed(property):
    """A property that cannot be set, and says what to do instead."""

    def __set__(self, owner: Any, value: Any) -> None:
        raise AttributeError(_FIXED)


class Groups(Policy):
    """Other numbers for some variables. They act by the scalars of a step: see `add_scalars`."""

    keywords = {KEYWORD: "Mapping[Any, Mapping[str, Any]] | Sequence[Any] | None"}
    offers = {KEYWORD: _Fixed(_groups)}

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns False: it takes no part in a step of its own."""
        return False

    @classmethod
    def configure(cls, engine: Engine, values: Mapping[str, Any]) -> None:
        """Makes a rule of each group that the constructor was given."""
        for partition, entries in enumerate(_partitions(values.get(KEYWORD))):
            for given, numbers, saved in entries:
                members = Members(KEYWORD, as_entries(given))
                own: dict[str, Any] = {"owner": cls, "partition": partition, **saved}
                engine.groups.add(Rule(members, *_numbers(engine, numbers), **own))

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if hooks would not see the numbers of groups."""
        if engine.declared.is_hooked and engine.groups.rules_of(cls):
            raise ValueError(
                f"`{KEYWORD}` must be None: hooks such as `resource_apply_dense` of "
                f"{type(engine.optimizer).__name__} would not see the numbers of groups. Define "
                f"`update` instead; got {list(_groups(engine.optimizer))}."
            )

    @classmethod
    def config(cls, engine: Engine) -> dict[str, Any]:
        """Returns the groups, for `get_config`."""
        partitions: dict[Any, list[dict[str, Any]]] = {}
        for rule in engine.groups.rules_of(cls):
            numbers = {name: engine.hypers[own].config() for name, own in rule.names.items()}
            entry: dict[str, Any] = {
                "members": rule.members.config(engine.groups.seen()),
                "numbers": numbers,
            }
            entry |= {"began_off": True} if rule.began_off else {}
            entry |= {"is_on": True} if rule.became_0(engine.hypers) else {}
            partitions.setdefault(rule.partition, []).append(entry)
        return {KEYWORD: list(partitions.values())} if partitions else {}

    @classmethod
    def texts(cls, engine: Engine) -> dict[str, str]:
        """Returns the groups as the constructor takes them."""
        return {KEYWORD: _groups(engine.optimizer).text()}

    @classmethod
    def from_config(cls, value: Any, custom_objects: Mapping[str, Any] | None) -> Any:
        """Returns the groups of a config, with schedules made of their configs."""

        def number(config: Any) -> Any:
            if isinstance(config, Mapping):
                return schedules.deserialize_any(config, custom_objects)
            return config

        return [
            [
                {**entry, "numbers": {n: number(c) for n, c in entry["numbers"].items()}}
                for entry in partition
            ]
            for partition in value
        ]


def _partitions(given: Any) -> Iterator[list[tuple[Any, Any, dict[str, bool]]]]:
    """Yields for each mapping its groups: members, numbers, and what a config has saved of them."""
    if given is None:
        return
    for part in [given] if isinstance(given, Mapping) else given:
        if isinstance(part, Mapping):
            yield [(members, numbers, {}) for members, numbers in part.items()]
        elif isinstance(part, tuple) and len(part) == 2:
            yield [(*part, {})]
        elif isinstance(part, list) and all(
            isinstance(each, Mapping) and each.keys() >= ENTRY for each in part
        ):
            saved = [{name: True for name in SAVED & each.keys()} for each in part]
            yield [
                (each["members"], each["numbers"], more)
                for each, more in zip(part, saved, strict=True)
            ]
        else:
            raise TypeError(
                f"`{KEYWORD}` must be a mapping from members to numbers, or a list of such "
                f"mappings and of pairs (members, numbers); got {shown(part)}."
            )


def _numbers(engine: Engine, numbers: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the factors and the values of a group by hyperparameter; raises if one has no effect.

    Args:
        engine: the optimizer's parts.
        numbers: what the user gave.
    """
    if not isinstance(numbers, Mapping) or not numbers:
        raise TypeError(
            f"`{KEYWORD}` must map members to numbers by name, such as "
            f"{{'learning_rate_factor': 0.1}}; got {shown(numbers)}."
        )
    declared = engine.declared
    shared = {name for policy in declared.policies for name in policy.by_group}
    own = engine.numbers()
    factors, values = dict[str, Any](), dict[str, Any]()
    for name, number in numbers.items():
        is_factor = isinstance(name, str) and name not in own and name.endswith(FACTOR)
        base = name.removesuffix(FACTOR) if is_factor else name
        base = declared.aliases.get(base, base)
        if base not in own | shared:
            allowed = ", ".join(sorted(own | shared))
            raise TypeError(
                f"`{KEYWORD}` can change {allowed} of {type(engine.optimizer).__name__}, and "
                f"multiply them, as 'learning_rate{FACTOR}' does; got {name!r}."
            )
        if not engine.uses(base):
            raise ValueError(
                f"`{KEYWORD}` can change only what the optimizer uses: `{base}` of "
                f"{type(engine.optimizer).__name__} is {engine.hypers[base].config()!r}; "
                f"got {name!r}: {shown(number)}."
            )
        if base in factors or base in values:
            raise ValueError(
                f"`{KEYWORD}` must give `{base}` once for a group; got {shown(numbers)}."
            )
        if number is None:
            raise TypeError(f"`{KEYWORD}` must map {name!r} to a number; got None.")
        (factors if is_factor else values)[base] = number
    return factors, values
