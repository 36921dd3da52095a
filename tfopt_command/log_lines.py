"""Keeps the log lines of TensorFlow away from the terminal while TensorFlow is imported."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

SETTING = "TF_CPP_MIN_LOG_LEVEL"
# Lines of Abseil ("E0000 00:00:17 ...") and of TensorFlow ("2026-01-31 12:00:00.1: I tensorflow").
_LOG_LINE = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] "
    r"|WARNING: All log messages before absl::InitializeLog"
)


@contextlib.contextmanager
def without_log_lines() -> Iterator[None]:
    """Imports TensorFlow, and runs the body, without log lines on standard error.

    The variable `TF_CPP_MIN_LOG_LEVEL` is set to 3, which also holds for the rest of the process.
    TensorFlow writes some lines before it looks at the variable, so standard error goes into a
    file meanwhile. What is in there besides log lines is shown afterwards. If the user has set
    the variable to another level, or TensorFlow is imported already, then nothing is changed.
    """
    if os.environ.get(SETTING, "3") != "3" or "tensorflow" in sys.modules:
        yield
        return
    os.environ[SETTING] = "3"
    sys.stderr.flush()
    try:
        terminal = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            tensorflow = importlib.import_module("tensorflow")
            tensorflow.config.list_physical_devices()  # looks for GPUs, and says what it finds
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines(keepends=True):
                if not _LOG_LINE.match(line):
                    sys.stderr.write(line)
