"""The order of `weights`, which is that of `get_weights`, and of the slots in files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple


class CallableList(list[Any]):
    """A list that returns itself when called: `opt.variables` and `opt.variables()`."""

    def __call__(self) -> CallableList:
        return self


class Entry(NamedTuple):
    """One slot: the variable that it belongs to, its name, and its value or its own variable."""

    path: str  # of the variable that the slot belongs to
    slot: str
    value: Any


def kept_last(entries: Iterable[Entry], kept: Collection[str]) -> list[Entry]:
    """Returns the entries in their order, with the slots of policies after all others."""
    return sorted(entries, key=lambda entry: entry.slot in kept)


def in_order(
    scalars: Mapping[str, Any], entries: Iterable[Entry], kept: Collection[str]
) -> list[Any]:
    """Returns values in the order of `weights`, of `get_weights` and of lists in files.

    First come `iterations` and the optimizer's own scalars, then its slots block by block, then the
    slots and counters of policies.

    Args:
        scalars: the scalars by name, `iterations` first.
        entries: the slots, as they were created.
        kept: the names of the slots and scalars of policies.
    """
    own = [value for name, value in scalars.items() if name not in kept]
    counters = [value for name, value in scalars.items() if name in kept]
    return [*own, *(entry.value for entry in kept_last(entries, kept)), *counters]
