"""Packages of others train models with tfopt's optimizer and with Keras', with equal results."""

import contextlib
import importlib
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=[32, 3]).astype(np.float32)
Y = (X.sum(axis=1) > 0).astype(np.int32)


def losses_of(train, theirs, ours=tfopt.Adam):
    """What training with Keras' optimizer gives, and with tfopt's, from the same seed."""
    found = []
    for make in (theirs, ours):
        keras.utils.set_random_seed(1)
        tf_keras.utils.set_random_seed(1)
        found.append(np.array(train(make), np.float64).ravel())
    return found


def with_scikeras(make):
    scikeras = importlib.import_module("scikeras.wrappers")

    def build():
        model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2, "softmax")])
        model.compile(make(0.05), "sparse_categorical_crossentropy")
        return model

    classifier = scikeras.KerasClassifier(build, epochs=3, verbose=0, shuffle=False)
    return classifier.fit(X, Y).history_["loss"]


def with_scikeras_by_class(make):
    """scikeras makes the optimizer itself, and routes arguments to it."""
    scikeras = importlib.import_module("scikeras.wrappers")
    layers = [keras.Input([3]), keras.layers.Dense(2, "softmax")]
    classifier = scikeras.KerasClassifier(
        keras.Sequential(layers),
        loss="sparse_categorical_crossentropy",
        optimizer=make,
        optimizer__learning_rate=0.05,
        epochs=3,
        verbose=0,
        shuffle=False,
    )
    return classifier.fit(X, Y).history_["loss"]


def with_keras_hub(make):
    hub = importlib.import_module("keras_hub")
    model = keras.Sequential(
        [
            keras.Input([4, 8]),
            hub.layers.TransformerEncoder(16, 2),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(make(0.01), loss)
    data = np.sin(np.arange(1024.0)).reshape(32, 4, 8)
    return model.fit(data, Y, epochs=3, verbose=0, shuffle=False).history["loss"]


def with_tensorflow_probability(make):
    math = importlib.import_module("tensorflow_probability").math
    x = tf.Variable([3.0, -2.0])
    return math.minimize(lambda: tf.reduce_sum(x**2), num_steps=8, optimizer=make(0.1))


def with_gpflow(make):
    gpflow = importlib.import_module("gpflow")
    model = gpflow.models.GPR((X.astype(np.float64), Y[:, None] * 1.0), gpflow.kernels.RBF())
    optimizer, losses = make(0.05), []
    for _ in range(5):
        optimizer.minimize(model.training_loss, model.trainable_variables)
        losses.append(model.training_loss().numpy())
    return losses


def with_gradient_accumulator(make):
    accumulator = importlib.import_module("gradient_accumulator")
    layers = [tf_keras.layers.Input([3]), tf_keras.layers.Dense(1)]
    model = tf_keras.Sequential(layers)
    model = accumulator.GradientAccumulateModel(
        accum_steps=2, inputs=model.input, outputs=model.output
    )
    model.compile(optimizer=make(0.05), loss="mse")
    return model.fit(X, Y, batch_size=8, epochs=3, verbose=0, shuffle=False).history["loss"]


def with_recommenders(make):
    recommenders = importlib.import_module("tensorflow_recommenders")

    class Model(recommenders.Model):
        def __init__(self):
            super().__init__()
            self.dense = tf_keras.layers.Dense(2)

        def compute_loss(self, inputs, training=False):
            del training
            return tf.reduce_mean((self.dense(inputs) - 1) ** 2)

    model = Model()
    model.compile(optimizer=make(0.05))
    return model.fit(X, epochs=3, verbose=0, shuffle=False).history["loss"]


def with_deepxde(make):
    deepxde = importlib.import_module("deepxde")
    data = deepxde.data.DataSet(X, Y[:, None].astype(np.float32), X, Y[:, None])
    net = deepxde.nn.FNN([3, 4, 1], "tanh", "Glorot normal")
    model = deepxde.Model(data, net)
    model.compile(make(0.01))
    history, _ = model.train(iterations=3, display_every=1)
    return history.loss_train


def with_keras_rs(make):
    layers = importlib.import_module("keras_rs").layers
    keras.utils.set_random_seed(1)  # the first import draws random numbers
    model = keras.Sequential(
        [keras.Input([3]), layers.FeatureCross(2), keras.layers.Dense(1)],
    )
    model.compile(make(0.01), "mse")
    return model.fit(X, Y, epochs=3, verbose=0, shuffle=False).history["loss"]


def fit(optimizer, *layers, **options):
    model = tf_keras.Sequential([tf_keras.layers.Input([3]), *layers])
    model.compile(optimizer, "mse")
    options = {"batch_size": 8, "epochs": 4, "verbose": 0, "shuffle": False, **options}
    return model.fit(X, Y, **options).history["loss"]


def with_keras_tcn(make):
    tcn = importlib.import_module("tcn")
    layers = [tf_keras.layers.Reshape([3, 1]), tcn.TCN(4, dilations=[1, 2])]
    return fit(make(0.01), *layers, tf_keras.layers.Dense(1))


def with_model_optimization(make):
    """Pruning reads `optimizer.iterations` in a callback, and changes variables in a step."""
    pruning = importlib.import_module("tensorflow_model_optimization").sparsity.keras
    schedule = pruning.PolynomialDecay(0.0, 0.5, 0, 8, frequency=2)
    dense = pruning.prune_low_magnitude(tf_keras.layers.Dense(8), pruning_schedule=schedule)
    layers = [dense, tf_keras.layers.Dense(1)]
    return fit(make(0.01), *layers, callbacks=[pruning.UpdatePruningStep()])


def with_spektral(make):
    layers = importlib.import_module("spektral").layers
    features, edges = tf_keras.layers.Input([4, 3]), tf_keras.layers.Input([4, 4])
    output = layers.GlobalSumPool()(layers.GCNConv(2)([features, edges]))
    model = tf_keras.Model([features, edges], tf_keras.layers.Dense(1)(output))
    model.compile(make(0.01), "mse")
    data = [X.reshape([8, 4, 3])[:8], np.tile(np.eye(4, dtype=np.float32), [8, 1, 1])]
    return model.fit(data, Y[:8], epochs=3, verbose=0, shuffle=False).history["loss"]


def with_keras_swa(make):
    """A callback that assigns rates with the backend's functions."""
    swa = importlib.import_module("swa.tfkeras")
    rates = {"lr_schedule": "cyclic", "swa_lr": 0.01, "swa_lr2": 0.02, "swa_freq": 2}
    callback = swa.SWA(start_epoch=2, verbose=0, **rates)
    return fit(make(0.05), tf_keras.layers.Dense(1), callbacks=[callback])


KERAS_3 = [with_scikeras, with_scikeras_by_class, with_keras_hub, with_keras_rs]
TF_KERAS = [
    with_tensorflow_probability,
    with_gpflow,
    with_gradient_accumulator,
    with_recommenders,
    with_deepxde,
    with_keras_tcn,
    with_model_optimization,
    with_spektral,
    with_keras_swa,
]


@pytest.mark.parametrize("train", KERAS_3 + TF_KERAS, ids=lambda train: train.__name__)
def test_a_package_trains_as_with_the_optimizer_of_keras(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    library = keras if train in KERAS_3 else tf_keras
    theirs, ours = losses_of(train, library.optimizers.Adam)
    assert len(theirs) and np.isfinite(theirs).all()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


# --- packages that bring optimizers of their own, written for OptimizerV2 -------------------------


@contextlib.contextmanager
def based_on(optimizers, package):
    """A package, imported with another base class in the place of Keras'."""
    places = [tf_keras.optimizers, tf_keras.optimizers.legacy]
    for name in ("tensorflow.keras.optimizers", "tensorflow.keras.optimizers.legacy"):
        places.append(importlib.import_module(name))
    with pytest.MonkeyPatch.context() as patch:
        for place in places:
            patch.setattr(place, "Optimizer", optimizers.Optimizer)
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            patch.delitem(sys.modules, name)
        yield importlib.import_module(package)


def adabelief(optimizers):
    with based_on(optimizers, "adabelief_tf") as package:
        optimizer = package.AdaBeliefOptimizer(0.01, print_change_log=False)
        return fit(optimizer, tf_keras.layers.Dense(1))


def rectified_adam(optimizers):
    with based_on(optimizers, "keras_radam") as package:
        optimizer = package.RAdam(0.01, total_steps=12, warmup_proportion=0.25)
        return fit(optimizer, tf_keras.layers.Dense(1))


def larq(optimizers):
    """Binary weights by one optimizer, and the others by a second, which it wraps."""
    with based_on(optimizers, "larq") as package:
        bop = package.optimizers.Bop(threshold=1e-6)
        optimizer = package.optimizers.CaseOptimizer(
            (package.optimizers.Bop.is_binary_variable, bop),
            default_optimizer=optimizers.Adam(0.01),
        )
        binary = package.quantizers.NoOp(precision=1)
        return fit(optimizer, package.layers.QuantDense(1, kernel_quantizer=binary))


def tensorflow_privacy(optimizers):
    """A subclass of any class, made at run time, that clips the gradient of each example."""
    package = types.ModuleType("tensorflow_privacy")  # its own needs `tf.estimator`, which is gone
    package.__path__ = importlib.util.find_spec("tensorflow_privacy").submodule_search_locations
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow_privacy", package)
        name = "tensorflow_privacy.privacy.optimizers.dp_optimizer_keras"
        make_class = importlib.import_module(name).make_keras_optimizer_class
        optimizer = make_class(optimizers.SGD)(0.5, 0.0, num_microbatches=4, learning_rate=0.1)
    variable, values = tf.Variable([[1.0], [2.0], [3.0]]), []
    for _ in range(3):
        loss = lambda: tf.reduce_sum((X[:4] @ variable - Y[:4, None]) ** 2, axis=1)  # noqa: E731
        optimizer.minimize(loss, [variable])
        values.append(variable.numpy())
    return values


@pytest.mark.parametrize("train", [adabelief, rectified_adam, larq, tensorflow_privacy])
def test_an_optimizer_of_a_package_runs_on_tfopt_legacy(train):
    theirs, ours = losses_of(train, tf_keras.optimizers.legacy, tfopt.legacy)
    assert len(theirs) and np.isfinite(theirs).all() and theirs[0] != theirs[-1]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
