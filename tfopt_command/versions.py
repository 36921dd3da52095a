"""The versions of tfopt and of the packages that it works with, without importing them."""

from __future__ import annotations

import importlib.util
import platform
import re
from importlib import metadata
from pathlib import Path

# The packages that bring TensorFlow: each has the module under another name of a distribution.
_PACKAGES = {
    "TensorFlow": ("tensorflow", "tensorflow-cpu", "tensorflow-macos", "tf-nightly"),
    "Keras": ("keras", "keras-nightly"),
    "tf-keras": ("tf-keras", "tf-keras-nightly"),
}


def tfopt_version() -> str:
    """Returns the version that `tfopt/__init__.py` states, also where tfopt is not installed."""
    spec = importlib.util.find_spec("tfopt")
    if spec is None or spec.origin is None:
        return "unknown"
    stated = re.search(r'^__version__ = "(.+)"', Path(spec.origin).read_text("utf-8"), re.M)
    return stated[1] if stated else "unknown"


def versions() -> str:
    """Returns one line: tfopt 0.1.0 (TensorFlow 2.21.0, Keras 3.15.1, Python 3.12.1)."""
    others = []
    for name, distributions in _PACKAGES.items():
        found = [version for d in distributions if (version := _version(d))]
        others += [f"{name} {version}" for version in found[:1]]
    others.append(f"Python {platform.python_version()}")
    return f"tfopt {tfopt_version()} ({', '.join(others)})"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
