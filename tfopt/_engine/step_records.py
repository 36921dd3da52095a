"""The values of a step: `Step`, `Work` (one variable) and `Update` (one copy of a variable).

A stage of a step replaces them and never changes them. An optimizer holds none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tfopt._libraries import tf_variables
from tfopt._values import rows
from tfopt._values.cells_and_codecs import Cell

if TYPE_CHECKING:
    from tfopt._engine.engine import Engine
    from tfopt._engine.policy import Policies, Policy
    from tfopt._engine.variable_groups import Group

H = Mapping[str, Any]  # scalars of a step, by name


class Work(NamedTuple):
    """What a step has for one variable: replaced by each stage, never changed.

    Below `across_replicas`, where one call stands for all replicas, its tensors are values per
    replica.
    """

    gradient: Any  # a tensor or `IndexedSlices`
    variable: Any  # the `tf.Variable`
    original: Any  # the same variable, as the user knows it
    constraint: Any = None
    group: Group = ()  # the rules for its hyperparameters; () if there are none
    clip_factor: Any = None  # the number by which the gradient is still to be multiplied
    role: str = ""  # how the optimizer treats the variable

    @property
    def variable_path(self) -> str:
        """The variable's path, for messages and patterns."""
        return tf_variables.variable_path(self.original)

    @property
    def is_sparse(self) -> bool:
        """Whether the gradient is one of rows."""
        return isinstance(self.gradient, tf.IndexedSlices)

    @property
    def overwrites(self) -> bool:
        """Whether the gradient is the variable's new value, as in Keras' float8 training."""
        return overwrites(self.original)


def overwrites(original: Any) -> bool:
    """Returns whether a variable, as the user knows it, is overwritten with its gradient."""
    name = "overwrite_with_gradient"
    if isinstance(original, tf.distribute.DistributedValues):
        # Asked for an attribute that it lacks, it would look in a copy, and read that copy's value.
        return bool(vars(original).get(name, False))
    return bool(getattr(original, name, False))


def deduplicated(work: Work) -> Work:
    """Returns the work with the values of repeated indices summed."""
    return work._replace(gradient=rows.deduplicate(work.gradient)) if work.is_sparse else work


class Step(NamedTuple):
    """What all works of a step share. An optimizer does not hold it."""

    engine: Engine  # the optimizer's parts, the same in all steps
    policies: Policies  # the optimizer's, and those of a wrapper that takes this step
    values: Mapping[str, Any]  # of the hyperparameters in use, by name: tensors or variables
    aggregate: bool  # whether gradients are still to be summed over replicas
    alike: bool = False  # whether gradients are known to be the same on all replicas
    flush: bool = False  # whether it only ends a window of accumulation: it has no gradients
    iterations: Any = None  # before this step; known from `scalars.add_scalars` on, as are these:
    scalars: Mapping[Any, H] = {}  # `h`, by compute dtype and group


class Update(NamedTuple):
    """What the update of one copy of a variable reads and writes."""

    g: Any  # None stands for zeros
    indices: Any  # which rows `g` is for; None for all
    x: Cell
    slots: dict[str, Cell]
    clip_factor: Any = None  # the number by which `g` is still to be multiplied
    acting: tuple[type[Policy], ...] = ()  # the policies that act inside it
    moves: bool = True  # whether `x` changes, or only slots
