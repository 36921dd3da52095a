"""Optimizers of TensorFlow 1 (`tf.compat.v1.train`), used as optimizers of tfopt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfopt import registry
from tfopt._engine.engine import Engine
from tfopt._engine.step_records import Step, Work
from tfopt._libraries import replicas
from tfopt._state.state import State
from tfopt.optimizer import Optimizer


def _run(step: Step, works: Sequence[Work]) -> Any:
    """Makes a step: the wrapped optimizer does all of it, except counting."""
    if not step.aggregate and replicas.has_strategy():
        raise ValueError(
            "`experimental_aggregate_gradients` must be True: an optimizer of TensorFlow 1 "
            "always sums over replicas; got False."
        )
    wrapped = vars(step.engine.optimizer)["wrapped"]
    wrapped.apply_gradients([(work.gradient, work.variable) for work in works])

    @replicas.across_replicas()
    def count() -> None:
        replicas.add_alike(step.engine.state.iterations, 1)

    return replicas.read_alike(step.engine.state.iterations)


class V1State(State):
    """The counter of steps, and the variables of the wrapped optimizer."""

    def weights(self) -> list[Any]:
        """Returns `iterations`, then the variables of the wrapped optimizer."""
        return [self.iterations, *vars(self.owner)["wrapped"].variables()]


class V1Engine(Engine):
    """Passes a step to the wrapped optimizer."""

    def make_state(self) -> State:
        """Returns an empty state."""
        return V1State(self.optimizer, self.name, {}, dict, lambda: None)

    life = staticmethod(_run)

    def set_hyper(self, name: str, value: Any) -> None:
        """Raises, because the wrapped optimizer has the hyperparameters."""
        raise AttributeError(
            f"`{name}` cannot be set here: hyperparameters are those of `wrapped`; got {value!r}."
        )

    set_static = set_hyper


class V1Optimizer(Optimizer, engine=V1Engine):
    """Wraps a `tf.compat.v1.train.Optimizer` as an optimizer of tfopt.

    The wrapped optimizer computes steps: hyperparameters, slots and the sum over replicas are its
    own. The keywords that tfopt's optimizers share are not supported.

    Args:
        optimizer: the optimizer to wrap, kept as `wrapped`.
        name: a name; that of `optimizer` by default.

    Raises:
        TypeError: if `optimizer` is something else.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.get(tf.compat.v1.train.GradientDescentOptimizer(0.1))
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.9
    """

    complex_numbers = True

    def __init__(self, optimizer: Any, name: str | None = None):
        if not isinstance(optimizer, tf.compat.v1.train.Optimizer):
            raise TypeError(
                f"`optimizer` must be a tf.compat.v1.train.Optimizer; got {optimizer!r}."
            )
        super().__init__(name or optimizer.get_name())
        self.wrapped = optimizer

    def get_slot(self, var: Any, slot_name: str) -> Any:
        """Returns the wrapped optimizer's slot."""
        slot = self.wrapped.get_slot(var, slot_name) if isinstance(var, tf.Variable) else None
        if slot is None:
            raise KeyError(f"{var!r} has no slot {slot_name!r}.")
        return slot

    def get_slot_names(self) -> list[str]:
        """Returns an empty list, because the wrapped optimizer saves its slots."""
        return []

    def get_config(self) -> dict[str, Any]:
        """Raises `NotImplementedError`, because optimizers of TensorFlow 1 have no config."""
        raise NotImplementedError(
            f"{type(self.wrapped).__name__} of TensorFlow 1 has no config: it cannot be saved "
            "with a model. Use the optimizer of tfopt of that name."
        )

    def __repr__(self) -> str:
        return f"V1Optimizer({self.wrapped!r})"


registry.wrap(tf.compat.v1.train.Optimizer, V1Optimizer)
