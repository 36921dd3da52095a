"""The results of a contest: all seeds of an optimizer together."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence

from tfopt.compare.contest import Run

DIVERGED = 10  # times the first loss: what ends higher has diverged


@dataclasses.dataclass(frozen=True)
class Result:
    """What one optimizer reached.

    Attributes:
        runs: its runs, one for each seed.
        is_best: True if no other values of the swept arguments reached a lower loss.
    """

    runs: Sequence[Run]
    is_best: bool = True

    @property
    def label(self) -> str:
        """The optimizer as text."""
        return self.runs[0].label

    @property
    def group(self) -> str:
        """The optimizer without the swept arguments."""
        return self.runs[0].group

    @property
    def is_best_of_sweep(self) -> bool:
        """True if it is the best, and an argument was swept."""
        return self.is_best and bool(self.runs[0].swept)

    @property
    def loss(self) -> float:
        """What decides which result is best: the mean of `Run.final` over the seeds."""
        return statistics.fmean(run.final for run in self.runs)

    @property
    def has_diverged(self) -> bool:
        """True if the loss ended far above where it began, or is no number."""
        return any(
            not math.isfinite(run.final + run.loss) or run.loss > DIVERGED * abs(run.losses[0])
            for run in self.runs
        )


def results(runs: Iterable[Run]) -> list[Result]:
    """Returns a result for each optimizer. The best comes first, and NaN last."""
    by_label: dict[str, list[Run]] = {}
    for run in runs:
        by_label.setdefault(run.label, []).append(run)
    found = sorted((Result(r) for r in by_label.values()), key=lambda result: _order(result.loss))
    best: dict[str, str] = {}
    for result in found:
        best.setdefault(result.group, result.label)
    return [dataclasses.replace(r, is_best=best[r.group] == r.label) for r in found]


def _order(loss: float) -> tuple[bool, float]:
    return not math.isfinite(loss), loss if math.isfinite(loss) else 0.0


def name_of_loss(found: Iterable[Result]) -> str:
    """Returns what the loss is called by which results are in order."""
    return "test loss" if any("loss" in run.test for r in found for run in r.runs) else "loss"


def has_sweep(found: Iterable[Result]) -> bool:
    """True if some optimizer was trained with several values of an argument."""
    return not all(result.is_best for result in found)


def with_spread(values: Sequence[float], digits: str) -> str:
    """Returns the mean of the values, and with several also their standard deviation."""
    mean = statistics.fmean(values)
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return format(mean, digits)
    return f"{mean:{digits}} ± {statistics.stdev(values):.2g}"
