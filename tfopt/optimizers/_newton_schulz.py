"""Newton-Schulz iterations, which make a matrix orthogonal, and tensors as matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

# The five iterations of Amsel et al., "The Polar Express" (2025), for singular values from 1e-3.
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
POLAR_EXPRESS_MARGIN = 1.02  # of the norm, so that rounding does no harm
EPSILON = 1e-7  # added to the norm


def orthogonal(u: Any, coefficients: Sequence[tuple[float, float, float]], margin: float) -> Any:
    """Returns a matrix near the orthogonal one that is nearest to `u`.

    Args:
        u: the matrix.
        coefficients: three numbers for each iteration.
        margin: by which factor the norm is taken larger.
    """
    is_tall = u.shape.is_fully_defined() and u.shape[0] > u.shape[1]  # only to compute less
    u = tf.transpose(u) if is_tall else u
    u = u / (tf.norm(u) * margin + EPSILON)
    for a, b, c in coefficients:
        square = tf.matmul(u, u, transpose_b=True)
        u = a * u + tf.matmul(b * square + c * tf.matmul(square, square), u)
    return tf.transpose(u) if is_tall else u


def as_matrix(x: Any, role: str) -> Any:
    """Returns a tensor as a matrix of inputs and outputs."""
    split = 1 if role == "projection" else -1
    if x.shape.is_fully_defined():
        return tf.reshape(x, [math.prod(x.shape[:split]), math.prod(x.shape[split:])])
    return tf.reshape(x, [-1, tf.shape(x)[-1]] if split < 0 else [tf.shape(x)[0], -1])


def sides(matrix: Any) -> Any:
    """Returns the number of rows and of columns: tensors, if the shape is not known."""
    if matrix.shape.is_fully_defined():
        return matrix.shape
    return tf.unstack(tf.cast(tf.shape(matrix), matrix.dtype))


def larger(one: Any, other: Any) -> Any:
    """Returns the larger of two numbers or tensors."""
    return tf.maximum(one, other) if tf.is_tensor(other) else max(one, other)
