"""The command `tfopt compare`: trains, shows how far it is, prints a table and writes a page."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import inspect
import platform
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfopt.compare.contest import Run, plan, train
from tfopt.compare.html_page import page
from tfopt.compare.problem_function import problem_function
from tfopt.compare.progress import HAS_RICH, progress
from tfopt.compare.remarks import remarks
from tfopt.compare.results_file import ResultsFile
from tfopt.compare.results_table import caption, headings_and_rows, plain_text
from tfopt_command.compare_arguments import DEFAULT_OPTIMIZERS
from tfopt_command.optimizer_text import OptimizerText, Setting, parse, with_sweeps
from tfopt_command.versions import versions


def main(arguments: argparse.Namespace) -> None:
    """Runs the command.

    Args:
        arguments: what `tfopt_command.compare_arguments` declares.

    Raises:
        SystemExit: with a text for the user, if an argument is wrong or the user interrupts it.
    """
    sweeps = dict(arguments.sweep)
    texts = arguments.optimizers or [_without(text, sweeps) for text in DEFAULT_OPTIMIZERS]
    try:
        problem = problem_function(arguments.problem)
        planned = plan(with_sweeps(texts, sweeps), arguments.seed, arguments.seeds)
    except ValueError as error:
        raise SystemExit(f"tfopt compare: {error}") from error
    file = ResultsFile(arguments.out.with_suffix(".json"), _about(arguments, problem))
    try:
        runs = _train_all(arguments, planned, problem, file)
    except ImportError as error:  # a problem that needs another package, such as the digits
        raise SystemExit(f"tfopt compare: {error}") from error
    arguments.out.write_text(_page(arguments, runs), encoding="utf-8")
    file.write(runs, complete=True)
    _print_table(runs)
    for remark in remarks(runs):
        print(remark)
    print(f"Page: {arguments.out}")


def _without(text: str, names: Sequence[str] | dict[str, Any]) -> str:
    """Returns an optimizer without its own values of the arguments that are swept."""
    name, given = parse(text)
    return str(OptimizerText(name, {n: v for n, v in given.items() if n not in names}))


def _about(arguments: argparse.Namespace, problem: Callable[..., Any]) -> dict[str, Any]:
    """Returns what the results depend on besides optimizers and seeds."""
    try:
        source = Path(inspect.getsourcefile(problem) or "").read_bytes()
    except (OSError, TypeError):
        source = b""
    return {
        "problem": arguments.problem,
        "source": hashlib.sha256(source).hexdigest(),
        "epochs": arguments.epochs,
        "batch size": arguments.batch_size,
        "versions": versions(),
    }


def _train_all(
    arguments: argparse.Namespace,
    planned: Sequence[tuple[Setting, int]],
    problem: Callable[..., Any],
    file: ResultsFile,
) -> list[Run]:
    """Trains what is not finished yet, and keeps each run in the file as soon as it is finished."""
    finished = {} if arguments.restart else {(r.label, r.seed): r for r in file.finished()}
    keys = [(setting.text, seed) for setting, seed in planned]
    runs = {key: finished[key] for key in keys if key in finished}
    if runs:
        print(f"Continuing: {len(runs)} of {len(planned)} trainings are in {file.path}.")
    with progress(len(planned), len(runs), arguments.epochs) as show:
        for setting, seed in planned:
            key = setting.text, seed
            if key in runs:
                continue
            try:
                runs[key] = train(
                    setting,
                    problem,
                    epochs=arguments.epochs,
                    batch_size=arguments.batch_size,
                    seed=seed,
                    watch=show.batch,
                )
            except KeyboardInterrupt:
                raise SystemExit(
                    f"\ntfopt compare: interrupted. {len(runs)} of {len(planned)} trainings are "
                    f"kept in {file.path}; the same command continues from there."
                ) from None
            file.write(list(runs.values()))
            show.done(runs[key])
    return [runs[key] for key in keys]


def _page(arguments: argparse.Namespace, runs: Sequence[Run]) -> str:
    last = arguments.seed + arguments.seeds - 1
    seeds = f"seeds {arguments.seed} to {last}" if arguments.seeds > 1 else f"seed {last}"
    gpus = [gpu.name for gpu in tf.config.list_logical_devices("GPU")]
    devices = f"{len(gpus)} GPU" if gpus else "no GPU"
    details = {
        "command": arguments.command_line,
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "model": _models(runs),
        "training": f"{arguments.epochs} epochs, batch size {arguments.batch_size}, {seeds}",
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {devices}",
    }
    return page(runs, f"Optimizers compared on {arguments.problem}", details)


def _models(runs: Sequence[Run]) -> str:
    """Returns the models, each once, whatever number Keras has added to its name."""
    models: dict[str, str] = {}
    for run in runs:
        models.setdefault(re.sub(r"_\d+(?=, )", "", run.model), run.model)
    return "; ".join(models.values())


def _print_table(runs: Sequence[Run]) -> None:
    headings, rows = headings_and_rows(runs)
    if not HAS_RICH:
        print(plain_text(headings, rows), caption(runs), sep="\n")
        return
    import rich.console
    import rich.measure

    console = rich.console.Console()
    unlimited = console.options.update_width(1000)
    table = _table(headings, rows, caption(runs), {",": ", "})
    if rich.measure.Measurement.get(console, unlimited, table).maximum > console.width:
        headings = [heading.replace(" ", "\n", 1) for heading in headings]
        table = _table(headings, rows, caption(runs), {",": ",\n", " *": "*", " ±": "\n±"})
    console.print(table)


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    replacements: dict[str, str],
) -> Any:
    """Returns a table of rich. Replacements such as line breaks make its cells narrower."""
    import rich.box
    import rich.markup
    import rich.table

    table = rich.table.Table(caption=caption, box=rich.box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right" if table.columns else "left")
    for row in rows:
        cells = list(map(rich.markup.escape, row))
        for old, new in replacements.items():
            cells = [cell.replace(old, new) for cell in cells]
        table.add_row(*cells)
    return table
