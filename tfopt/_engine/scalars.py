"""The scalars of a step, which `begin` computes: with the same bits in eager mode and traced."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine import groups
from tfopt._engine.records import Step, Work
from tfopt._values import replicas


class ScalarsOfSteps:
    """Adds scalars to the steps of one optimizer, op by op or by a function."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # nothing is traced while it is held
        self._functions: dict[Any, _ScalarsFunction] = {}

    def add_to(self, step: Step, works: Sequence[Work]) -> Step:
        """Returns the step with its scalars; an eager step gets them from a function."""
        keys = groups.keys_of(works)
        declared = step.engine.declared
        # The engine's own scalars have the same bits anyway; `begin` of a user may use Python.
        alike = not declared.begins or not declared.is_known
        if alike or not tf.executing_eagerly() or replicas.has_strategy():
            return groups.add_scalars(step, keys)
        tensors = {n: v for n, v in step.values.items() if not isinstance(v, tf.Variable)}
        dtypes = tuple((name, value.dtype) for name, value in tensors.items())
        key = (keys, step.policies, dtypes, step.engine.hypers.signature())
        if key not in self._functions:
            with self._lock:
                self._functions[key] = _ScalarsFunction(step, keys)
        return self._functions[key](step, tensors)


class _ScalarsFunction:
    """`groups.add_scalars` as a function of the hyperparameters that live in no variable.

    TensorFlow rewrites ops of a graph: x / sqrt(y) becomes x * rsqrt(y), for example. So the
    scalars of a step that runs op by op could differ in the last bit from those of a traced step.
    """

    def __init__(self, step: Step, keys: Sequence[groups.Key]):
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
        step = groups.add_scalars(self._step._replace(values=values), self._keys)
        scalars = []
        for key in self._keys:
            h = step.scalars[key]
            scalars.append({name: value for name, value in h.items() if tf.is_tensor(value)})
            self._others[key] = {n: value for n, value in h.items() if n not in scalars[-1]}
        return step.iterations, scalars
