"""Variables as the engine sees them: unwrapped, identified, read, and created beside others."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfopt._libraries import dtensor, tensorflow_private

# The class that holds the value: the exported one is only a subclass of it in Keras 3.0.
KERAS_VARIABLE = next(cls for cls in reversed(keras.Variable.__mro__) if "value" in vars(cls))

# A variable in parts along its first axis, each a variable, perhaps on parameter servers.
ShardedVariable = tf.__internal__.distribute.ShardedVariable

# For what users' functions call: nothing inside needs AutoGraph, which would rewrite it all.
plain_python = tf.autograph.experimental.do_not_convert

_RAISE = object()


def unwrap(variable: Any) -> Any:
    """The `tf.Variable` of a `keras.Variable`; anything else as it is."""
    return variable.value if isinstance(variable, KERAS_VARIABLE) else variable


def shards(variables: Iterable[Any]) -> list[Any]:
    """The variables, with the shards of sharded ones in their place."""
    return [
        part
        for variable in variables
        for part in (variable.variables if isinstance(variable, ShardedVariable) else [variable])
    ]


def whole(variable: Any) -> Any:
    """The sharded variable that this one is a shard of, or the variable itself."""
    return tensorflow_private.sharded_variable(variable)


def key(variable: Any) -> Any:
    """What identifies a variable: the logical one, not its name nor one replica's copy."""
    variable = unwrap(variable)
    if isinstance(variable, ShardedVariable):
        # The identity of a sharded variable may be that of its first shard.
        return "sharded", tensorflow_private.identity_of(variable)
    if not isinstance(variable, tf.distribute.DistributedValues):
        variable = tensorflow_private.mirrored_variable(variable)
    return tensorflow_private.identity_of(variable)


def variable_path(variable: Any) -> str:
    """A readable name: Keras' path, or the name without its output number."""
    if isinstance(variable, KERAS_VARIABLE) or hasattr(variable, "path"):
        return str(variable.path)
    return re.sub(r":\d+$", "", variable.name)


def scope_name(name: str) -> str:
    """The name in the characters that TensorFlow allows in graphs."""
    return re.sub(r"^[^A-Za-z0-9.]", "o", re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name))


def compute_dtype(dtype: Any) -> tf.DType:
    """The dtype of arithmetic and slots: at least float32."""
    dtype = tf.as_dtype(dtype)
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype


def as_scalar(value: Any, dtype: tf.DType) -> Any:
    """A real scalar as any dtype of arithmetic."""
    return tf.cast(tf.cast(tf.convert_to_tensor(value), dtype.real_dtype), dtype)


def in_v1_graph() -> bool:
    """Whether ops are being added to a graph that a session runs."""
    return not tf.compat.v1.executing_eagerly_outside_functions()


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """The values of variables now, in eager mode or through the default v1 session."""
    if in_v1_graph():
        session = tf.compat.v1.get_default_session()
        if session is None:
            raise RuntimeError(
                "Reading an optimizer's state in a v1 graph needs a default session: "
                "call it inside `with tf.compat.v1.Session():`."
            )
        return list(session.run([variable.read_value() for variable in variables]))
    with tf.init_scope():
        return [np.array(dtensor.gathered(variable).numpy()) for variable in variables]


def is_there(variable: Any) -> bool:
    """Whether a variable has a value: one made by the function being traced has none yet."""
    if in_v1_graph() or not tf.inside_function():
        return True
    with tf.init_scope():
        return bool(variable.is_initialized())


def first_value(variable: Any) -> Any:
    """The value from which another variable may start: in a v1 graph there may be none yet."""
    if not in_v1_graph():
        return variable.read_value()
    initialized = tf.compat.v1.is_variable_initialized(variable)
    return tf.cond(initialized, variable.read_value, lambda: variable.initial_value)


def value_of(variable: Any, default: Any = _RAISE) -> Any:
    """The value of one variable or tensor; `default` where no session can tell."""
    if not isinstance(variable, tf.Variable):
        return variable.numpy() if hasattr(variable, "numpy") else variable
    if default is not _RAISE and in_v1_graph() and not tf.compat.v1.get_default_session():
        return default
    return values_of([variable])[0]


def evaluate(tensors: Sequence[Any]) -> list[Any]:
    """Tensors as values that `assign_all` takes."""
    if not in_v1_graph() or not tensors:
        return list(tensors)
    session = tf.compat.v1.get_default_session()
    if session is None:
        raise RuntimeError("Reading averages in a v1 graph needs a default session.")
    return list(session.run(list(tensors)))


def assign_all(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Assigns values, in eager mode or through the default v1 session."""
    if in_v1_graph():
        session = tf.compat.v1.get_default_session()
        if session is None:
            raise RuntimeError(
                "Setting an optimizer's state in a v1 graph needs a default session."
            )
        for variable, value in pairs:
            variable.load(value, session)
        return
    with tf.init_scope():
        for variable, value in pairs:
            _assign(variable, dtensor.scattered(tf.cast(value, variable.dtype), variable))


def _assign(variable: Any, value: Any) -> None:
    """Assigns to all copies of a variable, also where one replica runs for all of them."""
    if (
        not isinstance(variable, tf.distribute.DistributedValues)
        or not tf.distribute.has_strategy()
    ):
        variable.assign(value)
        return
    # A replica that assigned its own copy would leave the others as they were; one that asked
    # for all would wait for the others, which may be waiting for it.
    on_read = variable.synchronization == tf.VariableSynchronization.ON_READ
    if on_read and variable.aggregation == tf.VariableAggregation.SUM:
        value = tf.cast(value / len(variable.values), variable.dtype)
    for copy in variable.values:
        copy.assign(value)


@contextlib.contextmanager
def placed_like(variable: Any) -> Iterator[None]:
    """A scope in which new variables lie where `variable` lies, mirrored as it is."""
    with contextlib.ExitStack() as stack:
        strategy = getattr(variable, "distribute_strategy", None)
        if strategy is not None and strategy is not tf.distribute.get_strategy():
            stack.enter_context(strategy.scope())
        strategy = tf.distribute.get_strategy()
        if not strategy.extended.variable_created_in_scope(variable):
            raise ValueError(
                f"Variable `{variable_path(variable)}` was created outside the scope of "
                f"{strategy}: its copies could not be updated there. Create it inside "
                "`strategy.scope()`."
            )
        stack.enter_context(strategy.extended.colocate_vars_with(variable))
        yield


def create(
    initial_value: Any,
    name: str,
    dtype: Any,
    shape: Any = None,
    layout: Any = None,
    **kwargs: Any,
) -> Any:
    """A variable that is not trained, made outside any function being traced.

    `initial_value` is a value or a function of nothing. With a DTensor `layout` it lies on
    that mesh. The variable gets a `path`, since Keras 3 files state under one.
    """
    kwargs.update(name=scope_name(name), dtype=dtype, shape=shape, trainable=False)
    with tf.init_scope(), tensorflow_private.without_function_creators():
        if layout is None:
            variable = tf.Variable(initial_value, **kwargs)
        else:
            variable = dtensor.create_variable(initial_value, layout=layout, **kwargs)
    variable.path = name
    return variable


def write(variable: Any, value: Any) -> None:
    """Overwrites a variable in a step: the value is cast, and laid out as the variable is."""
    value = dtensor.laid_out_as(variable, tf.cast(value, variable.dtype))
    variable.assign(value, read_value=False)


class Names:
    """Hands out names that are unique within one optimizer."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def copied(self) -> Names:
        """The same names, taken too."""
        twin = Names()
        twin._used = set(self._used)
        return twin

    def unique(self, name: str) -> str:
        candidate, number = name, 0
        while candidate in self._used:
            number += 1
            candidate = f"{name}_{number}"
        self._used.add(candidate)
        return candidate
