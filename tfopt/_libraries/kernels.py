"""Fused kernels: one op on variables that does what an optimizer's `update` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def kernel(op: Callable[..., Any], **arguments: Any) -> Any:
    """Runs a fused `ResourceApply*` op; variables go in as their handles."""
    handles = {
        name: value.handle if isinstance(value, tf.Variable) else value
        for name, value in arguments.items()
    }
    return op(**handles, use_locking=True)
