"""Functions of the user on gradients: in place of the sum over replicas, and after clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfopt._engine import gradient_arithmetic
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step
from tfopt.hyper import Static


class Aggregator(Policy):
    """Calls `gradient_aggregator` in place of the sum over replicas."""

    gradient_aggregator = Static(None, in_config=False)
    calls_functions_of_users = True

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if `gradient_aggregator` is neither a function nor None."""
        aggregator = engine.statics["gradient_aggregator"]
        if aggregator is not None and not callable(aggregator):
            raise TypeError(f"`gradient_aggregator` must be a function; got {aggregator!r}.")

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether there is a `gradient_aggregator`."""
        return engine.statics["gradient_aggregator"] is not None

    def aggregate(self, step: Step, works: Works) -> Works:
        """Calls the function with (gradient, variable) pairs."""
        aggregator = self.engine.statics["gradient_aggregator"]
        return passed_through(aggregator, works, "gradient_aggregator")


class Transformers(Policy):
    """Passes (gradient, variable) pairs through `gradient_transformers`, after clipping."""

    gradient_transformers = Static(None, in_config=False)
    calls_functions_of_users = True

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if `gradient_transformers` is neither a list of functions nor None."""
        transformers = engine.statics["gradient_transformers"]
        if transformers is not None and not (
            isinstance(transformers, list | tuple) and all(map(callable, transformers))
        ):
            raise TypeError(
                f"`gradient_transformers` must be a list of functions; got {transformers!r}."
            )

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether there are `gradient_transformers`."""
        return bool(engine.statics["gradient_transformers"])

    def change_gradients(self, step: Step, works: Works) -> Works:
        """Multiplies gradients by their clip factors, and passes them through each function."""
        works = [
            work._replace(
                gradient=gradient_arithmetic.scaled(work.gradient, work.clip_factor),
                clip_factor=None,
            )
            for work in works
        ]
        for transformer in self.engine.statics["gradient_transformers"]:
            works = passed_through(transformer, works, "gradient_transformers")
        return works


def passed_through(function: Callable[[Any], Any], works: Works, name: str) -> Works:
    """Returns the works with the gradients that a function of the user returned."""
    returned = list(function([(work.gradient, work.original) for work in works]))
    variables = [variable for _, variable in returned]
    if len(returned) != len(works) or any(
        variable is not work.original for variable, work in zip(variables, works, strict=False)
    ):
        raise ValueError(
            f"`{name}` must return a (gradient, variable) pair for each one given, in the same "
            f"order: {len(works)} of them; got {len(returned)}."
        )
    gradients_ = [gradient for gradient, _ in returned]
    return [work._replace(gradient=g) for work, g in zip(works, gradients_, strict=True)]
