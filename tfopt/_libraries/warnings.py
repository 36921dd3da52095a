"""`TfoptWarning`, the only category of warnings that tfopt gives."""

from __future__ import annotations

import inspect
import warnings

_NOT_YOURS = {"tfopt", "tensorflow", "keras", "tf_keras"}


class TfoptWarning(UserWarning):
    """A warning that an optimizer probably does not do what you mean."""


def warn(message: str) -> None:
    """Warns, pointing at the first caller outside of tfopt, TensorFlow, Keras 3 and tf-keras."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and _package(frame.f_globals) in _NOT_YOURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, TfoptWarning, stacklevel=level)


def _package(names: dict[str, object]) -> str:
    return str(names.get("__name__")).split(".")[0]
