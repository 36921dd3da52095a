"""State that older versions of tfopt wrote is read bit for bit, and training goes on from it."""

import pathlib
import pickle
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from recorded import make

import tfopt


def expected(name, moment):
    with np.load(make.HERE / "expected.npz") as arrays:
        count = sum(key.startswith(f"{name}-{moment}-") for key in arrays.files)
        return [arrays[f"{name}-{moment}-{number}"] for number in range(count)]


def skip_if_newer(library, extension):
    """Skips a file that was written by a newer library than is there, and that this cannot read."""
    if extension in ("pickle", "list"):
        return  # of no library
    keras_version, tf_keras_version = (
        tuple(map(int, module.__version__.split(".")[:2])) for module in (keras, tf_keras)
    )
    model = extension in ("keras", "h5")  # with the configs of its layers
    if keras_version == (3, 0) or model and library == "keras" and keras_version < (3, 15):
        pytest.skip("The file is newer than this Keras.")
    if model and library == "tf_keras" and tf_keras_version < (2, 21):
        pytest.skip("The file is newer than this tf-keras.")


def load(name, library, extension, slots_first=False):
    """A model and its optimizer, as a file has them."""
    skip_if_newer(library, extension)
    path = make.path_of(name, library, extension)
    if extension in ("keras", "h5"):
        model = make.LIBRARIES[library].models.load_model(path)
        return model, model.optimizer
    if extension == "pickle":
        optimizer = pickle.loads(pathlib.Path(path).read_bytes())
    else:
        optimizer = make.CASES[name][0]()
    model = make.make_model(library, name, optimizer)
    if slots_first:
        make.train(model, optimizer)
    if extension == "ckpt":
        checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
        status = checkpoint.read(path)
        optimizer.build(model.trainable_variables)
        status.assert_existing_objects_matched()
    elif extension == "weights.h5":
        with warnings.catch_warnings():  # without slots it keeps the rate that it was given
            warnings.filterwarnings("ignore", "`Adam` keeps", tfopt.TfoptWarning)
            model.load_weights(path)
        make.set_rate(name, optimizer)
    else:  # the model's weights are not in it
        saved = expected(name, "saved")
        make.set_model(model, saved[:2])
        if extension == "list":
            optimizer.set_weights(saved[2:])
            make.set_rate(name, optimizer)
    return model, optimizer


def assert_goes_on(model, optimizer, name):
    made = make.CASES[name][0]()
    assert type(optimizer) is type(made)
    make.set_rate(name, made)
    config, wanted = optimizer.get_config(), made.get_config()
    assert {**config, "name": ""} == {**wanted, "name": ""}
    optimizer.build(model.trainable_variables)
    for value, saved in zip(make.values(model, optimizer), expected(name, "saved"), strict=True):
        assert value.dtype == saved.dtype
        np.testing.assert_array_equal(value, saved)
    make.train(model, optimizer)
    for value, after in zip(make.values(model, optimizer), expected(name, "after"), strict=True):
        np.testing.assert_allclose(value, after, 1e-6, 1e-7)  # perhaps on another CPU


@pytest.mark.filterwarnings("ignore:The checkpoint has changed")  # the rate, on purpose
@pytest.mark.parametrize(("name", "library", "extension"), make.FILES)
def test_what_was_recorded_is_read_and_goes_on(name, library, extension):
    model, optimizer = load(name, library, extension)
    assert_goes_on(model, optimizer, name)


@pytest.mark.parametrize(
    ("name", "library", "extension"),
    [file for file in make.FILES if file[2] in ("ckpt", "weights.h5")],
)
def test_what_was_recorded_is_read_into_slots(name, library, extension):
    model, optimizer = load(name, library, extension, slots_first=True)
    assert_goes_on(model, optimizer, name)


def test_every_file_is_read():
    code = {"__init__.py", "__pycache__", "make.py", "own.py"}
    read = {pathlib.Path(make.path_of(*file)).name for file in make.FILES if file[2] != "list"}
    there = {re.sub(r"\.ckpt\..*", ".ckpt", path.name) for path in make.HERE.iterdir()}
    assert there - code == read | {"expected.npz"}
