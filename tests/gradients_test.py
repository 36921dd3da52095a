"""What a step takes for gradients, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from training import rows

import tfopt


@pytest.mark.parametrize("in_a_function", [False, True], ids=["eager", "traced"])
def test_a_warning_points_at_the_line_that_called(in_a_function):
    """Not at one of tfopt's, nor at TensorFlow's wrapper of methods."""
    x, y = tf.Variable(1.0), tf.Variable(1.0)
    optimizer = tfopt.SGD()

    def step():
        optimizer.apply_gradients([(tf.constant(1.0), x), (None, y)])

    with pytest.warns(tfopt.TfoptWarning, match="No gradients") as caught:
        (tf.function(step, autograph=False) if in_a_function else step)()
    assert caught[0].filename == __file__


def test_none_gradients_warn_once():
    a, b, opt = tf.Variable(1.0, name="a"), tf.Variable(1.0, name="b"), tfopt.SGD(0.5)
    with pytest.warns(tfopt.TfoptWarning, match="b") as caught:
        for _ in range(3):
            opt.apply_gradients([(tf.constant(1.0), a), (None, b)])
    assert len(caught) == 1
    assert (a.numpy(), b.numpy()) == (-0.5, 1.0)
    with pytest.raises(ValueError, match="a, b"):
        opt.apply_gradients([(None, a), (None, b)])


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_an_empty_list_does_nothing(jit_compile):
    opt = tfopt.Adam()

    def step():
        return opt.apply_gradients([])

    if jit_compile is not None:
        step = tf.function(step, jit_compile=jit_compile)
    assert int(step()) == 0
    assert opt.iterations.numpy() == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_repeated_rows_are_summed_in_float32(dtype):
    table, opt = tf.Variable(tf.zeros([2, 1], dtype)), tfopt.SGD(2.0**-10)
    gradient = tf.IndexedSlices(tf.ones([1024, 1], dtype), tf.zeros([1024], tf.int32))
    opt.apply_gradients([(gradient, table)])
    np.testing.assert_array_equal(tf.cast(table, tf.float32), [[-1.0], [0.0]])


@pytest.mark.parametrize("index_dtype", [tf.int32, tf.int64])
def test_no_rows_at_all(index_dtype):
    variable = tf.Variable(tf.ones([3, 2]))
    opt = tfopt.Adagrad(0.5)
    none = tf.IndexedSlices(tf.zeros([0, 2]), tf.zeros([0], index_dtype))
    opt.apply_gradients([(none, variable)])
    np.testing.assert_array_equal(variable, np.ones([3, 2]))


def test_a_float32_gradient_for_a_half_variable():
    variable = tf.Variable(tf.ones([2], tf.bfloat16))
    tfopt.SGD(0.5).apply_gradients([(tf.constant([1.0, 2.0]), variable)])
    np.testing.assert_array_equal(tf.cast(variable, tf.float32), [0.5, 0.0])


def test_variables_to_be_overwritten_are_refused():
    variable, opt = keras.Variable(1.0), tfopt.Adam()
    variable.overwrite_with_gradient = True
    with pytest.raises(NotImplementedError, match="float8"):
        opt.apply_gradients([(tf.constant(1.0), variable)])


X = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="x")


@pytest.mark.parametrize(
    ("error", "pairs"),
    [
        (TypeError, 3),
        (TypeError, [3]),
        (TypeError, [(X,)]),
        (TypeError, [(X, X, X)]),
        (TypeError, [(tf.constant(1.0), 3)]),
        (TypeError, [(tf.constant(1.0), tf.constant(1.0))]),
        (TypeError, [("gradient", X)]),
        (ValueError, [(tf.constant([1.0, 2.0]), X)]),
        (ValueError, [(tf.ones([2, 2], tf.float64), X)]),
        (ValueError, [(tf.ones([2, 2], tf.int32), X)]),
        (ValueError, [(rows([[1.0]], [0]), X)]),
        (ValueError, [(rows([[1.0, 2.0]], [0, 1]), X)]),
        (ValueError, [(tf.constant(1), tf.Variable(1))]),
        (ValueError, [(tf.constant(1 + 1j), tf.Variable(1 + 1j))]),
        (ValueError, [(rows([1.0], [0]), tf.Variable(1.0))]),
    ],
)
def test_malformed_pairs_raise_and_change_nothing(error, pairs):
    opt, good = tfopt.Adam(), tf.Variable(1.0)
    if isinstance(pairs, list):
        pairs = [(tf.constant(1.0), good), *pairs]
    before = X.numpy()
    with pytest.raises(error, match="`"):
        opt.apply_gradients(pairs)
    assert good.numpy() == 1.0
    np.testing.assert_array_equal(X, before)
    assert opt.iterations.numpy() == 0
