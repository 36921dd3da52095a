"""Gradient accumulation: several calls make one step with the mean of their gradients.

Each replica keeps sums of its own. Replicas communicate only when a window is full. A window
counts the calls for one block of variables, those that the optimizer first saw together: so two
networks that take turns have a window each.

A sum starts from -0.0 at each place: adding any gradient gives that gradient, bit for bit, and a
sum of which all places are -0.0 tells that the window has no gradient of this variable. So `flush`
knows which variables had one, also after a restore, in every format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfopt._engine import apply_gradients
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step, Work
from tfopt._libraries import dtensor, replicas, tf_variables
from tfopt._libraries.tensorflow_private import inside_xla
from tfopt._libraries.tf_variables import plain_python
from tfopt._values import rows
from tfopt._values.cells_and_codecs import Cell
from tfopt._values.initial_values import Initial, Kept, full, per_row
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
        # By the counter of each window: the works that calls of it had, by variable, and whether
        # to aggregate. Steps note them while they are traced, and cached steps when called.
        self._calls: dict[Any, tuple[dict[Any, Work], bool]] = {}

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether a step has two calls or more."""
        return (engine.statics["gradient_accumulation_steps"] or 1) > 1

    def slots(self, x: Any, first: bool) -> dict[str, Initial | Any]:
        """Declares the sum of gradients, flags of the rows in it, and the block's counter."""
        replicas.require_copies("`gradient_accumulation_steps`")
        slots: dict[str, Any] = {GRADIENT: full(x, -0.0)}
        if self.engine.moves_rows(x):
            slots[ROWS] = per_row(0)
        if first:
            slots[STEPS] = tf.constant(0, tf.int64)
        return slots

    def note_call(self, works: Works, aggregate: bool) -> None:
        """Remembers the variables of a call. Some of them may belong to another block."""
        targets = {
            tf_variables.key(work.variable): work._replace(gradient=_without_values(work))
            for work in works
        }
        window = self._counter(works).ref()
        before, _ = self._calls.get(window, ({}, True))
        self._calls = {**self._calls, window: ({**before, **targets}, aggregate)}

    def gate(self, step: Step, works: Works, rest: Callable[[Works], None]) -> None:
        """Adds the gradients; runs the rest of the step with their means if the window is full."""
        counter = self._counter(works)
        if not step.flush:
            self.note_call(works, step.aggregate)
            for work in works:
                self._accumulate(work)
            before = []
        else:
            before = [self._before_flush(work, counter) for work in works]

        @replicas.across_replicas()
        def count_call() -> None:
            if not step.flush:
                sums = [self._sum_and_flags(w)[0].variable for w in works if w.is_sparse]
                with replicas.after_writes(sums):
                    tf_variables.add(counter, 1)
            calls = dtensor.read(counter)
            full = 1 if step.flush else self.engine.statics["gradient_accumulation_steps"]

            @replicas.when(calls >= full)
            def end_window() -> None:
                def end() -> None:
                    stay = [self._stays(work, counter) if step.flush else None for work in works]
                    rest([self._with_mean(w, calls, s) for w, s in zip(works, stay, strict=True)])

                # Decided for all replicas at once: a replica cannot communicate inside a branch.
                replicas.on_each_replica(end)
                tf_variables.write(counter, tf.zeros_like(calls))

        if before:
            self._put_back(before)

    def _before_flush(self, work: Work, counter: Any) -> Work:
        """Returns the work, with its values and whether its window has no gradient of it."""
        total, _ = self._sum_and_flags(work)
        absent = replicas.holds_on_all_replicas(_is_empty(total.read()))
        stays = self._stays(work, counter)
        absent = absent if stays is None else absent | stays
        return work._replace(gradient=(absent, [dtensor.read(v) for v in self._changed(work)]))

    def _stays(self, work: Work, counter: Any) -> Any:
        """Returns whether the variable is in a window of its own block, which is not this one.

        None if it is of this block. A variable of another block may have joined this window.
        """
        own = self._counter([work])
        return None if own is counter else dtensor.read(own) > 0

    def _put_back(self, before: Works) -> None:
        """Gives the variables that had no gradient, and their slots, the values from before."""

        @replicas.across_replicas(before)
        def put_back(before: Works) -> None:
            def each(copy: Any, work: Work) -> None:
                absent, values = work.gradient
                for variable, value in zip(self._changed(work), values, strict=True):
                    own = replicas.copy_on_device_of(variable, copy)
                    tf_variables.write(own, tf.where(absent, value, dtensor.read(own)))

            replicas.each_copy(before, each)

    def _changed(self, work: Work) -> list[Any]:
        """Returns what a step changes of a variable, other than its sum."""
        slots = self.engine.state.slots.of(work.variable)
        return [work.variable, *(slots[n] for n in slots if n not in (GRADIENT, ROWS, STEPS))]

    def open_windows(self) -> list[tuple[Works, bool]]:
        """Returns for each window its block and the variables of other blocks that may be in it.

        Any variable of a later block may have joined, and its sum tells. So a copy, which does not
        know the calls of the window, ends it in the same way.
        """
        blocks = [self._without_gradients(block) for block in self.engine.blocks()]
        noted = {key: work for works, _ in self._calls.values() for key, work in works.items()}
        found: list[tuple[Works, bool]] = []
        for number, block in enumerate(blocks):
            later = {key: work for rest in blocks[number + 1 :] for key, work in rest.items()}
            window = self._counter(list(block.values())).ref()
            _, aggregate = self._calls.get(window, ({}, True))
            works = [noted.get(key, work) for key, work in {**block, **later}.items()]
            found.append((self.engine.grouped(works), aggregate))  # some were noted without
        return found

    def _without_gradients(self, block: Works) -> dict[Any, Work]:
        """Returns the works of a block by variable, with the kinds of their gradients."""
        return {
            tf_variables.key(work.variable): work._replace(
                gradient=None if self._sum_and_flags(work)[1] is None else tf.IndexedSlicesSpec()
            )
            for work in block
        }

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
            gradient = tf.cast(work.gradient, total.variable.dtype)
            total.write(tf.abs(tf.maximum(total.read(), gradient)))  # not -0.0
            return
        if not work.is_sparse:
            total.add(work.gradient)
            if flags is not None:
                flags.write(tf.ones_like(flags.variable))
            return
        total.add(work.gradient.values, work.gradient.indices)
        if flags is not None:
            indices = work.gradient.indices
            flags.write(tf.ones_like(indices, flags.variable.dtype), indices)

    def _with_mean(self, work: Work, calls: Any, stays: Any) -> Work:
        """Returns the work with the mean gradient, and empties its slots unless `stays` is true."""
        total, flags = self._sum_and_flags(work)
        calls = tf.cast(calls, total.variable.dtype)

        def empty(cell: Cell, zeros: Any, indices: Any = None) -> None:
            if stays is not None:
                zeros = tf.where(stays, cell.read(indices), zeros)
            cell.write(zeros, indices)

        sparse = isinstance(work.gradient, tf.IndexedSlices | tf.IndexedSlicesSpec)
        indices = None
        if sparse and flags is not None and not inside_xla():
            indices = tf.where(flags.read() > 0)[:, 0]
        mean = total.read(indices) / (tf.ones_like(calls) if work.overwrites else calls)
        empty(total, -tf.zeros_like(mean), indices)
        if flags is None:
            return work._replace(gradient=mean)
        if indices is None:
            there = flags.read() > 0
            empty(flags, tf.zeros_like(there, flags.variable.dtype))
            if not sparse:
                return work._replace(gradient=mean)
            # XLA must know the number of rows: this one is padded to all rows.
            every = tf.range(tf.shape(there, out_type=tf.int64)[0])
            indices = tf.where(there, every, every.dtype.max)
        else:
            empty(flags, tf.zeros_like(indices, flags.variable.dtype), indices)
        shape = rows.shape_of(total.variable)
        return work._replace(gradient=tf.IndexedSlices(mean, indices, shape))


def _is_empty(total: Any) -> Any:
    """Returns whether a sum is as it started: -0.0 at each place, which only its bits tell."""
    if total.dtype.is_complex:
        total = tf.stack([tf.math.real(total), tf.math.imag(total)])
    bits = tf.bitcast(total, tf.int64 if total.dtype == tf.float64 else tf.int32)
    return tf.reduce_all(tf.equal(bits, bits.dtype.min))


def _without_values(work: Work) -> Any:
    return tf.IndexedSlicesSpec() if work.is_sparse else None
