"""Initializers: statistics, seeds, dtypes, names and configs, and what is refused."""

import itertools
import json
import math
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfopt import initializers

KERASES = {"keras": keras.initializers, "tf_keras": tf_keras.initializers}

# Every initializer with arguments that are not the defaults.
ALL = [
    initializers.Constant(2.0),
    initializers.GlorotNormal(seed=1),
    initializers.GlorotUniform(seed=1),
    initializers.HeNormal(seed=1),
    initializers.HeUniform(seed=1),
    initializers.Identity(gain=3.0),
    initializers.LecunNormal(seed=1),
    initializers.LecunUniform(seed=1),
    initializers.Ones(),
    initializers.Orthogonal(gain=3.0, seed=1),
    initializers.RandomNormal(1.0, 0.5, seed=1),
    initializers.RandomUniform(0.25, 0.75, seed=1),
    initializers.STFT("imag", "hamming", "spectrum", True),
    initializers.TruncatedNormal(1.0, 0.5, seed=1),
    initializers.VarianceScaling(3.0, "fan_out", "untruncated_normal", seed=1),
    initializers.Zeros(),
]
RANDOM = [initializer for initializer in ALL if hasattr(initializer, "seed")]


def ids(values):
    return [type(value).__name__ for value in values]


each = pytest.mark.parametrize("initializer", ALL, ids=ids(ALL))
each_random = pytest.mark.parametrize("initializer", RANDOM, ids=ids(RANDOM))


def shape_for(initializer):
    return [8, 1, 5] if isinstance(initializer, initializers.STFT) else [6, 4]


def test_the_table_has_all():
    assert {type(initializer) for initializer in ALL} == set(initializers.INITIALIZERS)


# Statistics

# The largest deviation from the mean, in standard deviations of the draws, tells the families.
UNIFORM, TRUNCATED = math.sqrt(3), 2 / 0.8796
NORMAL = (3.5, 7.0)
MATRIX, CONVOLUTION = (150, 250), (3, 3, 60, 90)
SCALING = initializers.VarianceScaling


@pytest.mark.parametrize(
    ("initializer", "shape", "mean", "variance", "reach"),
    [
        (initializers.RandomNormal(1.0, 0.5, seed=3), MATRIX, 1.0, 0.25, NORMAL),
        (initializers.RandomUniform(-1.0, 3.0, seed=3), MATRIX, 1.0, 16 / 12, UNIFORM),
        (initializers.TruncatedNormal(1.0, 0.5, seed=3), MATRIX, 1.0, 0.25 * 0.7737, TRUNCATED),
        (initializers.GlorotNormal(3), MATRIX, 0, 2 / 400, TRUNCATED),
        (initializers.GlorotUniform(3), MATRIX, 0, 2 / 400, UNIFORM),
        (initializers.HeNormal(3), MATRIX, 0, 2 / 150, TRUNCATED),
        (initializers.HeUniform(3), MATRIX, 0, 2 / 150, UNIFORM),
        (initializers.LecunNormal(3), MATRIX, 0, 1 / 150, TRUNCATED),
        (initializers.LecunUniform(3), MATRIX, 0, 1 / 150, UNIFORM),
        (initializers.HeNormal(3), CONVOLUTION, 0, 2 / 540, TRUNCATED),
        (SCALING(3.0, "fan_out", "uniform", seed=3), CONVOLUTION, 0, 3 / 810, UNIFORM),
        (SCALING(3.0, "fan_avg", "normal", seed=3), CONVOLUTION, 0, 3 / 675, TRUNCATED),
        (SCALING(3.0, "fan_in", "untruncated_normal", seed=3), MATRIX, 0, 3 / 150, NORMAL),
        (SCALING(1.0, "fan_out", "uniform", seed=3), (40000,), 0, 1 / 40000, UNIFORM),
    ],
    ids=str,
)
def test_statistics(initializer, shape, mean, variance, reach):
    values = initializer(shape).numpy().astype(np.float64)
    stddev = math.sqrt(variance)
    assert values.shape == shape
    assert abs(values.mean() - mean) < 4 * stddev / math.sqrt(values.size)
    assert abs(values.std() / stddev - 1) < 0.015
    low, high = reach if isinstance(reach, tuple) else (0.98 * reach, 1.0001 * reach)
    assert low < np.abs(values - mean).max() / stddev < high


@pytest.mark.parametrize("library", KERASES)
def test_defaults_draw_as_widely_as_keras(library):
    shape = (5, 40, 50)
    for name in ids(RANDOM):
        ours = getattr(initializers, name)(seed=1)(shape)
        theirs = np.asarray(getattr(KERASES[library], name)(seed=1)(shape))
        assert abs(np.std(ours) / np.std(theirs) - 1) < 0.04, name
        assert abs(np.mean(ours) - np.mean(theirs)) < 0.06 * np.std(theirs), name


def test_a_scalar_has_one_input():
    values = [float(initializers.HeUniform(seed)(())) for seed in range(60)]
    assert 0.9 * math.sqrt(6) < max(np.abs(values)) <= math.sqrt(6)


# Seeds


@each_random
def test_an_integer_seed_repeats_everywhere(initializer):
    shape = shape_for(initializer)
    values = initializer(shape).numpy()
    np.testing.assert_array_equal(initializer(shape), values)
    copy = type(initializer).from_config(initializer.get_config())
    np.testing.assert_array_equal(tf.function(lambda: copy(shape))(), values)
    other = type(initializer).from_config({**initializer.get_config(), "seed": 2})
    assert np.abs(other(shape) - values).max() > 0.01
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tensor = initializer(shape)
        np.testing.assert_array_equal(session.run(tensor), values)
        np.testing.assert_array_equal(session.run(tensor), values)


@each_random
def test_without_a_seed_each_call_differs(initializer):
    config, shape = {**initializer.get_config(), "seed": None}, shape_for(initializer)
    unseeded = type(initializer).from_config(config)
    for call in (lambda: unseeded(shape), tf.function(lambda: unseeded(shape))):
        assert np.abs(call() - call()).max() > 0.01
    tf.random.set_seed(7)
    first = [unseeded(shape).numpy() for _ in range(2)]
    tf.random.set_seed(7)
    np.testing.assert_array_equal([unseeded(shape).numpy() for _ in range(2)], first)


@pytest.mark.parametrize(
    "cls",
    [
        initializers.RandomNormal,
        initializers.RandomUniform,
        initializers.TruncatedNormal,
        initializers.Orthogonal,
    ],
)
def test_seeds_under_xla(cls):
    seeded, unseeded = (
        tf.function(lambda seed=seed: cls(seed=seed)([6, 4]), jit_compile=True)
        for seed in (1, None)
    )
    np.testing.assert_allclose(seeded(), cls(seed=1)([6, 4]), rtol=1e-5, atol=1e-6)
    assert np.abs(unseeded() - unseeded()).max() > 0.01


def test_seeds_of_64_bits():
    for seed in (0, -1, 2**31, 2**63 - 1, -(2**63), np.int64(5)):
        initializer = initializers.RandomNormal(seed=seed)
        assert json.loads(json.dumps(initializer.get_config()))["seed"] == seed
        np.testing.assert_array_equal(initializer([9]), initializer([9]))
        assert np.all(initializer([9]) != initializers.RandomNormal(seed=17)([9]))


# Dtypes and shapes


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, "float32", None, np.float64])
def test_float_dtypes(dtype):
    for initializer in RANDOM:
        values = initializer([6, 4], dtype)
        assert values.dtype == tf.as_dtype(dtype or tf.float32)
        if values.dtype.size == 2:
            assert np.all(values == tf.cast(initializer([6, 4]), dtype))
        assert np.all(np.isfinite(tf.cast(values, tf.float64)))


@pytest.mark.parametrize("dtype", [tf.int32, tf.bool, tf.complex64, tf.string])
def test_random_values_are_floating(dtype):
    for initializer in RANDOM:
        with pytest.raises(ValueError, match=f"`dtype` must be floating.*{dtype.name}"):
            initializer([6, 4], dtype)


NUMERIC = [
    tf.bool,
    tf.int8,
    tf.uint8,
    tf.int32,
    tf.int64,
    tf.uint64,
    tf.float16,
    tf.bfloat16,
    tf.float32,
    tf.float64,
    tf.complex64,
    tf.complex128,
]


def test_constants_of_every_dtype():
    for initializer, expected in (
        (initializers.Zeros(), np.zeros([2, 3])),
        (initializers.Ones(), np.ones([2, 3])),
        (initializers.Constant(), np.zeros([2, 3])),
        (initializers.Constant(1.0), np.ones([2, 3])),
        (initializers.Constant(True), np.ones([2, 3])),
        (initializers.Identity(), np.eye(2, 3)),
    ):
        for dtype in NUMERIC:
            values = initializer([2, 3], dtype)
            assert values.dtype == dtype
            assert np.all(values == expected.astype(dtype.as_numpy_dtype))


def test_constant_values():
    for value, dtype in (
        (-7, tf.int64),
        (2**63 + 1, tf.uint64),
        (2.5, tf.float64),
        (math.inf, tf.float32),
        (1 - 2j, tf.complex64),
        (np.float32(0.5), tf.float32),
        (np.array(3), tf.int32),
    ):
        values = initializers.Constant(value)([2], dtype)
        assert values.dtype == dtype and values.numpy().tolist() == [value, value]


def test_constant_does_not_round():
    for value, dtype in (
        (0.5, tf.int32),
        (300, tf.int8),
        (-1, tf.uint8),
        (2, tf.bool),
        (1j, tf.float32),
        (1j, tf.int32),
        (math.nan, tf.int32),
        (math.inf, tf.int64),
    ):
        with pytest.raises(ValueError, match=f"`value` must be .* {dtype.name} can hold") as error:
            initializers.Constant(value)([2], dtype)
        assert repr(value) in str(error.value)


def test_identity_does_not_round():
    assert initializers.Identity(2)([2, 2], tf.int32).numpy().tolist() == [[2, 0], [0, 2]]
    with pytest.raises(ValueError, match="`gain` must be .* int32 can hold; got 0.5"):
        initializers.Identity(0.5)([2, 2], tf.int32)


def test_any_kind_of_shape():
    shapes = (6, 4), [6, 4], tf.TensorShape([6, 4]), np.array([6, 4]), tf.constant([6, 4])
    for initializer, shape in itertools.product(ALL, shapes):
        if not isinstance(initializer, initializers.STFT):
            assert np.all(initializer(shape) == initializer([6, 4]))


def test_an_integer_is_a_vector_and_a_dimension_may_be_zero():
    for initializer in (initializers.Ones(), initializers.HeNormal(1), initializers.Constant(1)):
        assert initializer(3).shape == [3]
        assert initializer([0, 3]).shape == [0, 3]
        assert initializer([]).shape == []
    assert initializers.Orthogonal()([0, 3]).shape == [0, 3]


@pytest.mark.parametrize(
    ("shape", "rule"),
    [
        ([2, None], "known dimensions"),
        (tf.TensorShape(None), "known dimensions"),
        (None, "known dimensions"),
        ([2, -1], "integers >= 0"),
        ([2, 0.5], "integers >= 0"),
        ("ab", "integers >= 0"),
    ],
)
def test_refuses_bad_shapes(shape, rule):
    for initializer in ALL:
        with pytest.raises(ValueError) as error:
            initializer(shape)
        message = str(error.value)
        assert "`shape`" in message and rule in message and repr(shape) in message


@pytest.mark.parametrize(
    ("initializer", "shape", "rule"),
    [
        (initializers.Identity(), [3], "two dimensions"),
        (initializers.Identity(), [3, 3, 3], "two dimensions"),
        (initializers.Orthogonal(), [3], "two dimensions or more"),
        (initializers.STFT(), [8, 5], "(T, 1, F)"),
        (initializers.STFT(), [8, 2, 5], "(T, 1, F)"),
        (initializers.STFT(), [8, 1, 1], "(T, 1, F)"),
    ],
)
def test_refuses_shapes_without_a_meaning(initializer, shape, rule):
    with pytest.raises(ValueError) as error:
        initializer(shape)
    assert rule in str(error.value) and repr(shape) in str(error.value)


def test_constants_take_a_shape_known_only_when_run():
    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def fill(x):
        return initializers.Zeros()(tf.shape(x)) + initializers.Constant(2.0)(tf.shape(x))

    assert fill(tf.ones([3, 2])).numpy().tolist() == [[2, 2], [2, 2], [2, 2]]

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def draw(x):
        return initializers.HeNormal()(tf.shape(x))

    with pytest.raises(ValueError, match="known dimensions"):
        draw(tf.ones([3, 2]))


def test_unknown_keywords_are_refused():
    for initializer in ALL:
        with pytest.raises(TypeError, match="partition_info"):
            initializer(shape_for(initializer), partition_info=None)


# Matrices


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (2, 3, 4), (2, 2, 2, 30)])
def test_orthogonal(shape):
    for gain, dtype in itertools.product((1.0, -2.5), (tf.float32, tf.float64)):
        values = initializers.Orthogonal(gain, seed=1)(shape, dtype).numpy()
        assert values.shape == shape
        matrix = values.reshape(-1, shape[-1])
        product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=2e-6 * gain**2)


def test_orthogonal_prefers_no_sign():
    # Uncorrected, the algorithm would fix the sign of the corner and of the determinant.
    draws = [initializers.Orthogonal(seed=seed)([2, 2]).numpy() for seed in range(40)]
    for sign in (np.sign([q[0, 0] for q in draws]), np.sign([np.linalg.det(q) for q in draws])):
        assert abs(sign.mean()) < 0.5


WINDOWS = {
    None: lambda n: np.ones(n),
    "hann": np.hanning,
    "hamming": np.hamming,
}


@pytest.mark.parametrize("scaling", [None, "density", "spectrum"])
@pytest.mark.parametrize("window", WINDOWS)
def test_stft_kernels_transform(window, scaling):
    for samples, periodic in itertools.product((1, 7, 8), (False, True)):
        values = WINDOWS[window](samples + 1)[:-1] if periodic else WINDOWS[window](samples)
        values = np.ones(1) if samples == 1 else values
        scale = {
            None: 1.0,
            "density": np.sqrt(np.sum(values**2)),
            "spectrum": np.sum(np.abs(values)),
        }[scaling if window else None]
        signal = np.random.default_rng(0).normal(size=samples)
        expected = np.fft.rfft(signal * values / scale, n=10)
        for side, part in (("real", expected.real), ("imag", expected.imag)):
            initializer = initializers.STFT(side, window, scaling, periodic)
            kernel = initializer([samples, 1, 6], tf.float64).numpy()[:, 0]
            np.testing.assert_allclose(signal @ kernel, part, atol=1e-12)


def test_stft_is_exact_for_long_windows():
    single = initializers.STFT(window=None)([1024, 1, 513])
    double = initializers.STFT(window=None)([1024, 1, 513], tf.float64)
    np.testing.assert_allclose(single, double, atol=1e-6)


def test_stft_takes_the_values_of_a_window():
    window = np.hamming(8)
    given = initializers.STFT("real", window)([8, 1, 5], tf.float64)
    named = initializers.STFT("real", "hamming")([8, 1, 5], tf.float64)
    np.testing.assert_allclose(given, named, atol=1e-12)
    with pytest.raises(ValueError, match="`window` must have .* 9; got 8"):
        initializers.STFT("real", window)([9, 1, 5])


@pytest.mark.skipif(not hasattr(keras.initializers, "STFT"), reason="this Keras has no STFT")
@pytest.mark.parametrize("arguments", [(), ("imag", "hamming", "spectrum", True), ("real", None)])
def test_stft_is_that_of_keras(arguments):
    pytest.importorskip("scipy")
    theirs = keras.initializers.STFT(*arguments)([16, 1, 9])
    np.testing.assert_allclose(initializers.STFT(*arguments)([16, 1, 9]), theirs, atol=1e-5)


# Refused arguments


@pytest.mark.parametrize(
    ("name", "argument", "rule", "value"),
    [
        ("Constant", "value", "a number or an array of numbers", "one"),
        ("Constant", "value", "a number or an array of numbers", ["one"]),
        ("Constant", "value", "a number or an array of numbers", [[1.0], [2.0, 3.0]]),
        ("Constant", "value", "a number or an array of numbers", None),
        ("Identity", "gain", "finite number", math.inf),
        ("Identity", "gain", "finite number", True),
        ("Orthogonal", "gain", "finite number", "one"),
        ("Orthogonal", "seed", "integer", 1.5),
        ("RandomNormal", "mean", "finite number", math.nan),
        ("RandomNormal", "stddev", ">= 0", -0.1),
        ("RandomNormal", "stddev", "finite", math.nan),
        ("RandomNormal", "seed", "integer", "1"),
        ("RandomNormal", "seed", "integer", True),
        ("RandomNormal", "seed", "64 bits", 2**63),
        ("RandomUniform", "minval", "finite number", None),
        ("RandomUniform", "maxval", ">= -0.05", -1.0),
        ("TruncatedNormal", "stddev", ">= 0", -1),
        ("VarianceScaling", "scale", "> 0", 0.0),
        ("VarianceScaling", "scale", "> 0", -1.0),
        ("VarianceScaling", "mode", "'fan_in', 'fan_out', 'fan_avg'", "fan"),
        ("VarianceScaling", "distribution", "'untruncated_normal', 'uniform'", "cauchy"),
        ("GlorotUniform", "seed", "integer", {"class_name": "SeedGenerator"}),
        ("STFT", "side", "'real', 'imag'", "both"),
        ("STFT", "window", "'hann', 'hamming', None", "kaiser"),
        ("STFT", "scaling", "'density', 'spectrum', None", "peak"),
        ("STFT", "periodic", "False, True", 1),
    ],
)
def test_refuses_bad_arguments(name, argument, rule, value):
    with pytest.raises(ValueError) as error:
        getattr(initializers, name)(**{argument: value})
    message = str(error.value)
    assert f"`{argument}`" in message and rule in message and repr(value) in message


def test_bounds_themselves_are_allowed():
    assert np.all(initializers.RandomNormal(2.0, 0.0)([3]) == 2.0)
    assert np.all(initializers.TruncatedNormal(2.0, 0)([3]) == 2.0)
    assert np.all(initializers.RandomUniform(2.0, 2.0)([3]) == 2.0)


# Names and configs


NAMES = {
    initializers.Zeros: ("Zeros", "zeros", "zero"),
    initializers.Ones: ("Ones", "ones", "one"),
    initializers.Constant: ("Constant", "constant"),
    initializers.Identity: ("Identity", "identity", "IdentityInitializer"),
    initializers.RandomNormal: ("RandomNormal", "random_normal", "normal"),
    initializers.RandomUniform: ("RandomUniform", "random_uniform", "uniform"),
    initializers.TruncatedNormal: ("TruncatedNormal", "truncated_normal"),
    initializers.VarianceScaling: ("VarianceScaling", "variance_scaling"),
    initializers.GlorotNormal: ("GlorotNormal", "glorot_normal"),
    initializers.GlorotUniform: ("GlorotUniform", "glorot_uniform"),
    initializers.HeNormal: ("HeNormal", "he_normal"),
    initializers.HeUniform: ("HeUniform", "he_uniform"),
    initializers.LecunNormal: ("LecunNormal", "lecun_normal"),
    initializers.LecunUniform: ("LecunUniform", "lecun_uniform"),
    initializers.Orthogonal: (
        "Orthogonal",
        "orthogonal",
        "orthogonal_initializer",
        "OrthogonalInitializer",
    ),
    initializers.STFT: ("STFT", "stft", "STFTInitializer"),
}


@pytest.mark.parametrize("cls", NAMES, ids=lambda cls: cls.__name__)
def test_names(cls):
    for name in NAMES[cls]:
        assert type(initializers.get(name)) is cls
        assert initializers.get(name) == cls()
        assert type(initializers.get({"class_name": name, "config": {}})) is cls


UNKNOWN = [
    "ZEROS",
    "Glorot_Uniform",
    "glorotuniform",
    "he",
    "",
    "Initializer",
    "initializer",
    "get",
    "tfopt.initializers.Zeros",
    "antigravity",
    None,
    3,
    0.5,
    ["zeros"],
    np.zeros(3),
    tf.zeros(3),
    object,
    {},
    {"class_name": "Zeros"},
    {"config": {}},
]


def test_get_refuses():
    for identifier in UNKNOWN:
        with pytest.raises(ValueError) as error:
            initializers.get(identifier)
        assert repr(identifier) in str(error.value)


def ramp(shape, dtype=None):
    return tf.reshape(tf.range(tf.reduce_prod(shape), dtype=dtype or tf.float32), shape)


class Ramp(initializers.Initializer):
    def __init__(self, slope=1.0, *, offset=0.0):
        self.slope = slope
        self.offset = offset

    def __call__(self, shape, dtype=tf.float32):
        return self.offset + self.slope * ramp(shape, dtype)


class Foreign:
    def __call__(self, shape, dtype=None):
        return ramp(shape, dtype)


class Demanding(Foreign):
    def __init__(self, slope):
        self._slope = slope


def test_get_takes_classes_instances_and_callables():
    assert initializers.get(initializers.HeNormal) == initializers.HeNormal()
    assert initializers.get(Ramp) == Ramp()
    assert type(initializers.get(Foreign)) is Foreign
    for given in (ramp, Ramp(2.0), Foreign(), keras.initializers.HeNormal(), ALL[0]):
        assert initializers.get(given) is given


@pytest.mark.parametrize("cls", [Demanding, initializers.Initializer, int])
def test_get_refuses_classes_that_make_no_initializer(cls):
    with pytest.raises(ValueError) as error:
        initializers.get(cls)
    assert repr(cls) in str(error.value)


@each
def test_configs_round_trip(initializer):
    serialized = json.loads(json.dumps(initializers.serialize(initializer)))
    name = type(initializer).__name__
    assert serialized == {
        "module": "tfopt.initializers",
        "class_name": name,
        "config": initializer.get_config(),
        "registered_name": f"tfopt>{name}",
    }
    for copy in (initializers.deserialize(serialized), initializers.get(serialized)):
        assert type(copy) is type(initializer)
        assert copy == initializer and hash(copy) == hash(initializer)
        shape = shape_for(initializer)
        np.testing.assert_array_equal(copy(shape), initializer(shape))
    assert eval(repr(initializer), vars(initializers)) == initializer


@pytest.mark.parametrize("library", KERASES)
def test_reads_what_keras_writes(library):
    theirs = KERASES[library]
    for initializer in ALL:
        name = type(initializer).__name__
        if not hasattr(theirs, name):
            assert name == "STFT"  # which came late
            continue
        if library == "keras" and name == "Identity":
            initializer = initializers.Identity()  # Keras 3 does not write the gain
        written = theirs.serialize(getattr(theirs, name)(**initializer.get_config()))
        serialized = json.loads(json.dumps(written))
        assert initializers.get(serialized) == initializer
        legacy = {key: serialized[key] for key in ("class_name", "config")}
        assert initializers.get(legacy) == initializer


def test_axes_that_keras_leaves_unset_are_no_axes():
    config = {"class_name": "HeNormal", "config": {"seed": 1, "input_axes": None}}
    assert initializers.get(config) == initializers.HeNormal(1)
    config["config"]["input_axes"] = [0]
    with pytest.raises(ValueError, match="`input_axes` and `output_axes` must be given together"):
        initializers.get(config)


GOOD = {
    "module": "keras.initializers",
    "class_name": "Constant",
    "config": {"value": 1.0},
    "registered_name": None,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"class_name": "NoSuch"}, "NoSuch"),
        ({"class_name": "CONSTANT"}, "CONSTANT"),
        ({"class_name": "Initializer"}, "Initializer"),
        ({"class_name": 3}, "3"),
        ({"class_name": ["Constant"]}, "['Constant']"),
        ({"module": "antigravity"}, "antigravity"),
        ({"module": "antigravity", "class_name": "geohash"}, "antigravity"),
        ({"registered_name": "other>Constant"}, "other>Constant"),
        ({"config": None}, "None"),
        ({"config": "value"}, "value"),
        ({"config": {"value": 1.0, "valeu": 2.0}}, "valeu"),
        ({"config": {3: 4}}, "3"),
        ({"config": {"value": "x"}}, "'x'"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_refuses_bad_configs(change, told):
    assert initializers.get(GOOD) == initializers.Constant(1.0)
    before = set(sys.modules)
    for read in (initializers.get, initializers.deserialize):
        with pytest.raises(ValueError) as error:
            read({**GOOD, **change})
        assert told in str(error.value)
    assert "antigravity" not in set(sys.modules) - before


def test_custom_objects_are_found_only_when_given_and_come_first():
    serialized = initializers.serialize(Ramp(2.0, offset=1.0))
    assert serialized["config"] == {"slope": 2.0, "offset": 1.0}
    assert initializers.deserialize(serialized, {"Ramp": Ramp}) == Ramp(2.0, offset=1.0)
    with pytest.raises(ValueError, match="Ramp"):
        initializers.deserialize(serialized)
    zeros = {"class_name": "Zeros", "config": {}}
    assert initializers.deserialize(zeros, {"Zeros": Ramp}) == Ramp()


def test_refuses_to_serialize_what_is_no_initializer():
    with pytest.raises(ValueError, match="`initializer` must be an Initializer; got 'zeros'"):
        initializers.serialize("zeros")


def test_equal_by_class_and_config():
    a = initializers.GlorotNormal(1)
    assert a == initializers.GlorotNormal(1) and a != initializers.GlorotNormal(2)
    assert a != initializers.GlorotUniform(1) and a != "GlorotNormal"
    assert repr(a) == "GlorotNormal(seed=1)"


def test_an_initializer_without_config_says_so_when_asked():
    class Private(initializers.Initializer):
        def __init__(self, slope):
            self._slope = slope

        def __call__(self, shape, dtype=tf.float32):
            return ramp(shape, dtype)

    assert "Private" in repr(Private(1))
    with pytest.raises(NotImplementedError, match="Private must override `get_config`"):
        Private(1).get_config()


# In use


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_layers_of_keras_take_them(library):
    layer = library.layers.Dense(
        3, kernel_initializer=initializers.HeNormal(1), bias_initializer=initializers.Constant(2.0)
    )
    layer.build([None, 5])
    np.testing.assert_array_equal(layer.kernel, initializers.HeNormal(1)([5, 3]))
    np.testing.assert_array_equal(layer.bias, [2.0, 2.0, 2.0])


def test_v1_variables_take_them():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("v", [2, 3], initializer=initializers.HeNormal(1))
        session.run(variable.initializer)
        value = session.run(variable)
    np.testing.assert_array_equal(value, initializers.HeNormal(1)([2, 3]))
