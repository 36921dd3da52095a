"""Steps that are left out: those in which a gradient has an infinity or NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfopt._engine import gradient_arithmetic
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step
from tfopt._libraries import replicas
from tfopt.hyper import Static

SKIPPED = "skipped_steps"


class FiniteSteps(Policy):
    """Lets a step be taken, on all replicas alike, if the summed gradients are finite."""

    def allows_step(self, step: Step, works: Works) -> Any:
        """Whether they are; where gradients are not the sums, whether all replicas' are."""
        finite = gradient_arithmetic.all_finite([work.gradient for work in works])
        return finite if step.alike else replicas.holds_on_all_replicas(finite)


@property  # type: ignore[misc]
def skipped_steps(self: Any) -> Any:
    """How many steps `skip_nonfinite` left out: an int64 variable, or 0 without it."""
    engine = self._engine
    return engine.state.counter(SKIPPED) if engine.statics["skip_nonfinite"] else 0


class SkipNonfinite(FiniteSteps):
    """The same, for `skip_nonfinite`: it counts the steps that were not taken."""

    skip_nonfinite = Static(False)
    offers = {SKIPPED: skipped_steps}

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """With `skip_nonfinite`."""
        return bool(engine.statics["skip_nonfinite"])

    @property
    def counters(self) -> Mapping[str, int | float]:
        """The steps left out."""
        return {SKIPPED: 0}

    def after_decision(self, step: Step, taken: Any) -> None:
        """Counts."""
        skipped = self.engine.state.counter(SKIPPED)
        skipped.assign_add(tf.cast(tf.logical_not(taken), skipped.dtype), read_value=False)
