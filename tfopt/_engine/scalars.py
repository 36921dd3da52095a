"""The scalars of a step, which `begin` computes: with the same bits in eager mode and traced."""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine import formula_calls
from tfopt._engine.step_records import Step, Work
from tfopt._engine.variable_groups import Group, Key, keys_of, numeric, suffix_of
from tfopt._libraries import replicas
from tfopt._libraries.tf_variables import as_scalar


class Scalars(types.SimpleNamespace):
    """Named tensors: the arguments `h` and `s` of an optimizer's `update`."""


def add_scalars(step: Step, wanted: Sequence[Key]) -> Step:
    """Returns the step with the scalars of each dtype and group; advances the optimizer's state."""
    state = step.engine.state.scalars
    step = step._replace(iterations=replicas.read_alike(step.engine.state.iterations))
    now = {name: replicas.read_alike(scalar) for name, scalar in state.items()}
    step, new = with_scalars(step, wanted, now)
    for name, value in new.items():
        replicas.assign_alike(state[name], value)
    return step


def with_scalars(
    step: Step, wanted: Sequence[Key], now: Mapping[str, Any]
) -> tuple[Step, dict[str, Any]]:
    """Returns the step with its scalars, and the new values of the optimizer's state.

    Groups that differ only in what is off share what `begin` computes. Each group with numbers of
    its own has a state of its own, which advances in every step.

    Args:
        step: the step, with its number.
        wanted: the dtypes, groups and roles of its variables.
        now: the present values of the optimizer's state, by name.
    """
    engine, optimizer = step.engine, step.engine.optimizer
    keys = dict.fromkeys((*key, numeric(key[1])) for key in wanted)
    if now:  # all groups and roles, because the state of each must advance
        groups, roles = engine.groups.numeric(), optimizer.roles or ("",)
        dtypes = dict.fromkeys(dtype for dtype, *_ in keys)
        keys |= {(d, own, role, own): None for d in dtypes for own in groups for role in roles}
    read = functools.cache(functools.partial(_read, step))  # once for all groups
    begun: dict[Any, Scalars] = {}
    advanced: dict[str, dict[tf.DType, Any]] = {name: {} for name in now}
    scalars: dict[Any, Mapping[str, Any]] = {}
    for dtype, group, role, own in sorted(keys, key=lambda key: (key[0].name, len(key[1]))):
        if (dtype, own, role) not in begun:
            h = begun[dtype, own, role] = hyperparameters(step, dtype, own, role, read)
            for policy in step.policies:
                policy.change_rates(step, h)
            names = {name: f"{name}{suffix_of(own)}" for name in engine.declared_state()}
            its = Scalars(**{n: as_scalar(now[full], dtype) for n, full in names.items()})
            before = dict(vars(its))
            formula_calls.begin(optimizer, h, its)
            for name, full in names.items():
                if getattr(its, name) is not before[name]:  # a role's `begin` may skip it
                    advanced[full][dtype] = getattr(its, name)
        h = Scalars(**vars(begun[dtype, own, role]))
        for policy in step.policies:
            policy.change_scalars(step, h, group)
        scalars[dtype, group, role] = vars(h)
    changed = {name: by_dtype for name, by_dtype in advanced.items() if by_dtype}
    new = {
        name: by_dtype.get(now[name].dtype, next(iter(by_dtype.values())))
        for name, by_dtype in changed.items()
    }
    return step._replace(scalars=scalars), new


def _read(step: Step, name: str, dtype: tf.DType) -> Any:
    """Returns a hyperparameter, or the number of the step from 1 under "t", as a scalar."""
    if name == "t":
        return as_scalar(step.iterations, dtype) + 1
    return as_scalar(step.values[name], dtype)


def hyperparameters(
    step: Step,
    dtype: tf.DType,
    group: Group,
    role: str = "",
    read: Callable[[str, tf.DType], Any] | None = None,
) -> Scalars:
    """Returns the hyperparameters in use, and `t`, the number of this step from 1.

    Args:
        step: the step.
        dtype: the dtype of arithmetic.
        group: the rules with numbers.
        role: how the optimizer treats the variables.
        read: reads one of them. Several calls may share it, so that each is read once.
    """
    read = functools.partial(_read, step) if read is None else read
    of_rules = step.engine.groups.names()
    h = {name: read(name, dtype) for name in step.values if name not in of_rules}
    for rule in group:
        for name in rule.values:
            h[name] = read(rule.names[name], dtype)
        for name in rule.factors:
            h[name] *= read(rule.names[f"{name}_factor"], dtype)
    of_role = {"role": role} if role else {}
    return Scalars(**h, **of_role, t=read("t", dtype))


# --- for a step that runs op by op ----------------------------------------------------------------


class ScalarsOfSteps:
    """Adds scalars to the steps of one optimizer, op by op or by a function."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # nothing is traced while it is held
        self._functions: dict[Any, _ScalarsFunction] = {}

    def add_to(self, step: Step, works: Sequence[Work]) -> Step:
        """Returns the step with its scalars; an eager step gets them from a function."""
        keys = keys_of(works)
        declared = step.engine.declared
        # The engine's own scalars have the same bits anyway; `begin` of a user may use Python.
        alike = not declared.begins or not declared.is_known
        if alike or not tf.executing_eagerly() or replicas.has_strategy():
            return add_scalars(step, keys)
        tensors = {n: v for n, v in step.values.items() if not isinstance(v, tf.Variable)}
        dtypes = tuple((name, value.dtype) for name, value in tensors.items())
        key = (keys, step.policies, dtypes, step.engine.hypers.signature())
        if key not in self._functions:
            with self._lock:
                self._functions[key] = _ScalarsFunction(step, keys)
        return self._functions[key](step, tensors)


class _ScalarsFunction:
    """`add_scalars` as a function of the hyperparameters that live in no variable.

    TensorFlow rewrites ops of a graph: x / sqrt(y) becomes x * rsqrt(y), for example. So the
    scalars of a step that runs op by op could differ in the last bit from those of a traced step.
    """

    def __init__(self, step: Step, keys: Sequence[Key]):
        self._step, self._keys = step, keys
        self._others: dict[Any, dict[str, Any]] = {}  # what `begin` sets that is no tensor
        # A partial, because TensorFlow counts traces by code object, for all optimizers together.
        self._function = tf.function(functools.partial(self._compute), autograph=False)

    def __call__(self, step: Step, tensors: Mapping[str, Any]) -> Step:
        iterations, scalars = self._function(dict(tensors))
        found = zip(self._keys, scalars, strict=True)
        h = {key: {**own, **self._others[key]} for key, own in found}
        return step._replace(iterations=iterations, scalars=h)

    def _compute(self, tensors: Mapping[str, Any]) -> Any:
        values = {**self._step.values, **tensors}
        step = add_scalars(self._step._replace(values=values), self._keys)
        scalars = []
        for key in self._keys:
            h = step.scalars[key]
            scalars.append({name: value for name, value in h.items() if tf.is_tensor(value)})
            self._others[key] = {n: value for n, value in h.items() if n not in scalars[-1]}
        return step.iterations, scalars
