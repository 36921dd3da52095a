"""`TfoptWarning`, the only category of warnings that tfopt gives."""

from __future__ import annotations

import os
import sys
import warnings


class TfoptWarning(UserWarning):
    """You probably use an optimizer in another way than you mean to."""


def warn(message: str) -> None:
    """Warns, and names the first caller outside of tfopt."""
    here = os.path.dirname(__file__)
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, TfoptWarning, stacklevel=level - 1)
