"""Calls `begin` and `update` of an optimizer, and says what is wrong if they read or set a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from tfopt.hyper import Hyper, Static


def begin(optimizer: Any, h: Any, state: Any) -> None:
    """Calls `begin`.

    Args:
        optimizer: the optimizer.
        h: its hyperparameters.
        state: the scalars that it declares in `state`.

    Raises:
        AttributeError: if it reads a name that is not there.
        ValueError: if it sets one in `state` that is not declared.
    """
    declared = list(vars(state))
    try:
        optimizer.begin(h, state)
    except AttributeError as error:
        _raise_named(optimizer, error, h=h, state=state)
        raise
    unknown = vars(state).keys() - set(declared)
    if unknown:
        raise ValueError(
            f"{type(optimizer).__name__}.begin set {sorted(unknown)} in `state`, which is "
            f"not declared; declared are {sorted(declared)}."
        )


def update(optimizer: Any, g: Any, x: Any, s: Any, h: Any) -> Any:
    """Calls `update`, and returns the new value of the variable.

    Args:
        optimizer: the optimizer.
        g: the gradient.
        x: the value of the variable.
        s: its slots.
        h: the hyperparameters, and what `begin` added.

    Raises:
        AttributeError: if it reads a name that is not there.
        TypeError: if it returns None.
        ValueError: if it sets a slot that is not declared.
    """
    declared = list(vars(s))
    try:
        new = optimizer.update(g, x, s, h)
    except AttributeError as error:
        _raise_named(optimizer, error, h=h, s=s)
        raise
    cls = type(optimizer).__name__
    if new is None:
        raise TypeError(
            f"`update` of {cls} must return the new value of the variable; it returned None."
        )
    unknown = vars(s).keys() - set(declared)
    if unknown:
        raise ValueError(
            f"{cls}.update set {sorted(unknown)} in `s`, which `slots` does "
            f"not declare; declared are {sorted(declared)}."
        )
    return new


def _raise_named(optimizer: Any, error: AttributeError, **arguments: Any) -> None:
    """Raises an error that says what there is, if the name was read from one of the arguments."""
    which = next((n for n, value in arguments.items() if value is error.obj), None)
    if which is None or error.name is None:
        return
    name, has = error.name, list(vars(arguments[which]))
    why = _why_not_in_h(optimizer, name) if which == "h" else ""
    if not why:
        what = {"s": "`slots` declares", "state": "`state` declares", "h": "`h` has"}[which]
        why = f"{what} {', '.join(_nearest_first(name, has)) or 'nothing'}"
    text = f"`{which}.{name}` does not exist in {type(optimizer).__name__}: {why}."
    raise AttributeError(text).with_traceback(error.__traceback__) from None


def _why_not_in_h(optimizer: Any, name: str) -> str:
    """Says why a keyword of the constructor is not in `h`; empty for any other name."""
    field = optimizer._declared.fields.get(name)
    if isinstance(field, Static):
        return f"`{name}` is Static: read `self.{name}`"
    if isinstance(field, Hyper):
        return f'`{name}` is off: read it only if `self.uses("{name}")`'
    return ""


def _nearest_first(name: str, names: Iterable[str]) -> list[str]:
    def distance(other: str) -> float:
        return -difflib.SequenceMatcher(None, name, other).ratio()

    return sorted(names, key=distance)
