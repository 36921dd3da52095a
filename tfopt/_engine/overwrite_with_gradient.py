"""Variables whose gradient is their new value, as in Keras' float8 training.

Nothing else happens to them: they have no slots, and their gradients are neither unscaled, clipped
nor transformed. Over the calls of a window, and over replicas, the largest numbers count: they are
the ranges of what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfopt._engine.step_records import Work
from tfopt._libraries import replicas


def split(works: Sequence[Work]) -> tuple[list[Work], list[Work]]:
    """Returns the works of variables that are updated, and of those that are overwritten."""
    updated = [work for work in works if not work.overwrites]
    return updated, [work for work in works if work.overwrites]


def agreed(works: Sequence[Work]) -> list[Work]:
    """Returns the works with the same gradients on all replicas."""
    return [work._replace(gradient=replicas.largest_over_replicas(work.gradient)) for work in works]


def overwrite(works: Sequence[Work]) -> None:
    """Gives each copy of each variable its gradient as value."""

    def assign(own: tf.Variable, work: Work) -> None:
        own.assign(tf.cast(work.gradient, own.dtype), read_value=False)

    replicas.each_copy(works, assign)
