"""The HTML page of a contest: the table of results, and the losses as curves in SVG."""

from __future__ import annotations

import html
import io
import string
from collections.abc import Sequence

from tfopt.compare.contest import Run
from tfopt.compare.results_table import headings_and_rows
from tfopt.inspect.optional_imports import import_optional

PAGE_TEMPLATE = string.Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto }
table { border-collapse: collapse }
th, td { padding: .3rem .9rem; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left; font-family: ui-monospace, monospace }
svg { width: 100%; height: auto; margin-top: 1.5rem }
</style>
<h1>$title</h1>
<table>
$table_rows
</table>
<p>Loss is the mean of the last epoch's batches; times are of whole training steps.</p>
$curves
</html>
""")


def page(runs: Sequence[Run], title: str) -> str:
    """One HTML page that needs no other file, with the table of results and the loss curves.

    Args:
        runs: what `compare` returned.
        title: the title and heading of the page, as plain text.

    Raises:
        ImportError: without Matplotlib.
    """
    headings, rows = headings_and_rows(runs)
    return PAGE_TEMPLATE.substitute(
        title=html.escape(title),
        table_rows="\n".join([_table_row("th", headings), *(_table_row("td", r) for r in rows)]),
        curves=_loss_curves(runs),
    )


def _table_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _loss_curves(runs: Sequence[Run]) -> str:
    """The losses against steps and against seconds, as an SVG element."""
    matplotlib = import_optional("matplotlib.figure", "matplotlib.backends.backend_svg")
    figure = matplotlib.figure.Figure(figsize=(11, 4.2), layout="constrained")
    for axes, label in zip(figure.subplots(1, 2, sharey=True), ("steps", "seconds"), strict=True):
        for number, run in enumerate(runs):
            across = range(1, len(run.losses) + 1) if label == "steps" else run.seconds
            axes.plot(across, run.losses, color=f"C{number}", alpha=0.15, linewidth=0.8)
            axes.plot(across, _moving_average(run.losses), color=f"C{number}", label=run.label)
        axes.set(xlabel=label + (" after the first step" if label == "seconds" else ""))
        axes.set_yscale("log" if all(min(run.losses) > 0 for run in runs) else "linear")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set(ylabel="loss of a batch, and its moving average")
    figure.axes[0].legend(frameon=False)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _moving_average(losses: Sequence[float]) -> list[float]:
    """The exponential moving average of the losses, without bias towards 0 at the start."""
    keep = 1 - 1 / min(25, max(1, len(losses) / 8))
    averages, mean = [], 0.0
    for step, loss in enumerate(losses, start=1):
        mean = keep * mean + (1 - keep) * loss
        averages.append(mean / (1 - keep**step))
    return averages
