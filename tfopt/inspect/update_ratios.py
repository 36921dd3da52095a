"""The update ratio of variables: what is usual, and what to do about what is not."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Mapping

import numpy as np

# Source: the notes of Stanford's course CS231n on training, by Andrej Karpathy, section "Ratio of
# weights:updates", https://cs231n.github.io/neural-networks-3/#ratio: about 1e-3 as a rough
# heuristic. Optimizers and layers differ by a factor of ten and more, so only what is well beyond
# that is told.
USUAL = 1e-3
TOO_HIGH, TOO_LOW = 0.1, 1e-6
STEPS = 25  # how many of the last steps recorded are looked at


class UpdateRatios:
    """The update ratios of variables in the last steps that were recorded."""

    def __init__(self) -> None:
        self._ratios: dict[str, collections.deque[float]] = {}

    def add(self, path: str, ratio: float) -> None:
        """Notes the ratio of one variable in one step."""
        if math.isfinite(ratio):  # weights that begin at 0 have none in their first step
            self._ratios.setdefault(path, collections.deque(maxlen=STEPS)).append(ratio)

    def medians(self) -> dict[str, float]:
        """Returns the median of each variable."""
        return {path: statistics.median(ratios) for path, ratios in self._ratios.items()}


def health(medians: Mapping[str, float], rows: set[str]) -> list[str]:
    """Returns a line for each variable whose update ratio is well beyond what is usual.

    Args:
        medians: the update ratio of each variable, by path.
        rows: the paths of variables of which a step moves only a few rows, so a low ratio is
            usual there.
    """
    lines = []
    for path, ratio in medians.items():
        if ratio > TOO_HIGH:
            advice = "lower the learning rate"
        elif ratio < TOO_LOW and path not in rows:
            advice = "raise the learning rate" if ratio else "check that a gradient reaches it"
        else:
            continue
        lines.append(
            f"{path}: a step changes the weights by {_percent(ratio)} of their size, where about "
            f"{_percent(USUAL)} is usual: {advice}."
        )
    return lines


def _percent(ratio: float) -> str:
    return np.format_float_positional(100 * ratio, precision=2, fractional=False, trim="-") + " %"
