"""Functions that XLA compiled: kept by what changes their graph, as long as the process lives.

XLA's executables are never freed, so a function is shared by all optimizers for which it would
be the same: of one class, with the same statics and policies, for the same shapes and dtypes.
No number and no name is part of it. It runs on a blueprint of the optimizer, which has nothing
but what its class declares; an optimizer that reads anything else keeps functions of its own.

Functions are made of partials: TensorFlow counts retraces by code object, and would warn of the
second function as if it were the first one's retrace.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine

Function = Callable[..., None]


class UndeclaredError(Exception):
    """An update reads what is not declared: its function cannot be shared."""


class Blueprint:
    """What stands for an optimizer's parts in a function that others share."""

    def __init__(self, statics: Mapping[str, Any], active: frozenset[str]):
        self.statics, self._active = statics, active

    def uses(self, name: str) -> bool:
        """Whether a hyperparameter that can be off takes part in the update."""
        return name in self._active

    def __getattr__(self, name: str) -> Any:
        raise UndeclaredError(name)


class CompiledFunction:
    """A function that XLA compiles, once for each shape that it is called with.

    XLA would compile it anew for eager calls. So these go by a function that does nothing but
    call it, and takes a flat list of tensors: to call a `tf.function` itself would have Python
    look at each argument.
    """

    def __init__(self, function: Function):
        self.traced = tf.function(function, jit_compile=True, autograph=False)
        self._eager: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> None:
        if not tf.executing_eagerly() or tf.config.functions_run_eagerly():
            self.traced(*arguments)
            return
        flat = [leaf for leaf in tf.nest.flatten(arguments) if leaf is not None]
        if not all(isinstance(leaf, tf.Tensor | tf.Variable) for leaf in flat):
            self.traced(*arguments)  # `begin` has set a number
            return
        tensors = [leaf.handle if isinstance(leaf, tf.Variable) else leaf for leaf in flat]
        if self._eager is None:
            self._eager = self._eager_call(arguments, tensors)
        self._eager(*tensors)

    def _eager_call(self, arguments: Any, tensors: Sequence[Any]) -> Callable[..., Any]:
        concrete = self.traced.get_concrete_function(*arguments)
        if concrete.captured_inputs:
            return lambda *tensors: self.traced(*arguments)
        inner = concrete.inference_fn.call_flat
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
        outer = tf.function(functools.partial(_pass_on, inner), autograph=False)
        call: Callable[..., Any] = outer.get_concrete_function(*specs).inference_fn.call_flat
        return call


def _pass_on(function: Callable[..., Any], *tensors: Any) -> None:
    function(*tensors)


class Compiled:
    """Compiled functions by key. The lock is never held while one is traced or run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._functions: dict[Any, CompiledFunction] = {}

    def get(self, key: Any, function: Function) -> CompiledFunction:
        """The function of this key; made of this one, if there is none yet."""
        with self._lock:
            if key not in self._functions:
                self._functions[key] = CompiledFunction(function)
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
        key: what changes the graph, beside class and statics.
        function: what to compile; it must hold nothing of one optimizer.
        *arguments: nests of tensors and variables. Variables are passed as arguments, since
            captured ones would need a trace each.
    """
    own = blueprint_key(engine)
    if own is not None:
        twin = functools.partial(_on_blueprint, function, own)
        try:
            SHARED.get((*own, key), twin)(*arguments)
            return
        except UndeclaredError:
            engine.reads_more = True
    engine.compiled.get(key, functools.partial(function, engine.optimizer))(*arguments)


def blueprint_key(engine: Engine) -> tuple[Any, ...] | None:
    """Class, statics and hyperparameters in use: all that a blueprint has. None if more is read."""
    if engine.reads_more or engine.has_own_attributes():
        return None
    key = (type(engine.optimizer), tuple(engine.own_statics().items()), engine.active())
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _on_blueprint(function: Callable[..., None], key: tuple[Any, ...], *arguments: Any) -> None:
    cls, statics, active = key
    optimizer = cls.__new__(cls)
    optimizer.__dict__["_engine"] = Blueprint(dict(statics), active)
    function(optimizer, *arguments)
