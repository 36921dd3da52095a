"""What may be given as a hyperparameter: numbers, and sources of numbers."""

from __future__ import annotations

import contextlib
import numbers
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._libraries import tf_variables
from tfopt._libraries.messages import kind_of, shown
from tfopt.hyper import Hyper, is_number


def interpreted(hyper: Hyper, given: Any) -> tuple[Any, Any]:
    """Splits the user's value into (number, source); raises if it is neither."""
    name = hyper.name
    given = tf_variables.unwrap(given)
    if given is None:
        if hyper.off is not None:
            raise TypeError(f"`{name}` must not be None.")
        return None, None
    if isinstance(given, type):
        raise TypeError(
            f"`{name}` must be a schedule, not its class; got {given.__name__}. Write "
            f"{name}={given.__name__}(...), with its arguments."
        )
    if isinstance(given, tf.Variable) or tf.is_tensor(given):
        if given.shape.rank not in (0, None) or not given.dtype.is_floating:
            raise ValueError(f"`{name}` must be a scalar of a float dtype; got {shown(given)}.")
        if not isinstance(given, tf.Variable) and hasattr(given, "numpy"):
            with contextlib.suppress(NotImplementedError, AttributeError):
                given = given.numpy().item()
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given.item()
    if is_number(given):
        hyper.check_range(given)
        # A fraction is kept as a float, which NumPy and JSON take.
        exact = isinstance(given, numbers.Rational) and not isinstance(given, numbers.Integral)
        return (float(given) if exact else given), None
    if isinstance(given, tf.Variable) or tf.is_tensor(given) or callable(given):
        return None, given
    raise TypeError(
        f"`{name}` must be a number, scalar tensor, variable, callable or "
        f"learning rate schedule; got {shown(given)}."
    )


def as_tensor(name: str, returned: Any) -> Any:
    """Returns what a function returned for a hyperparameter as a tensor; raises if it cannot."""
    try:
        return tf.cast(returned, tf.float32)
    except (TypeError, ValueError, tf.errors.UnimplementedError) as error:
        raise TypeError(
            f"`{name}` must be a function that returns a number; it has returned "
            f"{kind_of(returned)}."
        ) from error
