"""OptimizerV2's order of a step: a second `run`, made of the same parts."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._engine import gradient_arithmetic
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policies, Policy
from tfopt._engine.step_in_progress import ambient
from tfopt._engine.step_records import Step, Work
from tfopt._libraries import tf_variables
from tfopt._libraries.replicas import across_replicas, each_copy, first_replicas_value, when
from tfopt._policies.constraints import Constraints
from tfopt._state.state import State
from tfopt._state.weight_order import Entry
from tfopt.hyper import Static


class LegacyState(State):
    """The state of an optimizer whose `weights` are a list in the order of creation."""

    def count_steps_in(self, variable: Any) -> None:
        """Makes a variable the one that counts steps, and the next of the weights."""
        super().count_steps_in(variable)
        self.owner._weights.append(variable)

    def share_count(self, variable: Any) -> None:
        """Counts in a wrapper's variable: one that somebody read before is no state any more."""
        own = self._iterations
        if variable is not own:
            self.owner._weights[:] = [w for w in self.owner._weights if w is not own]
        self._iterations = variable

    def add_slot(self, variable: Any, name: str, initial: Any, shape: Any) -> Any:
        """A slot, which becomes the next of the weights; its variable is one that was seen."""
        with self.lock:
            before = self.slots.count()
            slot = super().add_slot(variable, name, initial, shape)
            if self.slots.count() > before:
                self.owner._weights.append(slot)
            self.keep([variable])
        return slot

    def keep(self, variables: Iterable[Any]) -> None:
        """Notes variables as seen."""
        new = {tf_variables.key(variable): variable for variable in variables}
        self.slots.keep({k: v for k, v in new.items() if k not in self.slots.variables})

    def weights(self) -> list[Any]:
        """All variables, in the order of creation."""
        return list(self.owner.weights)  # a wrapper lists those of what it wraps, too

    def weights_with(self, entries: Iterable[Entry]) -> list[Any]:
        """The same: hooks may have made any number of them."""
        return self.weights()

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the values of `weights`, by position, or keeps them until there are slots."""
        super().set_weights([np.array(value) for value in weights])  # datasets lose their names

    def copy_into(self, twin: LegacyState, memo: dict[int, Any]) -> None:
        """Gives a deep copy all variables, copied."""
        twin.table = self.slots.copied(memo)
        twin._iterations = copy.deepcopy(self._iterations, memo)
        twin.added = copy.deepcopy(self.added, memo)


# --- a step ---------------------------------------------------------------------------------------


def _run(step: Step, works: Sequence[Work]) -> Any:
    """The life of a step in OptimizerV2's order, as one replica runs it."""
    optimizer, policies = step.engine.optimizer, step.policies
    constraints = {id(work.variable): work.constraint for work in works}
    with ambient(step):
        step = step._replace(scalars=optimizer._prepare([work.variable for work in works]))
    with ambient(step):
        for policy in policies:
            works = policy.change_own_gradients(step, works)  # unscale
        pairs = [(work.gradient, work.variable) for work in works]
        if step.aggregate:
            pairs = optimizer._transform_unaggregated_gradients(pairs)
            pairs = optimizer._aggregate_gradients(pairs)
        # A hook may have summed in another way, so replicas have to agree.
        finite = policies.allows_step(step._replace(alike=False), _works(pairs, constraints))
        pairs = list(optimizer._transform_gradients(pairs))  # clip, transform

    @across_replicas(_works(pairs, constraints), finite)
    def together(works: Sequence[Work], finite: Any) -> None:
        finite = first_replicas_value(finite)

        @when(finite)  # else the step is skipped
        def move() -> None:
            each_copy(works, functools.partial(_update, optimizer, step))
            for policy in policies:
                policy.after_update(step, works)  # constraint
            step.engine.state.iterations.assign_add(1, read_value=False)

        for policy in policies:
            policy.after_decision(step, finite)

    return step.engine.state.iterations.read_value()


def _works(pairs: Iterable[tuple[Any, Any]], constraints: dict[int, Any]) -> list[Work]:
    return [Work(gradient, v, v, constraints.get(id(v))) for gradient, v in pairs]


def _update(optimizer: Any, step: Step, copy: Any, work: Work) -> None:
    """Updates one copy of one variable, on its device."""
    gradient = gradient_arithmetic.cast(work.gradient, copy.dtype)
    with ambient(step):
        if work.is_sparse:
            optimizer.resource_apply_sparse(gradient.values, copy, gradient.indices)
        else:
            optimizer.resource_apply_dense(gradient, copy)


def _apply_wrapped(
    engine: Engine,
    grads_and_vars: Iterable[tuple[Any, Any]],
    name: str | None,
    aggregate: bool,
    more: tuple[Policy, ...],
) -> Any:
    """A wrapper's step: by way of `apply_gradients`, which a subclass may override."""
    summed = {} if aggregate else {"experimental_aggregate_gradients": False}
    with _bringing(engine, more) as untaken:
        result = engine.optimizer.apply_gradients(grads_and_vars, name, **summed)
    if untaken:
        raise RuntimeError(
            f"`apply_gradients` of {type(engine.optimizer).__name__} must call that of its base "
            "class: the check for finite gradients, and the loss scale, are applied there."
        )
    return result


# --- what a wrapper brings, on its way through an overridden `apply_gradients` --------------------

_BROUGHT: ContextVar[tuple[Engine, list[Policy]] | None] = ContextVar("brought", default=None)


@contextmanager
def _bringing(engine: Engine, more: Sequence[Policy]) -> Iterator[list[Policy]]:
    """Has the next step of an optimizer in this thread take policies; gives those not taken."""
    untaken = list(more)
    token = _BROUGHT.set((engine, untaken))
    try:
        yield untaken
    finally:
        _BROUGHT.reset(token)


def _taken(engine: Engine) -> tuple[Policy, ...]:
    """What was brought to this optimizer, which is its step's from now on."""
    brought = _BROUGHT.get()
    if brought is None or brought[0] is not engine:
        return ()
    taken = tuple(brought[1])
    brought[1].clear()
    return taken


# --- the parts ------------------------------------------------------------------------------------


class LegacyEngine(Engine):
    """The parts of an optimizer of OptimizerV2's, whose hooks make a step."""

    life = staticmethod(_run)
    apply_wrapped = staticmethod(_apply_wrapped)
    takes_overrides = True
    rows_word = "rows"  # as far as the engine asks: a constraint is for dense gradients

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._constraints = Constraints(self)
        self.statics.update(
            {n: f.default for n, f in self.declared.fields.items() if isinstance(f, Static)}
        )

    @property
    def policies(self) -> Policies:
        """Constraints alone: tfopt's keywords are not offered, as a subclass may use them."""
        return Policies([self._constraints])

    def make_state(self) -> State:
        """The state, empty."""
        return LegacyState(self.optimizer, self.name, {}, dict, lambda: None)

    def copy_for(self, optimizer: Any, memo: dict[int, Any]) -> Engine:
        """The parts of a deep copy, with the slots of the same variables."""
        twin = super().copy_for(optimizer, memo)
        assert isinstance(self.state, LegacyState) and isinstance(twin.state, LegacyState)
        self.state.copy_into(twin.state, memo)
        return twin

    def uses(self, name: str) -> bool:
        """Whether a hyperparameter that can be off takes part in updates."""
        return name in self.hypers and name not in self.declared.common and super().uses(name)

    def runs_in_place(self) -> bool:
        """Always but in a v1 graph: hooks may do in Python what a trace would forget."""
        return tf.inside_function() or not tf_variables.in_v1_graph()

    def build(self, var_list: Sequence[Any]) -> None:
        """Asks the optimizer, whose hooks create slots."""
        self.optimizer.build(var_list)

    def restore_slot(self, variable: Any, name: str, position: Any) -> Any:
        """The slot a checkpoint holds a value for, or None to wait until it is created."""
        with self.state.lock:
            dtype = tf_variables.unwrap(variable).dtype
            return self.state.slots.restore(variable, name, position, dtype)

    def brought(self) -> tuple[Policy, ...]:
        """What a wrapper has brought, by way of an overridden `apply_gradients`."""
        return _taken(self)
