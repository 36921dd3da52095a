"""Pickles and deep copies of an optimizer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfopt._libraries import dtensor, tf_variables
from tfopt._libraries.warnings import remaking
from tfopt._state.deferred_loading import CopyLoader
from tfopt._state.snapshot import Snapshot


def reduced(optimizer: Any) -> Any:
    """Returns what a pickle holds: class, config and state."""
    snapshot = optimizer._engine.state.snapshot()  # first: it creates what was restored
    return unpickle, (type(optimizer), optimizer.get_config(), snapshot)


def unpickle(
    cls: Any,
    config: dict[str, Any],
    snapshot: Snapshot,
    listed: Sequence[np.ndarray] = (),
    added: Mapping[str, np.ndarray] | None = None,
) -> Any:
    """Makes an optimizer from the parts that `reduced` returned.

    Pickles of the first versions have the parts `listed` and `added`, too.
    """
    optimizer = cls.from_config(config)
    if listed or added:
        snapshot = Snapshot(snapshot.scalars, snapshot.blocks, added=added, listed=listed)
    optimizer._engine.state.load(snapshot, "the pickle")
    return optimizer


def copied(optimizer: Any, memo: dict[int, Any]) -> Any:
    """Returns a deep copy, for the same variables, or for their copies if `memo` has them.

    Which of the two is known only when the whole deep copy is done: at the first use.
    """
    snapshot = optimizer._engine.state.snapshot()  # first: it creates what was restored
    snapshot.hypers = {}  # the copy needs them at once: you may set them before it is finished
    cls: Any = type(optimizer)
    twin = cls.__new__(cls)
    memo[id(optimizer)] = twin
    engine = optimizer._engine.copy_for(twin, memo)
    twin.__dict__.update(_name=optimizer.name, _scope_name=optimizer._scope_name, _engine=engine)
    with remaking():
        for name, value in optimizer.__dict__.items():
            if name not in engine.ATTRIBUTES and not name.startswith("_self_"):
                setattr(twin, name, copy.deepcopy(value, memo))
    old, new = optimizer._engine.state, engine.state
    dtensor.place_scalars_like(new, old)
    for name, variable in old.added.items():
        new.added[name] = copy.deepcopy(variable, memo)
        new.track(new.added[name], name)
    blocks = [list(block) for block in old.slots.blocks]
    seen = optimizer._engine.groups.seen()

    def finish() -> None:
        for rule in engine.groups.rules:
            rule.members.follow_copies(memo)
        originals = [memo.get(id(v), memo.get(id(tf_variables.unwrap(v)), v)) for v in seen]
        engine.groups.keep(engine.groups.sort(originals), warns=False)
        new.load(snapshot.copy(), "the deep copy")
        for block in blocks:
            twin.build([memo.get(id(variable), variable) for variable in block])

    new.waiting.put(CopyLoader(finish))
    return twin
