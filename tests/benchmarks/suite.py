"""What the benchmarks are made of."""

import dataclasses
import gc
from collections.abc import Callable
from typing import Any

import keras
import tf_keras


@dataclasses.dataclass
class Settings:
    """What all cases share."""

    seconds: float  # for the rounds of a case
    copy: Any  # the contender that copies memory
    frameworks: list[Any]  # the processes of other frameworks that are installed


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to measure: the titles of its rows, and the function that gives these rows."""

    titles: tuple[str, ...]
    run: Callable[[Settings], list[dict]]


def clean_up():
    """Frees the last contenders, whose functions and graphs are in cycles."""
    keras.backend.clear_session(free_memory=False)  # which would collect, too
    tf_keras.backend.clear_session()
    gc.collect()
