"""tfopt's schedules and initializers where Keras 3 and tf-keras expect their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from schedule_cases import CASES
from schedule_cases import make as make_case

import tfopt
from tfopt import initializers, schedules

LIBRARIES = {"keras": keras, "tf_keras": tf_keras}
each_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
DATA = np.arange(12.0, dtype=np.float32).reshape(4, 3) / 10, np.ones([4, 2], np.float32)


def trained(library, optimizer, epochs=5):
    model = library.Sequential([library.layers.Dense(2, kernel_initializer="ones")])
    model.compile(optimizer=optimizer, loss="mse")
    model.fit(*DATA, epochs=epochs, verbose=0)
    return model


def optimizers_of(library):
    classes = {"Adam": library.optimizers.Adam, "SGD": library.optimizers.SGD}
    if library is tf_keras:
        classes["legacy"] = tf_keras.optimizers.legacy.Adam
    return classes


@each_library
def test_optimizers_of_keras_follow_our_schedules(library):
    for make in optimizers_of(library).values():
        ours = make(schedules.CosineDecay(0.1, 10))
        theirs = make(library.optimizers.schedules.CosineDecay(0.1, 10))
        weights = [trained(library, optimizer).get_weights() for optimizer in (ours, theirs)]
        for one, other in zip(*weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


@each_library
@pytest.mark.parametrize("case", CASES)
def test_keras_gets_our_schedules_back(library, case):
    schedule = make_case(case)
    optimizer = library.optimizers.Adam(schedule)
    again = library.optimizers.deserialize(library.optimizers.serialize(optimizer))
    assert again.get_config()["learning_rate"] == optimizer.get_config()["learning_rate"]
    serialized = library.optimizers.schedules.serialize(schedule)
    assert library.optimizers.schedules.deserialize(serialized) == schedule


SCHEDULES = {
    "one": lambda _: schedules.CosineDecay(0.1, 10),
    "several": lambda _: schedules.Sequence(
        [schedules.Warmup(schedules.OneCycle(0.1, 10), 2), 0.05], [6]
    ),
    "theirs inside": lambda library: schedules.Warmup(
        library.optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.1, 0.05, 0.02]), 2
    ),
}


@each_library
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("ours", [False, True], ids=["their optimizer", "our optimizer"])
def test_a_file_of_keras_brings_our_schedule_back(library, schedule, ours, tmp_path):
    adam = tfopt.Adam if ours else library.optimizers.Adam
    model = trained(library, adam(SCHEDULES[schedule](library)))
    model.save(tmp_path / "model.keras")
    loaded = library.models.load_model(tmp_path / "model.keras")
    if schedule != "theirs inside":  # which is ours after loading
        assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for one in (model, loaded):
        one.fit(*DATA, verbose=0)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("library", "suffix"), [(keras, "keras"), (keras, "h5"), (tf_keras, "keras")]
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: initializers.HeNormal(3),
        lambda: initializers.Orthogonal(2.0, seed=1),
        lambda: initializers.Constant(2.0),
        lambda: initializers.Constant(np.arange(6.0).reshape(3, 2)),
        lambda: initializers.VarianceScaling(2.0, seed=1, input_axes=[1], output_axes=[0]),
    ],
    ids=["normal", "orthogonal", "constant", "array", "axes"],
)
def test_a_layer_gets_our_initializer_back(library, make, suffix, tmp_path):
    initializer = make()
    layer = library.layers.Dense(2, kernel_initializer=initializer)
    model = library.Sequential([library.layers.Input([3]), layer])
    assert type(layer).from_config(layer.get_config()).kernel_initializer == initializer
    model.save(tmp_path / f"model.{suffix}")
    [loaded] = library.models.load_model(tmp_path / f"model.{suffix}").layers[-1:]
    assert loaded.kernel_initializer == initializer
    np.testing.assert_array_equal(loaded.kernel, layer.kernel)
    np.testing.assert_array_equal(layer.kernel, initializer([3, 2]))


def test_old_files_of_tf_keras_bring_its_own_initializer_of_that_name(tmp_path):
    """They hold the name of a class without its package."""
    layer = tf_keras.layers.Dense(2, kernel_initializer=initializers.HeNormal(3))
    model = tf_keras.Sequential([tf_keras.layers.Input([3]), layer])
    model.save(tmp_path / "model.h5")
    [loaded] = tf_keras.models.load_model(tmp_path / "model.h5").layers
    assert isinstance(loaded.kernel_initializer, tf_keras.initializers.HeNormal)
    assert loaded.kernel_initializer.get_config() == layer.kernel_initializer.get_config()
    np.testing.assert_array_equal(loaded.kernel, layer.kernel)


@each_library
def test_layers_that_clone_initializers_take_ours(library):
    layer = library.layers.MultiHeadAttention(2, 3, kernel_initializer=initializers.HeNormal(1))
    layer(*[tf.ones([1, 2, 3])] * 2)
    norm = library.layers.BatchNormalization(gamma_initializer=initializers.Constant(2.0))
    norm(tf.ones([1, 2]))
    np.testing.assert_array_equal(norm.gamma, [2.0, 2.0])


def test_keras_initializers_that_are_cloned_stay_the_same():
    initializer = initializers.RandomNormal(1.0, seed=2)
    assert initializer.clone() == initializer


@pytest.mark.parametrize("dtype", [tf.float16, tf.float32, tf.float64, tf.int32, tf.complex64])
def test_constant_of_an_array(dtype):
    value = np.arange(6).reshape(2, 3)
    for given in (value, value.tolist(), tf.constant(value), value.astype(np.float32)):
        made = initializers.Constant(given)([2, 3], dtype)
        assert made.dtype == dtype
        np.testing.assert_array_equal(made, value)
    np.testing.assert_array_equal(initializers.Constant(value[0])([2, 3], dtype), [value[0]] * 2)


@pytest.mark.parametrize(
    ("value", "shape", "dtype", "rule"),
    [
        ([1.0, 2.0], [3], tf.float32, r"`shape` must be one that \(2,\) can be broadcast to"),
        ([[1.0], [2.0]], [2], tf.float32, "`shape`"),
        ([1.0, 2.5], [2], tf.int32, "int32 can hold"),
        ([1, 300], [2], tf.uint8, "uint8 can hold"),
        ([1, -1], [2], tf.uint8, "uint8 can hold"),
        ([0, 2], [2], tf.bool, "bool can hold"),
        ([1j, 2], [2], tf.float32, "float32 can hold"),
        ([np.nan, 2], [2], tf.int32, "int32 can hold"),
    ],
)
def test_constant_refuses_an_array_that_does_not_fit(value, shape, dtype, rule):
    with pytest.raises(ValueError, match=rule):
        initializers.Constant(value)(shape, dtype)


def test_constant_of_an_array_keeps_its_own_copy_and_its_dtype():
    value = np.array([1.0, 2.0])
    initializer = initializers.Constant(value)
    value[0] = 5.0
    np.testing.assert_array_equal(initializer([2]), [1.0, 2.0])
    again = initializers.deserialize(initializers.serialize(initializer))
    assert again == initializer
    assert again != initializers.Constant(value)


AXES = [((4, 3, 2), [1], [0, 2]), ((4, 3, 2), [-1], [0]), ((2, 5), [0], [1]), ((3, 4), [1], [0])]


@pytest.mark.parametrize(("shape", "input_axes", "output_axes"), AXES)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_axes_give_the_fans(shape, input_axes, output_axes, mode):
    """Uniform values reach the limit that the fans give, and no further."""
    fans = [np.prod([shape[axis] for axis in axes]) for axes in (input_axes, output_axes)]
    fan = {"fan_in": fans[0], "fan_out": fans[1], "fan_avg": sum(fans) / 2}[mode]
    arguments = {"mode": mode, "distribution": "uniform", "input_axes": input_axes}
    draws = [
        initializers.VarianceScaling(seed=seed, output_axes=output_axes, **arguments)(shape)
        for seed in range(300)
    ]
    assert np.max(np.abs(draws)) == pytest.approx(np.sqrt(3 / fan), rel=0.02)


@pytest.mark.parametrize(
    ("axes", "rule"),
    [
        ({"input_axes": [0]}, "`input_axes` and `output_axes` must be given together"),
        ({"output_axes": [0]}, "`input_axes` and `output_axes` must be given together"),
        ({"input_axes": 0, "output_axes": [1]}, "`input_axes` must be a list of integers"),
        ({"input_axes": [0], "output_axes": [0.5]}, "`output_axes` must be a list of integers"),
    ],
)
def test_axes_are_checked(axes, rule):
    with pytest.raises(ValueError, match=rule):
        initializers.VarianceScaling(**axes)


def test_axes_must_be_axes_of_the_shape():
    with pytest.raises(ValueError, match=r"`input_axes`.*\[2\].*\[3, 4\]"):
        initializers.VarianceScaling(input_axes=[2], output_axes=[0])([3, 4])


FANS = [
    initializers.GlorotNormal,
    initializers.GlorotUniform,
    initializers.HeNormal,
    initializers.HeUniform,
    initializers.LecunNormal,
    initializers.LecunUniform,
]


@pytest.mark.parametrize("cls", FANS)
def test_a_layer_that_knows_its_axes_says_them(cls):
    """Keras 3.15's EinsumDense and MultiHeadAttention, of kernels of three axes."""
    kernels = []
    for made in (cls(seed=2), getattr(keras.initializers, cls.__name__)(seed=2)):
        layer = keras.layers.EinsumDense("abc,cde->abde", [None, 4, 64], kernel_initializer=made)
        layer.build([None, 5, 64])
        kernels.append(np.std(layer.kernel))
    assert kernels[0] == pytest.approx(kernels[1], rel=0.05)


def test_a_config_without_axes_is_for_any_keras():
    config = initializers.VarianceScaling(seed=1).get_config()
    for library in LIBRARIES.values():
        assert library.initializers.VarianceScaling.from_config(config)
    with_axes = initializers.VarianceScaling(input_axes=[0], output_axes=[1])
    assert initializers.deserialize(initializers.serialize(with_axes)) == with_axes


RANDOM = [
    initializers.GlorotUniform,
    initializers.HeNormal,
    initializers.Orthogonal,
    initializers.RandomNormal,
    initializers.RandomUniform,
    initializers.TruncatedNormal,
    initializers.VarianceScaling,
]
each_random = pytest.mark.parametrize("cls", RANDOM)


@each_random
def test_a_seed_generator_gives_new_values_that_repeat(cls):
    def draws():
        initializer = cls(seed=keras.random.SeedGenerator(3))
        draw = tf.function(lambda: initializer([4, 3]))
        return [initializer([4, 3]), initializer([4, 3]), draw(), draw()]

    first, again = draws(), draws()
    np.testing.assert_array_equal(first, again)
    assert len({value.numpy().tobytes() for value in first}) == 4
    np.testing.assert_array_equal(first[0], cls(seed=3)([4, 3]))


@each_random
def test_a_seed_generator_is_in_the_config(cls):
    initializer = cls(seed=keras.random.SeedGenerator(3))
    for again in (
        cls.from_config(initializer.get_config()),
        initializers.deserialize(initializers.serialize(initializer)),
        keras.initializers.deserialize(keras.initializers.serialize(initializer)),
    ):
        assert again == initializer
        assert again != cls(seed=keras.random.SeedGenerator(4))
        np.testing.assert_array_equal(again([2, 3]), cls(seed=3)([2, 3]))


def test_configs_of_keras_with_arrays_and_generators_are_read():
    for theirs in (
        keras.initializers.Constant(np.array([1.0, 2.0])),
        keras.initializers.VarianceScaling(input_axes=[0], output_axes=[1], seed=2),
        keras.initializers.HeNormal(keras.random.SeedGenerator(2)),
    ):
        ours = getattr(initializers, type(theirs).__name__)
        serialized = keras.initializers.serialize(theirs)
        assert isinstance(initializers.get(serialized), ours)
        assert ours.from_config(theirs.get_config()) == initializers.get(serialized)
