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


def inside_xla() -> bool:
    """Whether the ops being traced are for XLA, which not all fused kernels have."""
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = graph._get_control_flow_context()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False
