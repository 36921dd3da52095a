"""Replicas of `tf.distribute`: sums over replicas, and updates of every copy of a variable.

The decorators `across_replicas` and `when` run the decorated function immediately, in another
context.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import tensorflow as tf

from tfopt._libraries import dtensor, tensorflow_private, tf_variables


class _HasVariable(Protocol):
    @property
    def variable(self) -> Any: ...


Work = TypeVar("Work", bound=_HasVariable)

SHARING = (  # strategies in which a variable has no copies
    tf.distribute.ParameterServerStrategy,
    tf.distribute.experimental.CentralStorageStrategy,
    tf.compat.v1.distribute.experimental.ParameterServerStrategy,
    tf.compat.v1.distribute.experimental.CentralStorageStrategy,
)


def require_replica_context(variables: Iterable[Any]) -> None:
    """Raises outside of replica context, where a gradient belongs to no replica."""
    strategy = tf.distribute.get_strategy()
    strange = [
        variable
        for variable in variables
        if isinstance(variable, tf.distribute.DistributedValues)
        and variable.distribute_strategy is not strategy
    ]
    if tf.distribute.in_cross_replica_context() or strange:
        where = "outside the strategy of its variables" if strange else "in cross-replica context"
        raise RuntimeError(
            f"`apply_gradients` was called {where}. Call it inside the function that you pass "
            "to `strategy.run`, which runs it once per replica."
        )


def require_copies(what: str) -> None:
    """Raises if replicas share variables: an update would take only the first one's gradients."""
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, SHARING):
        raise NotImplementedError(
            f"{what} is not supported under a strategy whose replicas share their variables; got "
            f"{type(strategy).__name__}."
        )


def has_strategy() -> bool:
    """Returns whether a strategy is active, with any number of replicas."""
    return bool(tf.distribute.has_strategy())


def sum_over_replicas(gradients: Sequence[Any]) -> list[Any]:
    """Returns the gradients summed over all replicas, on each replica."""
    if not has_strategy():
        return list(gradients)
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1:
        gradients = [_to_be_gathered(g) if _has_rows(g) else g for g in gradients]
    summed = list(gradients)
    for places in _places_by_collective(gradients):
        values = [gradients[place] for place in places]
        if tf.__internal__.distribute.strategy_supports_no_merge_call():
            results = context.all_reduce(tf.distribute.ReduceOp.SUM, values)
        else:  # the same, without the copies that only the gradient of `all_reduce` needs
            results = context.merge_call(_sum_in_cross_replica_context, args=values)
        for place, result in zip(places, results, strict=True):
            summed[place] = _without_padding(result) if _has_rows(result) else result
    return summed


def pairs_summed_over_replicas(grads_and_vars: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Returns (gradient, variable) pairs with the gradients summed; None stays None."""
    pairs = list(grads_and_vars)
    summed = iter(sum_over_replicas([g for g, _ in pairs if g is not None]))
    return [(None if g is None else next(summed), variable) for g, variable in pairs]


def largest_over_replicas(value: Any) -> Any:
    """Returns a tensor with the largest of all replicas' numbers at each place."""
    if not has_strategy():
        return value
    context = tf.distribute.get_replica_context()
    return tf.reduce_max(context.all_gather(value[tf.newaxis], axis=0), axis=0)


def _sum_in_cross_replica_context(strategy: Any, *values: Any) -> Any:
    pairs = [(v, v.device if isinstance(v, tf.Tensor) else v) for v in values]
    return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)


def _has_rows(gradient: Any) -> bool:
    return isinstance(gradient, tf.IndexedSlices)


def _to_be_gathered(slices: tf.IndexedSlices) -> tf.IndexedSlices:
    """Returns rows that can be gathered: in a wide dtype, and at least one.

    TensorFlow cannot gather bfloat16, and its gather crashes if no replica has a row. So a replica
    without rows has one of zeros, at an index that no variable has.
    """
    values = tf.cast(slices.values, tf_variables.compute_dtype(slices.values.dtype))
    indices = slices.indices

    def padding() -> tuple[Any, Any]:
        shape = tf.concat([[1], tf.shape(values)[1:]], axis=0)
        return tf.zeros(shape, values.dtype), tf.fill([1], indices.dtype.max)

    padded = values, indices
    if indices.shape[0] == 0:
        padded = padding()
    elif indices.shape[0] is None and not tensorflow_private.inside_xla():  # its shapes are fixed
        padded = tf.cond(tf.equal(tf.size(indices), 0), padding, lambda: (values, indices))
    return tf.IndexedSlices(*padded, slices.dense_shape)


def _without_padding(slices: tf.IndexedSlices) -> tf.IndexedSlices:
    """Returns gathered rows without the added ones. XLA drops those when it writes rows."""
    values, indices = slices.values, slices.indices
    if tensorflow_private.inside_xla():
        return slices
    real = tf.not_equal(indices, indices.dtype.max)

    def kept() -> tuple[Any, Any]:
        return tf.boolean_mask(values, real), tf.boolean_mask(indices, real)

    kept_or_all = tf.cond(tf.reduce_all(real), lambda: (values, indices), kept)
    return tf.IndexedSlices(*kept_or_all, slices.dense_shape)


def _places_by_collective(gradients: Sequence[Any]) -> list[list[int]]:
    """Groups gradients by collective, and returns their places: dense ones of one dtype together.

    `IndexedSlices` are gathered, not packed. TensorFlow would pack different dtypes, and fail.
    """
    places: dict[Any, list[int]] = {}
    for place, gradient in enumerate(gradients):
        places.setdefault(None if _has_rows(gradient) else gradient.dtype, []).append(place)
    return list(places.values())


def across_replicas(*args: Any) -> Callable[[Callable[..., None]], None]:
    """Runs the function once for all replicas; `args` become values per replica."""
    merge_call = tf.__internal__.distribute.interim.maybe_merge_call
    return lambda function: merge_call(
        lambda strategy, *merged: function(*merged), tf.distribute.get_strategy(), *args
    )


def when(condition: Any) -> Callable[[Callable[[], None]], None]:
    """Runs the function if the condition, a bool tensor, is true. None means true.

    A branch must not contain a `merge_call`. So use this below `across_replicas`; inside the
    branch, `on_each_replica` returns to the replicas.
    """
    if condition is None:
        return lambda function: function()
    return lambda function: dtensor.when(condition, function)


def on_each_replica(function: Callable[[], None]) -> None:
    """Calls `function` on each replica, from inside `across_replicas`."""
    if tf.distribute.in_cross_replica_context():
        tf.distribute.get_strategy().extended.call_for_each_replica(function)
    else:  # without `merge_call`, `across_replicas` did not leave the replica
        function()


def holds_on_all_replicas(flag: Any) -> Any:
    """Returns whether `flag` is true on all replicas, where it may differ."""
    if not has_strategy():
        return flag
    against = tf.cast(tf.logical_not(flag), tf.float32)
    context = tf.distribute.get_replica_context()
    return tf.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, against), 0)


def first_replicas_value(value: Any) -> Any:
    """Returns the first replica's value, inside `across_replicas`; None stays None."""
    if value is None:
        return None
    return tf.distribute.get_strategy().experimental_local_results(value)[0]


def each_copy(works: Sequence[Work], function: Callable[[Any, Work], Any]) -> None:
    """Calls `function(copy, work)` for each copy of each work's variable, on its device.

    The tensors of the work are this replica's; its `variable` is still the mirrored one.
    """
    extended = tf.distribute.get_strategy().extended
    for work in works:
        extended.update(work.variable, function, args=(work,), group=False)


def after_writes(variables: Iterable[Any]) -> AbstractContextManager[Any]:
    """Returns a scope whose ops run after all earlier writes to these, and not if one fails.

    A write of rows fails for an index that is out of range. In a function, other ops would run.
    """
    all_copies = [copy for variable in variables for copy in copies(variable)]
    return tf.control_dependencies([tf.raw_ops.VariableShape(input=c.handle) for c in all_copies])


def on_device_of(copy: Any) -> AbstractContextManager[Any]:
    """Returns a scope for ops on the device of a copy; without a strategy, it does nothing."""
    return tf.device(copy.device) if has_strategy() else contextlib.nullcontext()


def copy_on_device_of(variable: Any, other: Any) -> Any:
    """Returns the copy of a mirrored variable that is on the device of another variable.

    A `tf.function` captures a mirrored variable among its arguments, and does not pass it. Its
    copies are plain variables, which are passed.
    """
    candidates = copies(variable)
    return next((copy for copy in candidates if copy.device == other.device), candidates[0])


def copies(variable: Any) -> Sequence[Any]:
    """Returns the copies of a mirrored variable; of any other variable, itself."""
    if not isinstance(variable, tf.distribute.DistributedValues):
        return [variable]
    return list(tf.distribute.get_strategy().experimental_local_results(variable))
