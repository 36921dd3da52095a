"""The command `tfopt`, also `python -m tfopt`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tfopt import compare
from tfopt.compare.command_line import add_arguments


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="tfopt", description="Tools for tfopt's optimizers.")
    commands = parser.add_subparsers(dest="command", required=True)
    add_arguments(
        commands.add_parser(
            "compare",
            help="train a model with several optimizers and compare them",
            description=(compare.__doc__ or "").splitlines()[0],
        )
    )
    compare.main(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
