"""Trains one model with several optimizers from one seed, and shows which learns how fast.

Run it as `tfopt compare`. What it draws with (rich, Matplotlib) comes with
`pip install 'tfopt[inspect]'`; the digits that it trains on by default are scikit-learn's.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import html
import importlib
import io
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfopt import registry
from tfopt._libraries import CALLBACKS, LIBRARIES
from tfopt.inspect.optional_imports import import_optional

__all__ = ["Run", "compare", "digits", "main", "optimizer", "page"]

DEFAULTS = ("sgd,learning_rate=0.1,momentum=0.9", "adam", "adamw", "lion,learning_rate=3e-4")


# --- what is trained ------------------------------------------------------------------------------


def optimizer(text: str) -> Any:
    """The optimizer that a word of the command line stands for.

    Args:
        text: a name of tfopt's, or `keras.` and a name of Keras 3's, and arguments:
            `sgd,learning_rate=0.1,momentum=0.9`.

    Raises:
        ValueError: if it names no optimizer, or an argument it does not take.

    >>> tfopt.compare.optimizer("sgd,momentum=0.9")
    tfopt.SGD(name='SGD', learning_rate=0.01, momentum=0.9, nesterov=False)
    """
    name, *arguments = text.split(",")
    config = {}
    for argument in arguments:
        key, found, value = argument.partition("=")
        try:
            config[key] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            raise ValueError(
                "`optimizers` must be like sgd,learning_rate=0.1 with numbers, True, False, None "
                f"or quoted text as arguments; got {argument!r} in {text!r}."
            ) from None
    library, _, short = name.rpartition(".")
    try:
        if library == "keras":
            made = type(keras.optimizers.get(short)).from_config(config)
        elif library in ("", "tfopt"):
            made = type(registry.get(short)).from_config(config)
        else:
            raise ValueError("its library is neither tfopt nor keras.")
    except (TypeError, ValueError) as error:
        raise ValueError(f"`optimizers` must name optimizers; got {text!r}: {error}") from error
    return made


def digits(optimizer: Any) -> tuple[Any, Any, Any]:
    """The default problem: scikit-learn's 1,797 handwritten digits, and a small network."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The default problem needs scikit-learn (pip install scikit-learn); or name one of "
            "your own by `--problem module:function`."
        ) from error
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1440], order[1440:]
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(128, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model, (x[train], y[train]), (x[test], y[test])


def find(path: str) -> Callable[..., Any]:
    """The function that `module:function` names.

    Raises:
        ValueError: if there is no such function.
    """
    module, found, name = path.partition(":")
    sys.path.insert(0, "")  # the folder that the command runs in
    try:
        function = getattr(importlib.import_module(module), name, None) if found else None
    except ModuleNotFoundError as error:
        raise ValueError(f"`problem` must be module:function; got {path!r}: {error}.") from error
    finally:
        sys.path.remove("")
    if not callable(function):
        raise ValueError(f"`problem` must be module:function; got {path!r}.")
    return function


# --- training -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Run:
    """How training with one optimizer went.

    Attributes:
        label: what the optimizer was called.
        losses: the loss of each batch.
        seconds: how much time the batches up to each one took, without the first, which
            compiles, and without what lies between batches.
        first: how many seconds the first batch took.
        epoch: how many batches are in an epoch.
        test: the results of the test data by name, empty without such data.
    """

    label: str
    losses: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    first: float = math.nan
    epoch: int = 1
    test: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def loss(self) -> float:
        """The mean loss of the last epoch's batches."""
        return statistics.fmean(self.losses[-self.epoch :]) if self.losses else math.nan

    @property
    def milliseconds(self) -> float:
        """The median time of a batch after the first."""
        steps = np.diff(self.seconds)
        return 1000 * float(np.median(steps)) if len(steps) else math.nan


def compare(
    optimizers: Sequence[str] = DEFAULTS,
    problem: Callable[..., Any] = digits,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    watch: Callable[[Run, int, float], None] | None = None,
) -> list[Run]:
    """Trains a model with each optimizer, from the same weights and with the same batches.

    Args:
        optimizers: words as `optimizer` takes them.
        problem: a function of an optimizer that returns a compiled model and the data to fit,
            (x, y) or a `tf.data.Dataset`, and, if it likes, as much to test on.
        epochs: how often the data are gone through, at least 1.
        batch_size: for data that are arrays, at least 1.
        seed: for Python's, NumPy's and TensorFlow's random numbers, before each training.
        watch: called after each batch with the run, the number of all batches, and the loss.

    Returns:
        A run for each optimizer.

    Raises:
        ValueError: if an optimizer is none, or `problem` returns something else.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1; got {value!r}.")
    made = [optimizer(text) for text in optimizers]  # all, before one is trained
    if not made:
        raise ValueError("`optimizers` must hold one at least; got none.")
    runs = []
    for text, opt in zip(optimizers, made, strict=True):
        for library in LIBRARIES:  # each has a generator of its own
            library.utils.set_random_seed(seed)
        model, data, test = _unpack(problem(opt))
        recorder = _Recorder(Run(text), watch)
        model.fit(**_arguments(data, batch_size), epochs=epochs, verbose=0, callbacks=[recorder])
        if test is not None:
            results = model.evaluate(**_arguments(test, batch_size), verbose=0, return_dict=True)
            recorder.run.test = {name: float(value) for name, value in results.items()}
        runs.append(recorder.run)
    return runs


def _unpack(returned: Any) -> tuple[Any, Any, Any]:
    if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
        raise ValueError(
            f"`problem` must return a compiled model, data, and test data or not; got {returned!r}."
        )
    model, data, test = returned if len(returned) == 3 else (*returned, None)
    return model, data, test


def _arguments(data: Any, batch_size: int) -> dict[str, Any]:
    """How `fit` and `evaluate` take data."""
    if isinstance(data, tuple | list):
        return {"x": data[0], "y": data[1], "batch_size": batch_size}
    return {"x": data}


class _Recorder(*CALLBACKS):  # type: ignore[misc]
    """Notes the loss and the time of each batch."""

    def __init__(self, run: Run, watch: Any):
        super().__init__()
        self.run, self.watch = run, watch
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.reset_metrics()  # the loss of a batch, not the mean since the epoch began
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = float((logs or {})["loss"])
        seconds = time.perf_counter() - self._began
        if self.run.losses:
            self.run.seconds.append(self.run.seconds[-1] + seconds)
        else:
            self.run.first, self.run.seconds = seconds, [0.0]
        self.run.losses.append(loss)
        if self.watch is not None:
            steps = self.params.get("steps")
            self.watch(self.run, self.params["epochs"] * steps if steps else 0, loss)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.run.epoch = len(self.run.losses) // (epoch + 1)


# --- results --------------------------------------------------------------------------------------


def rows(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of the table of results, the lowest loss first."""
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


def page(runs: Sequence[Run], title: str) -> str:
    """One HTML page that needs no other file: the table, and the losses as curves."""
    headings, lines = rows(runs)
    table = "".join(
        "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line) + "</tr>\n"
        for tag, line in [("th", headings), *(("td", line) for line in lines)]
    )
    return PAGE.format(title=html.escape(title), table=table, figure=_curves(runs))


def _curves(runs: Sequence[Run]) -> str:
    """The losses against steps and against seconds, as SVG."""
    matplotlib = import_optional("matplotlib.figure", "matplotlib.backends.backend_svg")
    figure = matplotlib.figure.Figure(figsize=(11, 4.2), layout="constrained")
    for axes, label in zip(figure.subplots(1, 2, sharey=True), ("steps", "seconds"), strict=True):
        for number, run in enumerate(runs):
            across = range(1, len(run.losses) + 1) if label == "steps" else run.seconds
            axes.plot(across, run.losses, color=f"C{number}", alpha=0.15, linewidth=0.8)
            axes.plot(across, _smooth(run.losses), color=f"C{number}", label=run.label)
        axes.set(xlabel=label + (" after the first step" if label == "seconds" else ""))
        axes.set_yscale("log" if all(min(run.losses) > 0 for run in runs) else "linear")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set(ylabel="loss of a batch, and its moving average")
    figure.axes[0].legend(frameon=False)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _smooth(losses: Sequence[float]) -> list[float]:
    """An exponential moving average, unbiased."""
    keep = 1 - 1 / min(25, max(1, len(losses) / 8))
    smoothed, mean = [], 0.0
    for step, loss in enumerate(losses, start=1):
        mean = keep * mean + (1 - keep) * loss
        smoothed.append(mean / (1 - keep**step))
    return smoothed


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto }}
table {{ border-collapse: collapse }}
th, td {{ padding: .3rem .9rem; border-bottom: 1px solid #ddd; text-align: right }}
th:first-child, td:first-child {{ text-align: left; font-family: ui-monospace, monospace }}
svg {{ width: 100%; height: auto; margin-top: 1.5rem }}
</style>
<h1>{title}</h1>
<table>
{table}</table>
<p>Loss is the mean of the last epoch's batches; times are of whole training steps.</p>
{figure}
</html>
"""


# --- the command ----------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `tfopt compare`."""
    parser.add_argument(
        "optimizers",
        nargs="*",
        default=list(DEFAULTS),
        help="such as adam sgd,learning_rate=0.1,momentum=0.9 keras.adam; "
        f"by default {' '.join(DEFAULTS)}",
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
    """Trains, shows how it goes, prints a table and writes a page."""
    try:  # now, and not after all the training
        rich = import_optional("rich.console", "rich.progress", "rich.table")
        import_optional("matplotlib.figure")
        problem = find(arguments.problem)
        for text in arguments.optimizers:
            optimizer(text)
    except (ImportError, ValueError) as error:
        raise SystemExit(f"tfopt compare: {error}") from error
    console = rich.console.Console()
    columns = rich.progress.Progress.get_default_columns()
    loss_column = rich.progress.TextColumn("loss {task.fields[loss]:.4f}")
    with rich.progress.Progress(*columns, loss_column, console=console) as bar:
        tasks: dict[int, Any] = {}

        def show(run: Run, total: int, loss: float) -> None:
            if id(run) not in tasks:
                tasks[id(run)] = bar.add_task(run.label, total=total or None, loss=loss)
            bar.update(tasks[id(run)], advance=1, loss=loss)

        runs = compare(
            arguments.optimizers,
            problem,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            watch=show,
        )
    headings, lines = rows(runs)
    table = rich.table.Table(caption="loss: the mean of the last epoch's batches")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    arguments.out.write_text(page(runs, f"{arguments.problem}, seed {arguments.seed}"))
    console.print(f"Curves: {arguments.out}")
