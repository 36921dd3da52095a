"""Functions that XLA compiled: kept by what changes their graph, as long as the process lives.

XLA's executables are never freed, so a function is shared by all optimizers for which it would
be the same: of one class, with the same statics and policies, for the same shapes and dtypes.
No number and no name is part of it. It runs on a blueprint of the optimizer, which has nothing
but what its class declares. A class of a user's may read attributes, globals and whatever else
may change unseen, so its optimizers keep functions of their own, unless it promises not to.

Functions are made of partials: TensorFlow counts retraces by code object, and would warn of the
second function as if it were the first one's retrace.
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
    """An update reads what is not declared: its function cannot be shared.

    Not an `Exception`, which the update might take for something else.
    """


class Blueprint:
    """What stands for an optimizer's parts in a function that others share."""

    def __init__(self, statics: Mapping[str, Any], active: frozenset[str]):
        self.statics, self._active = statics, active

    def uses(self, name: str) -> bool:
        """Whether a hyperparameter that can be off takes part in the update."""
        return name in self._active

    def __getattr__(self, name: str) -> Any:
        raise UndeclaredError(name)


class _VariableByHandle:
    """A variable in a compiled function: its handle, and what is known of it."""

    def __init__(self, handle: Any, shape: Any, dtype: tf.DType):
        self.handle, self.shape, self.dtype, self.device = handle, shape, dtype, ""

    def read_value(self) -> Any:
        """The value now."""
        value = tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=self.dtype)
        value.set_shape(self.shape)
        return value

    def assign(self, value: Any, read_value: bool = False) -> None:
        """Overwrites the value."""
        tf.raw_ops.AssignVariableOp(resource=self.handle, value=value)


class CompiledFunction:
    """A function that XLA compiles, of a flat list of tensors and handles.

    Variables go in as their handles: a function that knew of variables could not be called any
    more when those are gone that it was traced with. XLA would compile it anew for eager calls,
    so these go by a function that does nothing but call it.
    """

    def __init__(self, function: Callable[..., None]):
        self.traced = tf.function(function, jit_compile=True, autograph=False)
        self._inner: Function | None = None
        self._outer: Function | None = None

    def __call__(self, *tensors: Any) -> None:
        """Calls it, in the context at hand."""
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

        # What is captured from a function that is being traced is of no use in another one.
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

    def get(self, key: Any, make: Callable[[], Function]) -> CompiledFunction:
        """The function of this key; one that is made, if there is none yet."""
        with self._lock:
            if key not in self._functions:
                self._functions[key] = CompiledFunction(make())
            return self._functions[key]

    def __len__(self) -> int:
        return len(self._functions)

    def keys(self) -> list[Any]:
        """Of all functions."""
        return list(self._functions)

    def values(self) -> list[Any]:
        """All functions, as TensorFlow has them."""
        return [function.traced for function in self._functions.values()]

    def clear(self) -> None:
        """Forgets all functions."""
        self._functions = {}


SHARED = Compiled()  # by all optimizers


def call(engine: Engine, key: Any, function: Callable[..., None], *arguments: Any) -> None:
    """Calls `function(optimizer, *arguments)`, compiled: shared with others if it can be.

    Args:
        engine: whose optimizer it is.
        key: what changes the graph, beside class, statics and what `arguments` are: their
            nesting, too.
        function: what to compile; it must hold nothing of one optimizer.
        *arguments: nests of tensors, variables and whatever else can be hashed.
    """
    own = blueprint_key(engine)
    if own is not None and all(map(_is_plain, tf.nest.flatten(arguments))):
        try:
            _call(SHARED, (own, key), functools.partial(_on_blueprint, function, own), arguments)
            return
        except UndeclaredError:
            engine.reads_more = True
    _call(engine.compiled, key, functools.partial(function, engine.optimizer), arguments)


def _is_plain(leaf: Any) -> bool:
    """Whether a function may be kept by it: all else might hold parts of an optimizer."""
    return leaf is None or tf.is_tensor(leaf) or isinstance(leaf, tf.Variable | float | int | str)


def call_shared(key: Any, function: Callable[..., None], *arguments: Any) -> None:
    """The same for a function that takes no optimizer."""
    _call(SHARED, key, function, arguments)


def _call(
    compiled: Compiled, key: Any, function: Callable[..., None], arguments: tuple[Any, ...]
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

    compiled.get((key, tuple(kinds)), make)(*tensors)


def _on_tensors(
    function: Callable[..., None], skeleton: Any, kinds: Sequence[tuple[Any, ...]], *tensors: Any
) -> None:
    """Calls a function of nests with what a flat list of tensors stands for."""
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
    """Class, statics and hyperparameters in use: all that a blueprint has. None if more is read."""
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
