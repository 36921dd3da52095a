"""The contest: one model trained with each optimizer from the same weights and batches."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfopt._libraries.keras import CALLBACKS, LIBRARIES
from tfopt.compare.digits_problem import digits
from tfopt.compare.optimizer_text import optimizer

DEFAULT_OPTIMIZERS = (
    "sgd,learning_rate=0.1,momentum=0.9",
    "adam",
    "adamw",
    "lion,learning_rate=3e-4",
)


@dataclasses.dataclass
class Run:
    """How training with one optimizer went.

    Attributes:
        label: what the optimizer was called.
        losses: the loss of each batch.
        seconds: how much time the batches up to each one took, without the first, which
            compiles, and without what lies between batches.
        first: how many seconds the first batch took.
        epoch: how many batches are in an epoch.
        test: the results on the test data by name, empty without such data.
    """

    label: str
    losses: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    first: float = math.nan
    epoch: int = 1
    test: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def loss(self) -> float:
        """The mean loss of the last epoch's batches."""
        return statistics.fmean(self.losses[-self.epoch :]) if self.losses else math.nan

    @property
    def milliseconds(self) -> float:
        """The median time of a batch after the first."""
        steps = np.diff(self.seconds)
        return 1000 * float(np.median(steps)) if len(steps) else math.nan


def compare(
    optimizers: Sequence[str] = DEFAULT_OPTIMIZERS,
    problem: Callable[..., Any] = digits,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    watch: Callable[[Run, int, float], None] | None = None,
) -> list[Run]:
    """Trains a model with each optimizer, from the same weights and with the same batches.

    Args:
        optimizers: texts as `optimizer` takes them.
        problem: a function of an optimizer that returns a compiled model and the data to fit,
            (x, y) or a `tf.data.Dataset`, and, if it likes, as much to test on.
        epochs: how often each training goes through the data, at least 1.
        batch_size: for data that are arrays, at least 1.
        seed: for Python's, NumPy's and TensorFlow's random numbers, before each training.
        watch: called after each batch with the run, the number of all its batches (0 if that is
            unknown), and the loss.

    Returns:
        A run for each optimizer.

    Raises:
        ValueError: if a text stands for no optimizer, or `problem` returns something else.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1; got {value!r}.")
    made = [optimizer(text) for text in optimizers]  # all, before one is trained
    if not made:
        raise ValueError("`optimizers` must hold one at least; got none.")
    runs = []
    for text, opt in zip(optimizers, made, strict=True):
        for library in LIBRARIES:  # each has a generator of its own
            library.utils.set_random_seed(seed)
        model, data, test = _model_and_data(problem(opt))
        recorder = _BatchRecorder(Run(text), watch)
        model.fit(
            **_data_arguments(data, batch_size), epochs=epochs, verbose=0, callbacks=[recorder]
        )
        if test is not None:
            results = model.evaluate(
                **_data_arguments(test, batch_size), verbose=0, return_dict=True
            )
            recorder.run.test = {name: float(value) for name, value in results.items()}
        runs.append(recorder.run)
    return runs


def _model_and_data(returned: Any) -> tuple[Any, Any, Any]:
    """The model, the data to fit and the data to test on, or None, that a problem returned."""
    if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
        raise ValueError(
            f"`problem` must return a compiled model, data, and test data or not; got {returned!r}."
        )
    model, data, test = returned if len(returned) == 3 else (*returned, None)
    return model, data, test


def _data_arguments(data: Any, batch_size: int) -> dict[str, Any]:
    """The arguments by which `fit` and `evaluate` take the data."""
    if isinstance(data, tuple | list):
        return {"x": data[0], "y": data[1], "batch_size": batch_size}
    return {"x": data}


class _BatchRecorder(*CALLBACKS):  # type: ignore[misc]
    """A callback for Keras 3 and tf-keras that records the loss and the time of each batch."""

    def __init__(self, run: Run, watch: Any):
        super().__init__()
        self.run, self.watch = run, watch
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.reset_metrics()  # the loss of a batch, not the mean since the epoch began
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = float((logs or {})["loss"])
        seconds = time.perf_counter() - self._began
        if self.run.losses:
            self.run.seconds.append(self.run.seconds[-1] + seconds)
        else:
            self.run.first, self.run.seconds = seconds, [0.0]
        self.run.losses.append(loss)
        if self.watch is not None:
            steps = self.params.get("steps")
            self.watch(self.run, self.params["epochs"] * steps if steps else 0, loss)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.run.epoch = len(self.run.losses) // (epoch + 1)
