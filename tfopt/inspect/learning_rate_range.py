"""The learning rate range test (learning rate finder): which rates a model can learn from."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._libraries.keras import CALLBACKS, LIBRARIES
from tfopt._libraries.serialization import number
from tfopt.hyper import Hyper
from tfopt.inspect.argument_checks import check_integer_at_least
from tfopt.inspect.optional_imports import import_optional


@dataclasses.dataclass(frozen=True, eq=False)
class LearningRateRange:
    """The result of a learning rate range test.

    Attributes:
        rates: the learning rate of each batch.
        losses: the loss of each batch, before the step with its rate.
        smoothed_losses: the exponential moving average of the losses up to each batch.
        suggestion: the rate where the loss falls most steeply, as a function of the logarithm of
            the rate; `None` if it never falls. Only the batches up to the lowest smoothed loss
            count, without the first tenth of all. For this the losses are smoothed to both sides,
            with weights `smoothing` ** distance, since a moving average lags behind.
        diverged: whether the test ended early, because the loss grew too much or was not finite.
    """

    rates: np.ndarray = dataclasses.field(repr=False)
    losses: np.ndarray = dataclasses.field(repr=False)
    smoothed_losses: np.ndarray = dataclasses.field(repr=False)
    suggestion: float | None
    diverged: bool

    def plot(self, ax: Any = None) -> Any:
        """Draws the losses against the learning rates, and the suggestion.

        Args:
            ax: the Matplotlib axes to draw in; new ones by default.

        Returns:
            The axes.

        Raises:
            ImportError: without Matplotlib.
        """
        if ax is None:
            _, ax = import_optional("matplotlib.pyplot").pyplot.subplots(layout="constrained")
        ax.plot(self.rates, self.losses, color="0.8", label="loss")
        ax.plot(self.rates, self.smoothed_losses, label="smoothed loss")
        if self.suggestion is not None:
            label = f"suggestion: {self.suggestion:.2g}"
            ax.axvline(self.suggestion, color="0.3", linestyle=":", label=label)
        top, low = self.smoothed_losses[0], min(self.losses[np.isfinite(self.losses)], default=0)
        if top > low:  # the last losses of a test that diverged would hide all others
            ax.set_ylim(low - 0.2 * (top - low), top + 0.5 * (top - low))
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
        ax.legend(frameon=False)
        return ax


def lr_range(
    model: Any,
    data: Any,
    *,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    batch_size: int | None = None,
    smoothing: float = 0.9,
    divergence: float = 4.0,
) -> LearningRateRange:
    """Learning rate range test (learning rate finder): trains a copy while the rate rises.

    It takes one training step with each of `steps` learning rates, which rise exponentially from
    `start` to `end`, and stops when the loss diverges. Where the loss falls most steeply is a good
    first learning rate, or a maximum for `tfopt.schedules.OneCycle`; where it begins to rise, the
    rate is too high.

    The copy has the weights of the model, and a new optimizer made from the config of the model's,
    so that moments begin at 0. A schedule is replaced by the rates of the test. The model, its
    optimizer and their state stay as they are. As in any training, initialization, shuffling and
    dropout of the copy draw from the global random generators. Groups with a `learning_rate` of
    their own keep it; for `tfopt.MultiOptimizer` the rate is the factor of all rates.

    Args:
        model: a compiled model of Keras 3 or tf-keras, which Keras can copy: a Sequential or
            functional one, or one with `get_config`.
        data: what to fit: arrays (x, y) or (x, y, sample_weight), a `tf.data.Dataset`, or a
            generator of batches, which is used up. Arrays and datasets are read again if they
            have fewer batches than `steps`.
        start: the first rate, > 0.
        end: the last rate, > `start`.
        steps: the number of batches, at least 2.
        batch_size: for data that are arrays; Keras' default if None.
        smoothing: the decay of the exponential moving average of losses, >= 0 and < 1. Unitless.
        divergence: the test ends when the smoothed loss is that many times its lowest value, > 1.
            Unitless. If the lowest value is negative, it ends when the smoothed loss is above it
            by `divergence` - 1 times its size.

    Returns:
        The rates, losses, smoothed losses, a suggestion, and a method `plot`.

    Raises:
        TypeError: if `model` is no model of Keras 3 or tf-keras.
        ValueError: if it is not compiled or cannot be copied, if its optimizer has no
            `learning_rate`, or if an argument is out of range.

    Sources: Smith (2017), "Cyclical Learning Rates for Training Neural Networks",
    https://arxiv.org/abs/1506.01186; the exponential rise and the end at four times the lowest
    loss are those of fastai's learning rate finder. Its rule "steep" for a suggestion takes the
    moving average itself, which lags behind the losses.

    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(tfopt.SGD(), loss="mse")
    >>> x = np.ones((32, 1))
    >>> found = tfopt.inspect.lr_range(model, (x, 3 * x), start=1e-5, steps=50)
    >>> found.diverged, 0.01 < found.suggestion < 1
    (True, True)
    """
    number("start", start, above=0)
    check_integer_at_least("steps", steps, 2)
    for name, value, allowed, rule in (
        ("end", number("end", end), end > start, "> `start`"),
        ("smoothing", number("smoothing", smoothing, low=0), smoothing < 1, "< 1"),
        ("divergence", number("divergence", divergence), divergence > 1, "> 1"),
    ):
        if not allowed:
            raise ValueError(f"`{name}` must be {rule}; got {value!r}.")
    test = _RangeTest(np.geomspace(start, end, steps), smoothing, divergence)
    copy = _compiled_copy(model, float(start))
    declared = getattr(type(copy.optimizer), "learning_rate", None)
    if isinstance(declared, Hyper):
        declared.check_range(end)  # before any training
    copy.fit(**_data_arguments(data, batch_size, steps), verbose=0, callbacks=[test])
    return test.result()


class _RangeTest(*CALLBACKS):  # type: ignore[misc]
    """A callback for Keras 3 and tf-keras that sets the rate of a batch and records its loss."""

    def __init__(self, rates: np.ndarray, smoothing: float, divergence: float):
        super().__init__()
        self._rates, self._smoothing, self._divergence = rates, smoothing, divergence
        self._losses: list[float] = []
        self._smoothed: list[float] = []
        self._average = 0.0
        self._diverged = False

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.reset_metrics()  # the loss of a batch, not the mean since the epoch began
        self.model.optimizer.learning_rate = float(self._rates[len(self._losses)])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = float((logs or {})["loss"])
        self._losses.append(loss)
        self._average += (1 - self._smoothing) * (loss - self._average)
        self._smoothed.append(self._average / (1 - self._smoothing ** len(self._losses)))
        best = min(self._smoothed)
        limit = best + (self._divergence - 1) * abs(best)
        self._diverged = not math.isfinite(loss) or self._smoothed[-1] > limit
        if self._diverged or len(self._losses) == len(self._rates):
            self.model.stop_training = True

    def result(self) -> LearningRateRange:
        """Returns what was recorded."""
        rates, losses = self._rates[: len(self._losses)], np.array(self._losses)
        smoothed = np.array(self._smoothed)
        return LearningRateRange(rates, losses, smoothed, self._suggestion(), self._diverged)

    def _suggestion(self) -> float | None:
        """Returns the rate where the loss falls most steeply before its minimum."""
        skipped = len(self._rates) // 10
        smoothed = np.array(self._smoothed[skipped:])
        if not np.isfinite(smoothed).any():
            return None
        number = skipped + int(np.nanargmin(smoothed)) + 1
        if number < max(2, skipped + 1):
            return None
        distances = np.abs(np.subtract.outer(np.arange(number), np.arange(number)))
        weights = np.power(self._smoothing, distances)
        slopes = np.gradient(weights @ self._losses[:number] / weights.sum(axis=1))[skipped:]
        steepest = int(np.argmin(slopes))
        return float(self._rates[skipped + steepest]) if slopes[steepest] < 0 else None


def _data_arguments(data: Any, batch_size: int | None, steps: int) -> dict[str, Any]:
    """The arguments by which `fit` takes as many batches of the data."""
    if isinstance(data, tf.data.Dataset):
        return {"x": data.repeat().take(steps), "shuffle": False}
    if isinstance(data, tuple | list):
        names = ("x", "y", "sample_weight")
        if not 1 <= len(data) <= len(names):
            raise ValueError(
                "`data` must be arrays (x, y) or (x, y, sample_weight), a dataset or a generator; "
                f"got {len(data)} elements."
            )
        arrays = dict(zip(names, data, strict=False))
        return {**arrays, "batch_size": batch_size, "epochs": steps}
    return {"x": data, "epochs": 1 if hasattr(data, "__next__") else steps, "shuffle": False}


def _compiled_copy(model: Any, rate: float) -> Any:
    """Returns a copy of a model, compiled as it is, with a new optimizer of a constant rate."""
    library = next((each for each in LIBRARIES if isinstance(model, each.Model)), None)
    if library is None:
        raise TypeError(f"`model` must be a model of Keras 3 or tf-keras; got {model!r}.")
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(f"`model` must be compiled with an optimizer; got {model!r}.")
    with warnings.catch_warnings():  # of losses that Keras cannot write: they are not needed
        warnings.simplefilter("ignore")
        compiled = model.get_compile_config() or {}
    names = ("loss_weights", "run_eagerly", "jit_compile")
    arguments = {name: compiled[name] for name in names if name in compiled}
    with model.distribute_strategy.scope():
        copy = _with_equal_weights(library, model)
        copy.compile(_optimizer_with_rate(optimizer, rate), loss=model.loss, **arguments)
    return copy


def _with_equal_weights(library: Any, model: Any) -> Any:
    """Returns a copy of a model with its weights, which is not compiled."""
    weights = _weights(model) if model.built else []
    try:
        copy = library.models.clone_model(_not_compiled(model))
        if not weights:
            return copy
        if len(copy.weights) != len(weights):
            copy.build_from_config(model.get_build_config())
        for variable, original in zip(copy.weights, weights, strict=True):
            variable.assign(original.numpy())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            "`model` must be one that Keras can copy by its `get_config`, so that it stays as it "
            f"is: {error} Got {model!r}."
        ) from error
    return copy


def _weights(model: Any) -> list[Any]:
    """Returns a model's weights; in tf-keras those of an optimizer may be among them."""
    variables = model.optimizer.variables
    variables = variables() if callable(variables) else variables
    others = {id(variable) for variable in variables}
    return [weight for weight in model.weights if id(weight) not in others]


def _not_compiled(model: Any) -> Any:
    """Returns an object with the attributes of a model, which says that it is not compiled.

    Keras 3 compiles its copy by a config if the model is compiled, and fails where the loss or the
    optimizer is not registered.
    """
    if "compiled" not in vars(model):
        return model
    view = object.__new__(type(model))
    vars(view).update(vars(model), compiled=False)
    return view


def _optimizer_with_rate(optimizer: Any, rate: float) -> Any:
    """Returns a new optimizer of the same config, but for the learning rate."""
    config = optimizer.get_config()
    inner = config
    while "inner_optimizer" in inner:  # of a loss-scale wrapper
        inner = inner["inner_optimizer"]["config"]
    if "learning_rate" not in inner:
        raise ValueError(
            f"`model` must have an optimizer with a `learning_rate`; got {optimizer!r}."
        )
    inner["learning_rate"] = rate
    return type(optimizer).from_config(config)
