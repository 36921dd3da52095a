"""Imports from the folder that a command runs in, as Python's `-m` has them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Finds modules in the current folder first, while the body runs."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")
