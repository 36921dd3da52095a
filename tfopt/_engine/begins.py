"""The scalars of a step, which `begin` computes: also of a step that runs op by op."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt._engine import groups
from tfopt._engine.records import Step, Work
from tfopt._values import replicas


class Begins:
    """`groups.begin` of one optimizer, as it is or as a function. Nothing is traced in the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._functions: dict[Any, _Begin] = {}

    def begin(self, step: Step, works: Sequence[Work]) -> Step:
        """`groups.begin`; for a step that runs op by op, by a function, which gives its bits."""
        keys = groups.keys_of(works)
        declared = step.engine.declared
        # What the engine computes is alike; what users compute may be more than tensors.
        plain = not declared.begins or not declared.is_known
        if plain or not tf.executing_eagerly() or replicas.has_strategy():
            return groups.begin(step, keys)
        tensors = {n: v for n, v in step.values.items() if not isinstance(v, tf.Variable)}
        dtypes = tuple((name, value.dtype) for name, value in tensors.items())
        key = (keys, step.policies, dtypes, step.engine.hypers.signature())
        if key not in self._functions:
            with self._lock:
                self._functions[key] = _Begin(step, keys)
        return self._functions[key](step, tensors)


class _Begin:
    """`groups.begin` as a function of the hyperparameters that live in no variable.

    TensorFlow rewrites ops of a graph: x / sqrt(y) becomes x * rsqrt(y), for one. So op by op the
    scalars of a step could differ in the last bit from those of a step that is traced.
    """

    def __init__(self, step: Step, keys: Sequence[groups.Key]):
        self._step, self._keys = step, keys
        self._others: dict[Any, dict[str, Any]] = {}  # what `begin` sets that is no tensor
        self._function = tf.function(functools.partial(self._begun), autograph=False)

    def __call__(self, step: Step, tensors: Mapping[str, Any]) -> Step:
        iterations, scalars = self._function(dict(tensors))
        found = zip(self._keys, scalars, strict=True)
        h = {key: {**own, **self._others[key]} for key, own in found}
        return step._replace(iterations=iterations, scalars=h)

    def _begun(self, tensors: Mapping[str, Any]) -> Any:
        values = {**self._step.values, **tensors}
        begun = groups.begin(self._step._replace(values=values), self._keys)
        scalars = []
        for key in self._keys:
            h = begun.scalars[key]
            scalars.append({name: value for name, value in h.items() if tf.is_tensor(value)})
            self._others[key] = {n: value for n, value in h.items() if n not in scalars[-1]}
        return begun.iterations, scalars
