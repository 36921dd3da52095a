"""Cautious updates and cautious weight decay, which leave out weights where signs disagree."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._engine.step_records import H, Step, Update
from tfopt._engine.variable_groups import Group
from tfopt.hyper import Static

LEAST_PART = 1e-3  # at least this part of a variable counts as moving, to limit the factor


class CautiousUpdates(Policy):
    """Moves only those weights whose step goes down the gradient, and moves these farther."""

    cautious = Static(False)
    is_pure = True
    needs_whole_variables = True

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises for an optimizer to which it does not apply."""
        if not engine.statics["cautious"]:
            return
        if engine.uses("weight_decay") and engine.optimizer.decays == "own":
            raise ValueError(
                "`cautious` must be False with `weight_decay`, which is part of the update of "
                f"{type(engine.optimizer).__name__}; got True."
            )
        if not engine.optimizer.can_be_cautious:
            raise ValueError(
                f"`cautious` must be False: {type(engine.optimizer).__name__} has no momentum that "
                "may point against the gradient, or more depends on where its steps lead; got True."
            )

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether `cautious` is True."""
        return bool(engine.statics["cautious"])

    @staticmethod
    def factor(update: Update, h: H) -> Any:
        """Returns True: every update is cautious."""
        return True

    @staticmethod
    def leave_update(factor: Any, g: Any, x: Any, new: Any) -> Any:
        """Returns the value after the part of the step that agrees with the gradient."""
        step = x - new
        mask = tf.cast(step * g > 0, x.dtype)
        return x - step * mask / tf.maximum(tf.reduce_mean(mask), LEAST_PART)


class CautiousWeightDecay(Policy):
    """Decays only those weights that the step does not move away from 0."""

    cautious_weight_decay = Static(False)
    is_pure = True

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if there is no decoupled weight decay."""
        if not engine.statics["cautious_weight_decay"]:
            return
        if not engine.uses("weight_decay"):
            raise ValueError("`cautious_weight_decay` must be False without `weight_decay`.")
        if engine.optimizer.decays != "base":
            raise ValueError(
                "`cautious_weight_decay` must be False: weight decay is part of the update of "
                f"{type(engine.optimizer).__name__}; got True."
            )

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether `cautious_weight_decay` is True."""
        return bool(engine.statics["cautious_weight_decay"])

    def change_scalars(self, step: Step, h: Any, group: Group) -> None:
        """Takes the rate of decay away from `WeightDecay`."""
        if hasattr(h, "decay_rate"):
            h.cautious_decay_rate = h.decay_rate
            del h.decay_rate

    @staticmethod
    def factor(update: Update, h: H) -> Any:
        """Returns the part of the weights that decays; None if they do not."""
        return h.get("cautious_decay_rate")

    @staticmethod
    def leave_update(factor: Any, g: Any, x: Any, new: Any) -> Any:
        """Decays the weights that the step leaves where they are, or moves towards 0."""
        return new - tf.where((x - new) * x >= 0, factor * x, 0)
