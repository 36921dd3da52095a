"""The current step, for hooks that have no argument for it."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._engine.step_records import Step

_STEPS: contextvars.ContextVar[tuple[Step, ...]] = contextvars.ContextVar("steps", default=())


@contextlib.contextmanager
def ambient(step: Step) -> Iterator[None]:
    """Makes the step the current one of its optimizer, in this thread."""
    token = _STEPS.set((*_STEPS.get(), step))
    try:
        yield
    finally:
        _STEPS.reset(token)


def step_of(engine: Engine) -> Step | None:
    """Returns this optimizer's current step in this thread; None outside of a step.

    Optimizers may nest: a wrapper's hook may call the hooks of the optimizer inside.
    """
    return next((step for step in reversed(_STEPS.get()) if step.engine is engine), None)


def current_step(engine: Engine, hook: str) -> Step:
    """Returns this optimizer's current step in this thread, for a hook that needs one."""
    step = step_of(engine)
    if step is None:
        raise RuntimeError(
            f"`{hook}` of `{engine.name}` was called outside of a step: it belongs to "
            "`apply_gradients`, which calls it for each variable. Call that instead."
        )
    return step
