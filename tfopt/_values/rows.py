"""Rows of variables: what an `IndexedSlices` gradient reads and writes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.tensorflow_private import inside_xla
from tfopt._libraries.tf_variables import compute_dtype


def deduplicate(slices: tf.IndexedSlices) -> tf.IndexedSlices:
    """Sums the values of repeated indices, in the compute dtype."""
    values = tf.cast(slices.values, compute_dtype(slices.values.dtype))
    if inside_xla():
        values, indices = _deduplicate_statically(values, slices.indices)
    else:
        indices, positions = tf.unique(slices.indices)
        values = tf.math.unsorted_segment_sum(values, positions, tf.size(indices))
    return tf.IndexedSlices(values, indices, slices.dense_shape)


def _deduplicate_statically(values: Any, indices: Any) -> tuple[Any, Any]:
    """The same with as many rows as before, since XLA is slow where it cannot know how many.

    The tail is padded with zero rows whose index is out of range: XLA's gather and scatter drop
    those, which is assumed wherever such rows go.
    """
    count = tf.size(indices)
    order = tf.argsort(indices, stable=True)
    ordered = tf.gather(indices, order)
    changes = tf.cast(ordered[1:] != ordered[:-1], tf.int32)
    positions = tf.concat([tf.zeros_like(count[tf.newaxis]), tf.cumsum(changes)], 0)[:count]
    values = tf.math.unsorted_segment_sum(tf.gather(values, order), positions, count)
    unique = tf.math.unsorted_segment_max(ordered, positions, count)
    left_over = tf.range(count) > tf.reduce_max(positions)
    return values, tf.where(left_over, indices.dtype.max, unique)


def densify(values: Any, indices: Any, variable: Any) -> Any:
    """The dense gradient that unique rows stand for."""
    return tf.scatter_nd(indices[:, tf.newaxis], values, tf.shape(variable, out_type=indices.dtype))


def read(variable: Any, indices: Any) -> Any:
    """The rows `indices` of a variable, without reading the rest."""
    return tf.raw_ops.ResourceGather(
        resource=variable.handle, indices=indices, dtype=variable.dtype
    )


def write(variable: Any, indices: Any, values: Any) -> Any:
    """Overwrites the rows `indices`, which must be unique."""
    return tf.raw_ops.ResourceScatterUpdate(
        resource=variable.handle, indices=indices, updates=tf.cast(values, variable.dtype)
    )


def add(variable: Any, indices: Any, values: Any) -> Any:
    """Adds to the rows `indices`, which may be repeated: on CPUs one after the other.

    ResourceScatterAdd adds them in any order, and so with another rounding each time.
    """
    return tf.raw_ops.ResourceScatterNdAdd(
        ref=variable.handle,
        indices=indices[:, tf.newaxis],
        updates=tf.cast(values, variable.dtype),
    )


def shape_of(variable: Any) -> Any:
    """The shape of a variable, as a tensor, without reading it."""
    return tf.raw_ops.VariableShape(input=variable.handle, out_type=tf.int64)
