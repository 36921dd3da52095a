"""Checks of what `apply_gradients` is given, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._engine import gradient_arithmetic, malformed_pairs
from tfopt._engine.step_records import Work, deduplicated
from tfopt._libraries import tf_variables
from tfopt._libraries.messages import called, kind_of, shown
from tfopt._libraries.warnings import warn

FLOATING = frozenset((tf.float16, tf.bfloat16, tf.float32, tf.float64))


def check(grads_and_vars: Iterable[Any], warned: set[Any], complex_numbers: bool) -> list[Work]:
    """Returns the works of the pairs that have a gradient; raises for any malformed pair.

    Args:
        grads_and_vars: what the user passed to `apply_gradients`.
        warned: what a warning was given of, such as sets of variables without gradients. New
            ones are added.
        complex_numbers: whether the optimizer takes complex variables.
    """
    entries = _listed(grads_and_vars)
    works, without = [], []
    for position, entry in enumerate(entries):
        if type(entry) is not tuple:
            entry = malformed_pairs.as_tuple(entry)
        if len(entry) != 2:
            raise malformed_pairs.malformed(entries, position)
        gradient, original = entry
        variable = tf_variables.unwrap(original)
        if not isinstance(variable, tf.Variable):
            raise malformed_pairs.malformed(entries, position)
        if not hasattr(variable, "handle"):
            raise TypeError(
                f"Variable `{called(original, position)}` must be a resource variable: create it "
                "with use_resource=True."
            )
        if gradient is None:
            without.append(called(original, position))
            continue
        gradient = checked_gradient(gradient, variable, original, complex_numbers, position)
        work = Work(gradient, variable, original, getattr(original, "constraint", None))
        if work.overwrites and work.is_sparse:
            work = work._replace(gradient=tf.convert_to_tensor(gradient))
        works.append(work)
    if not entries and isinstance(grads_and_vars, Iterator) and "empty" not in warned:
        warned.add("empty")
        warn(
            "`grads_and_vars` is an iterator without pairs: no variable changes. What `zip` "
            "returns can be read once only: write `zip(gradients, variables)` anew for each call."
        )
    if entries and not works:
        raise ValueError(f"No gradients provided for any variable: {', '.join(without)}.")
    if without and tuple(without) not in warned:
        warned.add(tuple(without))
        warn(f"No gradients for the variables {', '.join(without)}: they are left as they are.")
    return works


def _listed(grads_and_vars: Iterable[Any]) -> list[Any]:
    """Returns what the user passed as a list; raises if it is none."""
    if isinstance(grads_and_vars, tf.Tensor | tf.Variable):
        raise malformed_pairs.no_list(grads_and_vars)
    try:
        return list(grads_and_vars)
    except TypeError:
        raise malformed_pairs.no_list(grads_and_vars) from None


def checked(works: Sequence[Work], gradients: Sequence[Any], function: str) -> list[Work]:
    """Returns the works with the gradients that a function of the user returned for them.

    Repeated indices are summed again, since the function may have repeated some.
    """
    gradients = list(gradients)
    if len(gradients) != len(works):
        raise ValueError(
            f"{function} must return a gradient for each one given, in the same order: "
            f"{len(works)} of them; got {len(gradients)}."
        )
    new = []
    for work, gradient in zip(works, gradients, strict=True):
        if gradient is not work.gradient:
            of = f"What {function} returns as the gradient"
            gradient = checked_gradient(gradient, work.variable, work.original, True, None, of)
            work = deduplicated(work._replace(gradient=gradient))
        new.append(work)
    return new


def checked_gradient(
    gradient: Any,
    variable: Any,
    original: Any,
    complex_numbers: bool,
    position: int | None = None,
    of: str = "The gradient",
) -> Any:
    """Returns the gradient as a tensor or `IndexedSlices`. It is fast, for eager steps.

    Args:
        gradient: what stands for it: a tensor, `IndexedSlices`, array, list or number.
        variable: its `tf.Variable`.
        original: the same variable, as the user knows it.
        complex_numbers: whether the optimizer takes complex variables.
        position: where it is in the user's list, for messages.
        of: where it comes from, for messages.
    """
    dtype = variable.dtype
    if dtype not in FLOATING and not (dtype.is_complex and complex_numbers):
        rule = "floating-point or complex" if complex_numbers else "floating-point"
        raise ValueError(
            f"Variable `{called(original, position)}` must be {rule} for this optimizer; got "
            f"{dtype.name}."
        )

    def name() -> str:  # only when it is needed: eager steps come here for each variable
        return f"{of} of `{called(original, position)}`"

    if not isinstance(gradient, tf.Tensor | tf.IndexedSlices):
        gradient = _as_tensor(gradient, dtype, name())
    if isinstance(gradient, tf.Tensor):
        values, shape = gradient, gradient.shape
        fits = shape == variable.shape or shape.is_compatible_with(variable.shape)
        expected = "shape {0}"
    else:
        gradient = _with_tensors(gradient, dtype, name())
        values, shape = gradient.values, variable.shape[1:]
        fits = variable.shape.rank != 0 and values.shape[1:].is_compatible_with(shape)
        fits = fits and gradient.indices.shape[:1].is_compatible_with(values.shape[:1])
        expected = "rows of shape {1}"
    if not fits:
        expected = expected.format(variable.shape, variable.shape[1:])
        raise ValueError(f"{name()} must have {expected}; got {values.shape}.")
    if values.dtype is dtype or values.dtype == dtype:
        return gradient
    wide = tf_variables.compute_dtype(dtype)
    if values.dtype == wide:
        return gradient
    if values.dtype not in FLOATING or dtype not in FLOATING:
        raise ValueError(f"{name()} must be of dtype {dtype.name}; got {values.dtype.name}.")
    return gradient_arithmetic.cast(gradient, wide)


def _as_tensor(gradient: Any, dtype: tf.DType, of: str) -> Any:
    """Returns an array, list, number or variable as a tensor."""
    gradient = tf_variables.unwrap(gradient)
    if not isinstance(gradient, list | tuple | int | float | np.ndarray | np.generic | tf.Variable):
        raise TypeError(f"{of} must be a tensor or tf.IndexedSlices; got {kind_of(gradient)}.")
    try:
        if isinstance(gradient, tf.Variable):
            return gradient.read_value()
        return tf.convert_to_tensor(gradient, dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{of} must hold numbers of {dtype.name}; got {shown(gradient)}."
        ) from error


def _with_tensors(gradient: tf.IndexedSlices, dtype: tf.DType, of: str) -> tf.IndexedSlices:
    """Returns an `IndexedSlices` of arrays, lists or tensors with tensors in it."""
    values, indices, shape = gradient.values, gradient.indices, gradient.dense_shape
    if not tf.is_tensor(values):
        values = _as_tensor(values, dtype, of)
    if not tf.is_tensor(indices):
        indices = tf.convert_to_tensor(indices)
    if indices.dtype not in (tf.int32, tf.int64):
        raise TypeError(f"{of} must have indices of int32 or int64; got {indices.dtype.name}.")
    if shape is not None and not tf.is_tensor(shape):
        shape = tf.convert_to_tensor(shape, indices.dtype)
    return tf.IndexedSlices(values, indices, shape)
