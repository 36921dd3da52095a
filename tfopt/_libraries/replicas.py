"""Replicas of `tf.distribute`: sums over replicas, and updates of every copy of a variable.

The decorators `across_replicas` and `when` run the decorated function immediately, in another
context.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
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


def require_replica_context(variables: Iterable[Any] = (), by: str = "apply_gradients") -> None:
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
            f"`{by}` was called {where}. Call it inside the function that you pass "
            "to `strategy.run`, which runs it once per replica."
        )


def require_copies(what: str) -> None:
    """Raises if replicas share variables: only the first replica's gradients would be applied."""
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, SHARING):
        raise NotImplementedError(
            f"{what} is not supported under a strategy whose replicas share their variables; got "
            f"{type(strategy).__name__}."
        )


class Home:
    """Where variables live that belong to an optimizer as a whole: under which strategy.

    It is the strategy in whose scope the optimizer was made, else that of its first variables.
    """

    def __init__(self) -> None:
        self._strategy = tf.distribute.get_strategy() if has_strategy() else None
        self._is_used = False

    def join(self, variable: Any) -> None:
        """Moves to the strategy of a variable, unless there are variables in a strategy already."""
        own = self._strategy
        if own is None or not (self._is_used or own.extended.variable_created_in_scope(variable)):
            self._strategy = getattr(variable, "distribute_strategy", None)

    def copied(self) -> Home:
        """Returns the same home for a deep copy, whose variables may be others."""
        twin = Home()
        twin._strategy = self._strategy
        return twin

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Returns a scope, outside of functions, in which variables are created here."""
        with tf.init_scope(), contextlib.ExitStack() as stack:
            self._is_used = True
            if self._strategy is not None and not has_strategy():
                stack.enter_context(self._strategy.scope())
            yield


def has_strategy() -> bool:
    """Returns whether a strategy is active, with any number of replicas."""
    return bool(tf.distribute.has_strategy())


def count() -> int:
    """Returns the number of replicas."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def sum_over_replicas(gradients: Sequence[Any]) -> list[Any]:
    """Returns the gradients summed over all replicas, on each replica."""
    if not has_strategy():
        return list(gradients)
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1:
        gradients = [_to_be_gathered(g) if _has_rows(g) else g for g in gradients]
    # An argument of a `tf.function` is on no device yet.
    here = functools.partial(tf.nest.map_structure, tf.identity, expand_composites=True)
    gradients = [g if g.device else here(g) for g in gradients]
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


# --- variables of an optimizer as a whole ---------------------------------------------------------


def read_alike(variable: Any) -> Any:
    """Returns the value of a scalar, the same on all replicas.

    Replicas that have no `merge_call` run at different times. If the variable has no copies, only
    the first replica reads and writes it, and sends the value to the others.
    """
    if not _is_foreign(variable):
        return dtensor.read(variable)
    value = variable.read_value() if _number() == 0 else tf.zeros(variable.shape, variable.dtype)
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def readable_alike(variable: Any) -> Any:
    """Returns a scalar as it is where replicas may read it, else its value: see `read_alike`."""
    return read_alike(variable) if _is_foreign(variable) else variable


def assign_alike(variable: Any, value: Any) -> None:
    """Assigns a value that is the same on all replicas to a scalar, once to each copy."""
    for part in _written_here(variable):
        tf_variables.write(part, value)


def add_alike(variable: Any, value: Any) -> None:
    """Adds a value that is the same on all replicas to a scalar, once to each copy."""
    for part in _written_here(variable):
        tf_variables.add(part, tf.cast(value, part.dtype))


def _written_here(variable: Any) -> Sequence[Any]:
    """Returns what this code has to write, so that all replicas together write each copy once."""
    if not _stays_in_replica():
        return [variable]
    if isinstance(variable, tf.distribute.DistributedValues):
        return _copies_here(variable)
    return [variable] if _place() == 0 else []


def _copies_here(variable: Any) -> Sequence[Any]:
    """Returns the copies of a variable that this code may read and write: all, or one replica's."""
    found = copies(variable)
    return [found[_place()]] if len(found) > 1 and _stays_in_replica() else found


def _is_foreign(variable: Any) -> bool:
    """Returns whether replicas share a variable, and have no context in which they are one."""
    return _stays_in_replica() and not isinstance(variable, tf.distribute.DistributedValues)


def _stays_in_replica() -> bool:
    """Returns whether this runs in each replica, and cannot leave it: under XLA on GPUs."""
    if not has_strategy() or tf.distribute.in_cross_replica_context():
        return False
    # A TPU knows its number when it runs, and its variables take what a replica assigns.
    is_known = _number() is not None
    return is_known and bool(tf.__internal__.distribute.strategy_supports_no_merge_call())


def _place() -> int:
    """Returns the number of this replica among those of this process."""
    return (_number() or 0) % max(len(tf.distribute.get_strategy().extended.worker_devices), 1)


def _number() -> int | None:
    """Returns the number of this replica; None if it is not known while a function is traced."""
    number = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
    return None if number is None else int(number)


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
    """Returns a scope whose ops run after all earlier writes to these, and only if none failed.

    A write of rows fails for an index that is out of range. In a function, other ops would run.
    """
    here = [copy for variable in variables for copy in _copies_here(variable)]
    return tf.control_dependencies([tf.raw_ops.VariableShape(input=c.handle) for c in here])


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
