r"""Exponential moving average (EMA) of the weights: $a \leftarrow \beta a + (1 - \beta) x$.

Where only the rows in the batch are updated, averages are updated by rows, too. While a row $x$
does not change for $n$ steps, its average approaches $x$ by the factor $\beta^n$. So it is enough
to update the average before the row moves, and before the average is read. The slot `ema_step`
has the step up to which each row's average is computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

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


# --- what users call ------------------------------------------------------------------------------


@contextlib.contextmanager
def averaged_weights(self: Any, var_list: Iterable[Any] | None = None) -> Iterator[None]:
    """Gives variables their averages as values inside a `with` block, to evaluate or to save.

    At the end of the block the variables have their own values again. Do not train inside it.

    Args:
        var_list: the variables; all that the optimizer has seen by default.

    Raises:
        ValueError: without `use_ema`.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.SGD(1.0, use_ema=True, ema_momentum=0.5)
    >>> _ = opt.apply_gradients([(1.0, x)])
    >>> with opt.averaged_weights():
    ...     print(float(x))
    0.5
    >>> float(x)
    0.0
    """
    if not self.use_ema:
        raise ValueError("`averaged_weights` needs `use_ema` to be True; it is False.")
    pairs = up_to_date(self._engine, var_list)
    variables = [variable for variable, _ in pairs]
    before = tf_variables.values_of(variables)
    try:
        _assign(pairs)
        yield
    finally:
        tf_variables.assign_all(list(zip(variables, before, strict=True)))


def finalize_variable_values(self: Any, var_list: Iterable[Any]) -> None:
    """Gives variables their averages as values, permanently. Keras' `fit` calls it at its end.

    Args:
        var_list: the variables. A variable without an average does not change.
    """
    if self.use_ema:
        _assign(up_to_date(self._engine, var_list))


def up_to_date(engine: Engine, var_list: Iterable[Any] | None = None) -> list[tuple[Any, Any]]:
    """Returns (variable, average) pairs, and brings the averages up to date, also in the slots.

    Call it before variables change in another way than by a step.
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
            now = tf.cast(engine.state.iterations, tf.int64)
            idle = now - cells[STEP].read()
            x = dtensor.laid_out_as(cells[AVERAGE].variable, cells[VALUE].read())
            average = _average_after(average, x, _momentum(engine, average.dtype), idle)
            stale += [
                (cells[AVERAGE].variable, average),
                (cells[STEP].variable, tf.fill(cells[STEP].variable.shape, now)),
            ]
        found.append((variable, cells[AVERAGE].variable))
    _assign(stale)
    return [(variable, average.read_value()) for variable, average in found]


def _assign(pairs: Sequence[tuple[Any, Any]]) -> None:
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
    """Updates the averages of a step's variables; every so many steps, puts them into these."""

    use_ema = Static(False)
    ema_momentum = Static(0.99, low=0, high=1)
    ema_overwrite_frequency = Static(None, whole=True, low=1)
    offers = {
        "averaged_weights": averaged_weights,
        "finalize_variable_values": finalize_variable_values,
    }
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
            momentum = _momentum(self.engine, average.variable.dtype)
            steps = tf.cast(step.iterations, done.variable.dtype)
            if not work.is_sparse:
                cells = (average, done, x)
                elementwise(self.engine, "catch up", _catch_up, cells, momentum, steps)
                return
            indices = work.gradient.indices
            idle = steps - done.read(indices)
            new = _average_after(average.read(indices), x.read(indices), momentum, idle)
            average.write(new, indices)
            done.write(tf.fill(tf.shape(indices), steps), indices)

        replicas.each_copy(works, catch_up)

    def after_update(self, step: Step, works: Works) -> None:
        """Updates the averages of this step's variables, and of no others."""

        def follow(own: Any, work: Work) -> None:
            average, x, done = self._cells(own, work)
            if done is None:
                momentum = _momentum(self.engine, average.variable.dtype)
                elementwise(self.engine, "follow", _follow_step, (average, x), momentum)

        replicas.each_copy(works, follow)
        every = self.engine.statics["ema_overwrite_frequency"]
        if every is None:
            return
        steps = step.iterations + 1

        def overwrite(own: Any, work: Work) -> None:
            average, x, done = self._cells(own, work)
            if done is not None:
                momentum = _momentum(self.engine, average.variable.dtype)
                _catch_up((average, done, x), momentum, tf.cast(steps, done.variable.dtype))
            x.write(average.read())

        @replicas.when(tf.equal(steps % tf.cast(every, steps.dtype), 0))
        def overwrite_all() -> None:
            replicas.each_copy(works, overwrite)

    def _cells(self, own: Any, work: Work) -> tuple[Cell, Cell, Cell | None]:
        """Returns, for one copy, its average, its value, and the steps of its rows."""
        cells = self.engine.state.cells(work.variable, own)
        return cells[AVERAGE], cells[VALUE], cells.get(STEP)


def _momentum(engine: Engine, dtype: Any) -> Any:
    return tf.cast(engine.statics["ema_momentum"], dtype)


def _follow_step(cells: Sequence[Cell], momentum: Any) -> None:
    average, x = cells
    value = dtensor.laid_out_as(average.variable, x.read())
    average.write(_average_after(average.read(), value, momentum, None))


def _catch_up(cells: Sequence[Cell], momentum: Any, steps: Any) -> None:
    average, done, x = cells
    until = done.read()
    idle = steps - until
    value = dtensor.laid_out_as(average.variable, x.read())
    average.write(_average_after(average.read(), value, momentum, idle))
    done.write(tf.fill(tf.shape(until), steps))


def _average_after(average: Any, x: Any, momentum: Any, idle: Any) -> Any:
    """Returns the average after one step at `x`; or after `idle` steps, a number for each row."""
    x = tf.cast(x, average.dtype)
    if idle is None:
        return x + (average - x) * momentum
    kept = tf.pow(momentum, tf.cast(idle, average.dtype))
    shape = tf.concat([tf.shape(idle), tf.ones(average.shape.rank - 1, tf.int32)], 0)
    moved = tf.reshape(idle > 0, shape)
    return tf.where(moved, x + (average - x) * tf.reshape(kept, shape), average)
