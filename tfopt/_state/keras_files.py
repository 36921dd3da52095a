"""The state of an optimizer in the files of Keras 3 and tf-keras.

A file holds the values, the class of the optimizer, the names of its slots, and a checksum.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tfopt._libraries.warnings import warn
from tfopt._state import hyperparameters_in_files
from tfopt._state.snapshot import Snapshot
from tfopt._state.state import State
from tfopt._state.weight_order import Entry

FORMAT = "tfopt-1"
LAYOUT, CHECKSUM = "layout", "checksum"
PREFIXES = ("hyper.", "weight.", "state.", "pending.")  # hyperparameters, added, scalars, list


class Contents(NamedTuple):
    """What a file holds."""

    cls: str  # the name of the optimizer's class
    snapshot: Snapshot
    schedules: Mapping[str, Any] | None  # their configs by name; None if the file does not say
    is_evaluated: bool = False  # whether the weights in the file are evaluation weights


def save(state: State, cls: str, store: Any) -> None:
    """Writes the state of an optimizer, and its numeric hyperparameters, into a Keras store."""
    schedules = hyperparameters_in_files.schedules(state.hypers)
    contents = Contents(cls, state.snapshot(), schedules, state.is_evaluated)
    for name, value in arrays_of(contents).items():
        store[name] = value


def load(state: State, cls: str, store: Any) -> None:
    """Reads what `save` wrote. A model must load, whatever the file holds of its optimizer.

    An optimizer that is not built takes slots, but keeps the hyperparameters that it was just
    given. It takes the number of steps only if the file has the same schedules.

    Raises:
        ValueError: if the file is damaged.
    """
    values = {name: np.array(store[name]) for name in store.keys()}  # noqa: SIM118
    if LAYOUT not in values:
        if values or state.built:
            warn(
                f"The file has no state of tfopt's {cls}: nothing is loaded into `{state.name}`. "
                "The state of an optimizer of Keras does not say whose it is, and is not loaded: "
                "load it into that optimizer, then give this one to `tfopt.convert`."
            )
        return
    contents = contents_of(values)
    if contents is None or contents.cls != cls:
        what = "by a later version of tfopt" if contents is None else f"by {contents.cls}"
        warn(f"The state saved {what} is not loaded into {cls} `{state.name}`.")
        return
    snapshot, schedules = contents.snapshot, contents.schedules
    if contents.is_evaluated:
        warn(
            f"The file was saved inside of `evaluation_weights` of `{state.name}`: its weights are "
            "evaluation weights, from which training does not resume as it was."
        )
    if not state.built:
        if not _may_go_on(state, snapshot.scalars.get("iterations", 0), schedules):
            return
        differences = hyperparameters_in_files.differences(
            state.hypers, snapshot.hypers, schedules or {}
        )
        if differences:
            warn(
                f"`{state.name}` keeps the hyperparameters that it was given: "
                f"{', '.join(differences)}. To load those of the file, {_BUILD_FIRST}."
            )
        snapshot.hypers = {}
    state.load_of_keras(snapshot, "the file")


_BUILD_FIRST = "call `optimizer.build(model.trainable_variables)` before `load_weights`"


def _may_go_on(state: State, steps: Any, schedules: Mapping[str, Any] | None) -> bool:
    """Returns whether `iterations` may come from the file, which has the same schedule."""
    own, no_schedule = hyperparameters_in_files.schedules(state.hypers), "a number"
    there = {name: (schedules or {}).get(name, no_schedule) for name in own}
    unknown = [n for n in own if schedules is None or None in (own[n], there[n])]
    others = [name for name in own if name not in unknown and own[name] != there[name]]
    if others and steps:
        warn(
            f"No state of `{state.name}` is loaded: the file has another schedule of "
            f"`{others[0]}`, so this one begins at step 0. To go on at step {steps}, "
            f"{_BUILD_FIRST}."
        )
        return False
    if unknown and steps:
        now = ", ".join(f"`{name}` is {state.hypers[name].at(steps):.7g}" for name in unknown)
        warn(
            f"The file does not say which schedule `{state.name}` had. It goes on at step "
            f"{steps}, where {now}."
        )
    return True


def arrays_of(contents: Contents) -> dict[str, np.ndarray]:
    """Returns the arrays of a file, completed by their description and checksum."""
    snapshot = contents.snapshot
    listed = {str(number): value for number, value in enumerate(snapshot.listed)}
    parts = (snapshot.hypers, snapshot.added, snapshot.scalars, listed)
    values = {
        f"{prefix}{name}": value
        for prefix, part in zip(PREFIXES, parts, strict=True)
        for name, value in part.items()
    }
    values.update({f"slot.{n}": entry.value for n, entry in enumerate(snapshot.entries())})
    slots = [[[entry.path, entry.slot] for entry in block] for block in snapshot.blocks]
    layout: dict[str, Any] = {
        "format": FORMAT,
        "class": contents.cls,
        "slots": slots,
        "schedules": contents.schedules,
    }
    if contents.is_evaluated:
        layout["evaluated"] = True
    values[LAYOUT] = np.frombuffer(json.dumps(layout).encode(), np.uint8)
    return {**values, CHECKSUM: _checksum(values)}


def contents_of(values: Mapping[str, np.ndarray]) -> Contents | None:
    """Returns what a file holds; None if it is of another format than is known here.

    Raises:
        ValueError: if the file is damaged.
    """
    rest = {name: value for name, value in values.items() if name != CHECKSUM}
    if CHECKSUM in values:  # files of the first version have none
        given, actual = values[CHECKSUM], _checksum(rest)
        if given.shape != () or given != actual:
            raise ValueError(f"The state is damaged: its checksum must be {actual}; got {given}.")
    try:
        layout = json.loads(values[LAYOUT].tobytes().decode())
        written, cls, slots = (layout[key] for key in ("format", "class", "slots"))
        names = [[(str(path), str(slot)) for path, slot in block] for block in slots]
        schedules, is_evaluated = layout.get("schedules"), bool(layout.get("evaluated"))
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise ValueError(f"The state is damaged: it has no legible layout ({error!r}).") from None
    if written != FORMAT:
        return None
    numbers = iter(range(len(values)))
    blocks = [
        [Entry(path, slot, _slot(values, next(numbers, -1))) for path, slot in block]
        for block in names
    ]
    hypers, added, scalars, listed = (_with_prefix(values, prefix) for prefix in PREFIXES)
    in_turn = [listed[number] for number in sorted(listed, key=int)]
    snapshot = Snapshot(scalars, blocks, hypers, added, in_turn)
    return Contents(str(cls), snapshot, schedules, is_evaluated)


def _with_prefix(values: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): value for n, value in values.items() if n.startswith(prefix)}


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
