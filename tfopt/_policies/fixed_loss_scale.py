"""A fixed loss scale: gradients are divided by the number that multiplied the loss."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._engine import gradient_arithmetic
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step
from tfopt.hyper import Hyper


def scale_loss(self: Any, loss: Any) -> Any:
    """Multiplies the loss by `loss_scale_factor`, if there is one. Differentiate the result."""
    factor = self._engine.value_now("loss_scale_factor")
    return loss if factor is None else times(loss, factor)


def times(loss: Any, scale: Any) -> Any:
    """Returns a loss, which may be a plain number, times a scale, in the dtype of the loss."""
    loss = tf.convert_to_tensor(loss, None if hasattr(loss, "dtype") else tf.float32)
    return loss * tf.cast(scale, loss.dtype)


class Unscaling(Policy):
    """Divides each replica's gradients by `loss_scale_factor`."""

    loss_scale_factor = Hyper(None, off=None, above=0, tracked=False)
    offers = {"scale_loss": scale_loss}

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether there is a `loss_scale_factor`."""
        return engine.uses("loss_scale_factor")

    def change_own_gradients(self, step: Step, works: Works) -> Works:
        """Divides the gradients by `loss_scale_factor`."""
        return divided(works, step.values["loss_scale_factor"])


def divided(works: Works, scale: Any) -> Works:
    """Returns the works with their gradients divided by a scale."""
    return [
        work._replace(gradient=gradient_arithmetic.divided(work.gradient, scale)) for work in works
    ]
