"""Trains optimizers without switches of TensorFlow, then with each: `python tests/switches.py`."""

import functools
import tempfile
import traceback

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from training import ALL, PLAIN, of_some_kinds

import tfopt

debugging = tf.debugging.experimental
SWITCHES = {  # how each is turned on, and off again; the last two stay on
    "check_numerics": (tf.debugging.enable_check_numerics, tf.debugging.disable_check_numerics),
    "dump_debug_info": (
        lambda: debugging.enable_dump_debug_info(tempfile.mkdtemp(), tensor_debug_mode="NO_TENSOR"),
        debugging.disable_dump_debug_info,
    ),
    "no_tensor_equality": (
        tf.compat.v1.disable_tensor_equality,
        tf.compat.v1.enable_tensor_equality,
    ),
    "auto_clustering": (
        lambda: tf.config.optimizer.set_jit(True),
        lambda: tf.config.optimizer.set_jit(False),
    ),
    "eager_functions": (
        lambda: tf.config.run_functions_eagerly(True),
        lambda: tf.config.run_functions_eagerly(False),
    ),
    "floatx_float16": (lambda: set_floatx("float16"), lambda: set_floatx("float32")),
    "floatx_float64": (lambda: set_floatx("float64"), lambda: set_floatx("float32")),
    "determinism": (tf.config.experimental.enable_op_determinism, lambda: None),
    "numpy_behavior": (tf.experimental.numpy.experimental_enable_numpy_behavior, lambda: None),
}
FORMULAS = ("check_numerics", "dump_debug_info", "no_tensor_equality", "numpy_behavior")
DEBUGGERS = ("check_numerics", "dump_debug_info")
OPTIONS = {
    "use_ema": True,
    "gradient_accumulation_steps": 2,
    "skip_nonfinite": True,
    "global_clipnorm": 1.0,
}


def set_floatx(name):
    """Sets the default dtype; layers that were made before have fixed the policy of all others."""
    keras.config.set_dtype_policy(name)
    tf_keras.mixed_precision.set_global_policy(name)
    for library in (keras, tf_keras):
        library.backend.set_floatx(name)


def trained(make, in_a_function):
    """The variables after some steps: a large one, rows of a table, and a small one."""
    optimizer = make()
    large, table = tf.Variable(tf.ones([100, 50])), tf.Variable(tf.ones([5, 2]))
    variables = [large, table, tf.Variable([1.0, 2.0, 3.0])]

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cos(large)) + tf.reduce_sum(tf.gather(table, [1, 1, 3]) ** 2)
            loss += tf.reduce_sum(variables[2] ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    step = tf.function(step, autograph=False) if in_a_function else step
    for _ in range(3):
        step()
    if hasattr(optimizer, "flush") and optimizer.gradient_accumulation_steps:
        optimizer.flush()
    return [variable.numpy() for variable in variables]


def cases():
    """Optimizers of some kinds, eagerly; in a function with policies, or of `tfopt.legacy`."""
    for case in of_some_kinds(PLAIN):
        yield case.cls, False
        yield functools.partial(case.cls, **OPTIONS), True
    yield tfopt.legacy.Adam, True
    yield tfopt.legacy.RMSprop, False


def losses(library):
    library.utils.set_random_seed(1)
    model = library.Sequential([library.layers.Dense(8), library.layers.Dense(1)])
    model.compile(tfopt.Adam(0.01), "mse")
    x = np.ones([8, 3])
    found = model.fit(x, x[:, :1], epochs=3, batch_size=4, verbose=0).history["loss"]
    assert model.weights[0].dtype == library.backend.floatx()
    return found


def hold(switch, every, before):
    """Trains with a switch on; what concerns formulas with most optimizers, else with some."""
    step = (1 if ALL else 3) if switch in FORMULAS else 4
    for each, expected in zip(every[::step], before[::step], strict=True):
        for value, other in zip(trained(*each), expected, strict=True):
            np.testing.assert_allclose(value, other, 1e-5, 1e-6)
    for library in (keras, tf_keras):
        found = losses(library)
        assert found[2] < found[0], found
    [row] = tfopt.inspect.describe(tfopt.AdamW(), [tf.Variable(tf.ones([100, 50]))])
    assert row.path == ("plain" if switch in DEBUGGERS else "XLA"), row
    if switch in DEBUGGERS:  # also where XLA is asked for
        trained(lambda: tfopt.AdamW(jit_compile=True), False)
    if switch == "check_numerics":
        x = tf.Variable([1.0])
        try:
            tfopt.AdamW().apply_gradients([(tf.constant([1.0]) / tf.zeros([1]), x)])
        except tf.errors.InvalidArgumentError:
            pass
        else:
            raise AssertionError("a gradient that is not finite was not reported")


def main():
    every = list(cases())
    before = [trained(*each) for each in every]
    keras.utils.set_random_seed(1)  # which determinism asks for
    for switch, (turn_on, turn_off) in SWITCHES.items():
        turn_on()
        try:
            hold(switch, every, before)
            print(f"held: {switch}", flush=True)
        except Exception:
            traceback.print_exc()
        turn_off()


if __name__ == "__main__":
    main()
