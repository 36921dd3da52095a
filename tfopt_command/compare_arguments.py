"""The arguments of `tfopt compare`."""

from __future__ import annotations

import argparse
import importlib.util
import re
from pathlib import Path
from typing import Any

from tfopt_command import current_folder
from tfopt_command.optimizer_text import parse, parse_sweep

DEFAULT_OPTIMIZERS = (
    "sgd,learning_rate=0.1,momentum=0.9",
    "adam",
    "adamw",
    "lion,learning_rate=3e-4",
)
DEFAULT_PROBLEM = "tfopt.compare:digits"

DESCRIPTION = """\
Train a model with each optimizer, always from the same weights and with the
same batches. The command prints a table and writes a page with the curves of
the losses.

An optimizer at one learning rate says little about the optimizer: give each
one several with --sweep. A small difference may be chance: --seeds shows how
large chance is."""

EXAMPLES = """\
examples:
  tfopt compare
  tfopt compare adam keras.adam sgd,learning_rate=0.1,momentum=0.9
  tfopt compare adam lion --sweep learning_rate=1e-4,3e-4,1e-3 --seeds 3
  tfopt compare adam,learning_rate=[1e-4,3e-4] --problem my_module:my_function

If you stop the command, the same command continues later: finished trainings
are kept in a JSON file next to the page (compare.json next to compare.html).
It begins anew if your problem's file, the epochs, the batch size or a version
has changed. The table needs no other package; rich makes it prettier, and
Matplotlib draws the curves: pip install rich matplotlib"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `tfopt compare`."""
    parser.add_argument(
        "optimizers",
        nargs="*",
        type=_optimizer,
        metavar="OPTIMIZER",
        help="a name in tfopt, or keras. and a name in Keras 3, with arguments after commas; a "
        f"list of numbers is a sweep; by default {' '.join(DEFAULT_OPTIMIZERS)}",
    )
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        type=_sweep,
        metavar="NAME=VALUE,...",
        help="train each optimizer once with each of these values of an argument, such as "
        "learning_rate=1e-4,3e-4,1e-3; an optimizer that states the argument keeps its own value",
    )
    parser.add_argument(
        "--problem",
        type=_problem,
        default=DEFAULT_PROBLEM,
        metavar="MODULE:FUNCTION",
        help="what to train: a function that takes an optimizer and returns a compiled model, the "
        "data to fit, (x, y) or a tf.data.Dataset, and optionally data to test on; by default a "
        "small model for scikit-learn's handwritten digits",
    )
    parser.add_argument("--epochs", type=_at_least_1, default=10, metavar="N", help="by default 10")
    parser.add_argument(
        "--batch-size",
        type=_at_least_1,
        default=32,
        metavar="N",
        help="for data that are arrays; by default 32",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the first seed, 0 if not given"
    )
    parser.add_argument(
        "--seeds",
        type=_at_least_1,
        default=1,
        metavar="N",
        help="train with N seeds, one after the other; the table then has means and standard "
        "deviations, and the plot has bands; by default 1",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("compare.html"),
        metavar="PAGE",
        help="the page to write, by default compare.html; results are kept in PAGE with .json",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="train everything again, even if an interrupted comparison could continue",
    )


def _optimizer(text: str) -> str:
    _checked(parse, text)
    return text


def _sweep(text: str) -> tuple[str, list[float]]:
    result: tuple[str, list[float]] = _checked(parse_sweep, text)
    return result


def _checked(read: Any, text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _problem(text: str) -> str:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", text):
        raise argparse.ArgumentTypeError(
            f"a problem must be module:function, such as my_module:my_function; got {text!r}."
        )
    package = text.partition(":")[0].partition(".")[0]
    with current_folder.importable():
        found = importlib.util.find_spec(package)  # which imports nothing
    if found is None:
        raise argparse.ArgumentTypeError(
            f"there is no module {package!r}, neither in the current folder nor among the "
            f"installed packages; got {text!r}."
        )
    return text


def _at_least_1(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; got {text!r}.")
    return number
