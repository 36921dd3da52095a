"""How an update runs: fused kernel, XLA or plain ops; and the cached eager step.

The mathematics is the optimizer's `update`, whatever runs it. A fused kernel computes
the same; XLA compiles one function a shape, which variables of that shape share.

Functions are made of partials: TensorFlow counts retraces by code object, and would warn
of the second optimizer as if it were the first one's retrace.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfopt import _rows, _variables

Tensors = dict[str, Any]
MAX_STEPS = 64  # functions kept: one a set of variables that were updated together


class Scalars(types.SimpleNamespace):
    """Named tensors: `h` and `s` in an optimizer's `update`."""


class Cache:
    """The functions that one optimizer has traced."""

    def __init__(self) -> None:
        self.steps: dict[Any, Any] = {}  # the least recently used first
        self.updates: dict[Any, Any] = {}


def compute(opt: Any, g: Any, x: Any, slots: Tensors, scalars: Tensors, decay: Any) -> Any:
    """One `update` in the compute dtype; gives the new value and the new slots."""
    dtype = _variables.compute_dtype(x.dtype)
    g, x = tf.cast(g, dtype), tf.cast(x, dtype)
    if decay is not None:
        x = x - decay * x
    s = Scalars(**slots)
    x = opt.update(g, x, s, Scalars(**scalars))
    unknown = vars(s).keys() - slots.keys()
    if unknown:
        raise ValueError(
            f"{type(opt).__name__}.update set {sorted(unknown)} in `s`, which `slots` does not "
            f"declare; declared are {sorted(slots)}."
        )
    return x, vars(s)


def dense(opt: Any, g: Any, var: Any, slots: Tensors, scalars: Tensors, decay: Any) -> Any:
    """Updates a variable and its slots, in the way `jit_compile` says."""
    if opt._has_kernel and opt.jit_compile is not True and decay is None and _fits(g, var, slots):
        result = opt.fused(g, var, Scalars(**slots), Scalars(**scalars))
        if result is not NotImplemented:
            return result
    if opt.jit_compile is False or not (var.shape.is_fully_defined() or opt.jit_compile is True):
        return _read_compute_write(opt, g, var, slots, scalars, decay)
    return _compiled(opt, g, var, slots, decay)(g, var, slots, scalars, decay)


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


def _fits(g: Any, var: Any, slots: Tensors) -> bool:
    """Whether the fused kernels, which take one dtype, take these."""
    return var.dtype in (tf.float32, tf.float64) and all(
        tensor.dtype == var.dtype for tensor in (g, *slots.values())
    )


def _read_compute_write(
    opt: Any, g: Any, var: Any, slots: Tensors, scalars: Tensors, decay: Any
) -> Any:
    values = {name: slot.read_value() for name, slot in slots.items()}
    x, values = compute(opt, g, var.read_value(), values, scalars, decay)
    _assign(var, x)
    _assign_all(slots, values)


def _compiled(opt: Any, g: Any, var: Any, slots: Tensors, decay: Any) -> Callable[..., Any]:
    """The XLA-compiled update for variables like this one.

    Variables are passed as arguments: captured ones would need a trace each.
    """
    parts = (g, var, *slots.values())
    signature = (
        tuple((tuple(part.shape), part.dtype) for part in parts),
        tuple(slots),
        decay is None,
    )
    updates = opt._cache.updates
    if signature not in updates:
        update = functools.partial(_read_compute_write, opt)
        updates[signature] = tf.function(update, jit_compile=True, autograph=False)
    return updates[signature]


def rows(
    opt: Any, g: Any, var: Any, indices: Any, slots: Tensors, scalars: Tensors, decay: Any
) -> Any:
    """Updates the rows `indices` of a variable and of its slots, and touches no other."""
    of_rows = {name: slot for name, slot in slots.items() if _rows.has_rows_of(slot, var)}
    values = {
        name: _rows.read(slot, indices) if name in of_rows else slot.read_value()
        for name, slot in slots.items()
    }
    x, values = compute(opt, g, _rows.read(var, indices), values, scalars, decay)
    _rows.write(var, indices, x)
    for name, slot in slots.items():
        if name in of_rows:
            _rows.write(slot, indices, values[name])
        else:
            _assign(slot, values[name])


def rows_move(
    opt: Any, g: Any, var: Any, indices: Any, slots: Tensors, scalars: Tensors, decay: Any
) -> Any:
    """Updates all of the slots, but moves only the rows `indices` of the variable."""
    values = {name: slot.read_value() for name, slot in slots.items()}
    g = _rows.densify(g, indices, var)
    x, values = compute(opt, g, var.read_value(), values, scalars, decay)
    _rows.write(var, indices, tf.gather(x, indices))
    _assign_all(slots, values)


def _assign(variable: Any, value: Any) -> None:
    variable.assign(tf.cast(value, variable.dtype), read_value=False)


def _assign_all(slots: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for name, slot in slots.items():
        _assign(slot, values[name])


def cached_step(opt: Any, pairs: Sequence[Any], aggregate: bool) -> Callable[..., Any]:
    """One function for a whole step over these variables: what eager mode calls."""
    specs = [_spec(pair.gradient) for pair in pairs]
    key = (
        tuple((id(pair.variable), id(pair.constraint)) for pair in pairs),
        tuple(specs),
        aggregate,
        opt._hypers.signature(),
    )
    steps = opt._cache.steps
    if key not in steps:
        targets = [pair._replace(gradient=None) for pair in pairs]  # also keeps the ids taken
        step = functools.partial(_whole_step, opt, targets, aggregate)
        steps[key] = tf.function(step, autograph=False, reduce_retracing=True)
        if len(steps) > MAX_STEPS:
            del steps[next(iter(steps))]
    steps[key] = steps.pop(key)
    return steps[key]


def _whole_step(
    opt: Any, targets: Sequence[Any], aggregate: bool, gradients: Sequence[Any], values: Tensors
) -> Any:
    pairs = [pair._replace(gradient=g) for pair, g in zip(targets, gradients, strict=True)]
    return opt._step(pairs, values, aggregate)


def _spec(gradient: Any) -> Any:
    """What may vary between steps without a retrace: the number of rows."""
    if isinstance(gradient, tf.IndexedSlices):
        shape = gradient.dense_shape
        return (gradient.values.dtype, gradient.indices.dtype, shape is None or shape.dtype)
    return gradient.dtype
