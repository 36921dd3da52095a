"""Where replicas are known: sums over them, and updates of every copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf


def require_replica_context(variables: Iterable[Any]) -> None:
    """Raises outside a replica, where a gradient belongs to no one."""
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


def require_in_step(what: str) -> None:
    """Raises where replicas do not take their steps together."""
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.experimental.ParameterServerStrategy):
        raise NotImplementedError(
            f"{what} is not supported under ParameterServerStrategy: replicas' steps are not "
            "taken together there."
        )


def has_strategy() -> bool:
    """Whether a strategy is active, with however many replicas."""
    return bool(tf.distribute.has_strategy())


def sum_over_replicas(gradients: Sequence[Any]) -> list[Any]:
    """The gradients of all replicas together, on each replica."""
    if not has_strategy():
        return list(gradients)
    context = tf.distribute.get_replica_context()
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients)))


def across_replicas(function: Callable[..., None], *args: Any) -> None:
    """Calls `function(*args)` once for all replicas; `args` become values per replica."""
    tf.__internal__.distribute.interim.maybe_merge_call(
        lambda strategy, *merged: function(*merged), tf.distribute.get_strategy(), *args
    )


def on_each_replica(function: Callable[[], None]) -> None:
    """Calls `function` on each replica, from where `across_replicas` calls."""
    if tf.distribute.in_cross_replica_context():
        tf.distribute.get_strategy().extended.call_for_each_replica(function)
    else:  # there is no such place where `merge_call` is not needed
        function()


def agreed(flag: Any) -> Any:
    """Whether `flag` holds on all replicas, where they may differ."""
    if not has_strategy():
        return flag
    against = tf.cast(tf.logical_not(flag), tf.float32)
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, against) == 0


def first(value: Any) -> Any:
    """The first replica's value, in what `across_replicas` calls."""
    return tf.distribute.get_strategy().experimental_local_results(value)[0]


def update(variable: Any, function: Callable[..., Any], *args: Any) -> None:
    """Calls `function(copy, *args)` for each copy of the variable, on its device."""
    strategy = tf.distribute.get_strategy()
    strategy.extended.update(variable, function, args=args, group=False)


def local(variable: Any, beside: Any) -> Any:
    """The copy of a mirrored variable that lies with `beside`.

    A mirrored variable given to a `tf.function` is captured, not passed; its copies are
    plain variables and are passed.
    """
    candidates = copies(variable)
    return next((copy for copy in candidates if copy.device == beside.device), candidates[0])


def copies(variable: Any) -> Sequence[Any]:
    """The copies of a mirrored variable; of any other, itself."""
    if not isinstance(variable, tf.distribute.DistributedValues):
        return [variable]
    return list(tf.distribute.get_strategy().experimental_local_results(variable))
