"""The whole state of an optimizer at one moment, as arrays without variables.

Lists, files, pickles and copies are made from a snapshot, and loaded as a snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tfopt._state.weight_order import Entry, in_order


class Snapshot:
    """The state of an optimizer, without any variable.

    Args:
        scalars: `iterations`, the optimizer's own scalars and the counters of policies, by name.
        blocks: the slots, a block for each set of variables that was first seen together.
        hypers: the hyperparameters that live in variables, by name.
        added: the variables of `add_weight`, by name.
        listed: the arrays of `set_weights`, if they still wait for slots.
    """

    def __init__(
        self,
        scalars: Mapping[str, np.ndarray],
        blocks: Sequence[Sequence[Entry]],
        hypers: Mapping[str, np.ndarray] | None = None,
        added: Mapping[str, np.ndarray] | None = None,
        listed: Sequence[np.ndarray] = (),
    ):
        self.scalars = dict(scalars)
        self.blocks = [list(block) for block in blocks]
        self.hypers, self.added = dict(hypers or {}), dict(added or {})
        self.listed = list(listed)

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__init__(**attributes)  # type: ignore[misc]  # older pickles have fewer of them

    def copy(self) -> Snapshot:
        """Returns the same snapshot, from which entries can be taken."""
        return Snapshot(**vars(self))

    def entries(self) -> list[Entry]:
        """Returns the slots of all blocks."""
        return [entry for block in self.blocks for entry in block]

    def values(self, kept: Collection[str]) -> list[np.ndarray]:
        """Returns the values in the order of `weights`, given the names that policies keep."""
        return in_order(self.scalars, self.entries(), kept)

    @property
    def waits(self) -> bool:
        """Whether a part of it needs variables, or scalars that are created with variables."""
        return any(self.blocks) or len(self.scalars) > 1

    def take(self, wanted: Sequence[tuple[str, str]]) -> list[np.ndarray | None]:
        """Removes and returns the values of a block's slots; None where there is none.

        A slot is found by the path of its variable. It is also found by a path of which one is the
        tail of the other, if there is only one such path: Keras may or may not put the model's name
        in front. If no path is known at all, the next block is taken by position, if it has the
        same slots.

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
        near = [entry for entry in candidates if _is_tail(entry.path, path)]
        rivals = [p for p, s in wanted if s == slot and near and _is_tail(p, near[0].path)]
        return near[0] if len(near) == len(rivals) == 1 else None


Saved = Snapshot  # its name in pickles of earlier versions


def _is_tail(one: str, other: str) -> bool:
    """Returns whether one path is the end of the other, and has more than one part."""
    shorter, longer = sorted((one.split("/"), other.split("/")), key=len)
    return len(shorter) > 1 and longer[-len(shorter) :] == shorter
