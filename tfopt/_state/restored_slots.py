"""What checkpoints bring for slots that nothing has asked for yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf


class RestoredSlots:
    """Slots that a checkpoint created early, and values that wait until their slots are created."""

    def __init__(self) -> None:
        self.early: list[Any] = []  # slots that a checkpoint created
        self._positions: dict[tuple[str, Any], list[Any]] = {}  # in checkpoints, by name and key
        self._warned: frozenset[str] = frozenset()
        self._size: tuple[int, ...] = ()  # of all tables, when they were last searched

    def __bool__(self) -> bool:
        return bool(self.early or self._positions)

    @property
    def has_positions(self) -> bool:
        """Whether values wait in a checkpoint until their slots are created."""
        return bool(self._positions)

    def copied(self) -> RestoredSlots:
        """Returns a copy, which may change."""
        twin = RestoredSlots()
        twin.early, twin._warned, twin._size = list(self.early), self._warned, self._size
        twin._positions = {key: list(positions) for key, positions in self._positions.items()}
        return twin

    def claim(self, slot: Any) -> bool:
        """Removes a slot from those created early; returns whether it was among them."""
        rest = [early for early in self.early if early is not slot]
        claimed, self.early = len(rest) < len(self.early), rest
        return claimed

    def defer(self, name: str, key: Any, position: Any) -> None:
        """Keeps a place in a checkpoint until the slot of that name and variable is created."""
        self._positions.setdefault((name, key), []).append(position)

    def take_positions(self, name: str, key: Any) -> Sequence[Any]:
        """Removes and returns the places in checkpoints that wait for a slot, the newest last."""
        waiting = self._positions.pop((name, key), [])
        return sorted(waiting, key=lambda position: position.restore_uid)

    def unclaimed(
        self, by_key: Mapping[Any, Mapping[str, Any]], variables: Mapping[Any, Any]
    ) -> list[str]:
        """Returns names of slots that the optimizer does not have; each name only once.

        Those of variables that the optimizer has not seen may still be asked for.

        Args:
            by_key: all slots, by variable and name.
            variables: the variables seen.
        """
        size = len(self.early), len(self._positions), len(variables)
        if size == self._size:  # eager steps ask each time
            return []
        self._size = size
        early = {id(slot) for slot in self.early}
        names = {name for name, key in self._positions if key in variables}
        own: set[str] = set()
        for key, slots in by_key.items():
            for name, slot in slots.items() if key in variables else ():
                (names if id(slot) in early else own).add(name)
        names -= own  # a block has only one of some slots, and blocks may have changed
        new = sorted(names - self._warned)
        self._warned |= names
        return new


def check_shape(variable_path: str, name: str, shape: Any, found: Any) -> None:
    """Raises if a checkpoint has a slot of another shape."""
    if not tf.TensorShape(shape).is_compatible_with(found):
        raise ValueError(
            f"The checkpoint must have shape {shape} for slot `{name}` of "
            f"`{variable_path}`; got {tf.TensorShape(found)}."
        )
