"""What is found of an optimizer in a file."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

POLICIES = {  # options that optimizers of every class have, in tfopt, Keras 3 and tf-keras
    "clipnorm",
    "clipvalue",
    "cautious",
    "cautious_weight_decay",
    "decay",
    "ema_dynamic_decay",
    "ema_momentum",
    "ema_overwrite_frequency",
    "ema_start_step",
    "exclude_from_weight_decay",
    "all_reduce_dtype",
    "global_clipnorm",
    "gradient_accumulation_steps",
    "gradient_aggregator",
    "gradient_transformers",
    "groups",
    "lazy",
    "loss_scale_factor",
    "master_weights",
    "roles",
    "shard_slots",
    "skip_nonfinite",
    "use_ema",
    "weight_decay",
}


class UnreadableFile(ValueError):
    """The file is of no format that can be read, or it is damaged. The text says which."""


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of the state.

    Attributes:
        slot: the slot that it belongs to; empty if the format does not say.
        shape: its shape.
        dtype: the name of its dtype.
        itemsize: how many bytes a number takes.
    """

    slot: str
    shape: tuple[int, ...]
    dtype: str
    itemsize: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes it takes."""
        return self.size * self.itemsize


@dataclasses.dataclass
class FoundOptimizer:
    """What a file says of one optimizer. What the format does not say is None or empty.

    Attributes:
        where: where in the file it is.
        optimizer: its class and library.
        step: how many steps it has taken.
        learning_rate: its learning rate, or the name of its schedule.
        hyperparameters: the other numbers and choices.
        policies: the options of every optimizer that are in use, such as clipping.
        slots: the arrays that belong to variables.
        scalars: other numbers of its state.
        notes: sentences about what the format does not say.
        has_config: True if the file has its config, so that a policy which is not there is off.
    """

    where: str
    optimizer: str | None = None
    step: int | None = None
    learning_rate: Any = None
    hyperparameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    policies: dict[str, Any] = dataclasses.field(default_factory=dict)
    slots: list[Array] = dataclasses.field(default_factory=list)
    scalars: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    has_config: bool = False

    def add_number(self, name: str, value: Any) -> None:
        """Adds a hyperparameter from a format that has only numbers, where 0 is no decay."""
        if name == "learning_rate":
            self.learning_rate = value
        elif name not in POLICIES:
            self.hyperparameters[name] = value
        elif value:
            self.policies[name] = value


@dataclasses.dataclass
class FoundFile:
    """What a file is, and the optimizers in it."""

    path: str
    format: str
    optimizers: list[FoundOptimizer]
