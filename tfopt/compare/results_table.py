"""The table of results, as text for whatever shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tfopt.compare.contest import Run


def headings_and_rows(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows of the table of results. The lowest loss comes first."""
    names = list(dict.fromkeys(name for run in runs for name in run.test))
    headings = ["optimizer", "loss", *(f"test {name}" for name in names), "ms a step", "first step"]
    ordered = sorted(runs, key=lambda run: (math.isnan(run.loss), run.loss))
    return headings, [
        [
            run.label,
            f"{run.loss:.4g}",
            *(f"{run.test.get(name, math.nan):.4f}" for name in names),
            f"{run.milliseconds:.2f}",
            f"{run.first:.2f} s",
        ]
        for run in ordered
    ]
