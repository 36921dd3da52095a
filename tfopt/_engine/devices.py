"""Which devices have XLA, and which updates are too small to launch compiled code for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._libraries import dtensor, tensorflow_private, tf_variables
from tfopt._libraries.warnings import warn

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine

SMALL = 2**12  # elements; on a CPU, launching compiled code for so few costs more than the update


def compiles(engine: Engine, x: Any) -> bool:
    """Returns whether XLA compiles the update of this variable, if it has no kernel."""
    if dtensor.is_on_mesh(x):
        return False  # DTensor splits plain ops over its mesh
    if tensorflow_private.ops_are_watched():
        return False  # XLA does not have the ops of a debugger
    if engine.statics["jit_compile"] != "auto":
        return bool(engine.statics["jit_compile"])
    return bool(x.shape.is_fully_defined()) and _xla_is_there(_device_type(x))


def is_small(x: Any) -> bool:
    """Returns whether launching an update costs more than its computation."""
    on_cpu = _device_type(x) in (None, "CPU")
    return on_cpu and x.shape.is_fully_defined() and x.shape.num_elements() <= SMALL


def _device_type(x: Any) -> str | None:
    kind = tf.DeviceSpec.from_string(x.device or "").device_type
    return str(kind) if kind else None


def _xla_is_there(device_type: str | None) -> bool:
    # GPUs of pluggable devices have no XLA.
    native = device_type in (None, "CPU", "TPU") or tf.test.is_built_with_gpu_support()
    return bool(tf.test.is_built_with_xla() and native)


def warn_without_xla(engine: Engine, x: Any) -> None:
    """Warns once if plain ops run although XLA was wanted."""
    wanted = engine.statics["jit_compile"] == "auto" and x.shape.is_fully_defined()
    unwanted = dtensor.is_on_mesh(x) or tensorflow_private.ops_are_watched()
    if not wanted or unwanted or "XLA" in engine.warned:
        return
    engine.warned.add("XLA")
    warn(
        f"This TensorFlow has no XLA for the device of `{tf_variables.variable_path(x)}`, "
        f"{x.device or 'the default one'}: {type(engine.optimizer).__name__} runs plain ops "
        "instead."
    )
