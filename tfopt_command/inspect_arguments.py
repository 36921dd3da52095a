"""The command `tfopt inspect`: its arguments, and which reader takes which file."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

from tfopt_command.inspect_file import checkpoint, hdf5_file, keras_archive
from tfopt_command.inspect_file.found import FoundFile, UnreadableFile
from tfopt_command.inspect_file.report import report
from tfopt_command.log_lines import without_log_lines

DESCRIPTION = """\
Say which optimizer a file holds, and its step, learning rate, slots, bytes
and policies, as far as the format of the file has them. The command runs no
code from the file. It reads:

  .keras        of Keras 3 and tf-keras
  .weights.h5   of Keras 3 and tf-keras
  .h5           a whole model of Keras 3 and tf-keras
  checkpoints   of tf.train.Checkpoint: the prefix, the .index file, or the folder
  SavedModel    the folder"""

EXAMPLES = """\
examples:
  tfopt inspect model.keras
  tfopt inspect checkpoints/ckpt-12"""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_READABLE = "a .keras file, an .h5 file of Keras, a checkpoint of TensorFlow or a SavedModel"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `tfopt inspect`."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a file, checkpoint or folder"
    )


def main(arguments: argparse.Namespace) -> None:
    """Prints what the files hold.

    Raises:
        SystemExit: with a text for the user, if a file cannot be read.
    """
    for number, path in enumerate(arguments.files):
        try:
            text = report(read(path))
        except (UnreadableFile, OSError) as error:
            raise SystemExit(f"tfopt inspect: {error}") from error
        print("\n" * (number > 0) + text)


def read(path: Path) -> FoundFile:
    """Returns what a file holds. The first bytes say what it is, not its name.

    Raises:
        UnreadableFile: if it is of none of the formats.
    """
    if path.is_dir() or checkpoint.prefix_of(path) is not None:
        with without_log_lines():
            return checkpoint.read(path)
    if not path.is_file():
        raise UnreadableFile(f"there is no file, checkpoint or folder `{path}`.")
    with path.open("rb") as file:
        begin = file.read(len(_HDF5))
    if begin == _HDF5:
        return hdf5_file.read(path)
    if zipfile.is_zipfile(path):
        return keras_archive.read(path)
    why = ""
    if begin[:1] == b"\x80" or path.suffix in (".pickle", ".pkl"):
        why = " It looks like a pickle, which runs code when it is read."
    raise UnreadableFile(f"`{path}` must be {_READABLE}.{why}")
