"""The entries into a step: `apply_gradients` and `flush`."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._engine import check_gradients
from tfopt._libraries import replicas, tf_variables

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._engine.policy import Policy


def apply(
    engine: Engine,
    grads_and_vars: Iterable[tuple[Any, Any]],
    name: str | None = None,
    aggregate: bool = True,
    more: tuple[Policy, ...] = (),
) -> Any:
    """Makes one step, after all checks; with more policies, if a wrapper makes the step."""
    works = check_gradients.check(grads_and_vars, engine.warned, engine.optimizer.complex_numbers)
    if not works:
        return _result(engine, engine.state.iterations.read_value(), name)
    sparse = [work for work in works if work.is_sparse]
    if sparse:
        engine.check_rows(sparse)
        for policy in engine.policies:
            policy.check_rows(sparse)
    replicas.require_replica_context([work.variable for work in works])
    if not aggregate:
        replicas.require_copies("`experimental_aggregate_gradients=False`")
    engine.build([work.original for work in works])
    values, more = engine.hypers.evaluate(), (*more, *engine.brought())
    if engine.runs_in_place():
        with tf.name_scope(tf_variables.scope_name(name or engine.name)):
            return engine.life(engine.step(values, aggregate, more), engine.grouped(works))
    return _result(engine, engine.eager_steps.step(engine, values, aggregate, more, works), name)


def flush(engine: Engine, more: tuple[Policy, ...] = ()) -> Any:
    """Makes one step for each window that a gate keeps open; such a step gets no gradients."""
    gates, built = engine.policies.gates, engine.state.built
    if gates and not built and tf.inside_function():
        raise RuntimeError(
            "`flush` was traced before the optimizer has seen variables, and would never do "
            "anything: call `build` with them first."
        )
    if not (gates and built):
        return _result(engine, engine.state.iterations.read_value(), None)
    replicas.require_replica_context(engine.state.variables())
    flush = functools.partial(_flush_windows, engine, more)
    if tf_variables.in_v1_graph():  # where only functions keep reads and writes in order
        flush = tf.function(flush, autograph=False)
    return _result(engine, flush(), None)


def _flush_windows(engine: Engine, more: tuple[Policy, ...]) -> Any:
    values = engine.hypers.evaluate()
    for policy in engine.policies:
        for works, aggregate in policy.open_windows():
            engine.life(engine.step(values, aggregate, more)._replace(flush=True), works)
    return engine.state.iterations.read_value()


def _result(engine: Engine, iterations: Any, name: str | None) -> Any:
    """Returns what `apply_gradients` returns: in a v1 graph an operation."""
    if tf_variables.in_v1_graph() and not tf.inside_function():
        return tf.group(iterations, name=tf_variables.scope_name(name or engine.name))
    return iterations
