"""The state of an optimizer in the files of Keras 3 and tf-keras.

A file holds the values, the class of the optimizer, the names of its slots, and a checksum.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfopt._libraries.warnings import warn
from tfopt._state.snapshot import Snapshot
from tfopt._state.state import State
from tfopt._state.weight_order import Entry

FORMAT = "tfopt-1"
LAYOUT, CHECKSUM = "layout", "checksum"
PREFIXES = ("hyper.", "weight.", "state.", "pending.")  # hyperparameters, added, scalars, list


def save(state: State, cls: str, store: Any) -> None:
    """Writes the state of an optimizer, and its numeric hyperparameters, into a Keras store."""
    snapshot = state.snapshot()
    listed = {str(number): value for number, value in enumerate(snapshot.listed)}
    parts = (snapshot.hypers, snapshot.added, snapshot.scalars, listed)
    values = {
        f"{prefix}{name}": value
        for prefix, part in zip(PREFIXES, parts, strict=True)
        for name, value in part.items()
    }
    for name, value in seal(values, cls, snapshot.blocks).items():
        store[name] = value


def load(state: State, cls: str, store: Any) -> None:
    """Reads what `save` wrote: all of it, or nothing if a part does not fit."""
    values = {name: np.array(store[name]) for name in store.keys()}  # noqa: SIM118
    if LAYOUT not in values:
        warn(
            f"The state for `{state.name}` was saved by an optimizer that is not tfopt's, and "
            "is not loaded, as it does not say which one. Load it into that one, then give it "
            "to `tfopt.convert`."
        )
        return
    written, blocks = open_sealed(values)
    if written != cls:
        warn(f"The state saved by {written} is not loaded into {cls}.")
        return
    hypers, added, scalars, listed = (_with_prefix(values, prefix) for prefix in PREFIXES)
    in_turn = [listed[number] for number in sorted(listed, key=int)]
    state.load(Snapshot(scalars, blocks, hypers, added, in_turn))


def _with_prefix(values: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): value for n, value in values.items() if n.startswith(prefix)}


def seal(
    values: Mapping[str, np.ndarray], cls: str, blocks: Sequence[Sequence[Entry]]
) -> dict[str, np.ndarray]:
    """Returns the arrays of a file, completed by their description and checksum.

    Args:
        values: all other arrays, by name.
        cls: the name of the optimizer's class.
        blocks: its slots; their values are `slot.0`, `slot.1`, ...
    """
    slots = [[[entry.path, entry.slot] for entry in block] for block in blocks]
    text = json.dumps({"format": FORMAT, "class": cls, "slots": slots})
    numbered = enumerate(entry for block in blocks for entry in block)
    complete = {
        **values,
        **{f"slot.{number}": entry.value for number, entry in numbered},
        LAYOUT: np.frombuffer(text.encode(), np.uint8),
    }
    return {**complete, CHECKSUM: _checksum(complete)}


def open_sealed(values: Mapping[str, np.ndarray]) -> tuple[str, list[list[Entry]]]:
    """Returns the class of the optimizer that a file is from, and the slots in it.

    Raises:
        ValueError: if the file is damaged, or of another format.
    """
    rest = {name: value for name, value in values.items() if name != CHECKSUM}
    if CHECKSUM in values:  # files of the first version have none
        given, actual = values[CHECKSUM], _checksum(rest)
        if given.shape != () or given != actual:
            raise ValueError(f"The state is damaged: its checksum must be {actual}; got {given}.")
    try:
        layout = json.loads(values[LAYOUT].tobytes().decode())
        written, cls, blocks = (layout[key] for key in ("format", "class", "slots"))
        names = [[(str(path), str(slot)) for path, slot in block] for block in blocks]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"The state is damaged: it has no legible layout ({error!r}).") from None
    if written != FORMAT:
        raise ValueError(f"The state's format must be {FORMAT!r}; got {written!r}.")
    numbers = iter(range(len(values)))
    entries = [
        [Entry(path, slot, _slot(values, next(numbers, -1))) for path, slot in block]
        for block in names
    ]
    return str(cls), entries


def _slot(values: Mapping[str, np.ndarray], number: int) -> np.ndarray:
    if f"slot.{number}" not in values:
        raise ValueError("The state is damaged: it has fewer slots than its layout names.")
    return values[f"slot.{number}"]


def _checksum(values: Mapping[str, np.ndarray]) -> np.ndarray:
    code = 0
    for name in sorted(values):
        value = np.asarray(values[name])
        code = zlib.crc32(f"{name}{value.shape}".encode() + value.tobytes(), code)
    return np.array(code, np.uint32)
