"""The table of results, as text for whatever shows it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from tfopt.compare.contest import Run
from tfopt.compare.results import has_sweep, name_of_loss, results, with_spread

CAPTION = "Loss is the mean of the last epoch's batches; times are of whole training steps."
SEEDS_CAPTION = "After ± stands the standard deviation over the seeds."
ORDER_CAPTION = "The lowest {} comes first."
SWEEP_CAPTION = "* marks the lowest {} of a sweep."


def headings_and_rows(runs: Iterable[Run]) -> tuple[list[str], list[list[str]]]:
    """Returns the headings and the rows of the table. The best comes first: see `Run.final`."""
    found = results(runs)
    names = list(
        dict.fromkeys(name for result in found for run in result.runs for name in run.test)
    )
    headings = ["optimizer", "loss", *(f"test {name}" for name in names), "ms a step", "first step"]
    return headings, [
        [
            f"{result.label} *" if result.is_best_of_sweep else result.label,
            with_spread([run.loss for run in result.runs], ".4g"),
            *(with_spread([r.test.get(n, math.nan) for r in result.runs], ".4f") for n in names),
            f"{statistics.median(run.milliseconds for run in result.runs):.2f}",
            f"{statistics.median(run.first for run in result.runs):.2f} s",
        ]
        for result in found
    ]


def caption(runs: Iterable[Run]) -> str:
    """Returns what one must know to read the table."""
    found = results(runs)
    lines = [CAPTION]
    if any(len(result.runs) > 1 for result in found):
        lines.append(SEEDS_CAPTION)
    lines.append(ORDER_CAPTION.format(name_of_loss(found)))
    if has_sweep(found):
        lines.append(SWEEP_CAPTION.format(name_of_loss(found)))
    return " ".join(lines)


def plain_text(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns the table as lines of text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = []
    for cells in [headings, ["-" * width for width in widths], *rows]:
        first, *others = zip(cells, widths, strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)]))
    return "\n".join(lines)
