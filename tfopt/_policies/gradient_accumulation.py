"""Gradient accumulation: each replica adds up gradients of its own, and their mean is applied.

Replicas talk to each other only when a window is full. A window counts the calls for one
block of variables, those that the optimizer first saw together: so two networks that take
turns have a window each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfopt._engine import apply_gradients
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step, Work
from tfopt._libraries import replicas
from tfopt._libraries.tensorflow_private import inside_xla
from tfopt._libraries.tf_variables import plain_python
from tfopt._values import rows
from tfopt._values.cells_and_codecs import Cell
from tfopt._values.initial_values import Initial, Kept, per_row, zeros
from tfopt.hyper import Static

GRADIENT, ROWS, STEPS = "accumulated_gradient", "accumulated_rows", "micro_steps"


@plain_python
def flush(self: Any) -> Any:
    """Applies gradients that have accumulated in a window which is not full.

    The last window of an epoch may be one: it counts as much as any other, since its
    gradient is the mean over the calls that there were. Under a strategy it belongs into
    `strategy.run`, as `apply_gradients` does.

    Returns:
        The new value of `iterations`; in a v1 graph the operation.
    """
    return apply_gradients.flush(self._engine)


class Accumulation(Policy):
    """The rest of a step happens at every n-th call, with the mean gradient of n calls."""

    gradient_accumulation_steps = Static(None, whole=True, low=1)
    offers = {"flush": flush}
    kept = {
        GRADIENT: Kept(per_replica=True),
        ROWS: Kept(tf.float32, per_replica=True),  # which rows have a gradient
        STEPS: Kept(tf.int64),  # the calls of a window, for a whole block
    }

    def __init__(self, engine: Engine):
        super().__init__(engine)
        # What the last call of each window was for, by its counter. Steps note it while they
        # are traced, and cached ones when they are called.
        self._last_calls: dict[Any, tuple[Works, bool]] = {}

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """With two calls a step or more."""
        return (engine.statics["gradient_accumulation_steps"] or 1) > 1

    def slots(self, x: Any, first: bool) -> dict[str, Initial | Any]:
        """The sum of a variable's gradients, which rows it has, and the counter of its block."""
        replicas.require_copies("`gradient_accumulation_steps`")
        slots: dict[str, Any] = {GRADIENT: zeros(x)}
        if self.engine.moves_rows(x):
            slots[ROWS] = per_row(0)
        if first:
            slots[STEPS] = tf.constant(0, tf.int64)
        return slots

    def note_call(self, works: Works, aggregate: bool) -> None:
        """Remembers what a call was for, in case its window ends by `flush`."""
        targets = [work._replace(gradient=_without_values(work)) for work in works]
        self._last_calls = {**self._last_calls, self._counter(works).ref(): (targets, aggregate)}

    def gate(self, step: Step, works: Works, rest: Callable[[Works], None]) -> None:
        """Adds the gradients; goes on with their means at the last call of a window."""
        counter = self._counter(works)
        if not step.flush:
            self.note_call(works, step.aggregate)
            for work in works:
                self._accumulate(work)

        @replicas.across_replicas()
        def count_call() -> None:
            if not step.flush:
                counter.assign_add(1, read_value=False)
            calls = counter.read_value()
            full = 1 if step.flush else self.engine.statics["gradient_accumulation_steps"]

            @replicas.when(calls >= full)
            def end_window() -> None:
                # For all replicas at once: none can leave its own branch for the others.
                replicas.on_each_replica(lambda: rest([self._with_mean(w, calls) for w in works]))
                counter.assign(tf.zeros_like(calls), read_value=False)

    def open_windows(self) -> list[tuple[Works, bool]]:
        """All windows that may have begun: before any call here, those of whole blocks."""
        found = []
        for block in self.engine.blocks():
            kinds = [
                None if self._sum_and_flags(w)[1] is None else tf.IndexedSlicesSpec() for w in block
            ]
            whole = [w._replace(gradient=kind) for w, kind in zip(block, kinds, strict=True)]
            counter = self._counter(block)
            found.append(self._last_calls.get(counter.ref(), (whole, True)))
        return found

    def _counter(self, works: Works) -> Any:
        first = self.engine.state.block_of([work.variable for work in works])[0]
        return self.engine.state.cells(first)[STEPS].variable

    def _sum_and_flags(self, work: Work) -> tuple[Cell, Cell | None]:
        """The sum, and the flags of rows; None where whole gradients are kept."""
        cells = self.engine.state.cells(work.variable)
        return cells[GRADIENT], cells.get(ROWS)

    def _accumulate(self, work: Work) -> None:
        total, flags = self._sum_and_flags(work)
        if not work.is_sparse:
            total.add(work.gradient)
            if flags is not None:
                flags.variable.assign(tf.ones_like(flags.variable), read_value=False)
            return
        total.add(work.gradient.values, work.gradient.indices)
        if flags is not None:
            indices = work.gradient.indices
            flags.write(tf.ones_like(indices, flags.variable.dtype), indices)

    def _with_mean(self, work: Work, calls: Any) -> Work:
        """The work with the mean gradient, of which nothing is left in the slots."""
        total, flags = self._sum_and_flags(work)
        calls = tf.cast(calls, total.variable.dtype)
        sparse = isinstance(work.gradient, tf.IndexedSlices | tf.IndexedSlicesSpec)
        indices = None
        if sparse and flags is not None and not inside_xla():
            indices = tf.where(flags.read() > 0)[:, 0]
        mean = total.read(indices) / calls
        total.write(tf.zeros_like(mean), indices)
        if flags is None:
            return work._replace(gradient=mean)
        if indices is None:
            there = flags.read() > 0
            flags.write(tf.zeros_like(there, flags.variable.dtype))
            if not sparse:
                return work._replace(gradient=mean)
            # XLA cannot do with a number of rows that it does not know.
            every = tf.range(tf.shape(there, out_type=tf.int64)[0])
            indices = tf.where(there, every, every.dtype.max)
        else:
            flags.write(tf.zeros_like(indices, flags.variable.dtype), indices)
        shape = rows.shape_of(total.variable)
        return work._replace(gradient=tf.IndexedSlices(mean, indices, shape))


def _without_values(work: Work) -> Any:
    return tf.IndexedSlicesSpec() if work.is_sparse else None
