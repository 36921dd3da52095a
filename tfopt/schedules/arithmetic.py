"""Arithmetic that schedules have in common: whole periods, half a cosine, the dtype of a rate."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf


def whole(periods: tf.Tensor) -> tf.Tensor:
    """Returns the number of whole periods, from a float64 quotient or logarithm."""
    # The slack makes up for rounding: in graphs and under XLA a division by a constant
    # is a multiplication by its reciprocal, which gives 49 / 49 < 1.
    return tf.floor(periods + 1e-9)


def half_cosine(progress: tf.Tensor, alpha: float, dtype: tf.DType, height: Any = 1) -> tf.Tensor:
    """Falls from `height` (1 - alpha) + alpha to alpha, as `progress` goes from 0 to 1."""
    angle = math.pi * tf.cast(tf.clip_by_value(progress, 0, 1), dtype)
    return (1 - alpha) * (0.5 * height * (1 + tf.cos(angle))) + alpha


def float_dtype(value: Any) -> tf.DType:
    """Returns the dtype of a tensor or array if it is a float dtype, otherwise float32."""
    dtype = tf.as_dtype(getattr(value, "dtype", tf.float32)).base_dtype
    return dtype if dtype.is_floating else tf.float32


def wide_dtype(dtype: tf.DType) -> tf.DType:
    """Returns the dtype in which a rate of that dtype is computed: float32 at least."""
    return tf.float64 if dtype == tf.float64 else tf.float32
