"""How slots start: what an optimizer's `slots`, and a policy's, declare."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tfopt._libraries import tf_variables

if TYPE_CHECKING:
    from tfopt._values.cells_and_codecs import Codec


class Kept(NamedTuple):
    """What is not as usual about a slot that a policy keeps. These come last in `weights`."""

    dtype: tf.DType | None = None  # that of arithmetic by default
    per_replica: bool = False  # whether each replica has its own, and all of them add up


class Initial(NamedTuple):
    """How a declared slot starts: `make(variable, dtype)` gives its first value."""

    make: Callable[[Any, Any], Any]
    shape: Callable[[Any], Any] = lambda shape: shape  # of that of the variable
    copies: bool = False  # whether it needs the variable's value
    codec: Codec | None = None  # in which variables it is stored, if not in one as it is


def full(x: Any, value: Any) -> Initial:
    """A slot of the shape of `x` that starts at `value` everywhere."""
    del x  # part of the notation; the shape is that of the variable at creation
    return Initial(lambda variable, dtype: tf.fill(_shape(variable), _constant(value, dtype)))


def zeros(x: Any, axis: int | None = None) -> Initial:
    """A slot that starts at zero, of the shape of `x`, or that of its means over `axis`."""
    del x
    shape = functools.partial(_without, axis=axis)
    return Initial(lambda variable, dtype: tf.zeros(shape(_shape(variable)), dtype), shape)


def per_row(value: Any) -> Initial:
    """A slot with a number for each row of the variable, which starts at `value`."""

    def make(variable: Any, dtype: Any) -> Any:
        return tf.fill(_shape(variable)[:1], _constant(value, dtype))

    return Initial(make, lambda shape: shape[:1])


def copy(x: Any) -> Initial:
    """A slot that starts as a copy of `x`."""
    del x
    return Initial(
        lambda variable, dtype: tf.cast(tf_variables.first_value(variable), dtype), copies=True
    )


def _without(shape: Any, axis: int | None) -> Any:
    """A shape, static or not, without one of its axes."""
    if axis is None:
        return shape
    before, after = shape[:axis], shape[axis:][1:]
    return before + after if isinstance(shape, tf.TensorShape) else tf.concat([before, after], 0)


def _constant(value: Any, dtype: Any) -> Any:
    # `tf.cast` would round a Python number to float32 on its way to float64.
    return tf.cast(value, dtype) if tf.is_tensor(value) else tf.constant(value, dtype)


def _shape(variable: Any) -> Any:
    """The static shape if it is whole, else the one the variable has now."""
    return variable.shape if variable.shape.is_fully_defined() else tf.shape(variable)
