"""Gradient clipping: by value, and then by the norm of each gradient or of all together."""

from __future__ import annotations

from typing import Any

from tfopt._engine import gradient_arithmetic
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import H, Step, Update
from tfopt.hyper import Hyper

LIMITS = ("clipvalue", "clipnorm", "global_clipnorm")


class Clipping(Policy):
    """Clips the sums over replicas. What a norm makes of a gradient is left to the update."""

    clipnorm = Hyper(None, off=None, low=0, tracked=False)
    clipvalue = Hyper(None, off=None, low=0, tracked=False)
    global_clipnorm = Hyper(None, off=None, low=0, tracked=False)
    factor_name = "clip_factor"
    enters_gradient_only = True

    @classmethod
    def check(cls, engine: Engine) -> None:
        """One norm at most."""
        if engine.uses("clipnorm") and engine.uses("global_clipnorm"):
            raise ValueError(
                "`clipnorm` and `global_clipnorm` cannot both be set; got "
                f"{engine.hypers['clipnorm'].config()} and "
                f"{engine.hypers['global_clipnorm'].config()}."
            )

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """With any of the three."""
        return any(map(engine.uses, LIMITS))

    def change_gradients(self, step: Step, works: Works) -> Works:
        """Clips by value; finds the factors of norms, by which rows are scaled at once."""
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
        """What the gradient is yet to be multiplied by."""
        return update.clip_factor

    @staticmethod
    def enter_update(factor: Any, g: Any, x: Any) -> tuple[Any, Any]:
        """Scales the gradient."""
        return g * factor, x
