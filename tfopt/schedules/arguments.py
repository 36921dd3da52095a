"""Checks of the arguments that schedules have in common."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import tensorflow as tf

from tfopt._libraries.serialization import number


def rate_of(name: str, value: Any) -> Any:
    """Returns a rate as it was given; raises if it is < 0, where it is known before run time."""
    if tf.is_tensor(value) and tf.get_static_value(value) is None:
        return value
    number(name, value, low=0)
    return value


def flag(name: str, value: Any) -> bool:
    """Returns a bool as it was given; raises for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False; got {value!r}.")
    return value


def list_of(name: str, value: Any) -> list[Any]:
    """Returns the elements as a list; raises if there are none to go through."""
    try:
        return list(value)
    except TypeError as error:
        raise ValueError(f"`{name}` must be a list of numbers; got {value!r}.") from error


def one_of(name: str, value: Any, allowed: Collection[Any]) -> Any:
    """Returns a value that is among those allowed; raises for any other."""
    if not any(value is other or (value == other) is True for other in allowed):
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}; got {value!r}.")
    return value
