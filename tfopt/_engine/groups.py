"""Groups of variables, and the scalars `h` of a step for each compute dtype and group."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._libraries.tf_variables import as_scalar, compute_dtype

if TYPE_CHECKING:
    from tfopt._engine.records import Step, Work


class Scalars(types.SimpleNamespace):
    """Named tensors: the arguments `h` and `s` of an optimizer's `update`."""


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

    def copied(self) -> Rule:
        """Returns the rule for a deep copy of the optimizer."""
        return self

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


def add_scalars(step: Step, wanted: Sequence[Key]) -> Step:
    """Returns the step with the scalars of each dtype and group; advances the optimizer's state.

    Groups that differ only in what is off share what `begin` computes. All groups share one state,
    which is advanced by the group of variables without numbers of their own.
    """
    engine, optimizer = step.engine, step.engine.optimizer
    step = step._replace(iterations=engine.state.iterations.read_value())
    state = engine.state.scalars
    keys = dict.fromkeys((dtype, group, _numeric(group)) for dtype, group in wanted)
    if state:  # the group without rules must be there, to advance it
        keys |= dict.fromkeys((dtype, (), ()) for dtype, *_ in keys)
    begun: dict[Any, Scalars] = {}
    advanced: dict[tf.DType, Mapping[str, Any]] = {}
    scalars: dict[Any, Mapping[str, Any]] = {}
    for dtype, group, numeric in sorted(keys, key=lambda key: (key[0].name, len(key[1]))):
        if (dtype, numeric) not in begun:
            h = _hyperparameters(step, dtype, numeric)
            own = Scalars(**{name: as_scalar(scalar, dtype) for name, scalar in state.items()})
            for policy in step.policies:
                policy.change_rates(step, h)
            optimizer.begin(h, own)
            unknown = vars(own).keys() - state.keys()
            if unknown:
                raise ValueError(
                    f"{type(optimizer).__name__}.begin set {sorted(unknown)} in `state`, which is "
                    f"not declared; declared are {sorted(state)}."
                )
            begun[dtype, numeric] = h
            if not numeric:
                advanced[dtype] = vars(own)
        h = Scalars(**vars(begun[dtype, numeric]))
        for policy in step.policies:
            policy.change_scalars(step, h, group)
        scalars[dtype, group] = vars(h)
    for name, scalar in state.items():
        new = advanced.get(scalar.dtype) or next(iter(advanced.values()))
        scalar.assign(tf.cast(new[name], scalar.dtype), read_value=False)
    return step._replace(scalars=scalars)


def _numeric(group: Group) -> Group:
    """Returns the rules of a group that have numbers of their own."""
    return tuple(rule for rule in group if rule.factors or rule.values)


def _hyperparameters(step: Step, dtype: tf.DType, group: Group) -> Scalars:
    """Returns the hyperparameters in use, and `t`, the number of this step from 1."""
    names = step.engine.names_of_rules
    h = {n: as_scalar(value, dtype) for n, value in step.values.items() if n not in names.values()}
    for rule in group:
        for name in rule.values:
            h[name] = as_scalar(step.values[names[rule, f"{name}_value"]], dtype)
    for rule in group:
        for name in rule.factors:
            h[name] *= as_scalar(step.values[names[rule, f"{name}_factor"]], dtype)
    return Scalars(**h, t=as_scalar(step.iterations, dtype) + 1)
