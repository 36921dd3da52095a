"""What only a GPU can show: each optimizer against a CPU, copies, XLA, mixed precision.

make test-gpu                                                # on a machine with a GPU
TFOPT_DEVICES=CPU:0,CPU:1 python -m pytest tests/gpu         # tries these tests without one
"""

import functools
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from training import BY_ROWS, PLAIN, each, each_case, gradients, rows_of, start, values_of

import tfopt

DEVICES = os.environ.get("TFOPT_DEVICES", "GPU:0,GPU:1").split(",")
FIRST = DEVICES[0]
SHAPES = [(5, 3), (4,), (128, 64)]  # a table, and a small and a large variable
STEPS = 5
FLOAT32 = {"rtol": 2e-5, "atol": 2e-6}

pytestmark = pytest.mark.timeout(300)


def steps_of(dtype):
    """Gradients: rows of the first variable, of which one is repeated."""
    return [
        [rows_of(table.astype(dtype))[0], *(tf.constant(g, dtype) for g in rest)]
        for table, *rest in gradients(STEPS, shapes=SHAPES)
    ]


def trained(make, device, wrap=lambda step: step, dtype="float32"):
    """Variables and state after some steps on a device."""
    with tf.device(device):
        optimizer, variables = make(), start(dtype, SHAPES)
        kind = device.split(":")[0]
        assert all(kind in variable.device for variable in variables)

        def step(*grads):
            optimizer.apply_gradients(zip(grads, variables, strict=True))

        step = wrap(step)
        for grads in steps_of(dtype):
            step(*grads)
        slots = [slot for slot in optimizer.weights if slot.shape.rank]
        assert all(kind in slot.device for slot in slots)
    return values_of(variables, optimizer)


def assert_close(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


@each_case
@pytest.mark.parametrize("jit_compile", ["auto", True, False])
def test_a_gpu_gives_what_a_cpu_gives(case, jit_compile):
    make = functools.partial(case.make, jit_compile=jit_compile)
    assert_close(trained(make, FIRST), trained(case.make, "CPU:0"), **FLOAT32)


@each(PLAIN)
def test_a_graph_gives_what_eager_steps_give(case):
    graph = trained(case.make, FIRST, functools.partial(tf.function, autograph=False))
    assert_close(graph, trained(case.make, FIRST), rtol=1e-6, atol=1e-7)


@each(PLAIN)
def test_xla_gives_what_eager_steps_give(case):
    compiled = functools.partial(tf.function, autograph=False, jit_compile=True)
    assert_close(trained(case.make, FIRST, compiled), trained(case.make, FIRST), **FLOAT32)


@each(PLAIN)
def test_every_policy_at_once(case):
    options = {"use_ema": True, "gradient_accumulation_steps": 2, "skip_nonfinite": True}
    make = functools.partial(case.make, global_clipnorm=1.0, **options)
    assert_close(trained(make, FIRST), trained(make, "CPU:0"), **FLOAT32)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@each(BY_ROWS)
def test_rows_of_16_bits(case, dtype):
    make = functools.partial(case.make, master_weights=True)
    found, expected = trained(make, FIRST, dtype=dtype), trained(make, "CPU:0", dtype=dtype)
    assert_close(found, expected, rtol=1e-2, atol=1e-2)


# --- two logical GPUs -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copies():
    """Two replicas. NCCL takes no two logical devices of one GPU, so another way sums for them."""
    how = tf.distribute.HierarchicalCopyAllReduce() if "GPU" in FIRST else None
    return tf.distribute.MirroredStrategy(DEVICES, cross_device_ops=how)


def trained_on_copies(strategy, make, dtype="float32"):
    with strategy.scope():
        variables, optimizer = start(dtype, SHAPES), make()

    def replica(grads):
        optimizer.apply_gradients(zip(grads, variables, strict=True))

    @tf.function(autograph=False)
    def step(*grads):
        strategy.run(replica, args=(grads,))

    for grads in steps_of(dtype):
        step(*(half(gradient) for gradient in grads))
    assert tfopt.inspect.replicas(optimizer) == []
    return values_of(variables, optimizer)


def half(gradient):
    """What each of two replicas has of a gradient."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values / 2, gradient.indices, gradient.dense_shape)
    return gradient / 2


@each(PLAIN)
def test_two_replicas_give_what_one_gives(case, copies):
    make = functools.partial(case.make, global_clipnorm=1.0)
    assert_close(trained_on_copies(copies, make), trained(make, "CPU:0"), **FLOAT32)


def test_rows_of_bfloat16_on_two_replicas(copies):
    make = functools.partial(tfopt.Adam, 0.125, master_weights=True)
    found = trained_on_copies(copies, make, "bfloat16")
    assert_close(found, trained(make, "CPU:0", dtype="bfloat16"), rtol=2e-2, atol=2e-2)


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_fit_in_mixed_precision(policy, jit_compile):
    keras.config.set_dtype_policy(policy)
    try:
        with tf.device(FIRST):
            model = keras.Sequential(
                [keras.Input((8,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)]
            )
            model.compile(
                tfopt.AdamW(0.01), keras.losses.MeanSquaredError(), jit_compile=jit_compile
            )
            x = np.random.default_rng(0).normal(size=[256, 8]).astype("float32")
            found = model.fit(x, x[:, :1], epochs=8, batch_size=32, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert found[-1] < found[0] / 2
