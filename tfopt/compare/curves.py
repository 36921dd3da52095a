"""The plots of a contest, each an SVG element: losses, and final losses over a sweep."""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tfopt.compare.contest import Run
from tfopt.compare.results import DIVERGED, Result, has_sweep, name_of_loss, results

# Matplotlib writes this colour where the page has its own, which differs in the dark.
_OF_THE_PAGE = "#010203"
_STYLE = {
    "svg.fonttype": "none",  # text of the page, not paths
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _OF_THE_PAGE,
    "axes.labelcolor": _OF_THE_PAGE,
    "axes.edgecolor": _OF_THE_PAGE,
    "xtick.color": _OF_THE_PAGE,
    "ytick.color": _OF_THE_PAGE,
    "grid.color": _OF_THE_PAGE,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_DASHES = ("solid", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)))


def curves(runs: Iterable[Run]) -> list[str]:
    """Returns the plots as SVG elements, in the order in which a page has them.

    Raises:
        ImportError: without Matplotlib.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = _STYLE
    found = results(runs)
    shown = sorted((result for result in found if result.is_best), key=lambda r: r.group)
    drawings: list[tuple[str, Callable[[Any], None]]] = [
        (f"Loss against {across}", functools.partial(_losses, shown=shown, across=across))
        for across in ("steps", "seconds")
    ]
    names = list(dict.fromkeys(name for result in found for name in result.runs[0].swept))
    if has_sweep(found):
        drawings += [
            (
                f"Final {name_of_loss(found)} against {name}",
                functools.partial(_sweep, found=found, name=name),
            )
            for name in names
        ]
    svgs = []
    for title, draw in drawings:
        with matplotlib.rc_context({**style, "svg.hashsalt": title}):
            figure: Any = Figure(figsize=(5.4, 4.2), layout="constrained")
            draw(figure.subplots())
            svgs.append(_svg(figure, title))
    return svgs


def _losses(axes: Any, shown: Sequence[Result], across: str) -> None:
    """Draws the moving average of the losses, with all losses or a band over the seeds behind."""
    for number, result in enumerate(shown):
        length = min(len(run.losses) for run in result.runs)
        averages = np.array([_moving_average(run.losses[:length]) for run in result.runs])
        x: Any = np.arange(1, length + 1)
        if across == "seconds":
            x = np.mean([run.seconds[:length] for run in result.runs], axis=0)
        look = _look(number)
        if len(result.runs) > 1:
            low, high = averages.min(0), averages.max(0)
            axes.fill_between(x, low, high, color=look["color"], alpha=0.2, lw=0)
        else:
            losses = result.runs[0].losses[:length]
            axes.plot(x, losses, color=look["color"], alpha=0.2, linewidth=0.8)
        axes.plot(x, averages.mean(0), label=result.label, **look)
    losses = [loss for result in shown for run in result.runs for loss in run.losses]
    axes.set_yscale("log" if min(losses, default=0) > 0 else "linear")
    _keep_in_view(axes, shown)
    axes.set(
        xlabel="steps" if across == "steps" else "seconds after the first step",
        ylabel="loss of a batch, moving average",
    )
    _finish(axes)


def _look(number: int) -> dict[str, Any]:
    """Returns the look of a curve.

    Curves may cover each other. So each one is thinner than the one before it, and has other
    dashes: what is below stays visible.
    """
    return {
        "color": f"C{number % 10}",
        "linestyle": _DASHES[number % len(_DASHES)],
        "linewidth": max(1.4, 3.4 - 0.6 * number),
    }


def _keep_in_view(axes: Any, shown: Sequence[Result]) -> None:
    """Cuts off what diverges, so that the other curves stay legible."""
    losses = [loss for result in shown for run in result.runs for loss in run.losses]
    top = DIVERGED * max((run.losses[0] for r in shown for run in r.runs if run.losses), default=0)
    if math.isfinite(top) and top > 0 and any(loss > top for loss in losses):
        axes.set_ylim(top=top)


def _sweep(axes: Any, found: Sequence[Result], name: str) -> None:
    """Draws the final loss of each value of an argument."""
    groups: dict[str, list[Result]] = {}
    for result in found:
        if name in result.runs[0].swept and math.isfinite(result.loss):
            groups.setdefault(result.group, []).append(result)
    order = sorted({result.group for result in found})
    for group in sorted(groups):
        number = order.index(group)
        points = sorted(groups[group], key=lambda result: result.runs[0].swept[name])
        x = [result.runs[0].swept[name] for result in points]
        lows = [min(run.final for run in result.runs) for result in points]
        highs = [max(run.final for run in result.runs) for result in points]
        look = _look(number)
        axes.fill_between(x, lows, highs, color=look["color"], alpha=0.2, lw=0)
        y = [result.loss for result in points]
        axes.plot(x, y, label=group, marker="o", markersize=3 + look["linewidth"], **look)
    values = [run.swept[name] for r in found for run in r.runs if name in run.swept]
    axes.set_xscale("log" if min(values) > 0 else "linear")
    finals = [result.loss for of_group in groups.values() for result in of_group]
    axes.set_yscale("log" if finals and min(finals) > 0 else "linear")
    of_what = {"loss": "loss in the last epoch"}.get(name_of_loss(found), name_of_loss(found))
    axes.set(xlabel=name, ylabel=of_what)
    _finish(axes)


def _finish(axes: Any) -> None:
    axes.grid(alpha=0.2)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, handlelength=4)


def _svg(figure: Any, title: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()[out.getvalue().index("<svg") :]
    svg = svg.replace(_OF_THE_PAGE, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # which the plots of a page would share
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.S)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _moving_average(losses: Sequence[float]) -> list[float]:
    """Returns the exponential moving average of the losses, without bias towards 0 at the start."""
    keep = 1 - 1 / min(25, max(1, len(losses) / 8))
    averages, mean = [], 0.0
    for step, loss in enumerate(losses, start=1):
        mean = keep * mean + (1 - keep) * loss
        averages.append(mean / (1 - keep**step))
    return averages
