"""Checks of what `apply_gradients` is given, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._engine.step_records import Work
from tfopt._libraries import tf_variables
from tfopt._libraries.tf_variables import variable_path as path_of
from tfopt._libraries.warnings import warn

FLOATING = frozenset((tf.float16, tf.bfloat16, tf.float32, tf.float64))


def check(grads_and_vars: Iterable[Any], warned: set[Any], complex_numbers: bool) -> list[Work]:
    """Returns the works of the pairs that have a gradient; raises for any malformed pair.

    Args:
        grads_and_vars: what the user passed to `apply_gradients`.
        warned: the sets of variables without gradients of which a warning was given; added to.
        complex_numbers: whether the optimizer takes complex variables.
    """
    try:
        entries = [tuple(entry) for entry in grads_and_vars]
    except TypeError:
        raise TypeError(
            f"`grads_and_vars` must list (gradient, variable) pairs; got {grads_and_vars!r}."
        ) from None
    works, without = [], []
    for entry in entries:
        if len(entry) != 2:
            raise TypeError(
                f"`grads_and_vars` must hold (gradient, variable) pairs; got {entry!r}."
            )
        gradient, original = entry
        variable = tf_variables.unwrap(original)
        if not isinstance(variable, tf.Variable):
            raise TypeError(
                "`grads_and_vars` must hold a variable second in each pair, one shard of a "
                "sharded one; "
                f"got {type(original).__name__}: {original!r}."
            )
        if not hasattr(variable, "handle"):
            raise TypeError(
                f"Variable `{path_of(original)}` must be a resource variable: create it with "
                "use_resource=True."
            )
        if gradient is None:
            without.append(path_of(original))
            continue
        if getattr(original, "overwrite_with_gradient", False):
            raise NotImplementedError(
                f"Variable `{path_of(original)}` is to be overwritten with its gradient, as in "
                "Keras' float8 training: that is not supported."
            )
        gradient = _check_pair(gradient, variable, original, complex_numbers)
        works.append(Work(gradient, variable, original, getattr(original, "constraint", None)))
    if entries and not works:
        raise ValueError(f"No gradients provided for any variable: {', '.join(without)}.")
    if without and tuple(without) not in warned:
        warned.add(tuple(without))
        warn(f"No gradients for the variables {', '.join(without)}: they are left as they are.")
    return works


def _check_pair(gradient: Any, variable: Any, original: Any, complex_numbers: bool) -> Any:
    """Returns the gradient as a tensor or `IndexedSlices`. It is fast, for eager steps."""
    dtype = variable.dtype
    if dtype not in FLOATING and not (dtype.is_complex and complex_numbers):
        rule = "floating-point or complex" if complex_numbers else "floating-point"
        raise ValueError(
            f"Variable `{path_of(original)}` must be {rule} for this optimizer; got {dtype.name}."
        )
    if isinstance(gradient, int | float | np.ndarray | np.generic | tf.Variable):
        gradient = tf.convert_to_tensor(gradient, dtype)
    if isinstance(gradient, tf.Tensor):
        values, shape = gradient, gradient.shape
        fits = shape == variable.shape or shape.is_compatible_with(variable.shape)
        expected = "shape {0}"
    elif isinstance(gradient, tf.IndexedSlices):
        if not tf.is_tensor(gradient.indices) or not tf.is_tensor(gradient.values):
            raise TypeError(
                f"The gradient of `{path_of(original)}` must have tensors as values and indices; "
                f"got {gradient!r}."
            )
        values, shape = gradient.values, variable.shape[1:]
        fits = variable.shape.rank != 0 and values.shape[1:].is_compatible_with(shape)
        fits = fits and gradient.indices.shape[:1].is_compatible_with(values.shape[:1])
        if gradient.dense_shape is not None and not tf.is_tensor(gradient.dense_shape):
            whole = tf.convert_to_tensor(gradient.dense_shape, gradient.indices.dtype)
            gradient = tf.IndexedSlices(values, gradient.indices, whole)
        expected = "rows of shape {1}"
    else:
        raise TypeError(
            f"The gradient of `{path_of(original)}` must be a tensor or tf.IndexedSlices; "
            f"got {gradient!r}."
        )
    if not fits:
        expected = expected.format(variable.shape, variable.shape[1:])
        raise ValueError(
            f"The gradient of `{path_of(original)}` must have {expected}; got {values.shape}."
        )
    if values.dtype is not dtype and values.dtype not in (dtype, tf_variables.compute_dtype(dtype)):
        raise ValueError(
            f"The gradient of `{path_of(original)}` must be of dtype {dtype.name}; "
            f"got {values.dtype.name}."
        )
    return gradient
