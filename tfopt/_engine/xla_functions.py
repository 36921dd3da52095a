"""Functions that XLA compiles, shared by all optimizers for which they would be the same.

XLA's executables are never freed. So a function is kept as long as the process lives, and shared
by all optimizers of one class, with the same statics and policies, for the same shapes and dtypes.
Numbers and names are not part of its key. It runs on a blueprint of the optimizer, which has only
what its class declares. Eager steps also run the plain ops of light updates in such functions,
which XLA does not compile.

A class of a user may read attributes, globals and other values that change unseen. So each of its
optimizers keeps its own functions, unless the class promises to read only what it declares.

Functions are made of partials: TensorFlow counts retraces by code object, and would warn of the
second function as if it were a retrace of the first.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfopt._libraries import tensorflow_private

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine

Function = Callable[..., None]


class UndeclaredError(BaseException):
    """An update reads something that is not declared: its function cannot be shared.

    Not an `Exception`, which the code of the update might catch.
    """


class Blueprint:
    """Stands for the engine of an optimizer in a function that several optimizers share."""

    def __init__(self, statics: Mapping[str, Any], active: frozenset[str]):
        self.statics, self._active = statics, active

    def uses(self, name: str) -> bool:
        """Returns whether a hyperparameter that can be off takes part in the update."""
        return name in self._active

    def __getattr__(self, name: str) -> Any:
        raise UndeclaredError(name)


class _VariableByHandle:
    """A variable in a compiled function: its handle, shape and dtype."""

    def __init__(self, handle: Any, shape: Any, dtype: tf.DType):
        self.handle, self.shape, self.dtype, self.device = handle, shape, dtype, ""

    def read_value(self) -> Any:
        """Returns the current value."""
        value = tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=self.dtype)
        value.set_shape(self.shape)
        return value

    def assign(self, value: Any, read_value: bool = False) -> None:
        """Overwrites the value."""
        tf.raw_ops.AssignVariableOp(resource=self.handle, value=value)


class CompiledFunction:
    """A function, by XLA or in plain ops, called with a flat list of tensors and handles.

    Variables are passed as their handles: a function that captured variables could not be called
    any more when these variables are deleted. XLA would compile the function again for eager
    calls, so these run an outer function that only calls it.
    """

    def __init__(self, function: Callable[..., None], by_xla: bool):
        self.traced = tf.function(function, jit_compile=by_xla, autograph=False)
        self._inner: Function | None = None
        self._outer: Function | None = None

    def __call__(self, *tensors: Any) -> None:
        """Calls the function, in eager mode or in the graph being built."""
        if tf.config.functions_run_eagerly():
            self.traced(*tensors)
            return
        inner = self._inner or self._flat(self.traced, tensors)
        if not tf.executing_eagerly():
            inner(*tensors)
            return
        if self._outer is None:
            outer = tf.function(functools.partial(_pass_on, inner), autograph=False)
            self._outer = self._flat(outer, tensors)
        self._outer(*tensors)

    def _flat(self, function: Any, tensors: Sequence[Any]) -> Function:
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
        concrete = function.get_concrete_function(*specs)
        call, captures = tensorflow_private.flat_call(concrete)

        def flat(*tensors: Any) -> None:
            call(*tensors, *captures)

        # A capture from a function that is being traced cannot be used in another function.
        if function is self.traced and all(hasattr(tensor, "numpy") for tensor in captures):
            self._inner = flat
        return flat


def _pass_on(function: Function, *tensors: Any) -> None:
    function(*tensors)


class Compiled:
    """Compiled functions by key. The lock is never held while one is traced or run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._functions: dict[Any, CompiledFunction] = {}

    def get(self, key: Any, make: Callable[[], Function], by_xla: bool) -> CompiledFunction:
        """Returns the function of this key; makes it if there is none yet."""
        with self._lock:
            if key not in self._functions:
                self._functions[key] = CompiledFunction(make(), by_xla)
            return self._functions[key]

    def __len__(self) -> int:
        return len(self._functions)

    def keys(self) -> list[Any]:
        """Returns the keys of all functions."""
        return list(self._functions)

    def values(self) -> list[Any]:
        """Returns all functions, as TensorFlow has them."""
        return [function.traced for function in self._functions.values()]

    def clear(self) -> None:
        """Forgets all functions."""
        self._functions = {}


SHARED = Compiled()  # functions that all optimizers share


def call(
    engine: Engine, key: Any, function: Callable[..., None], *arguments: Any, by_xla: bool = True
) -> None:
    """Calls `function(optimizer, *arguments)`, compiled, and shared with others if possible.

    Args:
        engine: the engine of the optimizer.
        key: what else changes the graph: all but class, statics, and the nesting, shapes and
            dtypes of `arguments`.
        function: what to compile; it must hold nothing that belongs to one optimizer.
        *arguments: nests of tensors, variables and hashable values.
        by_xla: whether XLA compiles the function; if not, TensorFlow's graphs run it.
    """
    own = blueprint_key(engine)
    if own is not None and all(map(_is_plain, tf.nest.flatten(arguments))):
        try:
            shared = functools.partial(_on_blueprint, function, own)
            _call(SHARED, (own, key), shared, arguments, by_xla)
            return
        except UndeclaredError:
            engine.reads_more = True
    _call(engine.compiled, key, functools.partial(function, engine.optimizer), arguments, by_xla)


def _is_plain(leaf: Any) -> bool:
    """Returns whether a function may be kept with this leaf, which is no part of an optimizer."""
    return leaf is None or tf.is_tensor(leaf) or isinstance(leaf, tf.Variable | float | int | str)


def call_shared(key: Any, function: Callable[..., None], *arguments: Any) -> None:
    """Calls a compiled function that takes no optimizer."""
    _call(SHARED, key, function, arguments, by_xla=True)


def _call(
    compiled: Compiled,
    key: Any,
    function: Callable[..., None],
    arguments: tuple[Any, ...],
    by_xla: bool,
) -> None:
    kinds: list[tuple[Any, ...]] = []
    tensors: list[Any] = []
    for leaf in tf.nest.flatten(arguments):
        if isinstance(leaf, tf.Variable):
            kinds.append((_VariableByHandle, leaf.shape, leaf.dtype))
            tensors.append(leaf.handle)
        elif tf.is_tensor(leaf) or isinstance(leaf, np.ndarray):
            leaf = tf.convert_to_tensor(leaf)
            kinds.append((tf.Tensor, leaf.shape, leaf.dtype))
            tensors.append(leaf)
        else:
            kinds.append((None, leaf))

    def make() -> Function:
        skeleton = tf.nest.map_structure(lambda leaf: 0, arguments)
        return functools.partial(_on_tensors, function, skeleton, tuple(kinds))

    compiled.get((key, by_xla, tuple(kinds)), make, by_xla)(*tensors)


def _on_tensors(
    function: Callable[..., None], skeleton: Any, kinds: Sequence[tuple[Any, ...]], *tensors: Any
) -> None:
    """Calls a function of nests with the nests that a flat list of tensors stands for."""
    rest, leaves = iter(tensors), []
    for kind, *what in kinds:
        leaves.append(
            _VariableByHandle(next(rest), *what)
            if kind is _VariableByHandle
            else next(rest)
            if kind
            else what[0]
        )
    function(*tf.nest.pack_sequence_as(skeleton, leaves))


def blueprint_key(engine: Engine) -> tuple[Any, ...] | None:
    """Returns class, statics and active hyperparameters: a blueprint. None if more is read."""
    if engine.reads_more or not engine.declared.is_known or engine.has_own_attributes():
        return None
    statics = tuple((name, type(value), value) for name, value in engine.own_statics().items())
    key = (type(engine.optimizer), statics, engine.active())
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _on_blueprint(function: Callable[..., None], key: tuple[Any, ...], *arguments: Any) -> None:
    cls, statics, active = key
    optimizer = object.__new__(cls)
    values = {name: value for name, _, value in statics}
    optimizer.__dict__["_engine"] = Blueprint(values, active)
    function(optimizer, *arguments)
