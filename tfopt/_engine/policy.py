"""Base class of policies: options of every optimizer, such as clipping or averaging.

A policy is one class with its keywords, slots, counters, checks and hooks, and one entry in
`ORDER`; nothing else names it. It takes part in a step by overriding the hooks that it needs. It
holds no values of a step, but keeps what it needs in slots and counters. Its keywords and its
methods for users become the optimizer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from tfopt._engine.rules import Rule
from tfopt._engine.variable_groups import Group
from tfopt._libraries import replicas
from tfopt._values.cells_and_codecs import Codec
from tfopt._values.initial_values import Initial, Kept

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._engine.step_records import H, Step, Update, Work

Works = Sequence["Work"]


class Policy:
    """Base class of policies, whose hooks do nothing. They are listed in the order of a step."""

    kept: ClassVar[Mapping[str, Kept]] = {}  # its slots and parts of codecs, by name
    offers: ClassVar[Mapping[str, Any]] = {}  # methods and properties that optimizers get
    # Those of the constructor that are no `Hyper` or `Static`, with their types: see `configure`.
    keywords: ClassVar[Mapping[str, str]] = {}
    by_group: ClassVar[Sequence[str]] = ()  # its hyperparameters that groups may change
    is_pure = False  # whether it needs no variables, so that `tfopt.functional` can use it
    configured_first = False  # whether other policies need what it is given in `configure`
    factor_name = ""  # what kernels call the policy's factor, if it has one
    calls_functions_of_users = False  # they may use Python, so eager steps are not traced
    keeps_overwritten = False  # whether variables overwritten by their gradient have its slots
    enters_gradient_only = False  # whether `enter_update` leaves the value as it is
    needs_whole_variables = False  # whether a gradient of rows must be made dense for it

    def __init__(self, engine: Engine):
        self.engine = engine

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if keywords do not fit together. It is called for all policies, in use or not."""

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether the optimizer's keywords need this policy."""
        return True

    @classmethod
    def rules(cls) -> list[Rule]:
        """Returns new rules, if the policy treats some variables differently."""
        return []

    @classmethod
    def configure(cls, engine: Engine, values: Mapping[str, Any]) -> None:
        """Receives what the constructor was given for `keywords`."""

    @classmethod
    def config(cls, engine: Engine) -> dict[str, Any]:
        """Returns what `get_config` holds for `keywords`."""
        return {}

    @classmethod
    def texts(cls, engine: Engine) -> dict[str, str]:
        """Returns what `repr` shows for its keywords, where that is not what a config holds."""
        return {}

    @classmethod
    def from_config(cls, value: Any, custom_objects: Mapping[str, Any] | None) -> Any:
        """Returns the argument of the constructor for a keyword, given its `value` in a config."""
        return value

    @classmethod
    def without_effect(cls, engine: Engine, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Returns which of its `keywords` have no effect, each with the keyword that it needs."""
        return []

    def note_call(self, works: Works, aggregate: bool) -> None:
        """Is called for each step that runs in a function which was traced earlier."""

    def check_rows(self, works: Works) -> None:
        """Raises for gradients of rows that it does not support, before anything is created."""

    def slots(self, x: Any, first: bool) -> dict[str, Initial | Any]:
        """Declares the slots that it keeps for a variable.

        Args:
            x: the variable.
            first: True for the first of the variables that were seen together.
        """
        return {}

    def codec(self, x: Any, name: str) -> Codec | None:
        """Returns how the slot `name` of a variable is stored; `VALUE` is the variable itself."""
        return None

    @property
    def counters(self) -> Mapping[str, int | float]:
        """Its scalars by name, with their first values. Whole numbers are int64, others float32."""
        return {}

    # On each replica.

    def change_own_gradients(self, step: Step, works: Works) -> Works:
        """Returns the works with this replica's gradients changed, before they are summed."""
        return works

    def gate(self, step: Step, works: Works, rest: Callable[[Works], None]) -> None:
        """Runs the rest of the step with its works: now, or in a later call."""
        rest(works)

    def open_windows(self) -> list[tuple[Works, bool]]:
        """Returns the works that its gate keeps for `flush`, each with whether to aggregate."""
        return []

    def aggregate(self, step: Step, works: Works) -> Works:
        """Returns the works with gradients summed over replicas. Only one policy may do this."""
        raise NotImplementedError

    def allows_step(self, step: Step, works: Works) -> Any:
        """Returns whether the step may be taken, the same bool tensor on all replicas; or None."""
        return None

    def change_gradients(self, step: Step, works: Works) -> Works:
        """Returns the works with changed gradients, after the sum over replicas."""
        return works

    # Once for all replicas.

    def change_rates(self, step: Step, h: Any) -> None:
        """Changes the hyperparameters `h` of one dtype and group, before `begin` gets them."""

    def change_scalars(self, step: Step, h: Any, group: Group) -> None:
        """Changes or adds to the scalars of one dtype and group, after `begin`."""

    def before_update(self, step: Step, works: Works) -> None:
        """Is called before any variable of the step moves."""

    @staticmethod
    def factor(update: Update, h: H) -> Any:
        """Returns what `enter_update` needs for this update; None if there is nothing to do."""
        return None

    @staticmethod
    def enter_update(factor: Any, g: Any, x: Any) -> tuple[Any, Any]:
        """Returns gradient and value for `update`. XLA compiles it together with `update`."""
        return g, x

    @staticmethod
    def leave_update(factor: Any, g: Any, x: Any, new: Any) -> Any:
        """Returns the new value of a variable, given what the update got and what it computed."""
        return new

    def after_update(self, step: Step, works: Works) -> None:
        """Is called after all variables of the step have moved, before `iterations` does."""

    def after_decision(self, step: Step, taken: Any) -> None:
        """Is called after a step, taken or skipped. `taken` is None if no policy could skip it."""


class Policies(tuple[Policy, ...]):
    """The policies of a step, and the hooks that combine their answers."""

    @property
    def gates(self) -> list[Callable[..., None]]:
        """The gates that do something."""
        return [policy.gate for policy in self if type(policy).gate is not Policy.gate]

    @property
    def acting(self) -> tuple[type[Policy], ...]:
        """The classes of the policies that act inside an update."""
        return tuple(type(p) for p in self if type(p).factor is not Policy.factor)

    @property
    def aggregator(self) -> Policy | None:
        """The policy that sums over replicas in place of the engine; None if there is none."""
        return next((p for p in self if type(p).aggregate is not Policy.aggregate), None)

    def aggregate(self, step: Step, works: Works) -> Works:
        """Returns the works with gradients summed over replicas."""
        if self.aggregator is not None:
            return self.aggregator.aggregate(step, works)
        summed = replicas.sum_over_replicas([work.gradient for work in works])
        return [work._replace(gradient=g) for work, g in zip(works, summed, strict=True)]

    def allows_step(self, step: Step, works: Works) -> Any:
        """Returns whether all policies allow the step; None if no policy has a condition.

        If two policies have the same condition, it is computed once.
        """
        asking = {type(policy).allows_step: policy for policy in self}
        verdicts = [policy.allows_step(step, works) for policy in asking.values()]
        verdicts = [verdict for verdict in verdicts if verdict is not None]
        return (
            tf.reduce_all(tf.stack(verdicts)) if len(verdicts) > 1 else next(iter(verdicts), None)
        )
