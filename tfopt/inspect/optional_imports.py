"""Imports of packages that tfopt does not depend on, such as rich and Matplotlib."""

from __future__ import annotations

import importlib
from typing import Any


def import_optional(*modules: str) -> Any:
    """Imports modules of one optional package, and returns the package.

    Raises:
        ImportError: if the package is not installed. The message says how to install it.
    """
    package = modules[0].split(".")[0]
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs {package}, which is not installed: pip install {package}."
        ) from error
    return importlib.import_module(package)
