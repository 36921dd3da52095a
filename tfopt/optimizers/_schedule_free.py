"""What the Schedule-Free optimizers share: two sequences of weights between which they train."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._declarations.formula import Formula
from tfopt._values.initial_values import copy, zeros
from tfopt.hyper import Hyper, Static


class ScheduleFree(Formula):
    """Slots, numbers and the last equations of the Schedule-Free optimizers."""

    warmup_steps = Static(0, whole=True, low=0)
    r = Hyper(0.0, low=0, tracked=False)
    weight_lr_power = Hyper(2.0, low=0, tracked=False)

    sparse = "whole"
    decays = "own"
    takes_constraints = False
    state = {"largest_rate": 0.0}

    def slots(self, x: Any) -> dict[str, Any]:
        # A variable that joins later has an average of its own age.
        return {"z": copy(x), "average": copy(x), "weight_sum": zeros(x, shape=())}

    def begin(self, h: Any, state: Any) -> None:
        if self.warmup_steps:
            h.learning_rate = h.learning_rate * tf.minimum(h.t / self.warmup_steps, 1)
        self.weigh(h, state)

    def weigh(self, h: Any, state: Any) -> None:
        """Computes the weight of `z` in the average, given the learning rate of the step."""
        state.largest_rate = tf.maximum(state.largest_rate, h.learning_rate)
        h.weight = h.t**h.r * state.largest_rate**h.weight_lr_power

    def move(self, direction: Any, y: Any, s: Any, h: Any, beta: Any) -> Any:
        """Moves `z` and its average; returns the point between them at which to train."""
        if self.uses("weight_decay"):
            direction = direction + h.weight_decay * y
        s.z = s.z - h.learning_rate * direction
        s.weight_sum = s.weight_sum + h.weight
        c = tf.math.divide_no_nan(h.weight, s.weight_sum)
        s.average = (1 - c) * s.average + c * s.z
        return (1 - beta) * s.z + beta * s.average

    def evaluated(self, x: Any, s: Any, h: Any) -> Any:
        return s.average
