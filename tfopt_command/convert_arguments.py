"""The arguments of `tfopt convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tfopt_command.optimizer_text import parse

DESCRIPTION = """\
Load the model in a .keras file, replace its optimizer by one of tfopt, and
write the model into another .keras file. The library that wrote the file,
Keras 3 or tf-keras, loads it in safe mode, so the file cannot run code.

What happens to the state of the optimizer depends on the two classes:

  The same class, such as Keras' Adam to adam: tfopt.convert carries over the
  slots, the step and the hyperparameters, and training continues as it was.
  If tfopt's formula differs from that of Keras, the command refuses, unless
  you pass --allow-different-formula.

  Adam and AdamW, in both directions: their slots mean the same, so the state
  is carried over. The command says which hyperparameters are new.

  Any other two classes: the slots mean something else, so the command
  refuses. With --without-state the model gets the new optimizer with its own
  defaults, at step 0."""

EXAMPLES = """\
examples:
  tfopt convert model.keras converted.keras
  tfopt convert model.keras converted.keras --to adamw,weight_decay=0.01
  tfopt convert model.keras converted.keras --to lion,learning_rate=1e-4 --without-state"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `tfopt convert`."""
    parser.add_argument("source", type=_existing, metavar="IN", help="the .keras file to read")
    parser.add_argument("target", type=_keras_file, metavar="OUT", help="the .keras file to write")
    parser.add_argument(
        "--to",
        type=_optimizer,
        metavar="OPTIMIZER",
        help="the optimizer, such as adamw or adamw,weight_decay=0.01; by default tfopt's "
        "optimizer of the same class",
    )
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of yours to import first, which registers your layers with Keras; this "
        "runs its code",
    )
    parser.add_argument(
        "--allow-different-formula",
        action="store_true",
        help="convert even if tfopt's formula differs from that of Keras",
    )
    parser.add_argument(
        "--without-state",
        action="store_true",
        help="begin the new optimizer at step 0, without the state in the file",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")


def _keras_file(text: str) -> Path:
    if not text.endswith(".keras"):
        raise argparse.ArgumentTypeError(f"must be a .keras file; got {text!r}.")
    return Path(text)


def _existing(text: str) -> Path:
    path = _keras_file(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}.")
    return path


def _optimizer(text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
