"""Steps that fail, or are out of the ordinary: what they leave, and what they say."""

import copy
import fractions

import numpy as np
import pytest
import tensorflow as tf
from training import rows

import tfopt

each_base = pytest.mark.parametrize("base", [tfopt, tfopt.legacy], ids=["tfopt", "legacy"])


# --- an index out of range ------------------------------------------------------------------------


@each_base
@pytest.mark.parametrize("wrap", [lambda step: step, tf.function], ids=["eager", "traced"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_an_index_out_of_range_is_no_step(base, name, wrap):
    table, optimizer = tf.Variable([[1.0], [2.0]]), getattr(base, name)(0.5)

    @wrap
    def step(indices):
        gradient = tf.IndexedSlices(tf.ones([2, 1]), indices)
        optimizer.apply_gradients([(gradient, table)])

    step(tf.constant([0, 1]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        step(tf.constant([0, 7]))
    assert int(optimizer.iterations) == 1


def test_an_index_out_of_range_is_no_call_of_a_window():
    table, optimizer = tf.Variable([[1.0], [2.0]]), tfopt.SGD(0.5, gradient_accumulation_steps=2)
    for _ in range(4):
        with pytest.raises(tf.errors.InvalidArgumentError):
            optimizer.apply_gradients([(rows([[1.0], [1.0]], [0, 7]), table)])
    assert int(optimizer.iterations) == 0
    np.testing.assert_array_equal(table, [[1.0], [2.0]])


# --- what functions of users return ---------------------------------------------------------------


@pytest.mark.parametrize("base", [tfopt.SGD, tfopt.AdamW, tfopt.Lion, tfopt.LAMB])
@pytest.mark.parametrize("keyword", ["gradient_transformers", "gradient_aggregator"])
@pytest.mark.parametrize("bad", [None, tf.constant(1.0), tf.constant([1.0]), "gradient"])
def test_a_function_must_return_a_gradient_of_the_shape(base, keyword, bad):
    def function(pairs):
        return [(bad, variable) for _, variable in pairs]

    optimizer = base(0.5, **{keyword: [function] if keyword.endswith("s") else function})
    x = tf.Variable([1.0, 2.0])
    with pytest.raises((TypeError, ValueError), match=keyword):
        optimizer.apply_gradients([(tf.ones([2]), x)])
    np.testing.assert_array_equal(x, [1.0, 2.0])
    assert int(optimizer.iterations) == 0


@each_base
def test_rows_that_a_transformer_repeats_are_summed(base):
    def repeated(pairs):
        return [(rows([[1.0], [1.0]], [0, 0]), variable) for _, variable in pairs]

    table = tf.Variable([[0.0], [0.0]])
    optimizer = base.SGD(0.5, gradient_transformers=[repeated]) if base is tfopt else None
    if optimizer is None:

        class Repeating(tfopt.legacy.SGD):
            def _transform_gradients(self, grads_and_vars):
                return repeated(super()._transform_gradients(grads_and_vars))

        optimizer = Repeating(0.5)
    optimizer.apply_gradients([(rows([[1.0]], [1]), table)])
    np.testing.assert_array_equal(table, [[-1.0], [0.0]])


# --- norms that are not finite --------------------------------------------------------------------


@each_base
@pytest.mark.parametrize("gradient", [[1e20, 1.0], [np.inf, 1.0], [np.nan, 1.0]])
def test_a_joint_norm_that_is_not_finite_leaves_nothing_finite(base, gradient):
    x, y = tf.Variable([0.0, 0.0]), tf.Variable([0.0])
    optimizer = base.SGD(1.0, global_clipnorm=1.0)
    optimizer.apply_gradients([(tf.constant(gradient), x), (tf.constant([1.0]), y)])
    assert np.isnan([*x.numpy(), *y.numpy()]).all()


@each_base
def test_a_norm_of_one_gradient_that_overflows(base):
    """As in OptimizerV2: its finite numbers become 0."""
    x, y = tf.Variable([0.0, 0.0]), tf.Variable([0.0])
    optimizer = base.SGD(1.0, clipnorm=1.0)
    optimizer.apply_gradients([(tf.constant([1e20, 1.0]), x), (tf.constant([1.0]), y)])
    assert (x.numpy().tolist(), y.numpy().tolist()) == ([0.0, 0.0], [-1.0])


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [10**400, 3.5e38, -(10**400), float("inf"), np.inf])
def test_a_number_that_float32_cannot_hold_is_refused(value):
    with pytest.raises(ValueError, match="`learning_rate`"):
        tfopt.SGD(value)
    optimizer = tfopt.SGD(0.5)
    with pytest.raises(ValueError, match="`learning_rate`"):
        optimizer.learning_rate = value
    assert optimizer.get_config()["learning_rate"] == 0.5


def test_a_limit_may_be_infinite():
    x = tf.Variable(0.0)
    tfopt.SGD(1.0, clipvalue=float("inf")).apply_gradients([(tf.constant(2.0), x)])
    assert x.numpy() == -2.0


def test_a_fraction_is_a_number():
    x, optimizer = tf.Variable(0.0), tfopt.SGD(fractions.Fraction(1, 4))
    optimizer.apply_gradients([(tf.constant(2.0), x)])
    assert x.numpy() == -0.5
    assert optimizer.get_config()["learning_rate"] == 0.25


# --- state ----------------------------------------------------------------------------------------


@each_base
def test_a_copy_of_a_module_lists_its_variables_before_it_is_used(base):
    class Training(tf.Module):
        def __init__(self):
            super().__init__()
            self.x, self.optimizer = tf.Variable([1.0]), base.Adam(0.1)

    module = Training()
    module.optimizer.apply_gradients([(tf.ones([1]), module.x)])
    twin = copy.deepcopy(module)
    assert any(v is twin.x for v in twin.variables)
    assert len(twin.trainable_variables) == 1 and len(twin.submodules) == 1
    twin.optimizer.apply_gradients([(tf.ones([1]), twin.x)])
    assert len(twin.variables) == len(module.variables)


def test_an_optimizer_does_not_list_the_variables_of_a_model():
    optimizer, x = tfopt.SGD(gradient_accumulation_steps=2), tf.Variable(1.0)
    optimizer.apply_gradients([(tf.constant(1.0), x)])
    assert not optimizer.trainable_variables


def test_a_slot_of_another_dtype_is_restored_before_the_first_step(tmp_path):
    class Counting(tfopt.Optimizer):
        learning_rate = tfopt.Hyper(0.5)

        def slots(self, x):
            return {"steps": tf.constant(0, tf.int64), "sum": tfopt.zeros(x)}

        def update(self, g, x, s, h):
            s.steps = s.steps + 1
            s.sum = s.sum + g
            return x - h.learning_rate * s.sum

    path, found = None, None
    for _ in range(2):
        x, optimizer = tf.Variable([1.0]), Counting()
        checkpoint = tf.train.Checkpoint(x=x, optimizer=optimizer)
        if path:
            checkpoint.restore(path)
        optimizer.apply_gradients([(tf.ones([1]), x)])
        found = optimizer.get_slot(x, "steps").numpy(), optimizer.get_slot(x, "sum").numpy()
        path = checkpoint.save(tmp_path / "checkpoint")
    assert found == (2, [2.0])


def test_averages_of_rows_count_steps_of_int32():
    values = []
    for dtype in (tf.int32, tf.int64):
        table, optimizer = tf.Variable([[1.0], [2.0]]), tfopt.SGD(0.5, use_ema=True)
        optimizer.iterations = tf.Variable(0, dtype=dtype)
        for index in (0, 1, 1):
            optimizer.apply_gradients([(rows([[1.0]], [index]), table)])
        with optimizer.averaged_weights():
            values.append(table.numpy())
    np.testing.assert_array_equal(*values)
