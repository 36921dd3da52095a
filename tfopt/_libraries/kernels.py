"""Fused kernels: a kernel is one op on variables that computes an optimizer's `update`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def kernel(op: Callable[..., Any], **arguments: Any) -> Any:
    """Runs a fused `ResourceApply*` op; variables are passed as their handles."""
    handles = {
        name: value.handle if isinstance(value, tf.Variable) else value
        for name, value in arguments.items()
    }
    return op(**handles, use_locking=True)
