"""What is said of a name that an optimizer lacks: the nearest one that it has, then all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from tfopt._declarations import other_libraries
from tfopt._declarations.collect import Declarations
from tfopt._libraries.messages import shown
from tfopt._libraries.warnings import warn_of_arguments

_ALIKE = 0.7  # of two words, at least, for a question; a warning wants more
_SURELY_ALIKE = 0.8


def did_you_mean(name: str, known: Iterable[str], alike: float = _ALIKE) -> str:
    """Returns a question that names the nearest of the known names; empty if none is near."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, 1, alike)
    return f"Did you mean `{by_lower[near[0]]}`?" if near else ""


def unknown_keyword(cls: type, declared: Declarations, name: str, value: Any) -> TypeError:
    """Returns the error for a keyword that the constructor of a class does not have."""
    fields = [*declared.fields, *declared.keywords]
    own = [field for field in declared.fields if field not in declared.common]
    shared = sorted({*fields, "name"} - {*own})
    known = {*fields, *declared.aliases, "name"}

    def listed(names: list[str]) -> str:
        others = {n: [a for a, target in declared.aliases.items() if target == n] for n in names}
        return ", ".join(f"{n} (or {' or '.join(others[n])})" if others[n] else n for n in names)

    hint = other_libraries.answer(name, known) or did_you_mean(name, known)
    parts = [
        f"{cls.__name__} has no keyword `{name}`; got {name}={shown(value)}.",
        hint,
        f"Its own keywords are {listed(own)}." if own else "",
        f"All optimizers take {listed(shared)}.",
    ]
    return TypeError(" ".join(part for part in parts if part))


def warn_of_attribute(optimizer: Any, name: str, value: Any) -> None:
    """Warns of a new attribute of tfopt's own optimizers whose name is near to one they have."""
    cls, declared = type(optimizer), optimizer._declared
    if name.startswith("_") or name in optimizer.__dict__ or not _is_ours(cls):
        return
    known = {*declared.fields, *declared.aliases, "iterations"}
    meant = other_libraries.renamed(name, known)
    hint = f"Did you mean `{meant}`?" if meant else did_you_mean(name, known, _SURELY_ALIKE)
    if hint:
        warn_of_arguments(
            f"{cls.__name__} has no `{name}`, so {name}={shown(value)} has no effect. {hint}"
        )


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("tfopt.")
