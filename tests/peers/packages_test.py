"""Packages of others train models with tfopt's optimizer and with Keras', with equal results."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=[32, 3]).astype(np.float32)
Y = (X.sum(axis=1) > 0).astype(np.int32)


def losses_of(train, theirs):
    """What training with Keras' optimizer gives, and with tfopt's, from the same seed."""
    found = []
    for make in (theirs, tfopt.Adam):
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


KERAS_3 = [with_scikeras, with_scikeras_by_class, with_keras_hub]
TF_KERAS = [
    with_tensorflow_probability,
    with_gpflow,
    with_gradient_accumulator,
    with_recommenders,
    with_deepxde,
]


@pytest.mark.parametrize("train", KERAS_3 + TF_KERAS, ids=lambda train: train.__name__)
def test_a_package_trains_as_with_the_optimizer_of_keras(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    library = keras if train in KERAS_3 else tf_keras
    theirs, ours = losses_of(train, library.optimizers.Adam)
    assert len(theirs) and np.isfinite(theirs).all()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
