"""Variables: unwrapped, identified, read, assigned, and created next to other variables."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from tfopt._libraries import dtensor, tensorflow_private
from tfopt._libraries import keras as keras_library

# The class that holds the value. In Keras 3.0 the exported class is a subclass of it.
KERAS_VARIABLE = next(cls for cls in reversed(keras.Variable.__mro__) if "value" in vars(cls))

# A variable that is split along its first axis into several, for example on parameter servers.
ShardedVariable = tf.__internal__.distribute.ShardedVariable

Function = TypeVar("Function", bound=Callable[..., Any])

_RAISE = object()


def plain_python(function: Function) -> Function:
    """Keeps AutoGraph from rewriting a method that users' functions call."""
    return tf.autograph.experimental.do_not_convert(function)


def unwrap(variable: Any) -> Any:
    """Returns the `tf.Variable` of a `keras.Variable`; anything else as it is."""
    return variable.value if isinstance(variable, KERAS_VARIABLE) else variable


def shards(variables: Iterable[Any]) -> list[Any]:
    """Returns the variables, with shards in place of sharded variables."""
    return [
        part
        for variable in variables
        for part in (variable.variables if isinstance(variable, ShardedVariable) else [variable])
    ]


def key(variable: Any) -> Any:
    """Returns what identifies a variable: the logical one, not its name or a replica's copy."""
    variable = unwrap(variable)
    if isinstance(variable, ShardedVariable):
        # The identity of a sharded variable may be that of its first shard.
        return "sharded", tensorflow_private.identity_of(variable)
    if not isinstance(variable, tf.distribute.DistributedValues):
        variable = tensorflow_private.mirrored_variable(variable)
    return tensorflow_private.identity_of(variable)


def variable_path(variable: Any) -> str:
    """Returns a readable name: Keras' path, or the name without its output number."""
    if isinstance(variable, KERAS_VARIABLE) or hasattr(variable, "path"):
        return str(variable.path)
    return re.sub(r":\d+$", "", variable.name)


def scope_name(name: str) -> str:
    """Returns the name in the characters that TensorFlow allows in graphs."""
    return re.sub(r"^[^A-Za-z0-9.]", "o", re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name))


def compute_dtype(dtype: Any) -> tf.DType:
    """Returns the dtype of arithmetic and slots: at least float32."""
    dtype = tf.as_dtype(dtype)
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype


def as_scalar(value: Any, dtype: tf.DType) -> Any:
    """Returns a real scalar in any dtype of arithmetic."""
    return tf.cast(tf.cast(tf.convert_to_tensor(value), dtype.real_dtype), dtype)


def in_v1_graph() -> bool:
    """Returns whether ops are being added to a graph that a session runs."""
    return not tf.compat.v1.executing_eagerly_outside_functions()


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """Returns the current values of variables, in eager mode or through the default v1 session."""
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
    """Returns whether a variable has a value: one created in the present trace has none yet."""
    if in_v1_graph() or not tf.inside_function():
        return True
    with tf.init_scope():
        return bool(variable.is_initialized())


def first_value(variable: Any) -> Any:
    """Returns a value from which another variable may start; a v1 graph may have to initialize."""
    if not in_v1_graph():
        return variable.read_value()
    initialized = tf.compat.v1.is_variable_initialized(variable)
    return tf.cond(initialized, variable.read_value, lambda: variable.initial_value)


def value_of(variable: Any, default: Any = _RAISE) -> Any:
    """Returns the value of a variable or tensor; `default` if there is no session to read it."""
    if not isinstance(variable, tf.Variable):
        return variable.numpy() if hasattr(variable, "numpy") else variable
    if default is not _RAISE and in_v1_graph() and not tf.compat.v1.get_default_session():
        return default
    return values_of([variable])[0]


def evaluate(tensors: Sequence[Any]) -> list[Any]:
    """Returns the values of tensors, for `assign_all`."""
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
    # If a replica assigned its own copy, the others would not change. If it assigned through
    # the mirrored variable, it would wait for the others, which may wait for it.
    on_read = variable.synchronization == tf.VariableSynchronization.ON_READ
    if on_read and variable.aggregation == tf.VariableAggregation.SUM:
        value = tf.cast(value / len(variable.values), variable.dtype)
    for copy in variable.values:
        copy.assign(value)


@contextlib.contextmanager
def placed_like(variable: Any) -> Iterator[None]:
    """Returns a scope in which new variables are placed like `variable`, and mirrored if it is."""
    with contextlib.ExitStack() as stack:
        strategy = tensorflow_private.strategy_of(variable)
        if strategy is not None and strategy is not tf.distribute.get_strategy():
            stack.enter_context(strategy.scope())
        check_scope(variable)
        extended = tf.distribute.get_strategy().extended
        stack.enter_context(extended.colocate_vars_with(variable))
        yield


def check_scope(variable: Any) -> None:
    """Raises if a strategy is active and the variable was created outside of its scope."""
    strategy = tf.distribute.get_strategy()
    if tf.distribute.has_strategy() and not strategy.extended.variable_created_in_scope(variable):
        raise ValueError(
            f"Variable `{variable_path(variable)}` was created outside the scope of "
            f"{strategy}: its copies could not be updated there. Create it inside "
            "`strategy.scope()`."
        )


def create(
    initial_value: Any,
    name: str,
    dtype: Any,
    shape: Any = None,
    layout: Any = None,
    **kwargs: Any,
) -> Any:
    """Creates a variable that is not trained, outside of any function being traced.

    `initial_value` is a value or a function without arguments. With a DTensor `layout` the variable
    is on that mesh. It gets a `path`, because Keras 3 saves state under a path.
    """
    kwargs.update(name=scope_name(name), dtype=dtype, shape=shape, trainable=False)
    with tf.init_scope(), tensorflow_private.without_function_creators():
        if layout is None:
            variable = tf.Variable(initial_value, **kwargs)
        else:
            variable = dtensor.create_variable(initial_value, layout=layout, **kwargs)
    variable.path = name
    if in_v1_graph():
        keras_library.initialize_in_sessions(variable)
    return variable


def write(variable: Any, value: Any) -> None:
    """Overwrites a variable in a step: the value is cast, and laid out as the variable is."""
    value = dtensor.laid_out_as(variable, tf.cast(value, variable.dtype))
    variable.assign(value, read_value=False)
    dtensor.note_written(variable, value)


def add(variable: Any, value: Any) -> None:
    """Adds a value of the variable's dtype to it, in a step."""
    if dtensor.passes_values_on():
        write(variable, dtensor.read(variable) + value)
    else:
        variable.assign_add(value, read_value=False)


class Names:
    """Makes names unique within one optimizer."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def copied(self) -> Names:
        """Returns a copy, in which the same names are taken."""
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
