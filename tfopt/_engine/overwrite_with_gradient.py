"""Variables whose gradient is their new value, as in Keras' float8 training.

They have no slots, and their gradients are neither unscaled, clipped nor transformed. Such a
variable holds the largest number that was seen. So the step takes the largest gradient of all
replicas, and of all calls of a window of gradient accumulation.
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
    """Returns the works with the largest gradients of all replicas."""
    return [work._replace(gradient=replicas.largest_over_replicas(work.gradient)) for work in works]


def overwrite(works: Sequence[Work]) -> None:
    """Gives each copy of each variable its gradient as value."""

    def assign(own: tf.Variable, work: Work) -> None:
        own.assign(tf.cast(work.gradient, own.dtype), read_value=False)

    replicas.each_copy(works, assign)
