"""Arithmetic on gradients, dense or of rows: scaled, clipped, and whether all is finite."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfopt._libraries import tensorflow_private, tf_variables


def clip(
    gradients: Sequence[Any], variables: Sequence[Any], value: Any, norm: Any, global_norm: Any
) -> tuple[list[Any], list[Any]]:
    """Clips by value, then by the norm of each gradient or by the joint norm of all.

    If the joint norm is not finite, all gradients become NaN. If the norm of one gradient is not
    finite, its finite numbers become 0. Both are as in OptimizerV2.

    Args:
        gradients: tensors and `IndexedSlices` without repeated indices.
        variables: their variables; the shards of one variable have a joint norm. None for one
            that is not known.
        value: the largest absolute value, or None.
        norm: the largest Euclidean norm of each variable's gradient, or None.
        global_norm: the largest Euclidean norm of all gradients together, or None.

    Returns:
        The gradients; and for each its clip factor, by which it is still to be multiplied, or
        None. Dense gradients are left for the update to scale, which saves a pass over them.
    """
    if value is not None:
        gradients = [
            with_values(functools.partial(_clip_by_value, limit=value), g) for g in gradients
        ]
    if norm is None and global_norm is None:
        return list(gradients), [None] * len(gradients)
    sums = [_half_square_sum(gradient) for gradient in gradients]
    if norm is not None:
        sums = [2 * half for half in sums]
        sums = _of_whole_variables(sums, variables)
        factors = [_clip_factor(square_sum, norm, square_sum.dtype) for square_sum in sums]
    else:
        widest = max((square_sum.dtype for square_sum in sums), key=lambda dtype: dtype.size)
        total = 2 * tf.add_n([tf.cast(half, widest) for half in sums])
        by_dtype = {
            d: _joint_clip_factor(total, global_norm, d) for d in {tensor.dtype for tensor in sums}
        }
        factors = [by_dtype[square_sum.dtype] for square_sum in sums]
    sparse = [isinstance(gradient, tf.IndexedSlices) for gradient in gradients]
    return (
        [
            scaled(g, f) if rows else g
            for g, f, rows in zip(gradients, factors, sparse, strict=True)
        ],
        [None if rows else f for f, rows in zip(factors, sparse, strict=True)],
    )


def clipped(
    gradients: Sequence[Any], variables: Sequence[Any], value: Any, norm: Any, global_norm: Any
) -> list[Any]:
    """Returns clipped gradients, with all clip factors applied. None stays None."""
    places = [place for place, gradient in enumerate(gradients) if gradient is not None]
    result = list(gradients)
    if places:
        given = [gradients[place] for place in places], [variables[place] for place in places]
        for place, gradient, factor in zip(
            places, *clip(*given, value, norm, global_norm), strict=True
        ):
            result[place] = scaled(gradient, factor)
    return result


def joint_norm(gradients: Sequence[Any]) -> Any:
    """Returns the Euclidean norm of all gradients together, in float32."""
    halves = [tf.cast(tf.math.real(_half_square_sum(g)), tf.float32) for g in gradients]
    return tf.sqrt(2 * tf.add_n(halves))


def changed(before: Any, after: Any, clip_factor: Any) -> Any:
    """Returns whether clipping has changed a gradient, or will scale it down in the update."""
    result = tf.constant(False) if clip_factor is None else tf.math.real(clip_factor) < 1
    if after is not before:
        parts = list(map(_values_of, (before, after)))
        result |= tf.reduce_any(tf.not_equal(*map(_in_compute_dtype, parts)))
    return result


def divided(gradient: Any, by: Any) -> Any:
    """Returns the gradient divided by a scalar, in its compute dtype."""

    def divide(values: Any) -> Any:
        values = _in_compute_dtype(values)
        return values / tf.cast(by, values.dtype)

    return with_values(divide, gradient)


def all_finite(gradients: Sequence[Any]) -> Any:
    """Returns whether every number is finite.

    If the sum of squares is finite, so are all numbers: this costs one pass. The sum may overflow,
    so if it is not finite, each number is checked.
    """
    halves = [tf.math.real(_half_square_sum(gradient)) for gradient in gradients]
    surely = tf.reduce_all(tf.stack([tf.math.is_finite(half) for half in halves]))

    def look() -> Any:
        return tf.reduce_all(tf.stack([_is_finite(gradient) for gradient in gradients]))

    return tf.cond(surely, lambda: True, look)


def _is_finite(gradient: Any) -> Any:
    values = _values_of(gradient)
    if values.dtype.is_complex:
        values = tf.stack([tf.math.real(values), tf.math.imag(values)])
    return tf.reduce_all(tf.math.is_finite(values))


def scaled(gradient: Any, factor: Any) -> Any:
    """Returns the gradient times a scalar of its compute dtype. With None it does not change."""
    return (
        gradient
        if factor is None
        else with_values(lambda values: _in_compute_dtype(values) * factor, gradient)
    )


def cast(gradient: Any, dtype: Any) -> Any:
    """Returns the gradient in another dtype."""
    return with_values(lambda values: tf.cast(values, dtype), gradient)


def _values_of(gradient: Any) -> Any:
    """Returns the numbers of a gradient, dense or of rows."""
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def with_values(function: Callable[[Any], Any], gradient: Any) -> Any:
    """Returns the gradient with `function` applied to its numbers."""
    if isinstance(gradient, tf.IndexedSlices):
        values = function(gradient.values)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return function(gradient)


def _in_compute_dtype(values: Any) -> Any:
    """Returns numbers in a dtype that is wide enough to square them."""
    return tf.cast(values, tf_variables.compute_dtype(values.dtype))


def _clip_by_value(values: Any, limit: Any) -> Any:
    values = _in_compute_dtype(values)
    limit = tf.cast(limit, values.dtype)
    return tf.clip_by_value(values, -limit, limit)


def _half_square_sum(gradient: Any) -> Any:
    """Returns half the sum of squares: what one kernel computes without a copy.

    Doubling a sum of halves gives the same bits as a sum of doubled halves, and is one op.
    """
    tensor = _in_compute_dtype(_values_of(gradient))
    if tensor.dtype.is_complex:
        return tf.reduce_sum(tensor * tf.math.conj(tensor)) / 2
    return tf.nn.l2_loss(tensor)


def _of_whole_variables(sums: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
    """Returns for each shard the sum over all shards of its variable."""
    owners = [
        place if variable is None else id(tensorflow_private.sharded_variable(variable))
        for place, variable in enumerate(variables)
    ]
    by_owner: dict[int, list[Any]] = {}
    for owner, square_sum in zip(owners, sums, strict=True):
        by_owner.setdefault(owner, []).append(square_sum)
    totals = {owner: tf.add_n(parts) for owner, parts in by_owner.items() if len(parts) > 1}
    return [totals.get(owner, own) for owner, own in zip(owners, sums, strict=True)]


def _clip_factor(square_sum: Any, limit: Any, dtype: Any) -> Any:
    """Returns limit / max(norm, limit), and 0 if both are 0."""
    norm = tf.sqrt(tf.math.real(square_sum))
    limit = tf.cast(limit, norm.dtype)
    return tf.cast(tf.math.divide_no_nan(limit, tf.maximum(norm, limit)), dtype)


def _joint_clip_factor(square_sum: Any, limit: Any, dtype: Any) -> Any:
    """Returns the clip factor of a joint norm: NaN if the norm is not finite, or overflows."""
    nothing = tf.math.real(square_sum) - tf.math.real(square_sum)  # NaN if it is not finite
    return _clip_factor(square_sum, limit, dtype) + tf.cast(nothing, dtype)
