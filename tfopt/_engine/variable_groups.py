"""Groups of variables, and the scalars of a step: one `h` for each compute dtype and group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._libraries.tf_variables import compute_dtype

if TYPE_CHECKING:
    from tfopt._engine.step_records import Work


class Rule:
    """What differs for some variables. The rules that match a variable are its group.

    Rules combine: factors multiply, and a variable may get its learning rate from one rule and
    its weight decay from another.

    Args:
        match: a function that returns whether the rule holds for a variable, which it gets as
            the user knows it.
        factors: by hyperparameter, a factor: anything that a hyperparameter may be.
        values: by hyperparameter, a value that replaces it.
        off: hyperparameters that these variables do without. This is part of the graph: there
            is no op for them, while a factor of 0 would leave one.
    """

    def __init__(
        self,
        match: Callable[[Any], bool],
        factors: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        off: Sequence[str] = (),
    ):
        self.match = match
        self.factors, self.values = dict(factors or {}), dict(values or {})
        self.off = frozenset(off)

    def covers(self, variable: Any) -> bool:
        """Returns whether the rule holds for a variable, given as the user knows it."""
        return self.match(variable)

    def prepare(self, variables: Sequence[Any]) -> None:
        """Is called once with the variables of each block, before it is asked for any of them."""

    def copied(self) -> Rule:
        """Returns the rule for a deep copy of the optimizer."""
        return self

    def follow_copies(self, memo: Mapping[int, Any]) -> None:
        """Is called when a deep copy is used first, with the copies of what was copied, by id."""

    @property
    def numbers(self) -> dict[tuple[str, str], Any]:
        """The numbers of the rule: by "factor" or "value", and by hyperparameter."""
        factors = {("factor", name): value for name, value in self.factors.items()}
        return {**factors, **{("value", name): value for name, value in self.values.items()}}


Group = tuple[Rule, ...]
Key = tuple[tf.DType, Group]


def group_of(rules: Sequence[Rule], variable: Any) -> Group:
    """Returns the rules that hold for a variable."""
    return tuple(rule for rule in rules if rule.covers(variable))


def key_of(work: Work) -> Key:
    """Returns the key under which a work finds its scalars in `Step.scalars`."""
    return compute_dtype(work.variable.dtype), work.group


def keys_of(works: Sequence[Work]) -> tuple[Key, ...]:
    """Returns the dtypes and groups of works."""
    return tuple(dict.fromkeys(map(key_of, works)))
