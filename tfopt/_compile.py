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
from typing import Any, NamedTuple

import tensorflow as tf

from tfopt import _precision, _rows, _variables
from tfopt._precision import MASTER
from tfopt._warnings import warn

Tensors = dict[str, Any]
MAX_STEPS = 64  # functions kept: one a set of variables that were updated together
SMALL = 2**12  # elements; to launch a compiled update of so few on a CPU costs more than it does
TOGETHER = 8  # small variables of a shape updated by one launch; more take longer to compile


class Scalars(types.SimpleNamespace):
    """Named tensors: `h` and `s` in an optimizer's `update`."""


class Update(NamedTuple):
    """What one variable's update takes, beside the scalars that variables share."""

    g: Any  # None stands for zeros
    x: Any  # the variable, or values of it
    slots: Tensors
    scale: Any  # what the gradient is yet to be multiplied by, or None
    decay: Any  # the part of the weights that decays, or None


class Cache:
    """The functions that one optimizer has traced."""

    def __init__(self) -> None:
        self.steps: dict[Any, Any] = {}  # the least recently used first
        self.updates: dict[Any, Any] = {}


def compute(opt: Any, given: Update, scalars: Tensors) -> tuple[Any, Tensors]:
    """One `update` in the compute dtype; gives the new value and the new slots."""
    dtype = _variables.compute_dtype(given.x.dtype)
    g, x, master = tf.cast(given.g, dtype), tf.cast(given.x, dtype), given.slots.get(MASTER)
    if master is not None:
        x = _precision.master_or(x, given.x, master)
    if given.scale is not None:
        g = g * given.scale
    if given.decay is not None:
        x = x - given.decay * x
    s = Scalars(**given.slots)
    x = opt.update(g, x, s, Scalars(**scalars))
    if master is not None:
        setattr(s, MASTER, x)
    unknown = vars(s).keys() - given.slots.keys()
    if unknown:
        raise ValueError(
            f"{type(opt).__name__}.update set {sorted(unknown)} in `s`, which `slots` does not "
            f"declare; declared are {sorted(given.slots)}."
        )
    return x, vars(s)


# --- dense gradients ------------------------------------------------------------------------------


def dense(opt: Any, given: Update, scalars: Tensors, waiting: Waiting | None = None) -> Any:
    """Updates a variable and its slots, in the way `jit_compile` says.

    With `waiting`, the update of a small variable may wait there for others of its shape.
    """
    if _may_use_kernel(opt, given):
        result = opt.fused(given.g, given.x, Scalars(**given.slots), Scalars(**scalars))
        if result is not NotImplemented:
            return result
    if waiting is not None and _compiles(opt, given.x) and _is_small(given.x):
        waiting.add(given, scalars)
    else:
        _run(opt, [given], scalars)


class Waiting:
    """Updates of small variables, until there are enough of a shape to be launched together."""

    def __init__(self, opt: Any):
        self._opt = opt
        self._updates: dict[Any, list[tuple[Update, Tensors]]] = {}

    def add(self, given: Update, scalars: Tensors) -> None:
        """Takes an update; runs it if it completes a launch."""
        key = (given.x.device, id(scalars), _signature(given))
        updates = self._updates.setdefault(key, [])
        updates.append((given, scalars))
        if len(updates) == TOGETHER:
            del self._updates[key]
            _run(self._opt, [given for given, _ in updates], scalars)

    def run(self) -> None:
        """Runs what still waits, one by one."""
        for (device, *_), updates in self._updates.items():
            with tf.device(device):
                for given, scalars in updates:
                    _run(self._opt, [given], scalars)
        self._updates = {}


def path(opt: Any, given: Update, scalars: Tensors) -> str:
    """How `dense` runs an update: "fused", "XLA" or "plain". For a graph that is not run."""
    if _may_use_kernel(opt, given):
        result = opt.fused(given.g, given.x, Scalars(**given.slots), Scalars(**scalars))
        if result is not NotImplemented:
            return "fused"
    return "XLA" if _compiles(opt, given.x) else "plain"


def _may_use_kernel(opt: Any, given: Update) -> bool:
    """Whether a fused kernel, which takes one dtype and just the gradient, may take this."""
    return (
        opt._has_kernel
        and not hasattr(given.x, "layout")  # DTensor knows how to split but a few kernels
        and opt.jit_compile is not True
        and given.scale is None
        and given.decay is None
        and given.x.dtype in (tf.float32, tf.float64)
        and all(tensor.dtype == given.x.dtype for tensor in (given.g, *given.slots.values()))
    )


def _is_small(x: Any) -> bool:
    """Whether the launch of an update costs more than its computation."""
    on_cpu = _device_type(x) in (None, "CPU")
    return on_cpu and x.shape.is_fully_defined() and x.shape.num_elements() <= SMALL


def _compiles(opt: Any, x: Any) -> bool:
    """Whether the update of this variable, if it has no kernel, is to be compiled by XLA."""
    if hasattr(x, "layout"):
        return False  # DTensor splits plain ops over its mesh
    if opt.jit_compile != "auto":
        return bool(opt.jit_compile)
    return bool(x.shape.is_fully_defined()) and _xla_is_there(_device_type(x))


def _device_type(x: Any) -> str | None:
    kind = tf.DeviceSpec.from_string(x.device or "").device_type
    return str(kind) if kind else None


def _xla_is_there(device_type: str | None) -> bool:
    # GPUs of pluggable devices have none.
    native = device_type in (None, "CPU", "TPU") or tf.test.is_built_with_gpu_support()
    return bool(tf.test.is_built_with_xla() and native)


def _run(opt: Any, updates: list[Update], scalars: Tensors, moves: bool = True) -> None:
    """Runs updates of variables of one shape as one XLA cluster, or as plain ops."""
    x = updates[0].x
    function: Callable[..., None] = functools.partial(_read_compute_write, opt, moves=moves)
    if _compiles(opt, x):
        # Variables are passed as arguments: captured ones would need a trace each.
        function = _compiled(opt, (len(updates), moves, _signature(updates[0])), function)
    elif (
        opt.jit_compile == "auto"
        and x.shape.is_fully_defined()
        and not hasattr(x, "layout")
        and "XLA" not in opt._warned
    ):
        opt._warned.add("XLA")
        warn(
            f"This TensorFlow has no XLA for the device of `{_variables.path(x)}`, "
            f"{x.device or 'the default one'}: {type(opt).__name__} runs plain ops instead."
        )
    function(updates, scalars)


def elementwise(
    opt: Any, name: str, function: Callable[..., None], *variables: Any, **scalars: Any
) -> None:
    """Calls a function of variables and scalars in the way in which dense updates run."""
    if _compiles(opt, variables[0]) and not _is_small(variables[0]):
        key = (name, tuple((tuple(v.shape), v.dtype) for v in variables))
        function = _compiled(opt, key, function)
    function(*variables, **scalars)


def _compiled(opt: Any, key: Any, function: Callable[..., None]) -> Callable[..., None]:
    """The function that XLA compiled for this key; this one, if there is none yet."""
    updates: dict[Any, Callable[..., None]] = opt._cache.updates
    if key not in updates:
        updates[key] = tf.function(function, jit_compile=True, autograph=False)
    return updates[key]


def _read_compute_write(opt: Any, updates: list[Update], scalars: Tensors, moves: bool) -> None:
    for given in updates:
        x = given.x.read_value()
        values = {name: slot.read_value() for name, slot in given.slots.items()}
        g = _zeros(x, scalars, moves) if given.g is None else given.g
        g, x = _where_slots_are(given, g, x)
        x, values = compute(opt, given._replace(g=g, x=x, slots=values), scalars)
        if moves:
            _variables.write(given.x, x)
        for name, slot in given.slots.items():
            if moves or name != MASTER:
                _variables.write(slot, values[name])


def _zeros(x: Any, scalars: Tensors, moves: bool) -> Any:
    """A gradient of zeros."""
    if not moves:
        return tf.zeros_like(x)
    # Zeros that XLA knows of make it compute new slots twice, and copy the old ones for that.
    return tf.where(scalars["t"] < 0, x, tf.zeros([], x.dtype))


def _signature(given: Update) -> Any:
    """What an XLA-compiled update depends on."""
    return (
        None if given.g is None else (tuple(given.g.shape), given.g.dtype),
        tuple((tuple(part.shape), part.dtype) for part in (given.x, *given.slots.values())),
        tuple(given.slots),
        given.scale is None,
        given.decay is None,
    )


# --- gradients of rows ----------------------------------------------------------------------------


def rows(opt: Any, given: Update, indices: Any, scalars: Tensors) -> None:
    """Updates the rows `indices` of a variable and of its slots, and touches no other."""
    x, values = compute(opt, _read_rows(given, indices), scalars)
    _rows.write(given.x, indices, x)
    _write_rows(given, indices, values)


def all_rows(opt: Any, given: Update, indices: Any, scalars: Tensors, moves: bool = True) -> None:
    """The result of the dense gradient that is zero but in the rows `indices`.

    It is never made: all rows are updated with zeros, then those with their gradient, from
    the values they had.

    Args:
        opt: the optimizer.
        given: with the gradient's rows.
        indices: which rows they are; none is repeated.
        scalars: the scalars of this step.
        moves: False if only the slots of other rows change.
    """
    by_rows = all(_rows.has_rows_of(slot, given.x) for slot in given.slots.values())
    before = _read_rows(given, indices)
    gradient = None if by_rows else _rows.densify(given.g, indices, given.x)
    _run(opt, [given._replace(g=gradient)], scalars, moves)
    x, values = compute(opt, before, scalars)
    _rows.write(given.x, indices, x)
    if by_rows:
        _write_rows(given, indices, values)


def _read_rows(given: Update, indices: Any) -> Update:
    slots = {
        name: _rows.read(slot, indices) if _rows.has_rows_of(slot, given.x) else slot.read_value()
        for name, slot in given.slots.items()
    }
    return given._replace(x=_rows.read(given.x, indices), slots=slots)


def _write_rows(given: Update, indices: Any, values: Mapping[str, Any]) -> None:
    for name, slot in given.slots.items():
        if _rows.has_rows_of(slot, given.x):
            _rows.write(slot, indices, values[name])
        else:
            _variables.write(slot, values[name])


def _where_slots_are(given: Update, *values: Any) -> list[Any]:
    """Values of the variable's shape, laid out on a DTensor mesh as its slots are."""
    alike = [slot for slot in given.slots.values() if slot.shape == given.x.shape]
    return [_variables.laid_out(value, (alike or [given.x])[0]) for value in values]


# --- the eager step -------------------------------------------------------------------------------


def cached_step(
    opt: Any, pairs: Sequence[Any], values: Tensors, aggregate: bool, guard: Any
) -> Callable[..., Any]:
    """One function for a whole step over these variables: what eager mode calls."""
    key = (
        tuple((id(pair.variable), id(pair.constraint), *_kind(pair.gradient)) for pair in pairs),
        tuple((name, value.dtype) for name, value in values.items()),
        aggregate,
        guard,
        opt._hypers.signature(),
    )
    steps = opt._cache.steps
    if key not in steps:
        steps[key] = _trace(opt, pairs, values, aggregate, guard)
        if len(steps) > MAX_STEPS:
            del steps[next(iter(steps))]
    steps[key] = steps.pop(key)
    return steps[key]


def _kind(gradient: Any) -> tuple[Any, ...]:
    """What may not vary between calls of one function; the number of rows may."""
    if isinstance(gradient, tf.IndexedSlices):
        shape = gradient.dense_shape
        return gradient.values.dtype, gradient.indices.dtype, shape is None or shape.dtype
    return (gradient.dtype,)


def _trace(
    opt: Any, pairs: Sequence[Any], values: Tensors, aggregate: bool, guard: Any
) -> Callable[..., Any]:
    targets = [pair._replace(gradient=None) for pair in pairs]  # also keeps the ids taken
    step = functools.partial(_whole_step, opt, targets, aggregate, guard)
    concrete = tf.function(step, autograph=False).get_concrete_function(
        [_spec(pair) for pair in pairs],
        {name: tf.TensorSpec(value.shape, value.dtype) for name, value in values.items()},
    )
    call, captures = concrete.inference_fn.call_flat, concrete.captured_inputs

    def run(gradients: Sequence[Any], values: Tensors) -> Any:
        # To call the function itself would have Python look at each argument, for 20 us.
        return call(*tf.nest.flatten([gradients, values], expand_composites=True), *captures)[0]

    return run


def _spec(pair: Any) -> Any:
    gradient, shape = pair.gradient, pair.variable.shape
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.TensorSpec(shape, gradient.dtype)
    return tf.IndexedSlicesSpec(
        shape,
        gradient.values.dtype,
        gradient.indices.dtype,
        None if gradient.dense_shape is None else gradient.dense_shape.dtype,
        indices_shape=[None],
    )


def _whole_step(
    opt: Any,
    targets: Sequence[Any],
    aggregate: bool,
    guard: Any,
    gradients: Sequence[Any],
    values: Tensors,
) -> Any:
    pairs = [pair._replace(gradient=g) for pair, g in zip(targets, gradients, strict=True)]
    return opt._step(pairs, values, aggregate, guard)
