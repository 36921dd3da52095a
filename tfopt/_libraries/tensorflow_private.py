"""TensorFlow's private names: every one that tfopt reads or calls, with the reason.

No public name does the same. `tests/names_test.py` lists the opposite: private names that
TensorFlow and Keras read on an optimizer, which tfopt defines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import op_callbacks

_FUNCTION_PRIORITY = 50  # at which `tf.function` registers its variable creators


# --- objects that checkpoints save ----------------------------------------------------------------

# `tf.Module` tracks what is assigned to an attribute. An optimizer's variables are not attributes.


def track(owner: Any, child: Any, name: str) -> None:
    """Makes checkpoints save `child` as a part of `owner`, under a name of our choice."""
    owner._track_trackable(child, name, overwrite=True)


def start_tracking(owner: Any) -> None:
    """Creates the tables of tracked objects, which two threads must not do at the same time."""
    owner._maybe_initialize_trackable()


def is_awaited(owner: Any, name: str) -> bool:
    """Returns whether a checkpoint that was restored earlier has a value for that name."""
    return name in getattr(owner, "_self_unconditional_deferred_dependencies", {})


def awaited(owner: Any, name: str) -> Sequence[Any]:
    """Returns the places of a variable in checkpoints that were restored earlier."""
    return getattr(owner, "_self_unconditional_deferred_dependencies", {}).get(name, ())


def saved_name(position: Any) -> str:
    """Returns the name with which the variable at a place of a checkpoint was saved."""
    return next((saved.full_name for saved in position.object_proto.attributes), "")


# --- variables ------------------------------------------------------------------------------------


def mirrored_variable(variable: Any) -> Any:
    """Returns the logical variable of a replica's copy; of any other variable, itself.

    Sometimes only a variable's handle knows it: inside `strategy.run`, for example.
    """
    for holder in (variable, variable.handle):
        if hasattr(holder, "_distributed_container"):
            return holder._distributed_container() or variable
    return variable


def strategy_of(variable: Any) -> Any:
    """Returns the strategy of a variable's scope, or None; parameter servers note it privately."""
    noted = getattr(variable, "_distribute_strategy", None)
    return getattr(variable, "distribute_strategy", noted)


def sharded_variable(variable: Any) -> Any:
    """Returns the sharded variable of a shard; of any other variable, itself."""
    container = getattr(variable, "_sharded_container", lambda: None)()
    return variable if container is None else container


def identity_of(variable: Any) -> Any:
    """Returns what identifies a variable, in every Python object that stands for it.

    `variable.ref()` identifies Python objects, and a v1 graph makes several for one variable.
    """
    if getattr(variable, "_in_graph_mode", False):
        return variable.graph, variable._shared_name  # names are unique in a v1 graph
    return variable._unique_id


def was_restored(variable: Any) -> bool:
    """Returns whether a checkpoint has given this variable its value."""
    return getattr(variable, "_update_uid", -1) >= 0


# --- graphs ---------------------------------------------------------------------------------------


def flat_call(concrete: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
    """Returns the call of a concrete function with a flat list of tensors, and its captures.

    The public call looks at each argument in Python, which takes longer than a small step.
    """
    return concrete.inference_fn.call_flat, concrete.captured_inputs


def inside_xla() -> bool:
    """Returns whether XLA compiles the ops being traced: it does not have all fused kernels."""
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = graph._get_control_flow_context()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False


def ops_are_watched() -> bool:
    """Returns whether a debugger of TensorFlow adds ops of its own after each op of this thread.

    `enable_check_numerics` and `enable_dump_debug_info` do so. XLA does not have these ops.
    """
    return op_callbacks.should_invoke_op_callbacks()


@contextlib.contextmanager
def without_function_creators() -> Iterator[None]:
    """Hides the variable creators of the `tf.function` being traced, and only these.

    They refuse variables in any trace but the first, and trace the first one twice. Inside
    `init_scope` they are not needed.
    """
    graph = tf.compat.v1.get_default_graph()
    creators = graph._variable_creator_stack
    graph._variable_creator_stack = [
        (priority, creator) for priority, creator in creators if priority != _FUNCTION_PRIORITY
    ]
    try:
        yield
    finally:
        graph._variable_creator_stack = creators
