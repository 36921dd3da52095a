"""Gradients are aggregated, clipped and transformed, in this order."""

import numpy as np
import pytest
import tensorflow as tf
from training import rows

import tfopt


def test_replicas_are_summed_before_clipping(mirrored):
    """[3, 0] and [0, 4] with clipnorm 1 give a step of [.6, .8], not of [1, 1]."""
    with mirrored.scope():
        variable = tf.Variable([0.0, 0.0])
        opt = tfopt.SGD(1.0, clipnorm=1.0)

    @tf.function
    def step():
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            gradient = tf.where(tf.equal(number, 0), [3.0, 0.0], [0.0, 4.0])
            opt.apply_gradients([(gradient, variable)])

        mirrored.run(replica)

    step()
    for copy in mirrored.experimental_local_results(variable):
        np.testing.assert_allclose(copy, [-0.6, -0.8], rtol=1e-6)


CLIPS = [
    {"clipnorm": 1.0},
    {"clipvalue": 0.5},
    {"global_clipnorm": 1.0},
    {"clipvalue": 2.0, "clipnorm": 1.0},
    {"clipvalue": 2.0, "global_clipnorm": 1.0},
]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: "-".join(clip))
@pytest.mark.parametrize("sparse", [False, True])
def test_clipping_is_that_of_the_dense_gradient(clip, sparse):
    dense, other = np.zeros([4, 2], "float32"), np.array([3.0, -4.0], "float32")
    dense[1], dense[3] = [2.0, 4.0], [1.0, 1.0]
    gradient = rows([[1.0, 1.0], [1.0, 1.0], [1.0, 3.0]], [1, 3, 1]) if sparse else dense
    variables = [tf.Variable(np.zeros([4, 2], "float32")), tf.Variable(np.zeros(2, "float32"))]
    tfopt.SGD(1.0, **clip).apply_gradients(
        [(gradient, variables[0]), (tf.constant(other), variables[1])]
    )
    expected = [dense, other]
    if "clipvalue" in clip:
        expected = [np.clip(g, -clip["clipvalue"], clip["clipvalue"]) for g in expected]
    if "clipnorm" in clip:
        expected = [g / max(np.linalg.norm(g), clip["clipnorm"]) for g in expected]
    if "global_clipnorm" in clip:
        norm = np.sqrt(sum((g**2).sum() for g in expected))
        expected = [g / max(norm, clip["global_clipnorm"]) for g in expected]
    for variable, g in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, -g, rtol=1e-6)


def test_clipping_in_half_precision_does_not_overflow():
    variable = tf.Variable(tf.zeros([4], tf.float16))
    tfopt.SGD(1.0, clipnorm=2.0).apply_gradients(
        [(tf.fill([4], tf.cast(3e4, tf.float16)), variable)]
    )
    np.testing.assert_allclose(variable, -np.ones(4), rtol=1e-3)


def test_clipping_to_zero_stops_even_a_zero_gradient():
    variable = tf.Variable([1.0, 2.0])
    opt = tfopt.SGD(1.0, clipnorm=0.0)
    for gradient in ([3.0, 4.0], [0.0, 0.0]):
        opt.apply_gradients([(tf.constant(gradient), variable)])
    np.testing.assert_array_equal(variable, [1.0, 2.0])


def test_a_clip_limit_changes_without_a_retrace():
    variable, opt = tf.Variable(0.0), tfopt.SGD(1.0, clipvalue=1.0)
    step = tf.function(lambda: opt.apply_gradients([(tf.constant(5.0), variable)]))
    step()
    opt.clipvalue = 2.0
    step()
    assert variable.numpy() == -3.0


def test_transformers_come_after_clipping_and_aggregators_first():
    seen = []

    def aggregate(pairs):
        seen.append("aggregate")
        return [(10.0 * g, v) for g, v in pairs]

    def halve(pairs):
        seen.append("transform")
        return [(g / 2.0, v) for g, v in pairs]

    variable = tf.Variable(0.0)
    opt = tfopt.SGD(
        1.0, clipvalue=4.0, gradient_aggregator=aggregate, gradient_transformers=[halve, halve]
    )
    opt.apply_gradients([(tf.constant(1.0), variable)])
    assert variable.numpy() == -1.0
    assert seen == ["aggregate", "transform", "transform"]
    opt.apply_gradients([(tf.constant(1.0), variable)])
    assert len(seen) == 6
    with pytest.warns(tfopt.TfoptWarning, match="pass it again"):
        opt.get_config()
    bad = tfopt.SGD(gradient_transformers=[lambda pairs: pairs[:0]])
    with pytest.raises(ValueError, match="gradient_transformers"):
        bad.apply_gradients([(tf.constant(1.0), variable)])
