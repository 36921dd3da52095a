"""Loaded values that wait for their variables: one list of loaders.

Whatever creates variables asks this list. TensorFlow's checkpoints have a list of their own, by
variable: see `Slots.restore`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfopt._libraries import tf_variables
from tfopt._libraries.warnings import warn
from tfopt._state import matching
from tfopt._state.snapshot import Snapshot
from tfopt._state.weight_order import Entry

if TYPE_CHECKING:
    from tfopt._state.state import State

Pairs = list[tuple[Any, np.ndarray]]  # variables, and the values that they are to have


class Loader:
    """Values that were loaded before their variables were seen."""

    lenient = False  # whether to warn, rather than to raise, if the values do not fit

    def load_into(self, state: State, block: Sequence[Entry]) -> Loader | None:
        """Gives new slots their values, or raises before it changes any.

        Args:
            state: the state of the optimizer.
            block: the slots that have just been created, in the order of `weights`.

        Returns:
            A loader of the values that are left, or None.
        """
        raise NotImplementedError

    def undo(self) -> None:
        """Takes back what was loaded before there were slots."""

    def add_to(self, snapshot: Snapshot, built: bool) -> None:
        """Adds the values that wait to a snapshot; `built` says whether variables were seen."""


class ValuesLoader(Loader):
    """Values with the call that they came from, for messages.

    Args:
        origin: the call.
        lenient: whether Keras loaded them. Then values that do not fit give a warning, no error.
        before: variables that were assigned already, and the values that they had.
    """

    def __init__(self, origin: str, lenient: bool, before: Pairs):
        self.origin, self.lenient, self.before = origin, lenient, before

    def undo(self) -> None:
        """Takes back what was loaded before there were slots."""
        tf_variables.assign_all(self.before)


class ListLoader(ValuesLoader):
    """A list of `set_weights`, for the first block of slots, by position."""

    def __init__(self, values: Sequence[np.ndarray], *args: Any):
        super().__init__(*args)
        self.values = list(values)

    def load_into(self, state: State, block: Sequence[Entry]) -> Loader | None:
        """Assigns the whole list, or raises."""
        try:
            state.assign(self.values, state.weights_with(block))
        except ValueError as error:
            raise ValueError(
                f"What {self.origin} was given before there were slots does not fit: {error}"
            ) from None
        return None

    def add_to(self, snapshot: Snapshot, built: bool) -> None:
        """Adds the list."""
        snapshot.listed = list(self.values)


class SnapshotLoader(ValuesLoader):
    """A snapshot from a file, a pickle or a copy: each block finds its slots in it."""

    def __init__(self, snapshot: Snapshot, *args: Any):
        super().__init__(*args)
        self.snapshot = snapshot

    def load_into(self, state: State, block: Sequence[Entry]) -> Loader | None:
        """Assigns the values for a block. Later blocks may be of variables that are new."""
        rule = Rule.NEW if state.built else Rule.LENIENT if self.lenient else Rule.STRICT
        scalars = {} if state.built else state.all_scalars()
        found = matched(state.name, self.snapshot, [block], scalars, rule, self.origin)
        state.assign_pairs(found.pairs)
        left = found.left
        return SnapshotLoader(left, self.origin, self.lenient, []) if left.waits else None

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
        """Replaces all loaders by this one; None removes them."""
        copies = [each for each in self._loaders if isinstance(each, CopyLoader)]
        self._loaders = (*copies, *([] if loader is None else [loader]))

    def before(self) -> Pairs:
        """Returns the values to go back to if the values that wait turn out not to fit."""
        return [p for each in self._loaders if isinstance(each, ValuesLoader) for p in each.before]

    def _first_copy(self) -> CopyLoader | None:
        """Returns the loader of a deep copy that is not finished yet, or None: it acts first."""
        first = next(iter(self._loaders), None)
        return first if isinstance(first, CopyLoader) else None

    def add_all_of(self, other: Waiting) -> None:
        """Adds the loaders of another optimizer."""
        more = [each for each in other._loaders if not isinstance(each, CopyLoader)]
        self._loaders = (*self._loaders, *more)

    def load_into(self, state: State, block: Sequence[Entry]) -> None:
        """Gives new slots the values that wait for them."""
        for loader in self._loaders:
            try:
                left = loader.load_into(state, block)
            except ValueError as error:
                loader.undo()
                self._replace(loader, None)
                if not loader.lenient:
                    raise
                warn(str(error))
            else:
                self._replace(loader, left)

    def _replace(self, loader: Loader, other: Loader | None) -> None:
        """Puts what is left of a loader in its place."""
        loaders = [other if each is loader else each for each in self._loaders]
        self._loaders = tuple(each for each in loaders if each is not None)

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


class Rule(Enum):
    """What to do about slots for which nothing was loaded."""

    STRICT = "raise"
    LENIENT = "warn, or raise if nothing at all fits"
    NEW = "nothing: their variables are new"


class Found(NamedTuple):
    """What a loaded state has for some slots and scalars."""

    pairs: Pairs
    left: Snapshot  # what waits for other slots
    missing: list[Entry]  # slots for which it has nothing


def matched(
    name: str,
    snapshot: Snapshot,
    blocks: Sequence[Sequence[Entry]],
    scalars: dict[str, Any],
    rule: Rule,
    origin: str = "",
) -> Found:
    """Pairs slots and scalars with their loaded values; raises, or warns, by a rule.

    Args:
        name: the optimizer's name, for messages.
        snapshot: the loaded state.
        blocks: the slots.
        scalars: the scalars, by name.
        rule: what to do about slots for which nothing was loaded.
        origin: the call that loaded the state, for messages.

    Raises:
        ValueError: by the rules `STRICT` and `LENIENT`.
    """
    found = matching.match(blocks, snapshot.blocks)
    has_slots = any(snapshot.blocks)
    nothing_fits = rule is Rule.LENIENT and has_slots and not found.pairs
    if found.missing and (rule is Rule.STRICT or nothing_fits):
        there = matching.named(snapshot.entries()) or "none"
        raise ValueError(
            f"The state of {origin} does not fit `{name}`, and is not loaded. By path and shape it "
            f"has no values for {found.missing_text()}. Its slots are: {there}."
        )
    if rule is Rule.STRICT and snapshot.scalars.keys() != scalars.keys():
        raise ValueError(
            f"`{name}` has the scalars {sorted(scalars)}; the state of {origin} has "
            f"{sorted(snapshot.scalars)}."
        )
    message = found.message(name)
    if rule is Rule.LENIENT and message and (has_slots or snapshot.has_steps):
        warn(message)
    common = [key for key in scalars if key in snapshot.scalars]
    pairs = [(slot.value, loaded.value) for slot, loaded in found.pairs]
    pairs += [(scalars[key], snapshot.scalars[key]) for key in common]
    left = snapshot.without([*(loaded for _, loaded in found.pairs), *found.unknown])
    return Found(pairs, left, found.missing)
