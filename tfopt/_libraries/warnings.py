"""The one category of warning that tfopt raises."""

from __future__ import annotations

import os
import sys
import warnings


class TfoptWarning(UserWarning):
    """Something in the use of an optimizer that probably is not what was meant."""


def warn(message: str) -> None:
    """Warns, pointing at the first caller outside tfopt."""
    here = os.path.dirname(__file__)
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, TfoptWarning, stacklevel=level - 1)
