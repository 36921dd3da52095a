"""Pickles and deep copies of an optimizer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from tfopt._libraries import tf_variables
from tfopt._state.snapshot import Saved


def reduced(optimizer: Any) -> Any:
    """What a pickle holds: class, config and state."""
    state = optimizer._engine.state
    added = {name: tf_variables.value_of(v) for name, v in list(state.added.items())}
    with state.lock:  # what waits must not become slots in between
        values = (state.snapshot(), list(state.pending), added)
    return unpickle, (type(optimizer), optimizer.get_config(), *values)


def unpickle(
    cls: Any,
    config: dict[str, Any],
    saved: Saved,
    pending: list[np.ndarray],
    added: dict[str, np.ndarray],
) -> Any:
    """The optimizer that `reduced` took apart."""
    optimizer = cls.from_config(config)
    state = optimizer._engine.state
    variables = [(v, added[name]) for name, v in state.added.items() if name in added]
    state.load(saved, variables)
    if pending:
        optimizer.set_weights(pending)
    return optimizer


def copied(optimizer: Any, memo: dict[int, Any]) -> Any:
    """An optimizer of the same variables, or of their copies if `memo` has them.

    Whether it has them is known when the whole deep copy is done: at the first use.
    """
    cls: Any = type(optimizer)
    twin = cls.__new__(cls)
    memo[id(optimizer)] = twin
    engine = optimizer._engine.copy_for(twin, memo)
    twin.__dict__.update(_name=optimizer.name, _scope_name=optimizer._scope_name, _engine=engine)
    for name, value in optimizer.__dict__.items():
        if name not in engine.ATTRIBUTES and not name.startswith("_self_"):
            setattr(twin, name, copy.deepcopy(value, memo))
    old, new = optimizer._engine.state, engine.state
    new.pending = list(old.pending)
    for name, variable in old.added.items():
        new.added[name] = copy.deepcopy(variable, memo)
        new.track(new.added[name], name)
    blocks, saved = [list(block) for block in old.slots.blocks], old.snapshot()

    def become() -> None:
        if not new.pending:
            new.load(saved.copy())
        for block in blocks:
            twin.build([memo.get(id(variable), variable) for variable in block])

    new.become = become
    return twin
