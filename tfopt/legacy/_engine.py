"""The engine of optimizers written for OptimizerV2: its order of a step."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._engine import gradient_arithmetic
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policies
from tfopt._engine.step_in_progress import ambient
from tfopt._engine.step_records import Step, Work
from tfopt._libraries import tf_variables
from tfopt._libraries.replicas import (
    across_replicas,
    add_alike,
    after_writes,
    each_copy,
    first_replicas_value,
    read_alike,
    when,
)
from tfopt._policies.constraints import Constraints
from tfopt._state.state import State
from tfopt._state.weight_order import Entry
from tfopt.hyper import Static


class LegacyState(State):
    """The state of an optimizer whose `weights` are a list in the order of creation."""

    def count_steps_in(self, variable: Any) -> None:
        """Makes a variable the counter of steps, and appends it to the weights."""
        super().count_steps_in(variable)
        self.owner._weights.append(variable)

    def share_count(self, variable: Any) -> None:
        """Counts steps in a wrapper's variable; removes a counter of its own from the weights."""
        own = self._iterations
        if variable is not own:
            self.owner._weights[:] = [w for w in self.owner._weights if w is not own]
        self._iterations = variable

    def add_slot(self, variable: Any, name: str, initial: Any, shape: Any) -> Any:
        """Returns a slot; appends a new one to the weights, and notes its variable as seen."""
        with self.lock:
            before = self.slots.count()
            slot = super().add_slot(variable, name, initial, shape)
            if self.slots.count() > before:
                self.owner._weights.append(slot)
            self.keep([variable])
        return slot

    def keep(self, variables: Iterable[Any]) -> None:
        """Adds variables to those seen."""
        new = {tf_variables.key(variable): variable for variable in variables}
        self.slots.keep({k: v for k, v in new.items() if k not in self.slots.variables})

    def weights(self) -> list[Any]:
        """Returns all variables, in the order of creation."""
        return list(self.owner.weights)  # a wrapper lists those of its inner optimizer, too

    def weights_with(self, entries: Iterable[Entry]) -> list[Any]:
        """Returns all variables: hooks may have created any number of them."""
        return self.weights()

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the values of `weights`, by position, or keeps them until there are slots."""
        super().set_weights([np.array(value) for value in weights])  # datasets lose their names

    def copy_into(self, twin: LegacyState, memo: dict[int, Any]) -> None:
        """Gives a deep copy copies of all variables."""
        twin.table = self.slots.copied(memo)
        twin._iterations = copy.deepcopy(self._iterations, memo)
        twin.added = copy.deepcopy(self.added, memo)


# --- a step ---------------------------------------------------------------------------------------


def _run(step: Step, works: Sequence[Work]) -> Any:
    """Makes a step in OptimizerV2's order, as one replica runs it."""
    for work in works:
        if work.overwrites:
            raise NotImplementedError(
                f"`{work.variable_path}` is to be overwritten with its gradient, as in Keras' "
                f"float8 training: OptimizerV2's hooks do not know of that."
            )
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
        # A hook may have summed in another way, so all replicas are asked.
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
            with after_writes([work.variable for work in works if work.is_sparse]):
                add_alike(step.engine.state.iterations, 1)

        for policy in policies:
            policy.after_decision(step, finite)

    return read_alike(step.engine.state.iterations)


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


# --- the parts ------------------------------------------------------------------------------------


class LegacyEngine(Engine):
    """The engine of an optimizer written for OptimizerV2, whose hooks make a step."""

    life = staticmethod(_run)
    goes_through_apply = False  # OptimizerV2 has no such method: one of a subclass is its own

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._constraints = Constraints(self)
        self.statics.update(
            {n: f.default for n, f in self.declared.fields.items() if isinstance(f, Static)}
        )

    def rows_word(self, role: str = "") -> str:
        """Returns "rows", so a constraint with a sparse gradient raises."""
        return "rows"

    @property
    def policies(self) -> Policies:
        """Constraints alone. tfopt's keywords are not supported: a subclass may use their names."""
        return Policies([self._constraints])

    def make_state(self) -> State:
        """Returns an empty state."""
        return LegacyState(self.optimizer, self.name, {}, dict, lambda: None)

    def copy_for(self, optimizer: Any, memo: dict[int, Any]) -> Engine:
        """Returns the engine of a deep copy, with the slots of the same variables."""
        twin = super().copy_for(optimizer, memo)
        assert isinstance(self.state, LegacyState) and isinstance(twin.state, LegacyState)
        self.state.copy_into(twin.state, memo)
        return twin

    def uses(self, name: str) -> bool:
        """Returns whether a hyperparameter that can be off takes part in updates."""
        return name in self.hypers and name not in self.declared.common and super().uses(name)

    def set_hyper(self, name: str, value: Any) -> None:
        """Gives a hyperparameter a value; adds one that is not there. A bool becomes a number."""
        super().set_hyper(name, float(value) if isinstance(value, bool | np.bool_) else value)

    def runs_in_place(self) -> bool:
        """Returns True, except in a v1 graph: hooks may run Python that a trace does not repeat."""
        return tf.inside_function() or not tf_variables.in_v1_graph()

    def build(self, var_list: Sequence[Any]) -> None:
        """Calls `build` of the optimizer, whose hooks create slots."""
        self.optimizer.build(var_list)

    def restore_slot(self, variable: Any, name: str, position: Any) -> Any:
        """Returns the slot for which a checkpoint has a value; None to wait until it is created."""
        with self.state.lock:
            dtype = tf_variables.unwrap(variable).dtype
            return self.state.slots.restore(variable, name, position, dtype)
