"""Inverse-time decay of the learning rate: the keyword `decay`."""

from __future__ import annotations

from typing import Any

from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy
from tfopt._engine.step_records import Step
from tfopt._libraries import tf_variables
from tfopt.hyper import Hyper


class InverseTimeDecay(Policy):
    """Divides the learning rate by 1 + decay * iterations."""

    decay = Hyper(0.0, low=0)
    is_pure = True

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether `decay` is declared as that of the learning rate, and there is a rate."""
        return "decay" in engine.declared.fields and "learning_rate" in engine.hypers

    def change_rates(self, step: Step, h: Any) -> None:
        """Decays the learning rate."""
        if hasattr(h, "learning_rate"):
            steps = tf_variables.as_scalar(step.iterations, h.t.dtype)
            h.learning_rate = h.learning_rate / (1 + h.decay * steps)
