"""Arrays for `weights`: checked, cast, and named where they come from an .h5 file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt._libraries import tf_variables
from tfopt._state.snapshot import Snapshot
from tfopt._state.weight_order import Entry


def check_count(name: str, values: Sequence[np.ndarray], variables: Sequence[Any]) -> None:
    """Raises unless there is an array for each variable of the optimizer of that name."""
    if len(values) != len(variables):
        raise ValueError(
            f"`weights` must have {len(variables)} arrays for `{name}` "
            f"({', '.join(tf_variables.variable_path(v) for v in list(variables)[:4])}, ...); "
            f"got {len(values)}."
        )


def cast(value: np.ndarray, variable: Any) -> np.ndarray:
    """Returns a value in the dtype of its variable; raises if its shape or dtype is wrong."""
    if not variable.shape.is_compatible_with(value.shape):
        raise ValueError(
            f"`weights` must have shape {variable.shape} for "
            f"`{tf_variables.variable_path(variable)}`; got {value.shape}."
        )
    dtype = variable.dtype.as_numpy_dtype
    if value.dtype.kind not in "iufb" and value.dtype != dtype:
        raise ValueError(
            f"`weights` must hold numbers for `{tf_variables.variable_path(variable)}`; "
            f"got dtype {value.dtype}."
        )
    if variable.dtype.is_integer and not _holds(value, dtype):
        raise ValueError(
            f"`weights` must hold whole numbers for `{tf_variables.variable_path(variable)}`; "
            f"got {value}."
        )
    return value.astype(dtype)


def from_keras_1(cls: type, values: list[np.ndarray], expected: int) -> list[np.ndarray]:
    """Returns a list in the order of `weights`, if Keras 1 or 2.0 wrote it for such a class."""
    names = (base.__name__ for base in cls.__mro__ if base.__name__ in _OF_KERAS_1)
    name = next(names, None)
    return values if name is None else _OF_KERAS_1[name](values, expected)


def _add_iterations(values: list[np.ndarray], expected: int) -> list[np.ndarray]:
    return [np.array(0), *values] if len(values) == expected - 1 else values


def _drop_third_slot(values: list[np.ndarray], expected: int) -> list[np.ndarray]:
    count = (expected - 1) // 2
    return values[:expected] if len(values) == 3 * count + 1 else values


# Functions that turn a list of Keras 1 or 2.0 into one in today's order, by class.
_OF_KERAS_1 = {
    "Adadelta": _add_iterations,
    "Adagrad": _add_iterations,
    "RMSprop": _add_iterations,
    "Adam": _drop_third_slot,  # vhat, which was saved without amsgrad, too
}


def named(weights: Sequence[Any]) -> Snapshot | None:
    """Returns a snapshot if the weights have names, as datasets of an .h5 file do; else None."""
    names = []
    for value in weights:
        name = getattr(value, "name", None)
        if not isinstance(name, str) or "optimizer_weights/" not in name:
            return None
        names.append(re.sub(r":\d+$", "", name.split("optimizer_weights/", 1)[1]))
    values = [np.array(value) for value in weights]
    if not names or not names[0].endswith("/iter"):
        return None
    owner = names[0].removesuffix("iter")
    scalars, entries = {"iterations": values[0]}, []
    for name, value in zip(names[1:], values[1:], strict=True):
        path, _, slot = name.rpartition("/")
        if value.shape == () and path + "/" == owner:
            scalars[slot] = value
        else:
            entries.append(Entry(path.removeprefix(owner), slot, value))
    return Snapshot(scalars, [entries] if entries else [])


def _holds(values: np.ndarray, dtype: Any) -> bool:
    """Returns whether an integer dtype can hold values exactly."""
    with np.errstate(invalid="ignore"):
        return np.array_equal(values.astype(dtype), values)
