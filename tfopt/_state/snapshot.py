"""State on its way into an optimizer: slot values that find their variables by path."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Entry(NamedTuple):
    """The value of one slot, and whose it is."""

    path: str
    slot: str
    value: np.ndarray


class Saved:
    """The state of an optimizer, apart from any variable.

    Args:
        scalars: `iterations` and the optimizer's own scalars, by name.
        blocks: the slots, block by block in the order of `weights`.
    """

    def __init__(self, scalars: Mapping[str, np.ndarray], blocks: Sequence[Sequence[Entry]]):
        self.scalars = dict(scalars)
        self.blocks = [list(block) for block in blocks]

    def __bool__(self) -> bool:
        """Whether something is left beside `iterations`, which need not wait."""
        return any(self.blocks) or len(self.scalars) > 1

    def entries(self) -> list[Entry]:
        """All slots' values."""
        return [entry for block in self.blocks for entry in block]

    def values(self, last: Collection[str]) -> list[np.ndarray]:
        """All values, in the order of `weights`.

        Args:
            last: the names of the slots and scalars that are the last there.
        """
        entries = sorted(self.entries(), key=lambda entry: entry.slot in last)
        scalars = [value for name, value in self.scalars.items() if name not in last]
        counters = [value for name, value in self.scalars.items() if name in last]
        return [*scalars, *(entry.value for entry in entries), *counters]

    def copy(self) -> Saved:
        """The same entries, to take from."""
        return Saved(self.scalars, self.blocks)

    def take(self, wanted: Sequence[tuple[str, str]]) -> list[np.ndarray | None]:
        """Removes and gives the values of a block's slots; None where there is none.

        A slot is found by the path of its variable, or by the only path of which one is the
        tail of the other (Keras puts the model's name in front, or not). Where no path is
        known at all, the next block is taken by position, if its slots are the same.

        Args:
            wanted: (path, slot) of each slot of the block.
        """
        found: list[Entry | None] = [self._find(path, slot, wanted) for path, slot in wanted]
        if not any(found) and self.blocks:
            block = self.blocks[0]
            if [entry.slot for entry in block] == [slot for _, slot in wanted]:
                found = list(block)
        taken = {id(entry) for entry in found if entry is not None}
        left = [[entry for entry in block if id(entry) not in taken] for block in self.blocks]
        self.blocks = [block for block in left if block]
        return [None if entry is None else entry.value for entry in found]

    def _find(self, path: str, slot: str, wanted: Sequence[tuple[str, str]]) -> Entry | None:
        candidates = [entry for entry in self.entries() if entry.slot == slot]
        exact = [entry for entry in candidates if entry.path == path]
        if exact:
            return exact[0]
        near = [entry for entry in candidates if _same_tail(entry.path, path)]
        rivals = [p for p, s in wanted if s == slot and near and _same_tail(p, near[0].path)]
        return near[0] if len(near) == len(rivals) == 1 else None


def _same_tail(one: str, other: str) -> bool:
    """Whether one path is the other without some of its first parts, and more than one part."""
    shorter, longer = sorted((one.split("/"), other.split("/")), key=len)
    return len(shorter) > 1 and longer[-len(shorter) :] == shorter
