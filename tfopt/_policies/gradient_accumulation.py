"""Gradient accumulation: several calls make one step with the mean of their gradients.

Each replica keeps sums of its own. Replicas communicate only when a window is full. A window
counts the calls for one block of variables, those that the optimizer first saw together: so two
networks that take turns have a window each.
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
    """Makes a step with the gradients that have accumulated in a window that is not full.

    Call it after the last batch of an epoch, for example. The step has the mean of the gradients of
    the calls so far, so it counts as much as any other step. Under a strategy, call it inside
    `strategy.run`, as `apply_gradients`.

    Returns:
        The new value of `iterations`; in a v1 graph the operation.
    """
    return apply_gradients.flush(self._engine)


class Accumulation(Policy):
    """Runs the rest of a step at every n-th call, with the mean gradient of n calls."""

    gradient_accumulation_steps = Static(None, whole=True, low=1)
    offers = {"flush": flush}
    keeps_overwritten = True
    kept = {
        GRADIENT: Kept(per_replica=True),
        ROWS: Kept(tf.float32, per_replica=True),  # a flag for each row: whether it has a gradient
        STEPS: Kept(tf.int64),  # the calls of a window, one counter for a block
    }

    def __init__(self, engine: Engine):
        super().__init__(engine)
        # By the counter of each window: the works of the last call, and whether to aggregate.
        # Steps note them while they are traced, and cached steps when they are called.
        self._last_calls: dict[Any, tuple[Works, bool]] = {}

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether a step has two calls or more."""
        return (engine.statics["gradient_accumulation_steps"] or 1) > 1

    def slots(self, x: Any, first: bool) -> dict[str, Initial | Any]:
        """Declares the sum of gradients, flags of the rows in it, and the block's counter."""
        replicas.require_copies("`gradient_accumulation_steps`")
        slots: dict[str, Any] = {GRADIENT: zeros(x)}
        if self.engine.moves_rows(x):
            slots[ROWS] = per_row(0)
        if first:
            slots[STEPS] = tf.constant(0, tf.int64)
        return slots

    def note_call(self, works: Works, aggregate: bool) -> None:
        """Remembers the variables of the last call, which `flush` takes for the whole window."""
        targets = [work._replace(gradient=_without_values(work)) for work in works]
        self._last_calls = {**self._last_calls, self._counter(works).ref(): (targets, aggregate)}

    def gate(self, step: Step, works: Works, rest: Callable[[Works], None]) -> None:
        """Adds the gradients; runs the rest of the step with their means if the window is full."""
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
                # Decided for all replicas at once: a replica cannot communicate inside a branch.
                replicas.on_each_replica(lambda: rest([self._with_mean(w, calls) for w in works]))
                counter.assign(tf.zeros_like(calls), read_value=False)

    def open_windows(self) -> list[tuple[Works, bool]]:
        """Returns the accumulation windows that hold gradients, which may be every window.

        For a window that no call has noted, as after loading, it returns the whole block.
        """
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
        """Returns the sum, and the flags of rows; None where whole gradients are kept."""
        cells = self.engine.state.cells(work.variable)
        return cells[GRADIENT], cells.get(ROWS)

    def _accumulate(self, work: Work) -> None:
        total, flags = self._sum_and_flags(work)
        if work.overwrites:
            total.write(tf.maximum(total.read(), tf.cast(work.gradient, total.variable.dtype)))
            return
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
        """Returns the work with the mean gradient, and empties its slots."""
        total, flags = self._sum_and_flags(work)
        calls = tf.cast(calls, total.variable.dtype)
        sparse = isinstance(work.gradient, tf.IndexedSlices | tf.IndexedSlicesSpec)
        indices = None
        if sparse and flags is not None and not inside_xla():
            indices = tf.where(flags.read() > 0)[:, 0]
        mean = total.read(indices) / (tf.ones_like(calls) if work.overwrites else calls)
        total.write(tf.zeros_like(mean), indices)
        if flags is None:
            return work._replace(gradient=mean)
        if indices is None:
            there = flags.read() > 0
            flags.write(tf.zeros_like(there, flags.variable.dtype))
            if not sparse:
                return work._replace(gradient=mean)
            # XLA must know the number of rows: this one is padded to all rows.
            every = tf.range(tf.shape(there, out_type=tf.int64)[0])
            indices = tf.where(there, every, every.dtype.max)
        else:
            flags.write(tf.zeros_like(indices, flags.variable.dtype), indices)
        shape = rows.shape_of(total.variable)
        return work._replace(gradient=tf.IndexedSlices(mean, indices, shape))


def _without_values(work: Work) -> Any:
    return tf.IndexedSlicesSpec() if work.is_sparse else None
