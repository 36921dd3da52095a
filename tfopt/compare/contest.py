"""The contest: one model trained with each optimizer from the same weights and batches."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._libraries.keras import CALLBACKS, LIBRARIES
from tfopt.compare.digits_problem import digits
from tfopt.compare.optimizer_text import optimizer
from tfopt_command.compare_arguments import DEFAULT_OPTIMIZERS
from tfopt_command.optimizer_text import Setting, expand


@dataclasses.dataclass
class Run:
    """How training with one optimizer went, from one seed.

    Attributes:
        label: the optimizer as text.
        losses: the loss of each batch.
        seconds: how much time the batches up to each one took, without the first, which
            compiles, and without what lies between batches.
        first: how many seconds the first batch took.
        epoch: how many batches are in an epoch.
        test: the results on the test data by name, empty without such data.
        seed: the seed of the random numbers.
        group: the optimizer as text without the swept arguments; equal to `label` without a sweep.
        swept: the values of the swept arguments by name.
        model: the name and the size of the model.
    """

    label: str
    losses: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    first: float = math.nan
    epoch: int = 1
    test: dict[str, float] = dataclasses.field(default_factory=dict)
    seed: int = 0
    group: str = ""
    swept: dict[str, float] = dataclasses.field(default_factory=dict)
    model: str = ""

    def __post_init__(self) -> None:
        self.group = self.group or self.label

    @property
    def loss(self) -> float:
        """The mean loss of the last epoch's batches."""
        return statistics.fmean(self.losses[-self.epoch :]) if self.losses else math.nan

    @property
    def final(self) -> float:
        """What decides which run is best: the test loss, or `loss` without test data."""
        return self.test.get("loss", self.loss)

    @property
    def milliseconds(self) -> float:
        """The median time of a batch after the first."""
        steps = np.diff(self.seconds)
        return 1000 * float(np.median(steps)) if len(steps) else math.nan


Watch = Callable[[Run, int, float], None]


def compare(
    optimizers: Sequence[str] = DEFAULT_OPTIMIZERS,
    problem: Callable[..., Any] = digits,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    seeds: int = 1,
    watch: Watch | None = None,
) -> list[Run]:
    """Trains a model with each optimizer, from the same weights and with the same batches.

    Args:
        optimizers: texts as `optimizer` takes them. A list of numbers is a sweep:
            `adam,learning_rate=[1e-4,1e-3]` stands for two optimizers.
        problem: a function of an optimizer that returns a compiled model and the data to fit,
            (x, y) or a `tf.data.Dataset`, and optionally data to test on.
        epochs: how often each training goes through the data, at least 1.
        batch_size: for data that are arrays, at least 1.
        seed: for the random numbers of Python, NumPy and TensorFlow, set before each training.
        seeds: how many seeds to train with, at least 1: `seed`, `seed + 1` and so on.
        watch: called after each batch with the run, the number of all its batches (0 if that is
            unknown), and the loss.

    Returns:
        Runs, one for each seed and optimizer. The runs with the first seed come first.

    Raises:
        ValueError: if a text stands for no optimizer, or `problem` returns something else.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("seeds", seeds)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1; got {value!r}.")
    if not optimizers:
        raise ValueError("`optimizers` must hold one at least; got none.")
    return [
        train(setting, problem, epochs=epochs, batch_size=batch_size, seed=a_seed, watch=watch)
        for setting, a_seed in plan(optimizers, seed, seeds)
    ]


def plan(texts: Sequence[str], seed: int, seeds: int) -> list[tuple[Setting, int]]:
    """Returns what to train, in order: every setting of every text with the first seed comes first.

    Raises:
        ValueError: if a text stands for no optimizer.
    """
    settings = {setting.text: setting for text in texts for setting in expand(text)}
    for text in settings:
        optimizer(text)  # now, and not after hours of training the others
    return [(setting, seed + n) for n in range(seeds) for setting in settings.values()]


def train(
    setting: Setting,
    problem: Callable[..., Any],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    watch: Watch | None = None,
) -> Run:
    """Trains the model of a problem once, and returns how it went. `compare` has the arguments."""
    for library in LIBRARIES:  # each has a generator of its own
        library.utils.set_random_seed(seed)
    model, data, test = _model_and_data(problem(optimizer(setting.text)))
    run = Run(setting.text, seed=seed, group=setting.group, swept=dict(setting.swept))
    recorder = _BatchRecorder(run, watch)
    arguments = _data_arguments(data, batch_size)
    if isinstance(data, tf.data.Dataset):  # Keras 3 warns that it cannot shuffle one, unasked
        arguments["shuffle"] = False
    model.fit(**arguments, epochs=epochs, verbose=0, callbacks=[recorder])
    run.model = f"{model.name}, {model.count_params():,} parameters"
    if test is not None:
        results = model.evaluate(**_data_arguments(test, batch_size), verbose=0, return_dict=True)
        run.test = {name: float(value) for name, value in results.items()}
    return run


def _model_and_data(returned: Any) -> tuple[Any, Any, Any]:
    """Returns the model, the data to fit and the data to test on, or None, of a problem."""
    if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
        raise ValueError(
            f"`problem` must return a compiled model, data, and test data or not; got {returned!r}."
        )
    model, data, test = returned if len(returned) == 3 else (*returned, None)
    return model, data, test


def _data_arguments(data: Any, batch_size: int) -> dict[str, Any]:
    """Returns the arguments by which `fit` and `evaluate` take the data."""
    if isinstance(data, tuple | list):
        return {"x": data[0], "y": data[1], "batch_size": batch_size}
    return {"x": data}


class _BatchRecorder(*CALLBACKS):  # type: ignore[misc]
    """A callback for Keras 3 and tf-keras that records the loss and the time of each batch."""

    def __init__(self, run: Run, watch: Watch | None):
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
