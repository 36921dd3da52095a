"""TensorFlow's private names: every one that tfopt reads or calls, with the reason why.

No public name says the same. What TensorFlow and Keras ask of an optimizer under a private name
is another matter: tfopt defines that, and `tests/names_test.py` lists it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

_FUNCTION_PRIORITY = 50  # at which `tf.function` registers its variable creators


# --- objects that checkpoints save ----------------------------------------------------------------

# `tf.Module` tracks what is assigned to an attribute. An optimizer's variables are no attributes.


def track(owner: Any, child: Any, name: str) -> None:
    """Has checkpoints save `child` as a part of `owner`, under a name of our choice."""
    owner._track_trackable(child, name, overwrite=True)


def start_tracking(owner: Any) -> None:
    """Makes the tables of what is tracked, which two threads must not do at once."""
    owner._maybe_initialize_trackable()


def is_awaited(owner: Any, name: str) -> bool:
    """Whether a checkpoint that was restored earlier has a value for that name."""
    return name in getattr(owner, "_self_unconditional_deferred_dependencies", {})


# --- variables ------------------------------------------------------------------------------------


def mirrored_variable(variable: Any) -> Any:
    """The logical variable of which this one is a replica's copy; of any other, itself.

    A variable's handle may know it where the variable does not: inside `strategy.run`, for one.
    """
    for holder in (variable, variable.handle):
        if hasattr(holder, "_distributed_container"):
            return holder._distributed_container() or variable
    return variable


def sharded_variable(variable: Any) -> Any:
    """The sharded variable that this one is a shard of; of any other, itself."""
    container = getattr(variable, "_sharded_container", lambda: None)()
    return variable if container is None else container


def identity_of(variable: Any) -> Any:
    """What tells a variable from all others, in whichever Python object it comes.

    `variable.ref()` tells Python objects apart, and a v1 graph makes several for one variable.
    """
    if getattr(variable, "_in_graph_mode", False):
        return variable.graph, variable._shared_name  # names are unique in a v1 graph
    return variable._unique_id


# --- graphs ---------------------------------------------------------------------------------------


def flat_call(concrete: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
    """The call of a concrete function with a flat list of tensors, and what it captures.

    The public call looks at each argument in Python, which took longer than a small step.
    """
    return concrete.inference_fn.call_flat, concrete.captured_inputs


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


@contextlib.contextmanager
def without_function_creators() -> Iterator[None]:
    """Hides the variable creators of the `tf.function` being traced, and only those.

    They refuse variables in any trace but the first, and trace the first one twice; inside
    `init_scope` they have no business.
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
