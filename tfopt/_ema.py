r"""Averages of the weights: $a \leftarrow \beta a + (1 - \beta) x$ after each step.

Where a gradient of rows moves only these, the average is kept by rows, too: a row that does
not move for $n$ steps tends to its $x$ by $\beta^n$, so it is enough to do that before the
row moves, and before the average is read. `ema_step` says up to which step a row is done.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfopt import _compile, _distribute, _rows, _slots, _variables
from tfopt._precision import MASTER, master_or

AVERAGE, STEP = "ema_average", "ema_step"


def slots(x: Any, steps: Any, by_rows: bool) -> dict[str, Any]:
    """The average, which starts from the variable, and the step of each of its rows."""
    slots = {AVERAGE: _slots.copy(x)}
    if by_rows:
        slots[STEP] = _slots.per_row(steps)
    return slots


def before(opt: Any, variable: Any, gradient: Any, steps: Any) -> None:
    """Brings the averages of those rows up to date that are about to move."""
    average, weights, step = _parts(opt, variable)
    if step is None:
        return
    if not isinstance(gradient, tf.IndexedSlices):
        settle = functools.partial(_settle, opt)
        _compile.elementwise(opt, "settle", settle, average, step, *weights, steps=steps)
        return
    indices = gradient.indices
    read = functools.partial(_rows.read, indices=indices)
    idle = steps - read(step)
    _rows.write(average, indices, _after(opt, read(average), _value(weights, read), idle))
    _rows.write(step, indices, tf.fill(tf.shape(indices), steps))


def follow(opt: Any, variables: Sequence[Any]) -> None:
    """Averages in what the variables have become in this step; sometimes puts averages in."""
    for variable in variables:
        _distribute.update(variable, functools.partial(_follow, opt))
    if opt.ema_overwrite_frequency is None:
        return
    steps = opt.iterations.read_value()

    def overwrite() -> None:
        for variable in variables:
            _distribute.update(variable, functools.partial(_overwrite, opt, steps))

    due = tf.equal(steps % tf.cast(opt.ema_overwrite_frequency, steps.dtype), 0)
    tf.cond(due, overwrite, lambda: None)


def averages(opt: Any, variables: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """(variable, its average now) for those that have one."""
    for variable in _variables.shards(map(_variables.unwrap, variables)):
        slots = opt._slots.of(variable)
        if AVERAGE in slots:
            average = slots[AVERAGE].read_value()
            if STEP in slots:
                idle = tf.cast(opt.iterations, tf.int64) - slots[STEP].read_value()
                weights = [variable, *([slots[MASTER]] if MASTER in slots else [])]
                average = _after(opt, average, _value_beside(slots[AVERAGE], weights), idle)
            yield variable, average


class Settled:
    """The slots that hold the averages, brought up to date when somebody goes through them.

    Not a list, which Keras would go through when it saves what it finds in an optimizer.
    """

    def __init__(self, opt: Any, variables: Sequence[Any]):
        self._opt = opt
        self._variables = variables

    def __iter__(self) -> Iterator[Any]:
        settle(self._opt, self._variables)
        return iter([self._opt._slots.get(variable, AVERAGE) for variable in self._variables])


def settle(opt: Any, variables: Iterable[Any]) -> None:
    """Brings the averages of rows up to date: before variables change other than by steps."""
    variables = _variables.shards(map(_variables.unwrap, variables))
    by_rows = [v for v in variables if opt._slots.get(v, STEP) is not None]
    if not by_rows:
        return
    slots = [opt._slots.get(variable, AVERAGE) for variable in by_rows]
    steps = [opt._slots.get(variable, STEP) for variable in by_rows]
    now = tf.cast(opt.iterations, tf.int64)
    values = [average for _, average in averages(opt, by_rows)]
    values += [tf.fill(step.shape, now) for step in steps]
    values = _variables.evaluate(values)
    _variables.assign_all(list(zip([*slots, *steps], values, strict=True)))


def _parts(opt: Any, variable: Any) -> tuple[Any, list[Any], Any]:
    """The copies beside `variable` of its average, of its weights, and of the rows' steps."""
    slots = opt._slots.of(variable)
    average = _distribute.local(slots[AVERAGE], variable)
    weights = [variable]
    if MASTER in slots:
        weights.append(_distribute.local(slots[MASTER], variable))
    step = _distribute.local(slots[STEP], variable) if STEP in slots else None
    return average, weights, step


def _value(weights: Sequence[Any], read: Any = lambda variable: variable.read_value()) -> Any:
    """The weights, as precise as there are."""
    x, *master = map(read, weights)
    return master_or(tf.cast(x, master[0].dtype), x, *master) if master else x


def _value_beside(average: Any, weights: Sequence[Any]) -> Any:
    """The same, laid out on a DTensor mesh as the average is."""
    return _variables.laid_out(_value(weights), average)


def _follow(opt: Any, variable: Any) -> None:
    average, weights, step = _parts(opt, variable)
    if step is None:
        _compile.elementwise(opt, "ema", functools.partial(_average_in, opt), average, *weights)


def _average_in(opt: Any, average: Any, *weights: Any) -> None:
    new = _after(opt, average.read_value(), _value_beside(average, weights), None)
    _variables.write(average, new)


def _settle(opt: Any, average: Any, step: Any, *weights: Any, steps: Any) -> None:
    idle = steps - step.read_value()
    new = _after(opt, average.read_value(), _value_beside(average, weights), idle)
    _variables.write(average, new)
    step.assign(tf.fill(tf.shape(step), steps), read_value=False)


def _overwrite(opt: Any, steps: Any, variable: Any) -> None:
    average, weights, step = _parts(opt, variable)
    if step is not None:
        _settle(opt, average, step, *weights, steps=steps)
    value = average.read_value()
    for target in weights:
        _variables.write(target, value)


def _after(opt: Any, average: Any, x: Any, idle: Any) -> Any:
    """The average after one step at `x`; or after `idle` steps, a number for each row."""
    x = tf.cast(x, average.dtype)
    if idle is None:
        return x + (average - x) * tf.cast(opt.ema_momentum, average.dtype)
    kept = tf.pow(tf.cast(opt.ema_momentum, average.dtype), tf.cast(idle, average.dtype))
    shape = tf.concat([tf.shape(idle), tf.ones(average.shape.rank - 1, tf.int32)], 0)
    moved = tf.reshape(idle > 0, shape)
    return tf.where(moved, x + (average - x) * tf.reshape(kept, shape), average)
