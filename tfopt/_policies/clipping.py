"""Gradient clipping: by value, and then by the norm of each gradient or of all together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfopt._engine import gradient_arithmetic
from tfopt._engine.check_gradients import checked
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_in_progress import ambient
from tfopt._engine.step_records import H, Step, Update
from tfopt.hyper import Hyper

LIMITS = ("clipvalue", "clipnorm", "global_clipnorm")
OVERRIDABLE = "_clip_gradients"


def clip_gradients(self: Any, grads: Sequence[Any]) -> list[Any]:
    """Clips gradients, as Keras' method of this name. A subclass may override it."""
    limits = [self._engine.value_now(name) for name in LIMITS]
    return gradient_arithmetic.clipped(grads, [None] * len(grads), *limits)


class Clipping(Policy):
    """Clips the summed gradients. The update multiplies dense ones by the factor of a norm."""

    clipnorm = Hyper(None, off=None, low=0, tracked=False)
    clipvalue = Hyper(None, off=None, low=0, tracked=False)
    global_clipnorm = Hyper(None, off=None, low=0, tracked=False)
    offers = {OVERRIDABLE: clip_gradients}
    factor_name = "clip_factor"
    is_pure = True
    enters_gradient_only = True

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if both norms are set."""
        if engine.uses("clipnorm") and engine.uses("global_clipnorm"):
            raise ValueError(
                "`clipnorm` and `global_clipnorm` cannot both be set; got "
                f"{engine.hypers['clipnorm'].config()} and "
                f"{engine.hypers['global_clipnorm'].config()}."
            )

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether any of the three limits is set, or a subclass clips by itself."""
        return any(map(engine.uses, LIMITS)) or engine.overrides(OVERRIDABLE, clip_gradients)

    @property
    def calls_functions_of_users(self) -> bool:  # type: ignore[override]
        """Whether a subclass clips by itself."""
        return self.engine.overrides(OVERRIDABLE, clip_gradients)

    def change_gradients(self, step: Step, works: Works) -> Works:
        """Clips by value and finds the clip factors of norms; scales only gradients of rows."""
        if self.calls_functions_of_users:
            with ambient(step):
                clip: Any = self.engine.optimizer._clip_gradients
                gradients = clip([work.gradient for work in works])
            return checked(works, gradients, f"`{OVERRIDABLE}`")
        value, norm, global_norm = map(step.values.get, LIMITS)
        clipped, factors = gradient_arithmetic.clip(
            [work.gradient for work in works],
            [work.variable for work in works],
            value=value,
            norm=norm,
            global_norm=global_norm,
        )
        return [
            work._replace(gradient=g, clip_factor=factor)
            for work, g, factor in zip(works, clipped, factors, strict=True)
        ]

    @staticmethod
    def factor(update: Update, h: H) -> Any:
        """Returns the number by which the gradient is still to be multiplied."""
        return update.clip_factor

    @staticmethod
    def enter_update(factor: Any, g: Any, x: Any) -> tuple[Any, Any]:
        """Multiplies the gradient by its clip factor."""
        return g * factor, x
