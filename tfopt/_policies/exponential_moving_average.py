r"""Exponential moving average (EMA) of the weights: $a \leftarrow \beta a + (1 - \beta) x$.

Where only the rows in the batch are updated, averages are updated by rows, too. While a row $x$
does not change for $n$ steps, its average approaches $x$ by the factor $\beta^n$. So it is enough
to update the average before the row moves, and before the average is read. The slot `ema_step`
has the step up to which each row's average is computed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfopt._engine.elementwise import elementwise
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step, Work
from tfopt._libraries import dtensor, replicas, tf_variables
from tfopt._values.cells_and_codecs import VALUE, Cell
from tfopt._values.initial_values import Initial, Kept, copy, per_row
from tfopt.hyper import Static

AVERAGE, STEP = "ema_average", "ema_step"


def up_to_date(engine: Engine, var_list: Iterable[Any] | None = None) -> list[tuple[Any, Any]]:
    """Brings the averages up to date, also in the slots, and returns (variable, average) pairs.

    Call it before something other than a step changes the variables.
    """
    if var_list is not None:
        engine.state.build_if_waiting(list(var_list))
    variables = list(engine.state.variables() if var_list is None else var_list)
    found, stale = [], []
    for variable in tf_variables.shards(map(tf_variables.unwrap, variables)):
        cells = engine.state.cells(variable)
        if AVERAGE not in cells:
            continue
        average = cells[AVERAGE].read()
        if STEP in cells:
            now, until = tf.cast(engine.state.iterations, tf.int64), cells[STEP].read()
            x = dtensor.laid_out_as(cells[AVERAGE].variable, cells[VALUE].read())
            average = _average_after(average, x, _decay(engine, average.dtype), until, now)
            stale += [
                (cells[AVERAGE].variable, average),
                (cells[STEP].variable, tf.fill(cells[STEP].variable.shape, now)),
            ]
        found.append((variable, cells[AVERAGE].variable))
    assign(stale)
    return [(variable, average.read_value()) for variable, average in found]


def assign(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Assigns values to variables: at once, or as ops of the function that is being traced."""
    if tf.inside_function():
        for variable, value in pairs:
            replicas.assign_alike(variable, value)
        return
    values = tf_variables.evaluate([value for _, value in pairs])
    tf_variables.assign_all([(v, value) for (v, _), value in zip(pairs, values, strict=True)])


class UpToDateAverages:
    """The slots that hold the averages, brought up to date whenever Keras reads them.

    This is not a list, because Keras would save every list that it finds in an optimizer.
    """

    def __init__(self, engine: Engine):
        self._engine = engine

    def __iter__(self) -> Iterator[Any]:
        up_to_date(self._engine)
        cells = map(self._engine.state.cells, self._engine.state.variables())
        return iter([own[AVERAGE].variable if AVERAGE in own else None for own in cells])

    def __len__(self) -> int:
        return len(self._engine.state.variables())

    def __getitem__(self, position: int) -> Any:
        return list(self)[position]


# --- in a step ------------------------------------------------------------------------------------


class Averages(Policy):
    """Updates the averages of a step's variables, and writes them into these every few steps."""

    use_ema = Static(False)
    ema_momentum = Static(0.99, low=0, high=1, needs="use_ema")
    ema_dynamic_decay = Static(False, needs="use_ema")
    ema_start_step = Static(0, low=0, needs="use_ema")
    ema_overwrite_frequency = Static(None, whole=True, low=1, needs="use_ema")
    kept = {AVERAGE: Kept(), STEP: Kept(tf.int64)}

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if slots are split where DTensor would read a variable too early."""
        if engine.statics["use_ema"]:
            dtensor.check_averages(engine.statics["shard_slots"])

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether `use_ema` is True."""
        return bool(engine.statics["use_ema"])

    def slots(self, x: Any, first: bool) -> dict[str, Initial | Any]:
        """Declares the average, a copy of the variable, and the step of each row's average."""
        slots = {AVERAGE: copy(x)}
        if self.engine.moves_rows(x):
            slots[STEP] = per_row(tf_variables.first_value(self.engine.state.iterations))
        return slots

    def before_update(self, step: Step, works: Works) -> None:
        """Brings the averages of the rows that are about to move up to date."""

        def catch_up(own: Any, work: Work) -> None:
            average, x, done = self._cells(own, work)
            if done is None:
                return
            decay = _decay(self.engine, average.variable.dtype)
            steps = tf.cast(step.iterations, done.variable.dtype)
            if not work.is_sparse:
                cells = (average, done, x)
                elementwise(self.engine, "catch up", _catch_up, cells, decay, steps)
                return
            indices = work.gradient.indices
            until = done.read(indices)
            new = _average_after(average.read(indices), x.read(indices), decay, until, steps)
            average.write(new, indices)
            done.write(tf.fill(tf.shape(indices), steps), indices)

        replicas.each_copy(works, catch_up)

    def after_update(self, step: Step, works: Works) -> None:
        """Updates the averages of this step's variables, and of no others."""
        steps = step.iterations + 1

        def follow(own: Any, work: Work) -> None:
            average, x, done = self._cells(own, work)
            if done is None:
                kept = _decay(self.engine, average.variable.dtype).at(steps)
                elementwise(self.engine, "follow", _follow_step, (average, x), kept)

        replicas.each_copy(works, follow)
        every = self.engine.statics["ema_overwrite_frequency"]
        if every is None:
            return

        def overwrite(own: Any, work: Work) -> None:
            average, x, done = self._cells(own, work)
            if done is not None:
                decay = _decay(self.engine, average.variable.dtype)
                _catch_up((average, done, x), decay, tf.cast(steps, done.variable.dtype))
            x.write(average.read())

        @replicas.when(tf.equal(steps % tf.cast(every, steps.dtype), 0))
        def overwrite_all() -> None:
            replicas.each_copy(works, overwrite)

    def _cells(self, own: Any, work: Work) -> tuple[Cell, Cell, Cell | None]:
        """Returns, for one copy, its average, its value, and the steps of its rows."""
        cells = self.engine.state.cells(work.variable, own)
        return cells[AVERAGE], cells[VALUE], cells.get(STEP)


class Decay(NamedTuple):
    """How much of an average each step keeps, in the dtype of the average."""

    momentum: Any
    dynamic: bool  # whether step n has at most (1 + n) / (10 + n)
    start: int  # until this step, the average is the variable

    def at(self, step: Any) -> Any:
        """Returns how much the step with this number keeps. The first step has the number 1."""
        kept, n = self.momentum, tf.cast(step, self.momentum.dtype) - self.start
        if self.dynamic:
            kept = tf.minimum(kept, (1 + n) / (10 + n))
        return tf.where(n <= 0, tf.zeros_like(kept), kept) if self.start else kept

    def over(self, first: Any, last: Any) -> Any:
        """Returns for each row how much all steps after `first`, up to `last`, keep together."""
        dtype = self.momentum.dtype
        if not self.dynamic and not self.start:
            return tf.pow(self.momentum, tf.cast(last - first, dtype))
        start = tf.cast(self.start, first.dtype)
        m, n = (tf.cast(tf.maximum(step - start, 0), dtype) for step in (first, last))
        if not self.dynamic:
            kept = tf.pow(self.momentum, n - m)
        else:  # the product of (1 + n) / (10 + n), as long as that is less than the momentum
            turn = tf.floor((10 * self.momentum - 1) / tf.maximum(1 - self.momentum, 1e-7))
            turn = tf.maximum(turn, 0)
            until = tf.maximum(tf.minimum(n, turn), m)
            ratios = [(m + j) / (until + j) for j in range(2, 11)]
            kept = functools.reduce(tf.multiply, ratios) * tf.pow(self.momentum, n - until)
        return tf.where((first < start) & (last > first), tf.zeros_like(kept), kept)


def _decay(engine: Engine, dtype: Any) -> Decay:
    statics = engine.statics
    momentum = tf.cast(statics["ema_momentum"], dtype)
    return Decay(momentum, statics["ema_dynamic_decay"], int(statics["ema_start_step"]))


def _follow_step(cells: Sequence[Cell], kept: Any) -> None:
    average, x = cells
    before = average.read()
    value = tf.cast(dtensor.laid_out_as(average.variable, x.read()), before.dtype)
    average.write(value + (before - value) * kept)


def _catch_up(cells: Sequence[Cell], decay: Decay, steps: Any) -> None:
    average, done, x = cells
    until = done.read()
    value = dtensor.laid_out_as(average.variable, x.read())
    average.write(_average_after(average.read(), value, decay, until, steps))
    done.write(tf.fill(tf.shape(until), steps))


def _average_after(average: Any, x: Any, decay: Decay, until: Any, now: Any) -> Any:
    """Returns the average of rows that have stayed at `x` from the step `until` to `now`."""
    x = tf.cast(x, average.dtype)
    kept = decay.over(until, now)
    shape = tf.concat([tf.shape(until), tf.ones(average.shape.rank - 1, tf.int32)], 0)
    moved = tf.reshape(now > until, shape)
    return tf.where(moved, x + (average - x) * tf.reshape(kept, shape), average)
