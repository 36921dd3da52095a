"""Initializers for weights: Glorot (Xavier), He, LeCun, orthogonal, normal, uniform, constant.

An initializer is called with a shape and a dtype, and returns the initial value. Random
initializers take a `seed`:

- An integer gives the same values at every call: eagerly, in a `tf.function`, under XLA and in
  a v1 graph. The random numbers are stateless.
- `None` gives new values at every call. They start from an integer that `tf.random.uniform`
  draws, so `tf.random.set_seed` makes them repeatable.
- A `keras.random.SeedGenerator` gives new values at every call, the same ones each time that a
  generator of the same seed begins.

Random numbers for 16-bit dtypes are made in float32 and rounded.
"""

from __future__ import annotations

import abc
import contextlib
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._libraries.keras import INITIALIZERS as BASES
from tfopt._libraries.keras import SEED_GENERATOR, VARIANCE_SCALING, register
from tfopt._libraries.serialization import Described, describe, encode, number, plain, recover

# The standard deviation of a standard normal cut at two of its standard deviations.
_TRUNCATED_STDDEV = 0.87962566103423978

Seed = Any  # an integer, None, or a `keras.random.SeedGenerator`


class Initializer(Described, *BASES, abc.ABC):  # type: ignore[misc]
    """Base class of initializers: override `__call__`.

    The config consists of the constructor's arguments, which are read from attributes of the same
    names. Override `get_config` if you keep them in another way.

    >>> class Half(Initializer):
    ...     def __call__(self, shape, dtype=tf.float32):
    ...         return tf.fill(shape, tf.cast(0.5, dtype))
    >>> Half()([2]).numpy().tolist()
    [0.5, 0.5]
    """

    @abc.abstractmethod
    def __call__(self, shape: Any, dtype: Any = tf.float32) -> tf.Tensor:
        """Makes the initial value.

        Args:
            shape: a tuple, list, `tf.TensorShape` or integer; every dimension known.
            dtype: the dtype of the result; `None` means float32.

        Returns:
            A tensor of that shape and dtype.
        """


class _Formula(Initializer):
    """Base class of tfopt's initializers: a formula for a checked shape and dtype."""

    _any_dtype = False  # True: also dtypes that are not floating
    _any_shape = False  # True: also a tensor whose value is known only at run time

    def __call__(self, shape: Any, dtype: Any = tf.float32) -> tf.Tensor:
        """Makes the initial value.

        Args:
            shape: a tuple, list, `tf.TensorShape` or integer; every dimension known.
            dtype: the dtype of the result; `None` means float32.

        Returns:
            A tensor of that shape and dtype.

        Raises:
            ValueError: if a dimension is unknown, or the formula does not define the shape
                or dtype.
        """
        dtype = tf.as_dtype(tf.float32 if dtype is None else dtype).base_dtype
        if not (dtype.is_floating or self._any_dtype):
            raise ValueError(
                f"`dtype` must be floating for {type(self).__name__}; got {dtype.name}."
            )
        return self._values(_dimensions(shape, any_shape=self._any_shape), dtype)

    @abc.abstractmethod
    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        """Computes the formula; `shape` is a list of integers."""


class Zeros(_Formula):
    r"""Initialization with zeros.

    $$w_i = 0$$

    Any dtype will do: integers, `False` for `tf.bool`, complex ones.

    >>> Zeros()([2, 3], tf.int32).numpy().tolist()
    [[0, 0, 0], [0, 0, 0]]
    """

    _any_dtype = _any_shape = True

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        return tf.zeros(shape, dtype)


class Ones(_Formula):
    r"""Initialization with ones.

    $$w_i = 1$$

    Any dtype will do: integers, `True` for `tf.bool`, complex ones.

    >>> Ones()(3).numpy().tolist()
    [1.0, 1.0, 1.0]
    """

    _any_dtype = _any_shape = True

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        return tf.ones(shape, dtype)


class Constant(_Formula):
    r"""Initialization with the same value everywhere, or with the values of an array.

    $$w_i = \mathrm{value} \quad \text{or} \quad w_i = \mathrm{value}_i$$

    Args:
        value: any number or bool that the dtype asked for can hold, or an array, tensor or
            nested list of them, which is copied; unitless. An array must have the shape asked
            for, or one that can be broadcast to it.

    Raises:
        ValueError: if `value` is neither a number nor an array of numbers; when called, if
            an integer or bool dtype cannot hold it exactly, a real dtype is asked for a
            complex one, or an array does not fit the shape.

    >>> Constant(0.5)([2]).numpy().tolist()
    [0.5, 0.5]
    >>> Constant([1.0, 2.0])([2, 2]).numpy().tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """

    _any_dtype = _any_shape = True

    def __init__(self, value: Any = 0.0):
        known = plain(tf.get_static_value(value) if tf.is_tensor(value) else value)
        if not isinstance(known, bool | int | float | complex):
            known = _array("value", known, value)
        self.value = known

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        if not isinstance(self.value, np.ndarray):
            return tf.fill(shape, _scalar("value", self.value, dtype))
        values = _of_dtype("value", self.value, dtype)
        with contextlib.suppress(ValueError, tf.errors.InvalidArgumentError):
            return tf.broadcast_to(values, shape)
        raise ValueError(
            f"`shape` must be one that {self.value.shape} can be broadcast to, the shape of "
            f"`value`; got {shape!r}."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments; an array as Keras describes it."""
        config: dict[str, Any] = encode(super().get_config())
        return config


class Identity(_Formula):
    r"""Identity initialization: a multiple of the identity matrix.

    $$w_{ij} = \mathrm{gain} \cdot [i = j]$$

    Args:
        gain: the value on the diagonal, any finite number; unitless.

    Raises:
        ValueError: if `gain` is no finite number; when called, if the shape does not have
            two dimensions, or the dtype cannot hold `gain`.

    >>> Identity(2.0)([2, 3]).numpy().tolist()
    [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """

    _any_dtype = True

    def __init__(self, gain: float = 1.0):
        self.gain = number("gain", gain)

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        if len(shape) != 2:
            raise ValueError(f"`shape` must have two dimensions for Identity; got {shape!r}.")
        # `tf.where` rather than a product, so that it works for every dtype.
        diagonal = tf.eye(*shape, dtype=tf.bool)
        return tf.where(diagonal, _scalar("gain", self.gain, dtype), tf.zeros([], dtype))


class STFT(_Formula):
    r"""Short-time Fourier transform: the kernel of a convolution that computes one side of it.

    $$w_{t,0,k} = \frac{v_t}{s} \cos\!\left(\frac{-2\pi t k}{2(F - 1)}\right)$$

    for a shape of `(T, 1, F)`. With `side="imag"`, the sine takes the place of the cosine. The
    window is $v_t = a - (1 - a) \cos(2\pi t / (T - 1))$, where $a$ is 0.5 for `"hann"` and 0.54
    for `"hamming"`. With `periodic`, $T$ takes the place of $T - 1$.

    Args:
        side: `"real"` or `"imag"`.
        window: `"hann"`, `"hamming"`, a list of T values, or `None` for no window (and then no
            scaling).
        scaling: `"density"` divides by $s = \sqrt{\sum v_t^2}$, `"spectrum"` by
            $s = \sum |v_t|$, `None` by 1.
        periodic: whether the window continues periodically, rather than symmetrically.

    Raises:
        ValueError: if an argument is none of these; when called, if the shape is not
            `(T, 1, F)` with F >= 2, or the window does not have T values.

    >>> STFT("real", window=None)([2, 1, 3]).numpy()[1, 0].round(4).tolist()
    [1.0, -0.0, -1.0]
    """

    def __init__(
        self,
        side: str = "real",
        window: str | Sequence[float] | None = "hann",
        scaling: str | None = "density",
        periodic: bool = False,
    ):
        self.side = _choice("side", side, ("real", "imag"))
        if window is None or isinstance(window, str):
            self.window: Any = _choice("window", window, (*_COSINE_WINDOWS, None))
        else:
            self.window = [number("window", value) for value in window]
        self.scaling = _choice("scaling", scaling, ("density", "spectrum", None))
        self.periodic = _choice("periodic", periodic, (False, True))

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        if len(shape) != 3 or shape[1] != 1 or shape[2] < 2:
            raise ValueError(f"`shape` must be (T, 1, F) with F >= 2 for STFT; got {shape!r}.")
        samples, _, bands = shape
        period = 2 * (bands - 1)
        # Whole turns are dropped as integers, where no precision is lost.
        time, band = tf.range(samples, dtype=tf.int64), tf.range(bands, dtype=tf.int64)
        turns = time[:, None] * band % period
        angle = tf.cast(turns, _wide(dtype)) * (-2 * math.pi / period)
        wave = tf.cos(angle) if self.side == "real" else tf.sin(angle)
        return tf.cast((wave * self._scaled_window(samples, wave.dtype))[:, None], dtype)

    def _scaled_window(self, samples: int, dtype: tf.DType) -> tf.Tensor:
        if self.window is None:
            return tf.ones([samples, 1], dtype)
        if isinstance(self.window, str):
            a = _COSINE_WINDOWS[self.window]
            last = max(samples - 1 + self.periodic, 1)
            window = a - (1 - a) * tf.cos(tf.range(samples, dtype=dtype) * (2 * math.pi / last))
            window = window if samples > 1 else tf.ones([1], dtype)
        elif len(self.window) == samples:
            window = tf.constant(self.window, dtype)
        else:
            raise ValueError(
                f"`window` must have as many values as the kernel has samples, {samples}; "
                f"got {len(self.window)}."
            )
        if self.scaling == "density":
            window /= tf.norm(window)
        elif self.scaling == "spectrum":
            window /= tf.reduce_sum(tf.abs(window))
        return window[:, None]


_COSINE_WINDOWS = {"hann": 0.5, "hamming": 0.54}


class _Random(_Formula):
    """Base class of random initializers: keeps the seed."""

    def __init__(self, seed: Seed = None):
        if seed is not None and not isinstance(seed, SEED_GENERATOR):
            integer = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
            if not integer or not -(2**63) <= seed < 2**63:
                raise ValueError(
                    "`seed` must be an integer of 64 bits, a keras.random.SeedGenerator or None; "
                    f"got {seed!r}."
                )
            seed = int(seed)
        self.seed = seed

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments; a seed generator as Keras describes it."""
        config: dict[str, Any] = encode(super().get_config())
        return config

    def _draw(
        self, sample: Callable[..., tf.Tensor], shape: Any, dtype: tf.DType, **parameters: float
    ) -> tf.Tensor:
        if self.seed is None:
            seed = tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        elif isinstance(self.seed, SEED_GENERATOR):
            seed = tf.cast(self.seed.next(), tf.int64)
        else:
            seed = tf.constant([self.seed, 0], tf.int64)
        # The algorithm is named, since the default one differs under XLA.
        values = sample(shape, seed=seed, dtype=_wide(dtype), alg="philox", **parameters)
        return tf.cast(values, dtype)


class RandomNormal(_Random):
    r"""Normal initialization: independent draws from a normal distribution.

    $$w_i \sim \mathcal{N}(\mathrm{mean}, \mathrm{stddev}^2)$$

    Args:
        mean: the mean, any finite number; in the units of the variable.
        stddev: the standard deviation, >= 0; in the units of the variable.
        seed: an integer for the same values at each call, `None` or a generator for new ones.

    Raises:
        ValueError: if an argument is out of range; when called, if the dtype is not
            floating.

    >>> values = RandomNormal(mean=3.0, stddev=0.1, seed=1)([1000])
    >>> print(f"{tf.reduce_mean(values):.1f} {tf.math.reduce_std(values):.1f}")
    3.0 0.1
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Seed = None):
        super().__init__(seed)
        self.mean = number("mean", mean)
        self.stddev = number("stddev", stddev, low=0)

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        return self._draw(
            tf.random.stateless_normal, shape, dtype, mean=self.mean, stddev=self.stddev
        )


class TruncatedNormal(_Random):
    r"""Truncated normal initialization: draws from a normal distribution cut at two deviations.

    $$w_i \sim \mathcal{N}(\mathrm{mean}, \mathrm{stddev}^2)
    \;\big|\; |w_i - \mathrm{mean}| \le 2\,\mathrm{stddev}$$

    The standard deviation of what is left is about 0.88 `stddev`.

    Args:
        mean: the mean, any finite number; in the units of the variable.
        stddev: the standard deviation before the cut, >= 0; in the units of the variable.
        seed: an integer for the same values at each call, `None` or a generator for new ones.

    Raises:
        ValueError: if an argument is out of range; when called, if the dtype is not
            floating.

    >>> values = TruncatedNormal(stddev=1.0, seed=1)([1000])
    >>> bool(tf.reduce_max(tf.abs(values)) <= 2.0)
    True
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Seed = None):
        super().__init__(seed)
        self.mean = number("mean", mean)
        self.stddev = number("stddev", stddev, low=0)

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        return self._draw(
            tf.random.stateless_truncated_normal, shape, dtype, mean=self.mean, stddev=self.stddev
        )


class RandomUniform(_Random):
    r"""Uniform initialization: independent draws from an interval.

    $$w_i \sim \mathcal{U}[\mathrm{minval}, \mathrm{maxval})$$

    Args:
        minval: the lower end, any finite number; in the units of the variable.
        maxval: the upper end, >= `minval`; in the units of the variable.
        seed: an integer for the same values at each call, `None` or a generator for new ones.

    Raises:
        ValueError: if an argument is out of range; when called, if the dtype is not
            floating.

    >>> values = RandomUniform(0.0, 1.0, seed=1)([1000])
    >>> print(f"{tf.reduce_mean(values):.1f}")
    0.5
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Seed = None):
        super().__init__(seed)
        self.minval = number("minval", minval)
        self.maxval = number("maxval", maxval, low=self.minval)

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        return self._draw(
            tf.random.stateless_uniform, shape, dtype, minval=self.minval, maxval=self.maxval
        )


class VarianceScaling(_Random, VARIANCE_SCALING):
    r"""Variance scaling initialization: the variance falls with the number of connections (fan).

    $$\mathrm{Var}(w_i) = \frac{\mathrm{scale}}{\max(1, n)}$$

    A kernel of shape `(..., inputs, outputs)` has the fan-in `inputs` and the fan-out `outputs`,
    each times the product of the leading dimensions. For a vector both are its length; for a
    scalar both are 1.

    Args:
        scale: the variance times n, > 0; in the squared units of the variable.
        mode: what n is: `"fan_in"`, `"fan_out"`, or `"fan_avg"` for their mean.
        distribution: `"truncated_normal"` (also called `"normal"`) is cut at two standard
            deviations and widened, so that it has the variance above; `"untruncated_normal"`
            is not cut; `"uniform"` lies within $\pm\sqrt{3 \mathrm{Var}}$.
        seed: an integer for the same values at each call, `None` or a generator for new ones.
        input_axes: the axes of the inputs, which give the fan-in; by default all but the last.
        output_axes: the axes of the outputs, which give the fan-out; by default all but the last
            but one. Given together with `input_axes`, or not at all.

    Raises:
        ValueError: if an argument is out of range or unknown; when called, if the dtype
            is not floating.

    >>> values = VarianceScaling(2.0, "fan_in", "uniform", seed=1)([600, 4])
    >>> bool(tf.reduce_max(tf.abs(values)) <= (3 * 2 / 600) ** 0.5)
    True
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Seed = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(seed)
        self.scale = number("scale", scale, above=0)
        self.mode = _choice("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        self.distribution = _choice(
            "distribution",
            "truncated_normal" if distribution == "normal" else distribution,
            ("truncated_normal", "untruncated_normal", "uniform"),
        )
        self.input_axes = _axes("input_axes", input_axes)
        self.output_axes = _axes("output_axes", output_axes)
        if (input_axes is None) != (output_axes is None):
            raise ValueError(
                "`input_axes` and `output_axes` must be given together, or neither; "
                f"got {input_axes!r} and {output_axes!r}."
            )

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        variance = self.scale / max(1.0, self._fan(shape))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return self._draw(
                tf.random.stateless_uniform, shape, dtype, minval=-limit, maxval=limit
            )
        stddev = math.sqrt(variance)
        if self.distribution == "untruncated_normal":
            return self._draw(tf.random.stateless_normal, shape, dtype, stddev=stddev)
        return self._draw(
            tf.random.stateless_truncated_normal, shape, dtype, stddev=stddev / _TRUNCATED_STDDEV
        )

    def _fan(self, shape: list[int]) -> float:
        if self.input_axes is None:
            fan_in, fan_out = (shape[-2:] * 2)[:2] if shape else (1, 1)
            positions = math.prod(shape[:-2])
        else:
            fan_in = _size("input_axes", self.input_axes, shape)
            fan_out = _size("output_axes", self.output_axes, shape)
            positions = 1
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        return positions * fans[self.mode]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, without axes where none are given."""
        return _without_unset_axes(super().get_config())  # older Keras does not know them

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """Makes an initializer from what `get_config` returned, here or in Keras."""
        return super().from_config(_without_unset_axes(config))


class GlorotNormal(VarianceScaling):
    r"""Glorot normal initialization, also called Xavier normal.

    $$\mathrm{Var}(w_i) = \frac{2}{\mathrm{fan_{in}} + \mathrm{fan_{out}}}$$

    Args:
        seed: an integer for the same values at each call, `None` or a generator for new ones.
        input_axes: the axes of the inputs, which give the fan-in; by default all but the last.
        output_axes: the axes of the outputs, which give the fan-out; by default all but the last
            but one. Given together with `input_axes`, or not at all.

    Raises:
        ValueError: if an argument is out of range; when called, if the dtype is not floating.

    Source: Glorot & Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks", https://proceedings.mlr.press/v9/glorot10a.html

    >>> print(f"{tf.math.reduce_std(GlorotNormal(seed=1)([150, 50])):.1f}")
    0.1
    """

    def __init__(
        self,
        seed: Seed = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed, input_axes, output_axes)


class GlorotUniform(VarianceScaling):
    r"""Glorot uniform initialization, also called Xavier uniform.

    $$w_i \sim \mathcal{U}[-r, r), \quad
    r = \sqrt{\frac{6}{\mathrm{fan_{in}} + \mathrm{fan_{out}}}}$$

    Args:
        seed: an integer for the same values at each call, `None` or a generator for new ones.
        input_axes: the axes of the inputs, which give the fan-in; by default all but the last.
        output_axes: the axes of the outputs, which give the fan-out; by default all but the last
            but one. Given together with `input_axes`, or not at all.

    Raises:
        ValueError: if an argument is out of range; when called, if the dtype is not floating.

    Source: Glorot & Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks", https://proceedings.mlr.press/v9/glorot10a.html

    >>> print(f"{tf.reduce_max(tf.abs(GlorotUniform(seed=1)([500, 100]))):.2f}")
    0.10
    """

    def __init__(
        self,
        seed: Seed = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(1.0, "fan_avg", "uniform", seed, input_axes, output_axes)


class HeNormal(VarianceScaling):
    r"""He normal initialization, for layers with ReLU.

    $$\mathrm{Var}(w_i) = \frac{2}{\mathrm{fan_{in}}}$$

    Args:
        seed: an integer for the same values at each call, `None` or a generator for new ones.
        input_axes: the axes of the inputs, which give the fan-in; by default all but the last.
        output_axes: the axes of the outputs, which give the fan-out; by default all but the last
            but one. Given together with `input_axes`, or not at all.

    Raises:
        ValueError: if an argument is out of range; when called, if the dtype is not floating.

    Source: He et al. (2015), "Delving Deep into Rectifiers", https://arxiv.org/abs/1502.01852

    >>> print(f"{tf.math.reduce_std(HeNormal(seed=1)([200, 50])):.1f}")
    0.1
    """

    def __init__(
        self,
        seed: Seed = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(2.0, "fan_in", "truncated_normal", seed, input_axes, output_axes)


class HeUniform(VarianceScaling):
    r"""He uniform initialization, for layers with ReLU.

    $$w_i \sim \mathcal{U}[-r, r), \quad r = \sqrt{\frac{6}{\mathrm{fan_{in}}}}$$

    Args:
        seed: an integer for the same values at each call, `None` or a generator for new ones.
        input_axes: the axes of the inputs, which give the fan-in; by default all but the last.
        output_axes: the axes of the outputs, which give the fan-out; by default all but the last
            but one. Given together with `input_axes`, or not at all.

    Raises:
        ValueError: if an argument is out of range; when called, if the dtype is not floating.

    Source: He et al. (2015), "Delving Deep into Rectifiers", https://arxiv.org/abs/1502.01852

    >>> print(f"{tf.reduce_max(tf.abs(HeUniform(seed=1)([600, 100]))):.2f}")
    0.10
    """

    def __init__(
        self,
        seed: Seed = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(2.0, "fan_in", "uniform", seed, input_axes, output_axes)


class LecunNormal(VarianceScaling):
    r"""LeCun normal initialization.

    $$\mathrm{Var}(w_i) = \frac{1}{\mathrm{fan_{in}}}$$

    Args:
        seed: an integer for the same values at each call, `None` or a generator for new ones.
        input_axes: the axes of the inputs, which give the fan-in; by default all but the last.
        output_axes: the axes of the outputs, which give the fan-out; by default all but the last
            but one. Given together with `input_axes`, or not at all.

    Raises:
        ValueError: if an argument is out of range; when called, if the dtype is not floating.

    Source: LeCun et al. (1998), "Efficient BackProp", section 4.6.

    >>> print(f"{tf.math.reduce_std(LecunNormal(seed=1)([100, 50])):.1f}")
    0.1
    """

    def __init__(
        self,
        seed: Seed = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(1.0, "fan_in", "truncated_normal", seed, input_axes, output_axes)


class LecunUniform(VarianceScaling):
    r"""LeCun uniform initialization.

    $$w_i \sim \mathcal{U}[-r, r), \quad r = \sqrt{\frac{3}{\mathrm{fan_{in}}}}$$

    Args:
        seed: an integer for the same values at each call, `None` or a generator for new ones.
        input_axes: the axes of the inputs, which give the fan-in; by default all but the last.
        output_axes: the axes of the outputs, which give the fan-out; by default all but the last
            but one. Given together with `input_axes`, or not at all.

    Raises:
        ValueError: if an argument is out of range; when called, if the dtype is not floating.

    Source: LeCun et al. (1998), "Efficient BackProp", section 4.6.

    >>> print(f"{tf.reduce_max(tf.abs(LecunUniform(seed=1)([300, 100]))):.2f}")
    0.10
    """

    def __init__(
        self,
        seed: Seed = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(1.0, "fan_in", "uniform", seed, input_axes, output_axes)


class Orthogonal(_Random):
    r"""Orthogonal initialization: a random orthogonal matrix, uniformly distributed.

    $$w^\top w = \mathrm{gain}^2 I$$

    The columns are orthonormal, times `gain`. If the matrix is wider than high, its rows are. For a
    shape of more than two dimensions, the matrix has the shape
    `(product of all dimensions but the last, last dimension)` and is reshaped.

    Args:
        gain: the length of each column, any finite number; in the units of the variable.
        seed: an integer for the same values at each call, `None` or a generator for new ones.

    Raises:
        ValueError: if an argument is out of range; when called, if the shape has fewer
            than two dimensions, or the dtype is not floating.

    Source: Saxe et al. (2014), "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", https://arxiv.org/abs/1312.6120

    >>> w = Orthogonal(gain=2.0, seed=1)([3, 2])
    >>> bool(tf.reduce_max(tf.abs(tf.transpose(w) @ w - 4 * tf.eye(2))) < 1e-5)
    True
    """

    def __init__(self, gain: float = 1.0, seed: Seed = None):
        super().__init__(seed)
        self.gain = number("gain", gain)

    def _values(self, shape: Any, dtype: tf.DType) -> tf.Tensor:
        if len(shape) < 2:
            raise ValueError(
                f"`shape` must have two dimensions or more for Orthogonal; got {shape!r}."
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        high = (max(rows, columns), min(rows, columns))
        q, r = tf.linalg.qr(self._draw(tf.random.stateless_normal, high, _wide(dtype)))
        # QR leaves the signs to the algorithm; those of r's diagonal make q uniform.
        q *= self.gain * (1 - 2 * tf.cast(tf.linalg.diag_part(r) < 0, q.dtype))
        q = tf.transpose(q) if rows < columns else q
        return tf.cast(tf.reshape(q, shape), dtype)


INITIALIZERS: tuple[type[Initializer], ...] = (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    STFT,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
)

_ALIASES: dict[str, type[Initializer]] = {
    "constant": Constant,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "identity": Identity,
    "IdentityInitializer": Identity,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "normal": RandomNormal,
    "one": Ones,
    "ones": Ones,
    "orthogonal": Orthogonal,
    "orthogonal_initializer": Orthogonal,
    "OrthogonalInitializer": Orthogonal,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "stft": STFT,
    "STFTInitializer": STFT,
    "truncated_normal": TruncatedNormal,
    "uniform": RandomUniform,
    "variance_scaling": VarianceScaling,
    "zero": Zeros,
    "zeros": Zeros,
}

_NAMES = {cls.__name__: cls for cls in INITIALIZERS} | _ALIASES

# A config of one of these modules means an initializer of tfopt. The modules are not imported.
_MODULES = (None, "tfopt.initializers", "keras.initializers", "tf_keras.initializers")


def get(identifier: Any) -> Any:
    """Returns an initializer for a name, a config, a class or a callable.

    Args:
        identifier: a name such as `"GlorotUniform"` or `"glorot_uniform"` (case matters), what
            `serialize` returned, a class, or a callable that takes a shape and a dtype.

    Returns:
        An `Initializer`; a callable that is no class is returned as it is.

    Raises:
        ValueError: if `identifier` is none of these.

    >>> get("he_normal")
    HeNormal(seed=None)
    >>> get({"class_name": "Constant", "config": {"value": 2.0}})
    Constant(value=2.0)
    """
    if isinstance(identifier, str):
        if identifier in _NAMES:
            return _NAMES[identifier]()
    elif isinstance(identifier, Mapping):
        return deserialize(identifier)
    elif isinstance(identifier, type):
        try:
            instance = identifier()
        except TypeError as error:
            raise ValueError(
                f"`identifier` must be a class that takes no arguments: {error}; "
                f"got {identifier!r}."
            ) from error
        if callable(instance):
            return instance
    elif callable(identifier):
        return identifier
    raise ValueError(
        "`identifier` must be an initializer's name, config, class or instance, or a callable; "
        f"got {identifier!r}. The names are: {', '.join(sorted(_NAMES))}."
    )


def serialize(initializer: Initializer) -> dict[str, Any]:
    """Describes an initializer by a dict that JSON can hold.

    Args:
        initializer: an instance of an `Initializer`.

    Returns:
        A dict for `deserialize`.

    Raises:
        ValueError: if `initializer` is no `Initializer`.

    >>> serialize(Constant(2.0))["config"]
    {'value': 2.0}
    """
    if not isinstance(initializer, Initializer):
        raise ValueError(f"`initializer` must be an Initializer; got {initializer!r}.")
    return describe(initializer, INITIALIZERS)


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Initializer:
    """Makes an initializer from its description, which tfopt, Keras 3 or tf-keras wrote.

    Only the initializers of this module and `custom_objects` are found; nothing is
    imported.

    Args:
        config: what `serialize` returned, here, in Keras 3 or in tf-keras.
        custom_objects: further classes by name; they come first.

    Returns:
        The initializer.

    Raises:
        ValueError: if `config` is not such a dict, or names no initializer known here.

    >>> deserialize({"class_name": "Orthogonal", "config": {"gain": 2.0}})
    Orthogonal(gain=2.0, seed=None)
    """
    return recover(config, _NAMES, _MODULES, custom_objects, "an initializer")


def _without_unset_axes(config: Mapping[str, Any]) -> dict[str, Any]:
    axes = ("input_axes", "output_axes")
    return {key: value for key, value in config.items() if key not in axes or value is not None}


def _axes(name: str, value: Any) -> list[int] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or not all(isinstance(v, numbers.Integral) for v in value):
        raise ValueError(f"`{name}` must be a list of integers or None; got {value!r}.")
    return [int(axis) for axis in value]


def _size(name: str, axes: Any, shape: list[int]) -> int:
    """Returns the product of some dimensions."""
    if not all(-len(shape) <= axis < len(shape) for axis in axes):
        raise ValueError(f"`{name}` must be axes of the shape; got {axes!r} and {shape!r}.")
    return math.prod(shape[axis] for axis in axes)


def _choice(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        allowed = ", ".join(map(repr, choices))
        raise ValueError(f"`{name}` must be one of {allowed}; got {value!r}.")
    return value


def _scalar(name: str, value: Any, dtype: tf.DType) -> tf.Tensor:
    """Returns the value as a tensor of the dtype; raises if the dtype cannot hold it."""
    kind: Any = int
    if dtype.is_bool:
        kind = bool
    elif not dtype.is_integer:
        kind = complex if dtype.is_complex else float
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        fits = False
    else:
        fits = kind in (float, complex) or number == value
        if kind is int and fits:
            fits = dtype.min <= number <= dtype.max
    if not fits:
        raise ValueError(f"`{name}` must be a value that {dtype.name} can hold; got {value!r}.")
    return tf.constant(number, dtype)


def _array(name: str, known: Any, given: Any) -> np.ndarray:
    """Returns a copy as an array of numbers; raises if it is none."""
    with contextlib.suppress(ValueError, TypeError):
        array = np.array(known)
        if array.ndim and (array.dtype.kind in "biufc" or tf.as_dtype(array.dtype).is_floating):
            return array
    raise ValueError(f"`{name}` must be a number or an array of numbers; got {given!r}.")


def _of_dtype(name: str, array: np.ndarray, dtype: tf.DType) -> tf.Tensor:
    """Returns the array as a tensor of the dtype; raises if the dtype cannot hold a value."""
    fits = dtype.is_complex or not np.iscomplexobj(array)
    if fits and (dtype.is_bool or dtype.is_integer):
        low, high = (0, 1) if dtype.is_bool else (dtype.min, dtype.max)
        whole = array if array.dtype.kind in "biu" else np.floor(array.astype(np.float64))
        fits = bool(np.all((array == whole) & (array >= low) & (array <= high)))
    if not fits:
        raise ValueError(f"`{name}` must hold values that {dtype.name} can hold; got {array!r}.")
    return tf.constant(array.astype(dtype.as_numpy_dtype))


def _dimensions(shape: Any, *, any_shape: bool) -> Any:
    """Returns the shape as integers; with `any_shape`, also a tensor known only at run time."""
    static = tf.get_static_value(shape) if tf.is_tensor(shape) else shape
    if static is None and any_shape and shape is not None:
        return shape
    try:
        known = tf.TensorShape(static)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`shape` must consist of integers >= 0: {error}; got {shape!r}."
        ) from error
    if not known.is_fully_defined():
        raise ValueError(f"`shape` must have only known dimensions; got {shape!r}.")
    return known.as_list()


def _wide(dtype: tf.DType) -> tf.DType:
    """Returns the dtype to compute in: at least float32."""
    return tf.float64 if dtype == tf.float64 else tf.float32


for _initializer in INITIALIZERS:
    register(_initializer)
