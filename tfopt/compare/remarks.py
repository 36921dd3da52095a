"""Sentences about a contest that a reader of the table could miss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from tfopt.compare.contest import Run
from tfopt.compare.results import Result, has_sweep, results

_SAME = 1e-3  # curves this close, relative to the loss, cover each other


def remarks(runs: Iterable[Run]) -> list[str]:
    """Returns sentences: what diverged, what is equal, and what the comparison cannot show."""
    found = results(runs)
    return [*_diverged(found), *_equal(found), *_at_the_edge(found), *_not_compared(found)]


def _diverged(found: Sequence[Result]) -> list[str]:
    labels = [result.label for result in found if result.has_diverged]
    return [f"The loss diverged with {_and(labels)}."] if labels else []


def _equal(found: Sequence[Result]) -> list[str]:
    """Names optimizers whose curves cover each other."""
    return [
        f"The losses of {one.label} and {other.label} agree in every batch to three digits, so "
        "their curves cover each other."
        for one, other in itertools.combinations([r for r in found if r.is_best], 2)
        if _are_close(one, other)
    ]


def _are_close(one: Result, other: Result) -> bool:
    pairs = zip(one.runs, other.runs, strict=False)
    return math.isfinite(one.loss) and all(
        len(a.losses) == len(b.losses) and np.allclose(a.losses, b.losses, rtol=_SAME, atol=0)
        for a, b in pairs
    )


def _at_the_edge(found: Sequence[Result]) -> list[str]:
    """Says where the best value of a sweep is its lowest or highest: others may be better."""
    at_edge: dict[tuple[str, str, float], list[str]] = {}
    for best in (result for result in found if result.is_best and not result.has_diverged):
        of_group = [result.runs[0].swept for result in found if result.group == best.group]
        for name, value in best.runs[0].swept.items():
            values = sorted({swept[name] for swept in of_group if name in swept})
            side = {values[0]: "lowest", values[-1]: "highest"}.get(value)
            if side and len(values) > 1:
                at_edge.setdefault((side, name, value), []).append(best.group)
    return [
        f"{_and(groups)} did best with the {side} {name} of the sweep, {value:g}. Sweep "
        f"{'lower' if side == 'lowest' else 'higher'} values, too."
        for (side, name, value), groups in at_edge.items()
    ]


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _not_compared(found: Sequence[Result]) -> list[str]:
    sentences = []
    if len({result.group for result in found}) > 1 and not has_sweep(found):
        sentences.append(
            "Each optimizer ran at one learning rate, so this compares learning rates as much as "
            "optimizers. Add --sweep learning_rate=1e-4,3e-4,1e-3 to compare each at its best."
        )
    if len(found) > 1 and all(len(result.runs) == 1 for result in found):
        sentences.append(
            "There was one seed, so a small difference may be chance. Add --seeds 3 to see the "
            "spread."
        )
    return sentences
