"""Rows of variables: reads and writes the rows of an `IndexedSlices` gradient."""

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
    """Sums repeated indices, with as many rows as before: XLA is slow with an unknown number.

    The tail is padding: rows of zeros whose index is out of range. XLA's gather and scatter drop
    such rows, and all code that gets these rows relies on it.
    """
    count = tf.size(indices)
    order = tf.argsort(indices, stable=True)
    ordered = tf.gather(indices, order)
    changes = tf.cast(tf.not_equal(ordered[1:], ordered[:-1]), tf.int32)
    positions = tf.concat([tf.zeros_like(count[tf.newaxis]), tf.cumsum(changes)], 0)[:count]
    values = tf.math.unsorted_segment_sum(tf.gather(values, order), positions, count)
    unique = tf.math.unsorted_segment_max(ordered, positions, count)
    left_over = tf.range(count) > tf.reduce_max(positions)
    return values, tf.where(left_over, indices.dtype.max, unique)


def densify(values: Any, indices: Any, variable: Any) -> Any:
    """Returns the dense gradient for rows whose indices are unique."""
    return tf.scatter_nd(indices[:, tf.newaxis], values, tf.shape(variable, out_type=indices.dtype))


def read(variable: Any, indices: Any) -> Any:
    """Reads the rows `indices` of a variable, and no others."""
    return tf.raw_ops.ResourceGather(
        resource=variable.handle, indices=indices, dtype=variable.dtype
    )


def write(variable: Any, indices: Any, values: Any) -> Any:
    """Overwrites the rows `indices`, which must be unique."""
    return tf.raw_ops.ResourceScatterUpdate(
        resource=variable.handle, indices=indices, updates=tf.cast(values, variable.dtype)
    )


def add(variable: Any, indices: Any, values: Any) -> Any:
    """Adds to the rows `indices`, which may be repeated; on CPUs in the order of the rows.

    ResourceScatterAdd adds in any order, so each run would round differently.
    """
    return tf.raw_ops.ResourceScatterNdAdd(
        ref=variable.handle,
        indices=indices[:, tf.newaxis],
        updates=tf.cast(values, variable.dtype),
    )


def shape_of(variable: Any) -> Any:
    """Returns the shape of a variable, as a tensor, without reading its value."""
    return tf.raw_ops.VariableShape(input=variable.handle, out_type=tf.int64)
