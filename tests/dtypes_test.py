"""Variables of every dtype, and of shapes that are partly known or empty."""

import numpy as np
import pytest
import tensorflow as tf
from training import PLAIN, of_each_kind, rows

import tfopt

NAMES = [case.cls.__name__ for case in of_each_kind(PLAIN)]


@pytest.mark.parametrize("name", NAMES)
def test_partly_known_shapes(name):
    variable = tf.Variable(np.ones([2, 3], "float32"), shape=[None, 3])
    whole = tf.Variable(np.ones([2, 3], "float32"))
    for v in (variable, whole):
        opt = getattr(tfopt, name)(0.5)
        for gradient in (tf.ones([2, 3]), rows([[1.0, 2.0, 3.0]], [1])):
            opt.apply_gradients([(gradient, v)])
    np.testing.assert_allclose(variable, whole.numpy(), rtol=1e-5)


def test_complex_variables_with_sgd():
    variable = tf.Variable([1 + 1j, 2 - 1j])
    opt = tfopt.SGD(0.5, momentum=0.5, clipnorm=1.0)
    gradient = np.array([3 + 0j, 0 + 4j])
    expected, momentum = variable.numpy(), 0
    for _ in range(3):
        opt.apply_gradients([(tf.constant(gradient), variable)])
        momentum = 0.5 * momentum - 0.5 * gradient / 5
        expected = expected + momentum
    np.testing.assert_allclose(variable, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="floating"):
        tfopt.Adam().apply_gradients([(tf.constant(gradient), variable)])


@pytest.mark.parametrize("name", NAMES)
def test_dtypes_mix_in_one_step(name):
    dtypes = ("float16", "bfloat16", "float32", "float64")
    variables = [tf.Variable(np.ones(3), dtype=d) for d in dtypes]
    opt = getattr(tfopt, name)(0.25)
    for _ in range(3):
        opt.apply_gradients([(tf.ones([3], v.dtype), v) for v in variables])
    for variable, tolerance in zip(variables, (1e-2, 5e-2, 1e-5, 0), strict=True):
        np.testing.assert_allclose(
            tf.cast(variable, tf.float64), variables[-1].numpy(), rtol=tolerance
        )


def test_a_bfloat16_weight_moves():
    """Where scalars are cast to bfloat16, beta_2 is 1 and Adam stands still."""
    variable, opt = tf.Variable(1.0, dtype=tf.bfloat16), tfopt.Adam(0.125)
    for _ in range(3):
        opt.apply_gradients([(tf.constant(1.0, tf.bfloat16), variable)])
    np.testing.assert_allclose(float(variable), 1 - 3 * 0.125, rtol=1e-2)


def test_scalars_and_empty_variables():
    scalar, empty, opt = tf.Variable(1.0), tf.Variable(tf.zeros([0, 3])), tfopt.Nadam(0.5)
    opt.apply_gradients([(1.0, scalar), (np.zeros([0, 3], "float32"), empty)])
    assert scalar.numpy() < 1.0
    opt.apply_gradients([(tf.IndexedSlices(tf.zeros([0, 3]), tf.zeros([0], tf.int64)), empty)])
