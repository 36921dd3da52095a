"""The command `tfopt compare`: its arguments, its progress bars and what it prints."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfopt.compare.contest import DEFAULT_OPTIMIZERS, Run, compare
from tfopt.compare.html_page import page
from tfopt.compare.optimizer_text import optimizer
from tfopt.compare.results_table import headings_and_rows
from tfopt.inspect.optional_imports import import_optional


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `tfopt compare`."""
    parser.add_argument(
        "optimizers",
        nargs="*",
        default=list(DEFAULT_OPTIMIZERS),
        help="such as adam sgd,learning_rate=0.1,momentum=0.9 keras.adam; "
        f"by default {' '.join(DEFAULT_OPTIMIZERS)}",
    )
    parser.add_argument(
        "--problem",
        default="tfopt.compare:digits",
        help="module:function; the function takes an optimizer, and returns a compiled model, the "
        "data to fit, (x, y) or a tf.data.Dataset, and, if it likes, test data",
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32, help="for data that are arrays")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("compare.html"), help="the page to write")


def main(arguments: argparse.Namespace) -> None:
    """Trains, shows how it goes, prints the table of results and writes the page.

    Args:
        arguments: what `add_arguments` declares.

    Raises:
        SystemExit: with a line for the user, if an argument is wrong or a package is missing.
    """
    try:  # now, and not after all the training
        rich = import_optional("rich.console", "rich.progress", "rich.table")
        import_optional("matplotlib.figure")
        problem = _problem_function(arguments.problem)
        for text in arguments.optimizers:
            optimizer(text)
    except (ImportError, ValueError) as error:
        raise SystemExit(f"tfopt compare: {error}") from error
    console = rich.console.Console()
    columns = rich.progress.Progress.get_default_columns()
    loss_column = rich.progress.TextColumn("loss {task.fields[loss]:.4f}")
    with rich.progress.Progress(*columns, loss_column, console=console) as progress:

        def show(run: Run, total: int, loss: float) -> None:
            if len(run.losses) == 1:
                progress.add_task(run.label, total=total or None, loss=loss)
            progress.update(progress.task_ids[-1], advance=1, loss=loss)

        runs = compare(
            arguments.optimizers,
            problem,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            watch=show,
        )
    headings, rows = headings_and_rows(runs)
    table = rich.table.Table(caption="loss: the mean of the last epoch's batches")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    html = page(runs, f"{arguments.problem}, seed {arguments.seed}")
    arguments.out.write_text(html, encoding="utf-8")
    console.print(f"Curves: {arguments.out}")


def _problem_function(name: str) -> Callable[..., Any]:
    """The function that `module:function` names.

    Raises:
        ValueError: if there is no such function.
    """
    sys.path.insert(0, "")  # the folder that the command runs in
    try:
        function = pkgutil.resolve_name(name)
    except (AttributeError, ModuleNotFoundError, ValueError) as error:
        raise ValueError(f"`problem` must be module:function; got {name!r}: {error}.") from error
    finally:
        sys.path.remove("")
    if ":" not in name or not callable(function):
        raise ValueError(f"`problem` must be module:function; got {name!r}.")
    return function
