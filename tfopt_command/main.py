"""The entry of the command `tfopt`: reads the arguments and runs one of its commands."""

from __future__ import annotations

import argparse
import contextlib
import pkgutil
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tfopt_command import compare_arguments, convert_arguments, inspect_arguments
from tfopt_command.log_lines import without_log_lines
from tfopt_command.versions import versions

DESCRIPTION = """\
Tools for optimizers of TensorFlow, Keras 3 and tf-keras.

Type `tfopt COMMAND --help` for the arguments and for examples of a command."""


class Command(NamedTuple):
    """A command: one line about it, its arguments, and the function that runs it, by name."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    function: str
    description: str
    examples: str
    needs_tensorflow: bool = True


COMMANDS = {
    "compare": Command(
        "train a model with several optimizers and compare them",
        compare_arguments.add_arguments,
        "tfopt.compare.command_line:main",
        compare_arguments.DESCRIPTION,
        compare_arguments.EXAMPLES,
    ),
    "inspect": Command(
        "say what a file or a checkpoint holds of an optimizer",
        inspect_arguments.add_arguments,
        "tfopt_command.inspect_arguments:main",
        inspect_arguments.DESCRIPTION,
        inspect_arguments.EXAMPLES,
        needs_tensorflow=False,  # only checkpoints need it
    ),
    "convert": Command(
        "give the model in a .keras file an optimizer of tfopt",
        convert_arguments.add_arguments,
        "tfopt._command_line.convert:main",
        convert_arguments.DESCRIPTION,
        convert_arguments.EXAMPLES,
    ),
}


class _Version(argparse.Action):
    """Prints the versions. They are looked up only if somebody asks for them."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(versions())
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="tfopt",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        help="print the versions of tfopt and of what it uses",
    )
    commands = parser.add_subparsers(
        dest="command", required=True, title="commands", metavar="COMMAND"
    )
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=command.summary,
            description=command.description,
            epilog=command.examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command.

    Args:
        arguments: the words after `tfopt`; those of the process by default.

    Raises:
        SystemExit: with a text for the user, if the command cannot run.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parsed = make_parser().parse_args(words)
    parsed.command_line = shlex.join(["tfopt", *words])
    command = COMMANDS[parsed.command]
    with without_log_lines() if command.needs_tensorflow else contextlib.nullcontext():
        run = pkgutil.resolve_name(command.function)
    run(parsed)
