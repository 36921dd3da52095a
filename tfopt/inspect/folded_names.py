"""Long names of variables as a tree, with what they share said once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

DEEPEST = 5  # levels of the tree
INDENT = "  "


class Name(NamedTuple):
    """A name as a table shows it: the name of a variable, or what the next ones have in common."""

    text: str
    number: int | None  # of the variable; None for what several have in common


def folded(paths: Sequence[str], room: int) -> list[Name]:
    """Returns the names of variables, in order, folded until they fit.

    Args:
        paths: the full names.
        room: how many characters a name may take. Deeper levels take less. A name that does not
            fit on the deepest level stays longer: see `broken`.
    """
    split = [(path.split("/"), number) for number, path in enumerate(paths)]
    for depth in range(DEEPEST + 1):
        names = list(_tree(split, depth, ""))
        if max(len(name.text) for name in names) <= room:
            break
    return names


def _tree(paths: Sequence[tuple[list[str], int]], depth: int, indent: str) -> Iterator[Name]:
    for _, same in itertools.groupby(paths, lambda path: path[0][0]):
        group = list(same)
        shared = _shared([parts[:-1] for parts, _ in group])
        if depth == 0 or len(group) == 1 or not shared:
            for parts, number in group:
                yield Name(indent + "/".join(parts), number)
        else:
            yield Name(indent + "/".join(group[0][0][:shared]) + "/", None)
            below = [(parts[shared:], number) for parts, number in group]
            yield from _tree(below, depth - 1, indent + INDENT)


def _shared(paths: Sequence[Sequence[str]]) -> int:
    """Returns how many parts all paths begin with."""
    alike = (len(set(parts)) == 1 for parts in zip(*paths, strict=False))
    return sum(1 for _ in itertools.takewhile(bool, alike))


def broken(name: str, room: int) -> list[str]:
    """Returns the lines of a name that is too long: broken after `/` and `_`, never in a word."""
    indent = name[: len(name) - len(name.lstrip())]
    lines = [indent]
    for word in re.findall(r"[^/_]*[/_]|[^/_]+", name.lstrip()):
        if len(lines[-1]) + len(word) > room and lines[-1].strip():
            lines.append(indent + INDENT)
        lines[-1] += word
    return lines
