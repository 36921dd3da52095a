"""Loaded values that wait for their variables: one list of loaders.

Whatever creates variables asks this list. TensorFlow's checkpoints have a list of their own, by
variable: see `Slots.restore`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt._libraries import tf_variables
from tfopt._state.snapshot import Snapshot
from tfopt._state.weight_order import Entry

if TYPE_CHECKING:
    from tfopt._state.state import State

Pairs = list[tuple[Any, np.ndarray]]  # variables, and the values that they are to have


class Loader:
    """Values that were loaded before their variables were seen."""

    def load_into(self, state: State, block: Sequence[Entry]) -> Loader | None:
        """Gives new slots their values, or raises before it changes any.

        Args:
            state: the state of the optimizer.
            block: the slots that have just been created, in the order of `weights`.

        Returns:
            A loader of the values that are left, or None.
        """
        raise NotImplementedError

    def add_to(self, snapshot: Snapshot, built: bool) -> None:
        """Adds the values that wait to a snapshot; `built` says whether variables were seen."""


class ListLoader(Loader):
    """A list of `set_weights`, for the first block of slots, by position."""

    def __init__(self, values: Sequence[np.ndarray]):
        self.values = list(values)

    def load_into(self, state: State, block: Sequence[Entry]) -> Loader | None:
        """Assigns the whole list; if it does not fit, sets `iterations` to 0 and raises."""
        try:
            state.assign(self.values, state.weights_with(block))
        except ValueError as error:
            tf_variables.assign_all([(state.iterations, 0)])
            raise ValueError(
                f"What `set_weights` was given before there were slots does not fit: {error}"
            ) from None
        return None

    def add_to(self, snapshot: Snapshot, built: bool) -> None:
        """Adds the list."""
        snapshot.listed = list(self.values)


class SnapshotLoader(Loader):
    """A snapshot from a file or a copy: each block finds its slots in it by path."""

    def __init__(self, snapshot: Snapshot):
        self.snapshot = snapshot

    def load_into(self, state: State, block: Sequence[Entry]) -> Loader | None:
        """Assigns the values for a block; the first block must find values for all of its slots."""
        left = self.snapshot.copy()
        pairs = match_slots(state.name, left, [block], strict=not state.built)
        if not state.built:
            pairs += match_scalars(state.name, left, state.all_scalars())
        state.assign_pairs(pairs)
        return SnapshotLoader(left) if left.waits else None

    def add_to(self, snapshot: Snapshot, built: bool) -> None:
        """Adds the slots; also the scalars, if the optimizer's own do not exist yet."""
        snapshot.blocks += self.snapshot.copy().blocks
        if not built:
            snapshot.scalars = dict(self.snapshot.scalars)


class CopyLoader(Loader):
    """The rest of a deep copy, which is done when its variables are known: at its first use."""

    def __init__(self, finish: Callable[[], None]):
        self.finish = finish

    def load_into(self, state: State, block: Sequence[Entry]) -> Loader | None:
        """Does nothing: `finish` itself creates these slots, and loads their values."""
        return self


class Waiting:
    """The loaders of one optimizer, in the order in which they act.

    Args:
        lock: the lock of the state: other threads wait for it while a deep copy is finished.
    """

    def __init__(self, lock: Any):
        self._lock = lock
        self._loaders: tuple[Loader, ...] = ()
        self._finishing = False

    def __bool__(self) -> bool:
        return any(not isinstance(loader, CopyLoader) for loader in self._loaders)

    def put(self, loader: Loader | None) -> None:
        """Puts a loader in place of those that are there; None removes them."""
        copies = [each for each in self._loaders if isinstance(each, CopyLoader)]
        self._loaders = (*copies, *([] if loader is None else [loader]))

    def _first_copy(self) -> CopyLoader | None:
        """Returns the deep copy that is yet to be finished, if there is one: it comes first."""
        first = next(iter(self._loaders), None)
        return first if isinstance(first, CopyLoader) else None

    def add_all_of(self, other: Waiting) -> None:
        """Adds the loaders of another optimizer."""
        more = [each for each in other._loaders if not isinstance(each, CopyLoader)]
        self._loaders = (*self._loaders, *more)

    def load_into(self, state: State, block: Sequence[Entry]) -> None:
        """Gives new slots the values that wait for them."""
        loaders = [loader.load_into(state, block) for loader in self._loaders]
        self._loaders = tuple(loader for loader in loaders if loader is not None)

    def snapshot(self, built: bool) -> Snapshot:
        """Returns all values that wait; `built` says whether variables were seen."""
        snapshot = Snapshot({}, [])
        for loader in self._loaders:
            loader.add_to(snapshot, built)
        return snapshot

    def finish_copy(self) -> None:
        """Finishes a deep copy, if this is the state of one that was not used yet."""
        if self._first_copy() is None:
            return
        with self._lock:
            copy = self._first_copy()  # another thread may have finished it
            if copy is None or self._finishing:
                return
            self._finishing = True
            try:
                copy.finish()
            finally:
                self._loaders = tuple(each for each in self._loaders if each is not copy)
                self._finishing = False


def match_slots(
    name: str, snapshot: Snapshot, blocks: Iterable[Sequence[Entry]], strict: bool
) -> Pairs:
    """Pairs slots with their values, and removes the values from the snapshot.

    Args:
        name: the optimizer's name, for messages.
        snapshot: the loaded state.
        blocks: the slots.
        strict: whether each slot must find a value.
    """
    pairs = []
    for block in blocks:
        values = snapshot.take([(entry.path, entry.slot) for entry in block])
        for entry, value in zip(block, values, strict=True):
            if value is not None:
                pairs.append((entry.value, value))
            elif strict:
                left = dict.fromkeys(f"{e.path}/{e.slot}" for e in snapshot.entries()[:8])
                raise ValueError(
                    f"The state loaded into `{name}` has no slot `{entry.slot}` of "
                    f"`{entry.path}`; left in it are {', '.join(left) or 'none'}."
                )
    return pairs


def match_scalars(name: str, snapshot: Snapshot, scalars: dict[str, Any]) -> Pairs:
    """Pairs all scalars with their values, and removes the values; raises if any is missing."""
    if snapshot.scalars.keys() != scalars.keys():
        raise ValueError(
            f"`{name}` has the scalars {sorted(scalars)}; the state loaded has "
            f"{sorted(snapshot.scalars)}."
        )
    pairs = [(scalar, snapshot.scalars[name]) for name, scalar in scalars.items()]
    snapshot.scalars = {}
    return pairs
