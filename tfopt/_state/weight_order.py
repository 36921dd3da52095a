"""The order of `weights`, which is that of `get_weights`, and of the slots in files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One slot: whose it is, its name, and its value or its variable."""

    path: str  # of the variable that the slot belongs to
    slot: str
    value: Any


def kept_last(entries: Iterable[Entry], kept: Collection[str]) -> list[Entry]:
    """The entries in their order, but with slots that policies keep behind all others."""
    return sorted(entries, key=lambda entry: entry.slot in kept)


def in_order(
    scalars: Mapping[str, Any], entries: Iterable[Entry], kept: Collection[str]
) -> list[Any]:
    """The order of `weights`, which is that of `get_weights` and of files of lists.

    First `iterations` and the optimizer's own scalars, then its slots block by block, then what
    policies keep: slots, and counters.

    Args:
        scalars: the scalars by name, `iterations` first.
        entries: the slots, as they were created.
        kept: the names of slots and scalars that policies keep.
    """
    own = [value for name, value in scalars.items() if name not in kept]
    counters = [value for name, value in scalars.items() if name in kept]
    return [*own, *(entry.value for entry in kept_last(entries, kept)), *counters]
