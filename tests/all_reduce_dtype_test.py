"""Sums over replicas in 16 bits: what is rounded, and what is sent."""

import numpy as np
import pytest
import tensorflow as tf
from training import assert_same, gradients, rows, start, train, train_on_replicas, values_of

import tfopt


def trained(mirrored, dtype, **options):
    """Variables of two replicas after some steps, and those of one on the rounded sums."""
    steps = [[np.stack([g, 0.25 * g]).astype("float32") for g in grads] for grads in gradients(6)]
    with mirrored.scope():
        variables = start("float32")
    optimizer = tfopt.Adam(0.125, all_reduce_dtype=dtype, **options)
    train_on_replicas(mirrored, optimizer, variables, steps)
    single, expected = tfopt.Adam(0.125, **options), start("float32")
    narrow = tf.as_dtype(dtype)
    rounded = [[tf.cast(g[0], narrow) + tf.cast(g[1], narrow) for g in grads] for grads in steps]
    train(single, expected, [[tf.cast(g, tf.float32) for g in grads] for grads in rounded])
    assert tfopt.inspect.replicas(optimizer) == []
    return values_of(variables, optimizer), values_of(expected, single)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_replicas_are_one_on_the_sum_that_is_rounded(mirrored, dtype):
    assert_same(*trained(mirrored, dtype, global_clipnorm=1.0), 1e-6)


def test_dense_gradients_are_sent_in_16_bits_and_rows_as_they_are(mirrored):
    with mirrored.scope():
        variables = [tf.Variable(tf.zeros([4, 2])), tf.Variable(tf.zeros([4, 2]))]
    optimizer = tfopt.SGD(1.0, all_reduce_dtype="bfloat16")

    @tf.function
    def step():
        def replica():
            slices = rows([[1.001, 1.0]], [2], (4, 2))
            pairs = [(tf.fill([4, 2], 1.001), variables[0]), (slices, variables[1])]
            optimizer.apply_gradients(pairs)

        mirrored.run(replica)

    step()
    graph = step.get_concrete_function().graph
    sent = {op.type: op.inputs[0].dtype for op in graph.get_operations() if "Collective" in op.type}
    assert sent["CollectiveReduceV2"] == tf.bfloat16
    np.testing.assert_array_equal(variables[0], np.full([4, 2], -2.0))  # 1.001 was rounded to 1
    np.testing.assert_allclose(variables[1][2], [-2.002, -2.0], rtol=1e-6)


def test_one_replica_rounds_nothing():
    variable, optimizer = tf.Variable(0.0), tfopt.SGD(1.0, all_reduce_dtype="bfloat16")
    optimizer.apply_gradients([(tf.constant(1.001), variable)])
    assert variable.numpy() == np.float32(-1.001)


def test_what_it_takes():
    optimizer = tfopt.Adam(all_reduce_dtype="bfloat16")
    assert tfopt.Adam.from_config(optimizer.get_config()).all_reduce_dtype == "bfloat16"
    with pytest.raises(ValueError, match="`all_reduce_dtype` must be"):
        tfopt.Adam(all_reduce_dtype="float64")
    with pytest.raises(ValueError, match="together with `gradient_aggregator`"):
        tfopt.Adam(all_reduce_dtype="bfloat16", gradient_aggregator=list)
