"""First values of slots: what the `slots` of an optimizer or a policy declares."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfopt._libraries import tf_variables

if TYPE_CHECKING:
    from tfopt._values.cells_and_codecs import Codec


class Kept(NamedTuple):
    """How a slot of a policy differs from other slots. Such slots come last in `weights`."""

    dtype: tf.DType | None = None  # the compute dtype by default
    per_replica: bool = False  # whether each replica has its own; the value is their sum


class Initial(NamedTuple):
    """How a declared slot starts: `make(variable, dtype)` returns its first value."""

    make: Callable[[Any, Any], Any]
    shape: Callable[[Any], Any] = lambda shape: shape  # from the shape of the variable
    copies: bool = False  # whether it needs the variable's value
    codec: Codec | None = None  # how it is stored, if not in one variable as it is


def full(x: Any, value: Any) -> Initial:
    """Declares a slot of the shape of `x` that starts at `value` everywhere."""
    del x  # only for notation: the shape is that of the variable when the slot is created
    return Initial(lambda variable, dtype: tf.fill(_shape(variable), _constant(value, dtype)))


def zeros(x: Any, axis: int | None = None, shape: Any = None) -> Initial:
    """Declares a slot of zeros, of the shape of `x`, or of its means over `axis`, or of `shape`."""
    del x
    if shape is not None:
        fixed = tf.TensorShape(shape)
        return Initial(lambda variable, dtype: tf.zeros(fixed, dtype), lambda _: fixed)
    shape = functools.partial(_without, axis=axis)
    return Initial(lambda variable, dtype: tf.zeros(shape(_shape(variable)), dtype), shape)


def per_row(value: Any) -> Initial:
    """Declares a slot with a number for each row of the variable, which starts at `value`."""

    def make(variable: Any, dtype: Any) -> Any:
        return tf.fill(_shape(variable)[:1], _constant(value, dtype))

    return Initial(make, lambda shape: shape[:1])


def copy(x: Any) -> Initial:
    """Declares a slot that starts as a copy of `x`."""
    del x
    return Initial(
        lambda variable, dtype: tf.cast(tf_variables.first_value(variable), dtype), copies=True
    )


def _without(shape: Any, axis: int | None) -> Any:
    """Returns a shape, static or not, without one of its axes."""
    if axis is None:
        return shape
    before, after = shape[:axis], shape[axis:][1:]
    return before + after if isinstance(shape, tf.TensorShape) else tf.concat([before, after], 0)


def _constant(value: Any, dtype: Any) -> Any:
    # `tf.cast` would round a Python number to float32 on its way to float64. And TensorFlow keeps
    # constants of Python numbers, and takes 0.0 for -0.0 if it has that one already.
    if tf.is_tensor(value):
        return tf.cast(value, dtype)
    return tf.constant(np.asarray(value, tf.as_dtype(dtype).as_numpy_dtype))


def _shape(variable: Any) -> Any:
    """Returns the static shape if it is fully known, otherwise the variable's shape at run time."""
    return variable.shape if variable.shape.is_fully_defined() else tf.shape(variable)
