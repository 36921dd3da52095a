"""What the tests of tfopt.legacy train, on the base of OptimizerV2 and on tfopt's."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import third_party

import tfopt

V2, OURS = tf_keras.optimizers.legacy, tfopt.legacy
DECAY = {"decay": 0.125}
SHRINKAGE = {"l2_shrinkage_regularization_strength": 0.1}
EIGHT = {  # and arguments; OptimizerV2 ignores the `decay` of Nadam
    "SGD": [DECAY, {**DECAY, "momentum": 0.5, "nesterov": True}],
    "RMSprop": [
        DECAY,
        {**DECAY, "momentum": 0.5},
        {**DECAY, "centered": True},
        {**DECAY, "centered": True, "momentum": 0.5},
    ],
    "Adam": [DECAY, {**DECAY, "amsgrad": True}],
    "Adadelta": [DECAY],
    "Adagrad": [DECAY],
    "Adamax": [DECAY],
    "Nadam": [{}],
    "Ftrl": [DECAY, {**DECAY, **SHRINKAGE, "l1_regularization_strength": 0.01, "beta": 0.5}],
}
FIXTURES = {
    "decoupled_adam": lambda legacy: third_party.decoupled_adam(legacy)(0.05, decay=0.1),
    "layer_wise": lambda legacy: third_party.layer_wise(legacy)(0.05, exclude=["bias"]),
    "averaging": lambda legacy: third_party.averaging(legacy)(legacy.Adam(0.05)),
    "lazy_adam": lambda legacy: third_party.lazy_adam(legacy)(0.05, clipnorm=2.0),
    "with_scalar": lambda legacy: third_party.with_scalar(legacy)(0.05),
}
each_fixture = pytest.mark.parametrize("make", FIXTURES.values(), ids=FIXTURES)
each_of_eight = pytest.mark.parametrize("name", EIGHT)
each_variant = pytest.mark.parametrize(
    "name, arguments", [(name, a) for name, variants in EIGHT.items() for a in variants]
)
each_base = pytest.mark.parametrize("legacy", [V2, OURS], ids=["v2", "tfopt"])
SHAPE = (6, 2)


def new_variables():
    random = np.random.default_rng(1)
    return [
        tf.Variable(random.normal(size=SHAPE), name="table"),
        tf.Variable(random.normal(size=(3,)), name="bias"),
    ]


def random_steps(count=6, repeated=True):
    """Gradients of both variables: of the table's rows, some repeated, and dense, in turn."""
    random = np.random.default_rng(2)
    steps = []
    for step in range(count):
        indices = random.integers(0, SHAPE[0], 4) if repeated else random.permutation(6)[:4]
        rows = tf.constant(random.normal(size=(4, 2)))
        rows = tf.IndexedSlices(rows, tf.constant(indices), tf.constant(SHAPE))
        table = tf.constant(random.normal(size=SHAPE)) if step % 3 == 1 else rows
        steps.append([table, tf.constant(random.normal(size=3))])
    return steps


def scaled(gradient, factor):
    if isinstance(gradient, tf.IndexedSlices):
        values = gradient.values * factor
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient * factor


def embedding_model(library):
    model = library.Sequential(
        [
            library.Input((5,), dtype="int32"),
            library.layers.Embedding(20, 4),
            library.layers.Flatten(),
            library.layers.Dense(3, name="dense"),
        ]
    )
    random = np.random.default_rng(3)
    model.set_weights([0.3 * random.normal(size=w.shape) for w in model.get_weights()])
    return model


def batches():
    random = np.random.default_rng(4)
    return random.integers(0, 20, (32, 5)), random.normal(size=(32, 3)).astype("float32")
