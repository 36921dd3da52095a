"""`TfoptWarning`, the only category of warnings that tfopt gives."""

from __future__ import annotations

import contextlib
import inspect
import os
import types
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

_LIBRARIES = {"tensorflow", "keras", "tf_keras"}
_PYTHON = os.path.join(os.path.dirname(os.__file__), "")  # where its own modules lie
_INSTALLED = os.path.join(_PYTHON, "site-packages", "")
_IS_REMAKING: ContextVar[bool] = ContextVar("is_remaking", default=False)


class TfoptWarning(UserWarning):
    """A warning that an optimizer probably does not do what you mean."""


def warn(message: str) -> None:
    """Warns, pointing at the first caller outside of tfopt, TensorFlow, Keras 3 and tf-keras.

    Python's own library lies between them, too: contexts run in it, for example.
    """
    frame, level = inspect.currentframe(), 1
    while frame is not None and _is_of_a_library(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, TfoptWarning, stacklevel=level)


def warn_of_arguments(message: str) -> None:
    """Warns of what an optimizer is given, unless it is made anew from a config or as a copy."""
    if not _IS_REMAKING.get():
        warn(message)


@contextlib.contextmanager
def remaking() -> Iterator[None]:
    """Is entered while an optimizer is made anew: nobody chooses its arguments at that time."""
    token = _IS_REMAKING.set(True)
    try:
        yield
    finally:
        _IS_REMAKING.reset(token)


def a_library_calls() -> bool:
    """Returns whether TensorFlow, Keras 3 or tf-keras calls tfopt, rather than the user's code.

    What users write themselves they mean; what a callback does they may not know.
    """
    frame = inspect.currentframe()
    while frame is not None and _package(frame.f_globals) == "tfopt":
        frame = frame.f_back
    return frame is not None and _package(frame.f_globals) in _LIBRARIES


def _is_of_a_library(frame: types.FrameType) -> bool:
    """Returns whether a frame runs code of a library, or a copy of code that AutoGraph made."""
    file = frame.f_code.co_filename
    # By the file, since a user's module may be called `code`, as one of Python's own is.
    is_pythons = file.startswith(_PYTHON) and not file.startswith(_INSTALLED)
    if is_pythons or "__autograph_generated_file" in file:
        return True
    return _package(frame.f_globals) in {"tfopt", *_LIBRARIES}


def _package(names: dict[str, object]) -> str:
    return str(names.get("__name__")).split(".")[0]
