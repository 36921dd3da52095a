"""Eager mode: one cached function runs a whole step over all its variables.

A set of gradients that came once or twice is not worth a trace. Its step runs op by op, if that
gives the same bits. So a first step is not traced, and neither are the steps of a loop whose sets
change all the time.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._engine.step_records import Work
from tfopt._libraries import tensorflow_private

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._engine.policy import Policy

MAX_STEPS = 64  # how many functions are kept: one for each set of variables updated together
TWICE = 2  # how often a set runs op by op before it is traced
OFTEN = 4  # the same, if another function must be dropped for it
Function = Callable[[Sequence[Any], Mapping[str, Any]], Any]


class EagerSteps:
    """The steps that one optimizer has traced. The lock is not held while a step is traced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: dict[Any, Function] = {}
        self._seen: dict[Any, int] = {}  # how often a set without a function came; oldest first

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
        """Makes a step; `values` are the hyperparameters that live in no variable."""
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
                return engine.life(engine.step(values, aggregate, more), engine.grouped(works))
            function = _trace(engine, values, aggregate, more, works)
            with self._lock:
                function = self._steps.setdefault(key, function)
                if len(self._steps) > MAX_STEPS:
                    del self._steps[next(iter(self._steps))]
        for policy in policies:
            policy.note_call(works, aggregate)
        return function([work.gradient for work in works], values)

    def _is_new(self, key: Any) -> bool:
        """Returns whether a set came too rarely to be traced."""
        with self._lock:
            times = self._seen.pop(key, 0)
            if times >= (TWICE if len(self._steps) < MAX_STEPS else OFTEN):
                return False
            self._seen[key] = times + 1
            if len(self._seen) > MAX_STEPS:
                del self._seen[next(iter(self._seen))]
            return True


def _trace(
    engine: Engine,
    values: Mapping[str, Any],
    aggregate: bool,
    more: tuple[Policy, ...],
    works: Sequence[Work],
) -> Function:
    # The targets also keep variables alive, so that no other object gets the ids in the key.
    targets = [work._replace(gradient=None) for work in engine.grouped(works)]
    step = functools.partial(_whole_step, engine, aggregate, more, targets)
    concrete = tf.function(step, autograph=False).get_concrete_function(
        [_spec(work) for work in works],
        {name: tf.TensorSpec(value.shape, value.dtype) for name, value in values.items()},
    )
    call, captures = tensorflow_private.flat_call(concrete)

    def run(gradients: Sequence[Any], values: Mapping[str, Any]) -> Any:
        # The public call would look at each argument in Python, which takes 20 us.
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
    return engine.life(engine.step(values, aggregate, more), works)


def _kind(gradient: Any) -> tuple[Any, ...]:
    """Returns what may not differ between calls of one function; the number of rows may."""
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
