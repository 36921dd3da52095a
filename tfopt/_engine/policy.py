"""What a policy is: one class with its keywords, slots, counters, checks and hooks.

A policy takes part in a step by overriding the hooks that it needs. It holds nothing of a step:
what it keeps is in slots and counters. Its keywords and what it offers to users become the
optimizer's, so a policy is one class and one entry in `ORDER`, and nothing else names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from tfopt._engine.variable_groups import Group, Rule
from tfopt._libraries import replicas
from tfopt._values.cells_and_codecs import Codec
from tfopt._values.initial_values import Initial, Kept

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._engine.step_records import H, Step, Update, Work

Works = Sequence["Work"]


class Policy:
    """Base class of policies: it does nothing anywhere. Hooks stand in the order of a step."""

    kept: ClassVar[Mapping[str, Kept]] = {}  # its slots and parts of codecs, by name
    offers: ClassVar[Mapping[str, Any]] = {}  # methods and properties that optimizers get
    keywords: ClassVar[Sequence[str]] = ()  # those that are no `Hyper` or `Static`: see `configure`
    can_be_off: ClassVar[Sequence[str]] = ()  # hyperparameters that rules may turn off: `scalars`
    factor_name = ""  # what kernels call the policy's factor, if it has one
    calls_functions_of_users = False  # which may do in Python what a trace would forget
    enters_gradient_only = False  # whether `enter` leaves the value as it is

    def __init__(self, engine: Engine):
        self.engine = engine

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if keywords do not fit together. Asked of all policies, in use or not."""

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Whether the optimizer's keywords call for it."""
        return True

    @classmethod
    def rule(cls) -> Rule | None:
        """The rule by which it leaves some variables alone, a new one for each optimizer."""
        return None

    @classmethod
    def configure(cls, engine: Engine, values: Mapping[str, Any]) -> None:
        """Takes what the constructor was given for `keywords`."""

    @classmethod
    def config(cls, engine: Engine) -> dict[str, Any]:
        """What `get_config` says for `keywords`."""
        return {}

    def note_call(self, works: Works, aggregate: bool) -> None:
        """Called for each step that runs in a function which was traced earlier."""

    def check_rows(self, works: Works) -> None:
        """Raises for gradients of rows that it cannot go with, before anything is created."""

    def slots(self, x: Any, first: bool) -> dict[str, Initial | Any]:
        """What it keeps for a variable; `first` for the first of those seen together."""
        return {}

    def codec(self, x: Any, name: str) -> Codec | None:
        """How the slot `name` of a variable is stored, or itself where that is `VALUE`."""
        return None

    @property
    def counters(self) -> Mapping[str, int | float]:
        """Its scalars by name, and how they start; whole numbers are int64, others float32."""
        return {}

    # On each replica.

    def change_own_gradients(self, step: Step, works: Works) -> Works:
        """The works with one replica's own gradients changed."""
        return works

    def gate(self, step: Step, works: Works, rest: Callable[[Works], None]) -> None:
        """Calls the rest of the step with its works: now, or in a later call."""
        rest(works)

    def open_windows(self) -> list[tuple[Works, bool]]:
        """What its gate keeps from earlier calls, for `flush`: works, whether to aggregate."""
        return []

    def aggregate(self, step: Step, works: Works) -> Works:
        """The works with gradients summed over replicas; only one policy may do that."""
        raise NotImplementedError

    def allows_step(self, step: Step, works: Works) -> Any:
        """Whether the step may be taken: a bool tensor alike on all replicas, or None."""
        return None

    def change_gradients(self, step: Step, works: Works) -> Works:
        """The works with the summed gradients changed."""
        return works

    # Once for all replicas.

    def change_rates(self, step: Step, h: Any) -> None:
        """Changes the hyperparameters `h` of one dtype and group, before `begin` sees them."""

    def change_scalars(self, step: Step, h: Any, group: Group) -> None:
        """Changes or adds to the scalars of one dtype and group, after `begin`."""

    def before_update(self, step: Step, works: Works) -> None:
        """Before any variable of the step moves."""

    @staticmethod
    def factor(update: Update, h: H) -> Any:
        """What `enter` needs for this update; None if there is nothing to do."""
        return None

    @staticmethod
    def enter_update(factor: Any, g: Any, x: Any) -> tuple[Any, Any]:
        """Gradient and value as the update shall see them. Traced into it, by XLA too."""
        return g, x

    def after_update(self, step: Step, works: Works) -> None:
        """After all variables of the step have moved, before `iterations` does."""

    def after_decision(self, step: Step, taken: Any) -> None:
        """After a step that was taken, or was not; `taken` is None if no policy minds."""


class Policies(tuple[Policy, ...]):
    """The policies of a step, and the hooks in which their answers come together."""

    @property
    def gates(self) -> list[Callable[..., None]]:
        """The gates that do something."""
        return [policy.gate for policy in self if type(policy).gate is not Policy.gate]

    @property
    def acting(self) -> tuple[type[Policy], ...]:
        """The classes of those that act inside an update."""
        return tuple(type(p) for p in self if type(p).factor is not Policy.factor)

    @property
    def aggregator(self) -> Policy | None:
        """The one that sums over replicas in place of the engine, if any does."""
        return next((p for p in self if type(p).aggregate is not Policy.aggregate), None)

    def aggregate(self, step: Step, works: Works) -> Works:
        """The works with the gradients of all replicas together."""
        if self.aggregator is not None:
            return self.aggregator.aggregate(step, works)
        summed = replicas.sum_over_replicas([work.gradient for work in works])
        return [work._replace(gradient=g) for work, g in zip(works, summed, strict=True)]

    def allows_step(self, step: Step, works: Works) -> Any:
        """Whether all policies let the step be taken; None if none of them minds.

        Policies that ask the same question ask it once.
        """
        asking = {type(policy).allows_step: policy for policy in self}
        verdicts = [policy.allows_step(step, works) for policy in asking.values()]
        verdicts = [verdict for verdict in verdicts if verdict is not None]
        return (
            tf.reduce_all(tf.stack(verdicts)) if len(verdicts) > 1 else next(iter(verdicts), None)
        )
