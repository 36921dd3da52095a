"""Eager mode: a whole step by one cached function over all its variables.

A set of gradients that comes for the first time is not worth a trace: its step runs op by op,
right here, where that gives the same bits. So a first step costs no trace, and sets that change
all the time cost none either.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._engine import groups
from tfopt._engine.records import Step, Work
from tfopt._values import replicas

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._engine.policy import Policy

MAX_STEPS = 64  # functions kept: one a set of variables that were updated together
Function = Callable[[Sequence[Any], Mapping[str, Any]], Any]


class Functions:
    """The steps that one optimizer has traced. The lock is never held while one is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: dict[Any, Function] = {}
        self._begins: dict[Any, _Begin] = {}
        self._seen: dict[Any, bool] = {}  # what came once, the oldest first

    def __len__(self) -> int:
        return len(self._steps)

    def step(
        self,
        engine: Engine,
        values: Mapping[str, Any],
        aggregate: bool,
        more: tuple[Policy, ...],
        works: Sequence[Work],
    ) -> Any:
        """A step; `values` are the hyperparameters that live in no variable."""
        policies = engine.policies_of_step(more)
        key = (
            tuple([(id(w.variable), id(w.constraint), *_kind(w.gradient)) for w in works]),
            tuple([(name, value.dtype) for name, value in values.items()]),
            aggregate,
            policies,
            engine.hypers.signature(),
        )
        function = self._steps.get(key)
        if function is None:
            if engine.runs_alike_op_by_op(works) and self._is_new(key):
                return engine.run(engine.step(values, aggregate, more), engine.grouped(works))
            function = _trace(engine, values, aggregate, more, works)
            with self._lock:
                function = self._steps.setdefault(key, function)
        for policy in policies:
            policy.note(works, aggregate)
        return function([work.gradient for work in works], values)

    def begin(self, step: Step, works: Sequence[Work]) -> Step:
        """`groups.begin`; for a step that runs op by op, by a function, which gives its bits."""
        keys = groups.keys_of(works)
        alike = not step.engine.declared.begins  # what the engine itself computes is
        if alike or not tf.executing_eagerly() or replicas.has_strategy():
            return groups.begin(step, keys)
        tensors = {n: v for n, v in step.values.items() if not isinstance(v, tf.Variable)}
        dtypes = tuple((name, value.dtype) for name, value in tensors.items())
        key = (keys, step.policies, dtypes, step.engine.hypers.signature())
        if key not in self._begins:
            with self._lock:
                self._begins[key] = _Begin(step, keys)
        return self._begins[key](step, tensors)

    def _is_new(self, key: Any) -> bool:
        """Whether a set did not come lately, or there are functions enough."""
        with self._lock:
            if len(self._steps) >= MAX_STEPS:
                return True
            if self._seen.pop(key, False):
                return False
            self._seen[key] = True
            if len(self._seen) > MAX_STEPS:
                del self._seen[next(iter(self._seen))]
            return True


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


def _trace(
    engine: Engine,
    values: Mapping[str, Any],
    aggregate: bool,
    more: tuple[Policy, ...],
    works: Sequence[Work],
) -> Function:
    # The targets also keep the ids in the key from being given to others.
    targets = [work._replace(gradient=None) for work in engine.grouped(works)]
    step = functools.partial(_whole_step, engine, aggregate, more, targets)
    concrete = tf.function(step, autograph=False).get_concrete_function(
        [_spec(work) for work in works],
        {name: tf.TensorSpec(value.shape, value.dtype) for name, value in values.items()},
    )
    call, captures = concrete.inference_fn.call_flat, concrete.captured_inputs

    def run(gradients: Sequence[Any], values: Mapping[str, Any]) -> Any:
        # To call the function itself would have Python look at each argument, for 20 us.
        return call(*tf.nest.flatten([gradients, values], expand_composites=True), *captures)[0]

    return run


def _whole_step(
    engine: Engine,
    aggregate: bool,
    more: tuple[Policy, ...],
    targets: Sequence[Work],
    gradients: Sequence[Any],
    values: Mapping[str, Any],
) -> Any:
    works = [work._replace(gradient=g) for work, g in zip(targets, gradients, strict=True)]
    return engine.run(engine.step(values, aggregate, more), works)


def _kind(gradient: Any) -> tuple[Any, ...]:
    """What may not vary between calls of one function; the number of rows may."""
    if isinstance(gradient, tf.IndexedSlices):
        shape = gradient.dense_shape
        return gradient.values.dtype, gradient.indices.dtype, shape is None or shape.dtype
    return (gradient.dtype,)


def _spec(work: Work) -> Any:
    gradient, shape = work.gradient, work.variable.shape
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.TensorSpec(shape, gradient.dtype)
    dense = None if gradient.dense_shape is None else gradient.dense_shape.dtype
    dtypes = gradient.values.dtype, gradient.indices.dtype, dense
    return tf.IndexedSlicesSpec(shape, *dtypes, indices_shape=[None])
