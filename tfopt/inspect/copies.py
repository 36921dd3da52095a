"""Whether all replicas have the same variables and the same optimizer state."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._libraries import tf_variables
from tfopt._state.state import State
from tfopt.inspect.argument_checks import unwrapped_optimizer


@dataclasses.dataclass(frozen=True)
class Difference:
    """A variable of which the replicas have unequal copies.

    Attributes:
        variable: the path of the model's variable, or the name of one of the optimizer's scalars.
        slot: the name of the slot; empty for the variable itself and for scalars.
        replicas: the numbers of the replicas whose copy is not the first one's.
        largest: the largest absolute difference to the first replica's copy; NaN if a copy holds
            NaN where the first does not.
        index: where that difference is.
    """

    variable: str
    slot: str
    replicas: tuple[int, ...]
    largest: float
    index: tuple[int, ...]


def replicas(optimizer: Any) -> list[Difference]:
    """Compares all copies of variables, slots and scalars, bit for bit.

    Under MirroredStrategy and MultiWorkerMirroredStrategy each replica has a copy of everything,
    and all copies are equal after each step. They part if you write to one copy, if replicas pass
    unequal gradients with `experimental_aggregate_gradients=False`, or if a device computes
    wrongly. From then on the model that you save, the first replica's, is not the one that you
    train.

    Call it outside of `strategy.run`, in eager mode. With several workers all of them must call
    it, since it communicates. It reads all copies once; when it is not called it costs nothing.
    Sums of gradient accumulation are not compared, because each replica has its own until the
    window ends.

    Args:
        optimizer: one of tfopt's, or a loss-scale wrapper of one. The scale of
            `tfopt.LossScaleOptimizer` is compared, too; that of Keras' wrappers is not.

    Returns:
        The differences, an empty list if all copies are equal, or if there are no copies.

    Raises:
        TypeError: if `optimizer` is not one of tfopt's.
        ValueError: if the optimizer has seen no variables yet.
        RuntimeError: inside a `tf.function` or `strategy.run`.

    >>> strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    >>> with strategy.scope():
    ...     w, optimizer = tf.Variable([1.0, 2.0]), tfopt.Adam()
    >>> optimizer.build([w])
    >>> tfopt.inspect.replicas(optimizer)
    []
    """
    inner = unwrapped_optimizer(optimizer)
    if not tf.executing_eagerly() or (
        tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()
    ):
        raise RuntimeError(
            "`tfopt.inspect.replicas` was called inside a `tf.function` or `strategy.run`. Call it "
            "between steps, in eager mode."
        )
    if not inner._trainable_variables:
        raise ValueError("`optimizer` must have seen variables: take a step or call `build` first.")
    found = []
    for variable, slot, value in _named(optimizer, inner):
        found += _difference(variable, slot, value)
    return found


def _named(optimizer: Any, inner: Any) -> list[tuple[str, str, Any]]:
    """Everything that is compared: the name of the variable, of the slot, and the variable."""
    state, scalars = inner._engine.state, inner._engine.state.all_scalars()
    of_wrapper = vars(optimizer).get("_scalars")  # Keras' wrappers have none
    if isinstance(of_wrapper, State):
        scalars |= of_wrapper.counters
    named = [(name, "", scalar) for name, scalar in scalars.items()]
    for original in inner._trainable_variables:
        variable, path = tf_variables.unwrap(original), tf_variables.variable_path(original)
        slots = state.slots.of(variable)
        named += [(path, "", variable), *((path, name, slot) for name, slot in slots.items())]
    return named


def _difference(variable: str, slot: str, value: Any) -> list[Difference]:
    if getattr(value, "synchronization", None) == tf.VariableSynchronization.ON_READ:
        return []
    copies = _copies(value)
    raw = [copy.tobytes() for copy in copies]
    unequal = tuple(number for number, each in enumerate(raw) if each != raw[0])
    if not unequal:
        return []
    first = copies[0].astype("float64")
    gaps = [np.abs(copies[number].astype("float64") - first) for number in unequal]
    gap = np.max(gaps, axis=0)  # NaN stays
    at = np.unravel_index(np.argmax(gap), gap.shape)
    return [Difference(variable, slot, unequal, float(gap[at]), tuple(map(int, at)))]


def _copies(value: Any) -> list[np.ndarray]:
    """The values of all copies, in all processes, by the number of the replica."""
    if not isinstance(value, tf.distribute.DistributedValues):
        return [np.asarray(value)]
    strategy = value.distribute_strategy
    local = strategy.experimental_local_results(value)
    if len(local) == strategy.num_replicas_in_sync:
        return [np.asarray(copy) for copy in local]
    own = strategy.run(lambda: tf.convert_to_tensor(value)[tf.newaxis])  # other workers have more
    return list(strategy.gather(own, axis=0).numpy())
