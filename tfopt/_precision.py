"""Low precision: master weights, and steps that gradients without a finite value must not take.

A 16-bit variable may round a small step away. Its master weight, a slot of float32, does not:
it is what is updated, and the variable is what it rounds to.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt import _slots, _variables

MASTER = "master_weight"
SKIPPED = "skipped_steps"


def slots(x: Any) -> dict[str, Any]:
    """The master weight, for a variable of less precision than arithmetic has."""
    return {} if _variables.compute_dtype(x.dtype) == x.dtype else {MASTER: _slots.copy(x)}


def master_or(x: Any, given: Any, master: Any) -> Any:
    """The master weights; where the variable was assigned from elsewhere, its value `given`.

    Args:
        x: the variable's value in the dtype of arithmetic.
        given: the variable's value.
        master: what was rounded to it, unless something else was assigned.
    """
    # Bits are compared, since XLA may leave out a rounding between two floating-point numbers.
    rounded, given = (tf.bitcast(tf.cast(y, given.dtype), tf.int16) for y in (master, given))
    return tf.where(rounded == given, master, x)


class Guard:
    """Keeps a step from being taken when a gradient, summed over replicas, is not finite."""

    @property
    def scale(self) -> Any:
        """What gradients are to be divided by, or None."""
        return None

    def decided(self, finite: Any) -> None:
        """Called once for all replicas, with whether the step is taken."""


class SkipNonfinite(Guard):
    """The guard of `skip_nonfinite=True`: it counts the steps that were not taken."""

    def __init__(self, opt: Any):
        self._opt = opt

    def decided(self, finite: Any) -> None:
        """Counts a step that is not taken."""
        skipped = self._opt._counter(SKIPPED)
        skipped.assign_add(tf.cast(tf.logical_not(finite), skipped.dtype), read_value=False)
