"""Checks of the arguments that the tools for people have in common."""

from __future__ import annotations

from typing import Any

from tfopt.optimizer import Optimizer


def unwrapped_optimizer(optimizer: Any) -> Optimizer:
    """The tfopt optimizer given, or the one inside a loss-scale wrapper.

    Raises:
        TypeError: if it is not one of tfopt's.
    """
    is_one = isinstance(optimizer, Optimizer)
    inner = optimizer if is_one else getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(inner, Optimizer):
        raise TypeError(f"`optimizer` must be a tfopt.Optimizer; got {optimizer!r}.")
    return inner


def check_integer_at_least(name: str, value: Any, low: int) -> None:
    """Raises ValueError unless the argument is an integer that is not below `low`."""
    if not isinstance(value, int) or value < low:
        raise ValueError(f"`{name}` must be an integer >= {low}; got {value!r}.")
