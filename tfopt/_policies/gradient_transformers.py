"""Functions of the user on gradients: in place of the sum over replicas, and after clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfopt._engine import gradient_arithmetic
from tfopt._engine.check_gradients import checked
from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step
from tfopt._libraries import replicas
from tfopt._libraries.messages import shown
from tfopt._libraries.tf_variables import plain_python
from tfopt.hyper import Static


def _aggregate_gradients(self: Any, grads_and_vars: Any) -> list[tuple[Any, Any]]:
    """Sums the gradients for `aggregate_gradients`: OptimizerV2's name, for its wrappers."""
    return replicas.pairs_summed_over_replicas(grads_and_vars)


def aggregate_gradients(self: Any, grads_and_vars: Any) -> list[tuple[Any, Any]]:
    """Returns the pairs with each gradient summed over replicas.

    tf-keras' loss-scale wrapper calls it, and then skips the sum of `apply_gradients`. A subclass
    may override it; then a step calls it, too, unless there is a `gradient_aggregator`.

    Args:
        grads_and_vars: (gradient, variable) pairs. A gradient may be None.

    Returns:
        The same pairs with summed gradients.
    """
    return list(self._aggregate_gradients(grads_and_vars))


OVERRIDABLE = {
    "_aggregate_gradients": _aggregate_gradients,
    "aggregate_gradients": plain_python(aggregate_gradients),
}


class Aggregator(Policy):
    """Calls `gradient_aggregator`, or a subclass' method, in place of the sum over replicas."""

    gradient_aggregator = Static(None, in_config=False, annotation="Callable[..., Any] | None")
    offers = OVERRIDABLE
    calls_functions_of_users = True

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if `gradient_aggregator` is neither a function nor None."""
        aggregator = engine.statics["gradient_aggregator"]
        if aggregator is not None and not callable(aggregator):
            raise TypeError(f"`gradient_aggregator` must be a function; got {shown(aggregator)}.")

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether there is a `gradient_aggregator`, or a subclass sums by itself."""
        overridden = any(engine.overrides(name, base) for name, base in OVERRIDABLE.items())
        return engine.statics["gradient_aggregator"] is not None or overridden

    def aggregate(self, step: Step, works: Works) -> Works:
        """Calls the function, or the overridden method, with (gradient, variable) pairs."""
        aggregator = self.engine.statics["gradient_aggregator"]
        if aggregator is not None:
            return passed_through(aggregator, works, "gradient_aggregator")
        method = self.engine.optimizer.aggregate_gradients
        return passed_through(method, works, "aggregate_gradients")


class Transformers(Policy):
    """Passes (gradient, variable) pairs through `gradient_transformers`, after clipping."""

    gradient_transformers = Static(
        None,
        in_config=False,
        annotation="Sequence[Callable[..., Any]] | None",
    )
    calls_functions_of_users = True

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if `gradient_transformers` is neither a list of functions nor None."""
        transformers = engine.statics["gradient_transformers"]
        if transformers is not None and not (
            isinstance(transformers, list | tuple) and all(map(callable, transformers))
        ):
            raise TypeError(
                f"`gradient_transformers` must be a list of functions; got {shown(transformers)}."
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
    return checked(works, [gradient for gradient, _ in returned], f"`{name}`")
