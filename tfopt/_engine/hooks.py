"""Updates by the hooks that a subclass overrides, such as `resource_apply_dense`.

Hooks have no argument for the step, so it is kept as the current step while they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt._engine import update_paths, variable_groups
from tfopt._engine.step_in_progress import ambient
from tfopt._engine.step_records import H, Step, Update, Work
from tfopt._libraries import replicas, tf_variables
from tfopt._values.cells_and_codecs import VALUE

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine


def run(step: Step, works: Sequence[Work]) -> None:
    """Runs the hooks that a subclass overrides, on every copy of every variable.

    Weights have decayed before. Gradients are clipped, and have the dtype of the weights.
    """
    engine, optimizer = step.engine, step.engine.optimizer

    def hook(copy: Any, work: Work) -> None:
        h, update = (
            step.scalars[variable_groups.key_of(work)],
            _located_for_hooks(engine, copy, work),
        )
        g = tf.cast(_entered(update, h), copy.dtype)
        with ambient(step):
            if work.is_sparse:
                optimizer.resource_apply_sparse(g, copy, work.gradient.indices)
            else:
                optimizer.resource_apply_dense(g, copy)

    replicas.each_copy(works, hook)


def _located_for_hooks(engine: Engine, copy: Any, work: Work) -> Update:
    """Returns the update of one copy, with what policies need that act inside it."""
    cell = engine.state.cells(work.variable, copy)[VALUE]
    update = Update(work.gradient, None, cell, {}, work.clip_factor, engine.policies.acting)
    if not work.is_sparse:
        return update
    indices = work.gradient.indices if engine.moves_rows(copy) else None
    return update._replace(g=work.gradient.values, indices=indices)


def _entered(update: Update, h: H) -> Any:
    """Returns the gradient as policies change it inside an update; writes changed weights."""
    g, x = update.g, None
    wide = tf_variables.compute_dtype(update.x.variable.dtype)
    for policy in update.acting:
        factor = policy.factor(update, h)
        if factor is None:
            continue
        g = tf.cast(g, wide)
        if policy.enters_gradient_only:
            g, _ = policy.enter_update(factor, g, None)
            continue
        x = tf.cast(update.x.read(update.indices), wide) if x is None else x
        g, x = policy.enter_update(factor, g, x)
    if x is not None:
        update.x.write(x, update.indices)
    return g


def run_declared(engine: Engine, step: Step, copy: Any, work: Work) -> None:
    """Runs the declared update of one copy, for a hook that calls it after policies have acted."""
    update = update_paths.located(engine, copy, work)._replace(acting=())
    h = step.scalars[variable_groups.key_of(work)]
    update_paths.choose(engine.paths, update, h).run([update], h)
