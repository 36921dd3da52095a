"""Steps whose gradients are not finite are left out, by all replicas."""

import numpy as np
import pytest
import tensorflow as tf
from training import (
    PLAIN,
    assert_same,
    each,
    each_plain_kind,
    gradients,
    of_each_kind,
    rows,
    start,
    train,
)

import tfopt


@each_plain_kind
@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_a_step_that_is_not_finite_is_left_out(case, bad):
    steps = gradients(6)
    wrong = [g.copy() for g in steps[0]]
    wrong[1][2] = bad
    optimizer, variables = case.make(skip_nonfinite=True), start()
    train(optimizer, variables, [*steps[:3], wrong, *steps[3:], wrong])
    expected = start()
    train(case.make(), expected, steps)
    assert_same(variables, expected)
    assert optimizer.iterations.numpy() == 6 and optimizer.skipped_steps.numpy() == 2


@each(of_each_kind([case for case in PLAIN if case.sparse != "whole"]))
def test_rows_that_are_not_finite_are_left_out(case):
    optimizer = case.make(skip_nonfinite=True, lazy=True)
    [variable] = start(shapes=[(5, 3)])
    before = variable.numpy()
    optimizer.apply_gradients([(rows(np.full((2, 3), np.nan), [1, 1], (5, 3)), variable)])
    assert_same(variable.numpy(), before)
    assert optimizer.iterations.numpy() == 0 and optimizer.skipped_steps.numpy() == 1


def test_large_gradients_are_finite():
    """Their squares are not."""
    variable = tf.Variable([1.0, 1.0])
    optimizer = tfopt.SGD(2.0**-120, skip_nonfinite=True)
    optimizer.apply_gradients([(tf.constant([2.0**120, 2.0**121]), variable)])
    assert_same(variable.numpy(), [0.0, -1.0])


@pytest.mark.parametrize("aggregate", [True, False])
@pytest.mark.parametrize("wrap", [False, True])
def test_one_replica_that_is_not_finite_holds_all(wrap, aggregate, mirrored):
    with mirrored.scope():
        variable = tf.Variable([1.0, 2.0])
    inner = tfopt.Adam(0.1, skip_nonfinite=not wrap)
    optimizer = tfopt.LossScaleOptimizer(inner, 8.0) if wrap else inner

    def replica(gradients):
        replica_id = tf.distribute.get_replica_context().replica_id_in_sync_group
        optimizer.apply_gradients(
            [(tf.gather(gradients, replica_id), variable)],
            experimental_aggregate_gradients=aggregate,
        )

    step = tf.function(lambda gradients: mirrored.run(replica, args=(gradients,)))
    step(tf.ones([2, 2]))
    before = optimizer.get_weights()
    weights = [c.numpy() for c in mirrored.experimental_local_results(variable)]
    step(tf.constant([[1.0, 1.0], [np.inf, 1.0]]))
    assert_same([c.numpy() for c in mirrored.experimental_local_results(variable)], weights)
    assert_same(weights[0], weights[1])
    assert_same(optimizer.get_weights()[:3], before[:3])  # iterations and slots
    assert optimizer.skipped_steps.numpy() == 1
    if wrap:
        for copies in map(mirrored.experimental_local_results, (optimizer.loss_scale,)):
            assert [c.numpy() for c in copies] == len(copies) * [4.0]
