"""`tfopt.get`: by name, class, instance and config of any library, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import each_library

import tfopt


@pytest.mark.parametrize("name", tfopt.optimizers.__all__)
def test_get_by_name_in_any_case(name):
    cls = getattr(tfopt, name)
    for spelling in (name, name.lower(), name.upper()):
        assert type(tfopt.get(spelling)) is cls
    assert type(tfopt.get(cls)) is cls
    instance = cls()
    assert tfopt.get(instance) is instance
    assert type(tfopt.get({"class_name": name.lower(), "config": {}})) is cls


ADAM = {"class_name": "Adam", "config": {}}


@pytest.mark.parametrize(
    ("name", "cls"),
    [("RAdam", "RectifiedAdam"), ("Lamb", "LAMB"), ("Lookahead", "Lookahead"), ("SWA", "SWA")],
)
def test_other_spellings(name, cls):
    assert getattr(tfopt, name) is getattr(tfopt, cls)
    config = {"inner_optimizer": ADAM} if issubclass(getattr(tfopt, name), tfopt.Wrapper) else {}
    for spelling in (name, name.lower()):
        made = tfopt.get({"class_name": spelling, "config": config})
        assert type(made) is getattr(tfopt, cls)


IN_BOTH = ["SGD", "Adam", "AdamW", "Adadelta", "Adamax", "Ftrl", "Lion", "Adafactor"]


@each_library
@pytest.mark.parametrize("name", IN_BOTH)
def test_get_by_a_config_of_either_keras(library, name):
    theirs = getattr(library.optimizers, name)(learning_rate=0.25)
    config = library.optimizers.serialize(theirs)
    ours = tfopt.get(config)
    assert type(ours) is getattr(tfopt, name)
    assert ours.get_config()["learning_rate"] == 0.25
    assert ours.name == theirs.name


def test_get_finds_lamb_under_the_name_of_keras_3():
    theirs = keras.optimizers.Lamb(learning_rate=0.25, beta_1=0.5, epsilon=1e-6)
    ours = tfopt.get(keras.optimizers.serialize(theirs))
    assert type(ours) is tfopt.LAMB
    config = ours.get_config()
    assert (config["learning_rate"], config["beta_1"], config["epsilon"]) == (0.25, 0.5, 1e-6)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("RMSprop", {}),
        ("Adagrad", {}),
        ("Nadam", {}),
        ("Lamb", {"weight_decay": 0.1}),
        ("Adafactor", {"relative_step": False}),
        ("ScheduleFreeAdamW", {}),
        ("Muon", {"rms_rate": None}),
    ],
)
def test_get_warns_where_keras_3_has_another_formula(name, arguments):
    theirs = getattr(keras.optimizers, name)(**arguments)
    with pytest.warns(tfopt.TfoptWarning, match="Keras 3"):
        ours = tfopt.get(keras.optimizers.serialize(theirs))
    assert type(ours) is type(tfopt.get(name))


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "Nadam", "Ftrl"])
def test_get_by_a_config_of_optimizer_v2(name):
    theirs = getattr(tf_keras.optimizers.legacy, name)(learning_rate=0.25, clipnorm=2.0)
    ours = tfopt.get({"class_name": name, "config": theirs.get_config()})
    assert type(ours) is getattr(tfopt, name)
    config = ours.get_config()
    assert (config["learning_rate"], config["clipnorm"]) == (0.25, 2.0)


def test_get_returns_other_optimizers_unchanged():
    for theirs in (
        keras.optimizers.Adam(),
        tf_keras.optimizers.Adam(),
        tf_keras.optimizers.legacy.Adam(),
    ):
        assert tfopt.get(theirs) is theirs


def test_get_wraps_an_optimizer_of_tensorflow_1():
    v1 = tf.compat.v1.train.MomentumOptimizer(0.1, 0.5)
    opt, x = tfopt.get(v1), tf.Variable([[1.0], [2.0]])
    same, y = tfopt.SGD(0.1, momentum=0.5), tf.Variable([[1.0], [2.0]])
    assert isinstance(opt, tfopt.Optimizer)
    assert opt.wrapped is v1
    for _ in range(3):
        opt.minimize(lambda: tf.reduce_sum(x * x), [x])
        same.minimize(lambda: tf.reduce_sum(y * y), [y])
    np.testing.assert_allclose(x, y.numpy(), rtol=1e-6)
    assert opt.iterations.numpy() == 3
    assert opt.get_slot(x, "momentum").shape == [2, 1]
    assert len(opt.weights) == 2
    with pytest.raises(NotImplementedError):
        opt.get_config()


@pytest.mark.parametrize(
    "identifier",
    [
        "no such",
        "",
        None,
        3,
        [],
        {"class_name": "no such", "config": {}},
        {},
        {"config": {}},
        {"class_name": 3, "config": {}},
        {"class_name": "Adam", "config": 3},
        dict,
        {"class_name": "os.system", "module": "os", "config": {"command": "true"}},
    ],
)
def test_get_raises_for_what_it_cannot_interpret(identifier):
    with pytest.raises(ValueError, match="ptimizer|config"):
        tfopt.get(identifier)


def test_config_names_only_what_is_registered(tmp_path):
    marker = tmp_path / "called"
    for config in (
        {"class_name": "Path.touch", "module": "pathlib", "config": {"self": str(marker)}},
        {
            "class_name": "Adam",
            "config": {
                "learning_rate": {
                    "module": "os",
                    "class_name": "system",
                    "config": {"command": f"touch {marker}"},
                    "registered_name": None,
                }
            },
        },
        {
            "class_name": "Adam",
            "config": {
                "learning_rate": {
                    "module": "builtins",
                    "class_name": "function",
                    "config": "exec",
                    "registered_name": "function",
                }
            },
        },
    ):
        with pytest.raises(ValueError, match="ptimizer|schedule|config"):
            tfopt.get(config)
    assert not marker.exists()
