"""Sums over replicas in 16 bits: half the bytes between devices and machines."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._engine.engine import Engine
from tfopt._engine.policy import Policy, Works
from tfopt._engine.step_records import Step
from tfopt._libraries import replicas
from tfopt._policies.gradient_transformers import Aggregator
from tfopt.hyper import Static


class AllReduceDtype(Policy):
    """Rounds dense gradients to 16 bits before they are summed, and widens the sums again."""

    all_reduce_dtype = Static(None, choices=(None, "bfloat16", "float16"))

    @classmethod
    def check(cls, engine: Engine) -> None:
        """Raises if a function or method of the user sums the gradients."""
        value = engine.statics["all_reduce_dtype"]
        if value is not None and Aggregator.is_used_by(engine):
            raise ValueError(
                "`all_reduce_dtype` must be None together with `gradient_aggregator` or your own "
                f"`aggregate_gradients`, which sums the gradients itself; got {value!r}."
            )

    @classmethod
    def is_used_by(cls, engine: Engine) -> bool:
        """Returns whether `all_reduce_dtype` is set."""
        return engine.statics["all_reduce_dtype"] is not None

    def aggregate(self, step: Step, works: Works) -> Works:
        """Sums the gradients over replicas. One replica has nothing to send, and rounds nothing."""
        if replicas.count() == 1:
            return works
        narrow, own = self.engine.statics["all_reduce_dtype"], [work.gradient for work in works]
        sums = replicas.sum_over_replicas([tf.cast(g, narrow) if _is_wide(g) else g for g in own])
        sums = [tf.cast(s, g.dtype) if _is_wide(g) else s for s, g in zip(sums, own, strict=True)]
        return [work._replace(gradient=s) for work, s in zip(works, sums, strict=True)]


def _is_wide(gradient: Any) -> bool:
    """Returns whether a gradient is dense and has more than 16 bits a number."""
    has_rows = isinstance(gradient, tf.IndexedSlices)
    return not has_rows and gradient.dtype in (tf.float32, tf.float64)
