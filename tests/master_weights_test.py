"""Master weights: half-precision variables that move in float32."""

import numpy as np
import pytest
import tensorflow as tf
from training import assert_same, each_plain_kind, gradients, rows, start, train

import tfopt


@each_plain_kind
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_master_weight_rounds_to_its_variable(case, dtype):
    steps = [[np.round(g * 4) / 4 for g in grads] for grads in gradients(20)]  # exact in 8 bits
    variables = start(dtype)
    first = [tf.Variable(tf.cast(v, tf.float32)) for v in variables]

    def convert(to):
        return lambda g: tf.constant(g, to)

    train(case.make(master_weights=True), variables, steps, convert=convert(dtype))
    train(case.make(jit_compile=True), first, steps, convert=convert("float32"))
    for variable, exact in zip(variables, first, strict=True):
        rounded = tf.cast(exact, dtype).numpy().astype(np.float32)
        np.testing.assert_allclose(
            variable.numpy().astype(np.float32), rounded, rtol=2.0**-7, atol=2.0**-9
        )
        assert np.mean(variable.numpy().astype(np.float32) == rounded) > 0.9


@pytest.mark.parametrize("name", ["SGD", "Adam", "Lion"])
def test_small_steps_add_up(name):
    """A thousand of them, none of which bfloat16 could show."""

    def trained(dtype, **options):
        variable = tf.Variable(tf.ones([8], dtype) * 100)
        optimizer = getattr(tfopt, name)(1e-3, **options)
        step = tf.function(lambda: optimizer.apply_gradients([(tf.ones([8], dtype), variable)]))
        for _ in range(1000):
            step()
        return variable.numpy().astype(np.float32)

    exact = trained("float32")
    moved = 100 - exact
    assert np.all(np.abs(moved - 1) < 0.1)
    np.testing.assert_allclose(100 - trained("bfloat16", master_weights=True), moved, rtol=0.5)
    assert_same(trained("bfloat16"), 8 * [100.0])  # without it nothing moves


def test_small_steps_of_a_model_add_up():
    random = np.random.default_rng(0)
    inputs, target = random.normal(size=(64, 8)), random.normal(size=(8, 1))

    def loss_after(dtype, **options):
        weights = tf.Variable(tf.zeros([8, 1], dtype))
        optimizer = tfopt.Adam(1e-3, **options)
        data = tf.constant(inputs, tf.float32)
        labels = tf.matmul(data, tf.constant(target, tf.float32))

        def loss():
            return tf.reduce_mean((tf.matmul(data, tf.cast(weights, tf.float32)) - labels) ** 2)

        step = tf.function(lambda: optimizer.minimize(loss, [weights]))
        for _ in range(1000):
            step()
        return float(loss())

    exact = loss_after("float32")
    assert abs(loss_after("bfloat16", master_weights=True) / exact - 1) < 0.01
    assert abs(loss_after("bfloat16") / exact - 1) > 0.01


@pytest.mark.parametrize("lazy", [None, True])
def test_master_weights_of_rows(lazy):
    table = tf.Variable(tf.ones([4, 2], tf.bfloat16))
    optimizer = tfopt.Adam(1e-3, master_weights=True, lazy=lazy)
    for _ in range(20):
        optimizer.apply_gradients([(rows(np.ones((1, 2), np.float32), [2], (4, 2)), table)])
    master = optimizer.get_slot(table, "master_weight")
    assert master.dtype == tf.float32
    np.testing.assert_allclose(master.numpy()[2], 1 - 0.02, rtol=1e-4)
    assert_same(table.numpy(), tf.cast(master, tf.bfloat16).numpy())
    assert_same(master.numpy()[[0, 1, 3]], np.ones((3, 2)))


def test_what_is_assigned_to_a_variable_counts():
    variable = tf.Variable(tf.ones([2], tf.bfloat16))
    optimizer = tfopt.SGD(1e-3, master_weights=True)
    optimizer.apply_gradients([(tf.ones([2], tf.bfloat16), variable)])
    variable.assign([5.0, variable[1]])
    optimizer.apply_gradients([(tf.ones([2], tf.bfloat16), variable)])
    master = optimizer.get_slot(variable, "master_weight").numpy()
    np.testing.assert_allclose(master, [5 - 1e-3, 1 - 2e-3])


def test_masters_of_rows_that_do_not_move():
    table = tf.Variable(tf.ones([2, 1], tf.bfloat16))
    optimizer = tfopt.Nadam(1e-4, master_weights=True)
    optimizer.apply_gradients([(rows(np.ones((1, 1), "f"), [0], (2, 1)), table)])
    before = optimizer.get_slot(table, "master_weight").numpy()[0]
    for _ in range(3):
        optimizer.apply_gradients([(rows(np.ones((1, 1), "f"), [1], (2, 1)), table)])
    assert optimizer.get_slot(table, "master_weight").numpy()[0] == before


def test_averages_see_what_was_assigned():
    table = tf.Variable(tf.ones([2, 1], tf.bfloat16))
    optimizer = tfopt.SGD(0.5, master_weights=True, use_ema=True, ema_momentum=0.5)
    step = rows(np.ones((1, 1), "f"), [0], (2, 1))
    optimizer.apply_gradients([(step, table)])
    table.assign([[5.0], [5.0]])
    for _ in range(12):
        optimizer.apply_gradients([(step, table)])
    with optimizer.averaged_weights():
        np.testing.assert_allclose(table.numpy()[1].astype("f"), 5, rtol=0.01)


def test_wide_variables_are_their_own_masters():
    variable = tf.Variable([1.0])
    optimizer = tfopt.SGD(master_weights=True)
    optimizer.apply_gradients([([1.0], variable)] if False else [(tf.ones([1]), variable)])
    assert optimizer.get_slot_names() == []


def test_hooks_have_no_master_weights():
    class Hooked(tfopt.Optimizer):
        def resource_apply_dense(self, grad, var):
            var.assign_sub(grad)

    with pytest.raises(ValueError, match="master_weights"):
        Hooked(master_weights=True)
