"""The stages of a step, in order, on one screen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tfopt._engine import overwrite_with_gradient
from tfopt._engine.overwrite_with_gradient import split
from tfopt._engine.step_records import Step, Work, deduplicated
from tfopt._libraries import dtensor
from tfopt._libraries.replicas import (
    across_replicas,
    add_alike,
    after_writes,
    first_replicas_value,
    read_alike,
    when,
)


def run(step: Step, works: Sequence[Work]) -> Any:
    """Makes one step, as one replica runs it. Each decorator says where its function runs."""
    with dtensor.passing_values_on(step.engine.state.iterations):
        return _run(step, works)


def _run(step: Step, works: Sequence[Work]) -> Any:
    policies = step.policies
    works, overwriting = split(works)
    for policy in policies if works and not step.flush else ():
        works = policy.change_own_gradients(step, works)  # unscale

    @gated(step, [*works, *overwriting])  # accumulate: the rest is at the end of a window
    def rest(works: Sequence[Work]) -> None:
        works, overwriting = split(works)
        if step.aggregate:
            works = policies.aggregate(step, works) if works else works  # sum over replicas
            overwriting = overwrite_with_gradient.agreed(overwriting)
        finite = policies.allows_step(step, [*works, *overwriting])
        works = [deduplicated(work) for work in works]
        for policy in policies if works else ():
            works = policy.change_gradients(step, works)  # clip, transform

        @across_replicas([*works, *overwriting], finite)
        def together(works: Sequence[Work], finite: Any) -> None:
            finite = first_replicas_value(finite)
            works, overwriting = split(works)

            @when(finite)  # else the step is skipped
            def move() -> None:
                begun = step.engine.scalars.add_to(step, works)  # scalars by dtype and group
                for policy in policies:
                    policy.before_update(begun, works)  # averages of rows, before these move
                step.engine.update(begun, works)  # decay, update
                for policy in policies:
                    policy.after_update(begun, works)  # constraint, average
                overwrite_with_gradient.overwrite(overwriting)
                with after_writes([w.variable for w in works if w.is_sparse]):
                    add_alike(step.engine.state.iterations, 1)

            for policy in policies:
                policy.after_decision(step, finite)  # count what was skipped

    return read_alike(step.engine.state.iterations)


def gated(step: Step, works: Sequence[Work]) -> Callable[[Callable[[Sequence[Work]], None]], None]:
    """Returns a decorator that runs a function through all gates, which may keep it for later."""

    def run(rest: Callable[[Sequence[Work]], None]) -> None:
        for gate in reversed(step.policies.gates):
            rest = functools.partial(gate, step, rest=rest)
        rest(works)

    return run
