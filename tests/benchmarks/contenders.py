"""The same step by each library: tfopt, Keras 3, tf-keras and its legacy OptimizerV2."""

import functools

import keras
import numpy as np
import tensorflow as tf
import tf_keras

import tfopt

LIBRARIES = {
    "tfopt": tfopt,
    "keras": keras.optimizers,
    "legacy": tf_keras.optimizers.legacy,
    "tf_keras": tf_keras.optimizers,
}

WIDTH, DEPTH = 512, 6


def transformer_shapes():
    """97 variables, 23 M parameters: embeddings and six encoder layers."""
    layer = [(WIDTH, WIDTH)] * 4 + [(WIDTH,)] * 4 + [(WIDTH, 4 * WIDTH), (4 * WIDTH,)]
    layer += [(4 * WIDTH, WIDTH), (WIDTH,)] + [(WIDTH,)] * 4
    return [(8000, WIDTH)] + layer * DEPTH


SHAPES = {
    "matrix": [(4096, 4096)],
    "transformer": transformer_shapes(),
    "small": [(32, 32)] * 100 + [(32,)] * 100,
}


def dense_problem(shapes, seed=0):
    """Variables and gradients of the given shapes."""
    random = np.random.default_rng(seed)
    values = [random.normal(size=shape).astype("float32") for shape in shapes]
    gradients = [tf.constant(random.normal(size=s).astype("float32") * 1e-2) for s in shapes]
    return values, gradients


def sparse_problem(rows, distribution, count=4096, width=64, seed=0):
    """A table, and gradients for some of its rows, repeated ones among them."""
    random = np.random.default_rng(seed)
    if distribution == "zipf":
        indices = np.minimum(random.zipf(1.2, size=count), rows) - 1
    else:
        indices = random.integers(0, rows, size=count)
    values = tf.constant(random.normal(size=(count, width)).astype("float32"))
    gradient = tf.IndexedSlices(values, tf.constant(indices), tf.constant([rows, width]))
    return [np.zeros((rows, width), "float32")], [gradient]


def make_step(library, name, values, gradients, mode="graph", **arguments):
    """A function of nothing that does one step; None where the library has no such optimizer."""
    cls = getattr(LIBRARIES[library], name, None)
    if cls is None:
        return None
    if library in ("keras", "tf_keras"):
        arguments.pop("lazy", None)
    if library == "legacy":
        arguments.pop("lazy", None)
        if {"weight_decay", "use_ema"} & arguments.keys():
            return None
    optimizer = cls(learning_rate=1e-3, **arguments)
    make = keras.Variable if library == "keras" else tf.Variable
    variables = [make(value) for value in values]
    if library != "legacy":
        optimizer.build(variables)

    def apply(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    # A partial, since TensorFlow counts retraces by code object.
    function = tf.function(functools.partial(apply)) if mode == "graph" else apply
    return lambda: function(gradients)
