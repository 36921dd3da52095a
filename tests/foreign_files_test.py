"""Files that Keras 3, tf-keras and its legacy optimizers wrote, read through their writers."""

import importlib.util
import pathlib

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt

pytestmark = pytest.mark.skipif(
    keras.version().startswith("3.0."), reason="The files are newer than this Keras."
)
HERE = pathlib.Path(__file__).parent / "checkpoints"
spec = importlib.util.spec_from_file_location("make_checkpoints", HERE / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

FILES = [
    (origin, name, extension)
    for origin, extensions in make.FORMATS.items()
    for name in make.OPTIMIZERS
    for extension in extensions
]


def load_with_its_writer(origin, name, extension):
    """A model with the optimizer that wrote the file, as each library loads it."""
    path = str(HERE / f"{origin}-{name}.{extension}")
    if extension in ("keras", "h5"):
        library = make.LIBRARIES[origin]
        if library is tf_keras and int(tf_keras.__version__.split(".")[1]) < 21:
            pytest.skip("The file is newer than this tf-keras.")
        return library.models.load_model(path)
    optimizer = make.make_optimizer(origin, name)
    model = make.make_model(origin, optimizer)
    if extension == "ckpt":
        if origin != "legacy":
            optimizer.build(model.trainable_variables)
        checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
        status = checkpoint.read(path).expect_partial()
        if origin == "legacy":
            optimizer._create_all_weights(model.trainable_variables)
        status.assert_existing_objects_matched()
    else:
        optimizer.build(model.trainable_variables)
        model.load_weights(path)
    return model


def expected(origin, name):
    with np.load(HERE / "expected.npz") as arrays:
        return [arrays[f"{origin}-{name}-{number}"] for number in range(2)]


def assert_goes_on(model, origin, name):
    library = make.LIBRARIES[origin]
    assert isinstance(model.optimizer, tfopt.Optimizer)
    assert model.optimizer.iterations.numpy() == make.STEPS
    make.fit(model)
    assert library.__name__ == model.__module__.split(".")[0]
    for value, wanted in zip(model.get_weights(), expected(origin, name), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("origin", "name", "extension"), FILES)
def test_a_file_through_the_optimizer_that_wrote_it(origin, name, extension):
    model = load_with_its_writer(origin, name, extension)
    ours = tfopt.convert(model.optimizer, model.trainable_variables)
    loss = make.LIBRARIES[origin].losses.MeanSquaredError()
    model.compile(optimizer=ours, loss=loss, jit_compile=False)
    assert_goes_on(model, origin, name)


@pytest.mark.parametrize("name", make.OPTIMIZERS)
@pytest.mark.parametrize("slots_first", [False, True], ids=["deferred", "into slots"])
def test_a_legacy_checkpoint_directly(name, slots_first):
    cls, arguments = make.OPTIMIZERS[name]
    ours = getattr(tfopt, cls)(**arguments)
    model = make.make_model("legacy", ours)
    if slots_first:
        ours.build(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=ours)
    status = checkpoint.read(str(HERE / f"legacy-{name}.ckpt"))
    ours.build(model.trainable_variables)
    status.assert_existing_objects_matched()
    assert_goes_on(model, "legacy", name)


@pytest.mark.parametrize("name", make.OPTIMIZERS)
@pytest.mark.parametrize("origin", make.LIBRARIES)
def test_a_list_is_taken_in_the_layout_of_optimizer_v2_only(origin, name):
    """Keras 3's has the learning rate in it, tf-keras' the slots variable by variable."""
    model = load_with_its_writer(origin, name, "h5" if origin == "legacy" else "ckpt")
    optimizer = model.optimizer
    values = optimizer.get_weights() if origin == "legacy" else optimizer.variables
    values = [np.array(value) for value in values]
    cls, arguments = make.OPTIMIZERS[name]
    ours = getattr(tfopt, cls)(**arguments)
    ours.build(model.trainable_variables)
    before = ours.get_weights()
    same_layout = origin == "legacy" or (origin, name) == ("tf_keras", "sgd")
    if same_layout:  # with one slot there is but one order
        ours.set_weights(values)
        after = tfopt.convert(optimizer, model.trainable_variables).get_weights()
    else:
        with pytest.raises(ValueError, match="must have"):
            ours.set_weights(values)
        after = before
    for value, wanted in zip(ours.get_weights(), after, strict=True):
        np.testing.assert_array_equal(value, wanted)


@pytest.mark.parametrize("origin", ["keras", "tf_keras"])
def test_weights_without_a_class_are_not_guessed_at(origin):
    """The file numbers its arrays, and says neither whose they are nor in which layout."""
    model = make.make_model(origin, tfopt.Adam(0.0625, amsgrad=True))
    model.optimizer.build(model.trainable_variables)
    before = model.optimizer.get_weights()
    with pytest.warns(tfopt.TfoptWarning, match="not loaded.*tfopt.convert"):
        model.load_weights(str(HERE / f"{origin}-adam.weights.h5"))
    for value, old in zip(model.optimizer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


@pytest.mark.parametrize("origin", ["keras", "tf_keras"])
@pytest.mark.parametrize("slots_first", [False, True], ids=["deferred", "into slots"])
def test_a_checkpoint_of_newer_keras_is_not_guessed_at(origin, slots_first):
    """Its optimizer has none of our names: TensorFlow's own checks say so."""
    ours = tfopt.Adam(0.0625, amsgrad=True)
    model = make.make_model(origin, ours)
    if slots_first:
        ours.build(model.trainable_variables)
    before = ours.get_weights()
    checkpoint = tf.train.Checkpoint(model=model, optimizer=ours)
    status = checkpoint.read(str(HERE / f"{origin}-adam.ckpt"))
    ours.build(model.trainable_variables)
    with pytest.raises(AssertionError):
        status.assert_existing_objects_matched()
    assert [w.shape for w in ours.get_weights()][: len(before)] == [w.shape for w in before]
    assert all(not value.any() for value in ours.get_weights())
    status.expect_partial()


@pytest.mark.parametrize("owner", ["", "Adam/", "Mine/"])
def test_names_in_an_h5_file_may_begin_with_the_optimizer_s(owner, tmp_path):
    """OptimizerV2's do. The variables are in another order, so that only names tell."""
    variables = [tf.Variable([0.0, 0.0], name=name) for name in ("b", "dense/kernel")]
    saved = [("iter", 3), ("dense/kernel/m", [1, 1]), ("b/m", [2, 2])]
    saved += [("dense/kernel/v", [3, 3]), ("b/v", [4, 4])]
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        weights = []
        for name, value in saved:
            name = (owner or "Adam/") + name if name == "iter" else owner + name
            weights.append(file.create_dataset(f"optimizer_weights/{name}:0", data=value))
        optimizer = tfopt.Adam()
        optimizer.build(variables)
        optimizer.set_weights(weights)
    assert optimizer.iterations.numpy() == 3
    for name, values in (("m", [2, 1]), ("v", [4, 3])):
        slots = [optimizer.get_slot(variable, name).numpy()[0] for variable in variables]
        assert slots == values
