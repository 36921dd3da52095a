"""What a SavedModel holds of an optimizer: its variables, under one plain object.

A SavedModel would create slot variables again by calling `add_slot` of the loaded optimizer, which
does not exist in a process without tfopt. So the file holds slots as ordinary variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfopt._libraries import tensorflow_private
from tfopt._state.state import State

tracking = tf.__internal__.tracking


def children(state: State, tracked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the children of an optimizer in a SavedModel: the object `state` with all variables.

    If tf-keras is imported, it makes an optimizer of its own from any optimizer of its base class.
    That optimizer refuses attributes such as `learning_rate`, and reads its counter of steps from
    two places in the file.

    Args:
        state: the state of the optimizer.
        tracked: what checkpoints hold, by name.
    """
    named = {**tracked, "iter": state.iterations}
    for value in state.hypers.values():  # functions read their variables, tracked or not
        for name, variable in value.variables():
            named.setdefault(name, variable)
    named.update((f"{path}/{name}", slot) for path, name, slot in state.slots.entries())
    holder, seen = tracking.AutoTrackable(), set()
    for name, child in named.items():
        if id(child) not in seen:
            seen.add(id(child))
            tensorflow_private.track(holder, child, name)
    state.export_to(holder)
    return {"state": holder, **counted_in(state.iterations)}


def counted_in(steps: Any) -> dict[str, Any]:
    """Returns the children by which tf-keras finds the counter of steps of any optimizer."""
    return {"_iterations": steps, "_variables": tracking.wrap([steps])}
