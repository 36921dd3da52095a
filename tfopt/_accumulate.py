"""Gradient accumulation: each replica adds up gradients of its own, and their mean is applied.

Replicas talk to each other only when a window is full. A window counts the calls for one
block of variables, those that the optimizer first saw together: so two networks that take
turns have a window each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfopt import _distribute, _rows, _slots, _variables
from tfopt._kernels import inside_xla

GRADIENT, ROWS, STEPS = "accumulated_gradient", "accumulated_rows", "micro_steps"


def slots(x: Any, first: bool, by_rows: bool) -> dict[str, Any]:
    """The sum of a variable's gradients, which rows it has, and the counter of its block."""
    slots: dict[str, Any] = {GRADIENT: _slots.zeros(x)}
    if by_rows:
        slots[ROWS] = _slots.per_row(0)
    if first:
        slots[STEPS] = tf.constant(0, tf.int64)
    return slots


class Window(NamedTuple):
    """What the last call of a window was for, and will be again in the next."""

    pairs: Sequence[Any]  # without gradients
    sparse: Sequence[bool]
    aggregate: bool


def step(
    opt: Any,
    pairs: Sequence[Any],
    gradients: Sequence[Any],
    aggregate: bool,
    apply: Callable[..., None],
) -> None:
    """One micro-step, of one replica: adds the gradients; calls `apply(means)` at the last one."""
    for pair, gradient in zip(pairs, gradients, strict=True):
        _add(opt.get_slot(pair.variable, GRADIENT), _rows_slot(opt, pair), gradient)
    sparse = [isinstance(gradient, tf.IndexedSlices) for gradient in gradients]
    counter = _counter(opt, pairs)
    targets = [pair._replace(gradient=None) for pair in pairs]
    opt._windows[counter.ref()] = Window(targets, sparse, aggregate)

    def turn() -> None:
        counter.assign_add(1, read_value=False)
        full = counter.read_value() >= opt.gradient_accumulation_steps
        tf.cond(full, functools.partial(_end, opt, pairs, sparse, apply), _nothing)

    _distribute.across_replicas(turn)


def windows(opt: Any) -> list[Window]:
    """All windows that may have begun: before any call here, those of all variables."""
    found = []
    for block in opt._slots.blocks:
        pairs = [opt._pair(variable) for variable in block]
        sparse = [_rows_slot(opt, pair) is not None for pair in pairs]
        counter = opt.get_slot(block[0], STEPS)
        found.append(opt._windows.get(counter.ref()) or Window(pairs, sparse, True))
    return found


def flush(opt: Any, window: Window, apply: Callable[..., None]) -> None:
    """Ends a window that has begun: `apply` gets the means of the micro-steps there were."""
    pairs, sparse, _ = window

    def end() -> None:
        begun = _counter(opt, pairs).read_value() > 0
        tf.cond(begun, functools.partial(_end, opt, pairs, sparse, apply), _nothing)

    _distribute.across_replicas(end)


def _end(
    opt: Any, pairs: Sequence[Any], sparse: Sequence[bool], apply: Callable[..., None]
) -> None:
    """Ends a window, for all replicas at once: none can leave its own branch for the others."""
    counter = _counter(opt, pairs)
    steps = counter.read_value()

    def apply_means() -> None:
        apply(
            [
                _take(opt.get_slot(pair.variable, GRADIENT), _rows_slot(opt, pair), by_rows, steps)
                for pair, by_rows in zip(pairs, sparse, strict=True)
            ]
        )

    _distribute.on_each_replica(apply_means)
    counter.assign(tf.zeros_like(steps), read_value=False)


def _nothing() -> None:
    """The other branch."""


def _counter(opt: Any, pairs: Sequence[Any]) -> Any:
    return opt.get_slot(opt._slots.block_of(pair.variable for pair in pairs)[0], STEPS)


def _rows_slot(opt: Any, pair: Any) -> Any:
    """The flags of the rows that have a gradient, or None where whole gradients are kept."""
    return opt._slots.get(pair.variable, ROWS)


def _add(total: Any, flags: Any, gradient: Any) -> None:
    if not isinstance(gradient, tf.IndexedSlices):
        gradient = _variables.laid_out(tf.cast(gradient, total.dtype), total)
        total.assign_add(gradient, read_value=False)
        if flags is not None:
            flags.assign(tf.ones_like(flags), read_value=False)
        return
    _rows.add(total, gradient.indices, gradient.values)
    if flags is not None:
        ones = tf.ones_like(gradient.indices, flags.dtype)
        _rows.write(flags, gradient.indices, ones)


def _take(total: Any, flags: Any, by_rows: bool, steps: Any) -> Any:
    """The mean gradient; leaves nothing of it."""
    steps = tf.cast(steps, total.dtype)
    by_rows = by_rows and flags is not None
    if by_rows and not inside_xla():  # which cannot do with a number of rows that it does not know
        indices = tf.where(flags.read_value() > 0)[:, 0]
        mean = _rows.read(total, indices) / steps
        _rows.write(total, indices, tf.zeros_like(mean))
        _rows.write(flags, indices, tf.zeros_like(indices, flags.dtype))
        return tf.IndexedSlices(mean, indices, _rows.shape_of(total))
    mean = total.read_value() / steps
    total.assign(tf.zeros_like(mean), read_value=False)
    if flags is None:
        return mean
    there = flags.read_value() > 0
    flags.assign(tf.zeros_like(flags), read_value=False)
    if not by_rows:
        return mean
    every = tf.range(tf.shape(there, out_type=tf.int64)[0])
    indices = tf.where(there, every, every.dtype.max)
    return tf.IndexedSlices(mean, indices, _rows.shape_of(total))
