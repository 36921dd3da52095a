"""Skipped steps: no step is taken if a gradient has an infinity or NaN."""

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
    """Takes a step, on all replicas alike, only if the summed gradients are finite."""

    def allows_step(self, step: Step, works: Works) -> Any:
        """Returns whether all gradients are finite; asks all replicas where these may differ."""
        finite = gradient_arithmetic.all_finite([work.gradient for work in works])
        return finite if step.alike else replicas.holds_on_all_replicas(finite)


@property  # type: ignore[misc]
def skipped_steps(self: Any) -> Any:
    """How many steps `skip_nonfinite` skipped: an int64 variable, or 0 without it."""
    engine = self._engine
    return engine.state.counter(SKIPPED) if engine.statics["skip_nonfinite"] else 0


class SkipNonfinite(FiniteSteps):
    """Skips steps that are not finite for `skip_nonfinite=True`, and counts them."""

    skip_nonfinite = Static(False)
    offers = {SKIPPED: skipped_steps}

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether `skip_nonfinite` is True."""
        return bool(engine.statics["skip_nonfinite"])

    @property
    def counters(self) -> Mapping[str, int | float]:
        """The number of skipped steps."""
        return {SKIPPED: 0}

    def after_decision(self, step: Step, taken: Any) -> None:
        """Counts a step that was skipped."""
        replicas.add_alike(self.engine.state.counter(SKIPPED), tf.logical_not(taken))
