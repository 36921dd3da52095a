"""Makes the files beside it: state that tfopt wrote, which all later versions must read.

Each optimizer trains a layer for some steps, is saved in each of its formats, and trains on;
`expected.npz` holds the weights at both moments. Cases that are there are not made again, as
only files of an old version say whether it can still be read: a new case needs a new name. Made
with tfopt 0.1.0, TensorFlow 2.21, Keras 3.15 and tf-keras 2.21, in the folder `tests`, by

    python -m recorded.make
"""

import pathlib
import pickle

import keras
import numpy as np
import tensorflow as tf
import tf_keras

import tfopt
from recorded.own import Counted, Own

HERE = pathlib.Path(__file__).parent
LIBRARIES = {"keras": keras, "tf_keras": tf_keras}
STEPS = 4  # one more than the window of `accumulation`, which is saved in the middle of the next
KERNEL = np.array([[0.5, -1.25], [1.5, 0.75], [-0.5, 1.0], [-1.75, 0.25]], "float32")
BIAS = np.array([1.25, -0.75], "float32")
TARGET = 3.0  # far from all weights, so that none comes near 0, where rounding counts for more

# A format is a library's, or of none: these have a model of Keras 3 beside them. A list is the
# optimizer's `get_weights` in `expected.npz`. Files of HDF5 are large: not all cases have all.
SMALL = [("keras", "ckpt"), ("keras", "pickle"), ("keras", "list")]
LARGE = [(library, end) for library in LIBRARIES for end in ("keras", "h5")]

# name: (function that makes it, formats)
CASES = {
    "adam": (
        lambda: tfopt.Adam(0.0625, amsgrad=True, clipnorm=1.5),
        [*SMALL, ("tf_keras", "ckpt"), *LARGE, ("tf_keras", "weights.h5")],
    ),
    "adamw": (
        lambda: tfopt.AdamW(
            0.0625,
            weight_decay=0.125,
            exclude_from_weight_decay=["bias"],
            use_ema=True,
            ema_momentum=0.75,
        ),
        [*SMALL, ("tf_keras", "keras")],
    ),
    "nadam": (
        lambda: tfopt.Nadam(0.0625),
        [*SMALL, ("tf_keras", "weights.h5"), ("tf_keras", "h5")],
    ),
    "accumulation": (
        lambda: tfopt.SGD(0.125, momentum=0.75, gradient_accumulation_steps=3),
        [*SMALL, ("tf_keras", "ckpt"), ("tf_keras", "keras"), ("tf_keras", "h5")],
    ),
    "sgd": (lambda: tfopt.SGD(0.125), [*SMALL, ("tf_keras", "weights.h5")]),
    "rmsprop": (
        lambda: tfopt.RMSprop(0.03125, momentum=0.5, centered=True, skip_nonfinite=True),
        [*SMALL, ("tf_keras", "weights.h5")],
    ),
    "bfloat16": (
        lambda: tfopt.Adam(0.0625, epsilon=0.001, master_weights=True),
        [("tf_keras", "ckpt"), *SMALL[1:]],
    ),
    "scaled": (
        lambda: tfopt.LossScaleOptimizer(
            tfopt.Adam(0.0625), initial_scale=16.0, dynamic_growth_steps=5
        ),
        [*SMALL, ("keras", "weights.h5")],
    ),
    "rows": (
        lambda: tfopt.SGD(0.125, momentum=0.75, lazy=True, use_ema=True, ema_momentum=0.5),
        [*SMALL, ("keras", "keras")],
    ),
    "legacy": (lambda: tfopt.legacy.Adam(0.0625, amsgrad=True), [*SMALL, ("keras", "h5")]),
    "own": (Own, [*SMALL, ("tf_keras", "keras")]),
    "windows": (  # with names of modules that came after the first ones
        lambda: tfopt.Adam(0.0625, use_ema=True, gradient_accumulation_steps=3, decay=0.25),
        [*SMALL, ("tf_keras", "keras")],
    ),
    "counted": (Counted, [*SMALL[:2], ("tf_keras", "ckpt"), ("tf_keras", "keras")]),
}
FILES = [(name, *kind) for name, (_, formats) in CASES.items() for kind in formats]
NONFINITE = ("rmsprop", "scaled")  # begin with a step that is left out, and counted


def make_model(library, name, optimizer=None):
    """A layer with weights known beforehand; compiled, if there is an optimizer."""
    library = LIBRARIES[library]
    dtype = "bfloat16" if name == "bfloat16" else "float32"
    layer = library.layers.Dense(2, name="dense", dtype=dtype)
    model = library.Sequential([library.layers.Input((4,)), layer], name="model")
    set_model(model, [KERNEL, BIAS])
    if optimizer is not None:
        loss = library.losses.MeanSquaredError()
        model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    return model


def set_model(model, values):
    """Gives a model its weights, in whichever dtype it has."""
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(tf.cast(value, variable.dtype))


def values(model, optimizer):
    """The two weights of the model, in a dtype that `expected.npz` knows; `get_weights`; more."""
    weights = [tf.cast(variable, tf.float32).numpy() for variable in model.trainable_variables]
    more = [optimizer.updates.numpy()] if isinstance(optimizer, Counted) else []
    return [*weights, *optimizer.get_weights(), *more]


def set_rate(name, optimizer):
    """Changes the learning rate of one case: files hold the new one, and lists do not."""
    if name == "adam":
        optimizer.learning_rate = 0.09375


def train(model, optimizer, factor=1.0, steps=STEPS):
    """Trains towards `TARGET`, some rows of the kernel at a time, the same each time.

    The gradients are of few operations that all machines round alike. They are applied without
    tracing, which would take most of the time and has nothing to do with state.
    """
    kernel, bias = model.trainable_variables
    tf.config.run_functions_eagerly(True)
    try:
        for step in range(steps):
            scale = factor * optimizer.scale_loss(tf.constant(1.0))
            g, g_bias = [tf.cast(v, tf.float32) - TARGET for v in (kernel, bias)]
            rows = tf.constant([step % 3, 3])  # row 3 always, and the others in turn
            values = tf.cast(tf.gather(g, rows) * scale, kernel.dtype)
            gradients = [
                tf.IndexedSlices(values, rows, (4, 2)),
                tf.cast(g_bias * scale, bias.dtype),
            ]
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            if isinstance(optimizer, Counted):
                optimizer.updates.assign_add(1.0)
    finally:
        tf.config.run_functions_eagerly(False)


def path_of(name, library, extension):
    """Where the file of a case is."""
    return str(HERE / f"{library}-{name}.{extension}")


def save(model, optimizer, path):
    """Writes a model and its optimizer in the format that the end of the name says."""
    if path.endswith(".ckpt"):
        tf.train.Checkpoint(model=model, optimizer=optimizer).write(path)
    elif path.endswith(".pickle"):
        pathlib.Path(path).write_bytes(pickle.dumps(optimizer, protocol=4))
    elif path.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)


def record(library, name):
    """Trains, saves and trains on: {moment: the weights of the model, the optimizer's state}."""
    make, formats = CASES[name]
    optimizer = make()
    set_rate(name, optimizer)
    model = make_model(library, name, optimizer)
    if name in NONFINITE:
        train(model, optimizer, factor=float("nan"), steps=1)
    train(model, optimizer)
    saved = values(model, optimizer)
    for of, extension in formats:
        if of == library and extension != "list":
            save(model, optimizer, path_of(name, library, extension))
    train(model, optimizer)
    return {"saved": saved, "after": values(model, optimizer)}


def main():
    """Writes the files of all cases that have none."""
    path, recorded = HERE / "expected.npz", {}
    if path.exists():
        with np.load(path) as arrays:
            recorded = dict(arrays)
    for name in CASES:
        if f"{name}-saved-0" in recorded:
            continue
        expected = record("keras", name)
        np.testing.assert_equal(record("tf_keras", name), expected)  # so that one serves both
        for moment, arrays in expected.items():
            recorded |= {f"{name}-{moment}-{i}": value for i, value in enumerate(arrays)}
    np.savez_compressed(path, **recorded)


if __name__ == "__main__":
    main()
