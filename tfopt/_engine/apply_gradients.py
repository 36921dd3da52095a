"""The entries into a step: `apply_gradients` and `flush`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._engine import check_gradients, malformed_pairs
from tfopt._libraries import replicas, tf_variables

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._engine.policy import Policy


def apply(
    engine: Engine,
    grads_and_vars: Iterable[tuple[Any, Any]],
    name: str | None = None,
    aggregate: bool = True,
) -> Any:
    """Makes one step, after all checks."""
    _check_that_it_may_step(engine)
    if name is not None and not isinstance(name, str):
        raise malformed_pairs.no_name(name)
    replicas.require_replica_context()  # first: elsewhere variables cannot be asked
    works = check_gradients.check(grads_and_vars, engine.warned, engine.optimizer.complex_numbers)
    more = _taken(engine)
    if not works:
        return _result(engine, replicas.read_alike(engine.state.iterations), name)
    sparse = [work for work in works if work.is_sparse]
    if sparse:
        engine.check_rows(sparse)
        for policy in engine.policies:
            policy.check_rows(sparse)
    replicas.require_replica_context([work.variable for work in works])
    if not aggregate:
        replicas.require_copies("`experimental_aggregate_gradients=False`")
    engine.build([work.original for work in works])
    works = engine.groups.moving(works)
    if not works:  # groups leave all of them alone
        return _result(engine, replicas.read_alike(engine.state.iterations), name)
    values = engine.hypers.evaluate()
    if engine.runs_in_place():
        with tf.name_scope(tf_variables.scope_name(name or engine.name)):
            return engine.life(engine.step(values, aggregate, more), engine.grouped(works))
    return _result(engine, engine.eager_steps.step(engine, values, aggregate, more, works), name)


def _check_that_it_may_step(engine: Engine) -> None:
    if engine.state.part_of is not None:
        raise RuntimeError(
            f"`{engine.name}` is a part of `{engine.state.part_of.name}`, which makes its steps: "
            "call that instead."
        )
    if engine.state.is_evaluated:
        raise RuntimeError(
            f"`{engine.name}` must not make a step while variables have their evaluation weights: "
            "leave `evaluation_weights` before, or call `restore` of the callback."
        )


# --- a step through a subclass' own `apply` -------------------------------------------------------

# The engine whose step goes through `apply`, and what remains for `apply` of the base class to do.
_IN_APPLY: ContextVar[tuple[Engine, Callable[..., Any] | None]] = ContextVar("in_apply")


def apply_through(
    engine: Engine, grads_and_vars: Iterable[tuple[Any, Any]], name: str | None, aggregate: bool
) -> Any:
    """Makes one step by calling `apply`, which a subclass overrides, as Keras 3 does."""
    pairs = list(grads_and_vars)
    well_formed = all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs)
    if not well_formed or _in_apply(engine):  # `apply` below raises for malformed pairs
        return apply(engine, pairs, name, aggregate)
    rest = functools.partial(apply, engine, name=name, aggregate=aggregate)
    with in_apply(engine, rest):
        return engine.optimizer.apply([g for g, _ in pairs], [variable for _, variable in pairs])


def rest_of_step(engine: Engine) -> Callable[..., Any] | None:
    """Returns what makes the step, given the pairs, if `apply` was called by `apply_through`."""
    return _IN_APPLY.get()[1] if _in_apply(engine) else None


@contextlib.contextmanager
def in_apply(engine: Engine, rest: Callable[..., Any] | None = None) -> Iterator[None]:
    """Keeps `apply_gradients` from calling `apply`, from which it is called."""
    token = _IN_APPLY.set((engine, rest))
    try:
        yield
    finally:
        _IN_APPLY.reset(token)


def _in_apply(engine: Engine) -> bool:
    going_on = _IN_APPLY.get(None)
    return going_on is not None and going_on[0] is engine


# --- a step of a wrapper, which brings policies of its own ----------------------------------------

_BROUGHT: ContextVar[tuple[Engine, list[Policy]] | None] = ContextVar("brought", default=None)


def apply_wrapped(
    engine: Engine,
    grads_and_vars: Iterable[tuple[Any, Any]],
    name: str | None,
    aggregate: bool,
    more: Sequence[Policy],
) -> Any:
    """Makes a wrapper's step by calling `apply_gradients`, which a subclass may override."""
    summed = {} if aggregate else {"experimental_aggregate_gradients": False}
    untaken = list(more)
    token = _BROUGHT.set((engine, untaken))
    try:
        result = engine.optimizer.apply_gradients(grads_and_vars, name, **summed)
    finally:
        _BROUGHT.reset(token)
    if untaken:
        raise RuntimeError(
            f"`apply_gradients` of {type(engine.optimizer).__name__} must call that of its base "
            "class: the check for finite gradients, and the loss scale, are applied there."
        )
    return result


def _taken(engine: Engine) -> tuple[Policy, ...]:
    """Removes and returns the policies that a wrapper brought to this optimizer's step."""
    brought = _BROUGHT.get()
    if brought is None or brought[0] is not engine:
        return ()
    taken = tuple(brought[1])
    brought[1].clear()
    return taken


# --- the end of a window --------------------------------------------------------------------------


def flush(engine: Engine, more: tuple[Policy, ...] = ()) -> Any:
    """Makes one step for each window that a gate keeps open. It gets no further gradients."""
    _check_that_it_may_step(engine)
    gates, built = engine.policies.gates, engine.state.built
    if gates and not built and tf.inside_function():
        raise RuntimeError(
            "`flush` was traced before the optimizer has seen variables, and would never do "
            "anything: call `build` with them first."
        )
    if not (gates and built):
        return _result(engine, replicas.read_alike(engine.state.iterations), None)
    replicas.require_replica_context(engine.state.variables(), "flush")
    flush = functools.partial(_flush_windows, engine, more)
    if tf_variables.in_v1_graph():  # only functions keep reads and writes in order there
        flush = tf.function(flush, autograph=False)
    return _result(engine, flush(), None)


def _flush_windows(engine: Engine, more: tuple[Policy, ...]) -> Any:
    values = engine.hypers.evaluate()
    for policy in engine.policies:
        for works, aggregate in policy.open_windows():
            engine.life(engine.step(values, aggregate, more)._replace(flush=True), works)
    return replicas.read_alike(engine.state.iterations)


def _result(engine: Engine, iterations: Any, name: str | None) -> Any:
    """Returns what `apply_gradients` returns: in a v1 graph an operation."""
    if tf_variables.in_v1_graph() and not tf.inside_function():
        return tf.group(iterations, name=tf_variables.scope_name(name or engine.name))
    return iterations
