"""Which loaded slot belongs to which variable: by path, by position, or in part.

Names that Keras gives, such as `dense_3`, shift from process to process, and may then overlap with
names of other layers. So paths decide only where all of them agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfopt._state.weight_order import Entry

Blocks = Sequence[Sequence[Entry]]
NAMED_AT_MOST = 12  # variables in one message


class Owner(NamedTuple):
    """A variable and its slots, by name."""

    path: str
    slots: dict[str, Entry]

    def takes(self, loaded: Owner) -> bool:
        """Returns whether each of its slots has one of the same name and shape in the other."""
        return all(_fits(slot, loaded.slots.get(name)) for name, slot in self.slots.items())


Owners = Sequence[Owner]
Pairs = list[tuple[Owner, Owner]]


class Matched(NamedTuple):
    """The slots and the loaded slots that belong together, and those that are left over."""

    pairs: list[tuple[Entry, Entry]]  # slots, and the loaded ones that they take
    missing: list[Entry]  # slots for which nothing was loaded
    unknown: list[Entry]  # loaded slots of the same variables that no slot takes

    def message(self, name: str) -> str:
        """Says what begins afresh, and what has no place; empty if everything fits.

        Args:
            name: the optimizer's name.
        """
        texts = []
        if self.missing:
            texts.append(
                f"The loaded state has no values for {self.missing_text()}: they begin afresh."
            )
        if self.unknown:
            slots = ", ".join(f"`{s}`" for s in dict.fromkeys(e.slot for e in self.unknown))
            texts.append(
                f"The loaded state has slots {slots}, which `{name}` does not have: they are not "
                "used."
            )
        return " ".join(texts)

    def missing_text(self) -> str:
        """Counts and names the slots for which nothing was loaded."""
        whole = len(self.missing) + len(self.pairs)
        return f"{len(self.missing)} of {whole} slots ({named(self.missing)})"


def match(wanted: Blocks, loaded: Blocks) -> Matched:
    """Matches slots with loaded ones.

    They match by path if one or more loaded blocks have exactly these paths, and all shapes agree.
    Otherwise they match by position, if the first of the loaded blocks have as many variables, with
    slots of the same names and shapes. Otherwise each slot matches whose path and shape agree.
    Paths are also compared without the name of the model.

    Args:
        wanted: the slots, block by block.
        loaded: the loaded slots, a block for each set of variables that was first seen together.
    """
    ours = [owner for block in wanted for owner in _owners(block)]
    theirs = [_owners(block) for block in loaded]
    inside = iter(_without_model([owner for block in theirs for owner in block]))
    short = _without_model(ours), [[next(inside) for _ in block] for block in theirs]
    owners = (
        _by_path(ours, theirs)
        or _by_path(*short)
        or _by_position(ours, theirs)
        or _in_part(ours, theirs)
        or _in_part(*short)
    )
    pairs = [
        (slot, other.slots[name])
        for owner, other in owners
        for name, slot in owner.slots.items()
        if _fits(slot, other.slots.get(name))
    ]
    found = {id(slot) for slot, _ in pairs}
    names = {name for owner in ours for name in owner.slots}
    return Matched(
        pairs,
        [slot for o in ours for slot in o.slots.values() if id(slot) not in found],
        [e for _, other in owners for e in other.slots.values() if e.slot not in names],
    )


def _by_path(ours: Owners, theirs: Sequence[Owners]) -> Pairs:
    """Pairs variables by path; nothing if paths repeat, are not the same set, or shapes differ."""
    paths = {owner.path for owner in ours}
    touched = [o for block in theirs if any(o.path in paths for o in block) for o in block]
    by_path = {owner.path: owner for owner in touched}
    if len(ours) != len(paths) or len(touched) != len(by_path) or paths != by_path.keys():
        return []
    pairs = [(owner, by_path[owner.path]) for owner in ours]
    return pairs if all(owner.takes(other) for owner, other in pairs) else []


def _by_position(ours: Owners, theirs: Sequence[Owners]) -> Pairs:
    """Pairs variables in order; nothing if number, slots or shapes differ."""
    leading: list[Owner] = []
    for block in theirs:
        if len(leading) < len(ours):
            leading += block
    pairs = list(zip(ours, leading, strict=False))
    alike = len(leading) == len(ours) and all(
        owner.slots.keys() == other.slots.keys() and owner.takes(other) for owner, other in pairs
    )
    return pairs if alike else []


def _in_part(ours: Owners, theirs: Sequence[Owners]) -> Pairs:
    """Pairs the variables whose paths are in both, once."""
    flat = [owner for block in theirs for owner in block]
    counts, by_path = Counter(owner.path for owner in flat), {owner.path: owner for owner in flat}
    return [(owner, by_path[owner.path]) for owner in ours if counts[owner.path] == 1]


def _without_model(owners: Owners) -> list[Owner]:
    """Returns variables with paths from the layer on, if all of them begin with one model's name.

    Keras gives models names such as `sequential_1`, and may or may not put them into paths.
    """
    paths = without_model([owner.path for owner in owners])
    return [owner._replace(path=path) for owner, path in zip(owners, paths, strict=True)]


def without_model(paths: Sequence[str]) -> list[str]:
    """Returns paths from the layer on, if all of them begin with one model's name."""
    parts = [path.split("/") for path in paths]
    inside = len({p[0] for p in parts}) == 1 and min(map(len, parts)) > 2
    return ["/".join(p[1:]) for p in parts] if inside else list(paths)


def _owners(block: Iterable[Entry]) -> list[Owner]:
    """Returns the variables of a block, in order, each with its slots."""
    owners: dict[str, Owner] = {}
    for entry in block:
        owners.setdefault(entry.path, Owner(entry.path, {})).slots[entry.slot] = entry
    return list(owners.values())


def _fits(slot: Entry, loaded: Entry | None) -> bool:
    return loaded is not None and tf.TensorShape(slot.value.shape).is_compatible_with(
        loaded.value.shape
    )


def named(entries: Sequence[Entry]) -> str:
    """Names slots, variable by variable; of many variables only the first."""
    owners = _owners(entries)
    shown = [f"{', '.join(o.slots)} of `{o.path}`" for o in owners[:NAMED_AT_MOST]]
    more = len(owners) - len(shown)
    return "; ".join(shown) + (f"; and those of {more} more variables" if more else "")
