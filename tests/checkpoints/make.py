"""Makes the files beside it: state written by Keras 3, tf-keras and its legacy optimizers.

Each optimizer trains a layer for some steps, is saved in each format of its library, and
trains on; `expected.npz` holds the weights after that. Made with TensorFlow 2.21, Keras 3.15
and tf-keras 2.21 by

    python tests/checkpoints/make.py
"""

import pathlib

import keras
import numpy as np
import tensorflow as tf
import tf_keras

HERE = pathlib.Path(__file__).parent
STEPS = 3
X = np.linspace(-1, 1, 12).reshape(4, 3).astype("float32")
Y = np.array([[1, -1], [0, 2], [-2, 1], [1, 1]], "float32")
LIBRARIES = {"keras": keras, "tf_keras": tf_keras, "legacy": tf_keras}
OPTIMIZERS = {
    "adam": ("Adam", {"learning_rate": 0.0625, "amsgrad": True}),
    "sgd": ("SGD", {"learning_rate": 0.0625, "momentum": 0.75, "nesterov": True}),
}
FORMATS = {
    "keras": ("keras", "weights.h5", "ckpt"),
    "tf_keras": ("keras", "h5", "weights.h5", "ckpt"),
    "legacy": ("h5", "ckpt"),
}


def make_optimizer(origin, name):
    """The optimizer `name` of a library."""
    cls, arguments = OPTIMIZERS[name]
    namespace = LIBRARIES[origin].optimizers
    return getattr(namespace.legacy if origin == "legacy" else namespace, cls)(**arguments)


def make_model(origin, optimizer):
    """A layer with weights known beforehand, compiled."""
    library = LIBRARIES[origin]
    model = library.Sequential([library.layers.Input((3,)), library.layers.Dense(2, name="dense")])
    model.set_weights([X[:3, :2] / 2, np.array([0.5, -0.5], "float32")])
    model.compile(optimizer=optimizer, loss=library.losses.MeanSquaredError(), jit_compile=False)
    return model


def fit(model):
    """Trains on, the same each time."""
    model.fit(X, Y, batch_size=4, epochs=STEPS, shuffle=False, verbose=0)


def main():
    """Writes all files."""
    expected = {}
    for origin, formats in FORMATS.items():
        for name in OPTIMIZERS:
            model = make_model(origin, make_optimizer(origin, name))
            fit(model)
            for extension in formats:
                path = str(HERE / f"{origin}-{name}.{extension}")
                if extension == "ckpt":
                    tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(path)
                elif extension == "weights.h5":
                    model.save_weights(path)
                else:
                    model.save(path)
            fit(model)
            for number, value in enumerate(model.get_weights()):
                expected[f"{origin}-{name}-{number}"] = value
    np.savez(HERE / "expected.npz", **expected)


if __name__ == "__main__":
    main()
