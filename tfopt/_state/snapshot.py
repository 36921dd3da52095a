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

    @property
    def has_steps(self) -> bool:
        """Whether it is of an optimizer that has taken a step."""
        return bool(self.scalars.get("iterations", 0) > 0)

    def without(self, taken: Collection[Entry]) -> Snapshot:
        """Returns the snapshot without some entries, and without scalars and listed arrays."""
        gone = {id(entry) for entry in taken}
        left = [[entry for entry in block if id(entry) not in gone] for block in self.blocks]
        return Snapshot({}, [block for block in left if block])


Saved = Snapshot  # its name in pickles of earlier versions
