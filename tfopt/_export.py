"""What a SavedModel holds of an optimizer: its variables, under one plain object.

A SavedModel would make slot variables anew by `add_slot` of the loaded optimizer, which a
process without tfopt does not have. So there they are variables as any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

tracking = tf.__internal__.tracking


def children(
    tracked: Mapping[str, Any], hypers: Iterable[Any], slots: Iterable[tuple[str, str, Any]]
) -> dict[str, Any]:
    """The children of an optimizer in a SavedModel: the object `state`, which holds all.

    Where tf-keras is loaded, it revives any optimizer of its base class as one of its own,
    which refuses attributes such as `learning_rate`, and has a counter of steps, in two
    places, that must be in the file.

    Args:
        tracked: what checkpoints hold, by name.
        hypers: the values of hyperparameters; functions read their variables, tracked or not.
        slots: (path of the variable, name, slot) of each slot.
    """
    named = dict(tracked)
    for value in hypers:
        for name, variable in value.variables():
            named.setdefault(name, variable)
    named.update((f"{path}/{name}", slot) for path, name, slot in slots)
    holder, seen = tracking.AutoTrackable(), set()
    for name, child in named.items():
        if id(child) not in seen:
            seen.add(id(child))
            holder._track_trackable(child, name)
    steps = tracked["iter"]
    return {"state": holder, "_iterations": steps, "_variables": tracking.wrap([steps])}
