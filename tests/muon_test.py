"""Muon: which part of a model is which, how orthogonal its steps are, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from training import assert_same, rows, start, train, value_of

import tfopt

PATHS = {
    "dense/kernel": ((4, 3), "matrix"),
    "dense/bias": ((3,), "adamw"),
    "conv/kernel": ((2, 2, 3, 4), "matrix"),
    "conv1d/kernel": ((2, 3, 4), "matrix"),
    "attention/query/kernel": ((4, 2, 3), "projection"),
    "attention/key/kernel": ((4, 2, 3), "projection"),
    "attention/attention_output/kernel": ((2, 3, 4), "matrix"),
    "depthwise_conv2d/depthwise_kernel": ((2, 2, 3, 1), "adamw"),
    "token_embedding/embeddings": ((7, 3), "adamw"),
    "Embedding/table": ((7, 3), "adamw"),
    "head/kernel": ((3, 2), "matrix"),
    "scale": ((), "adamw"),
    "attention/query/bias": ((2, 3), "adamw"),
    "gru/bias": ((2, 9), "adamw"),
    "dw/kernel": ((2, 2, 3, 1), "adamw"),
}


def variables():
    return [tf.Variable(tf.ones(shape), name=name) for name, (shape, _) in PATHS.items()]


def roles_of(optimizer):
    return {row.variable: row.role for row in tfopt.inspect.describe(optimizer, variables())}


def test_roles():
    assert roles_of(tfopt.Muon()) == {name: role for name, (_, role) in PATHS.items()}
    excluded = roles_of(tfopt.Muon(exclude_layers=["head", "^conv/"]))
    assert excluded["head/kernel"] == excluded["conv/kernel"] == "adamw"
    assert excluded["conv1d/kernel"] == "matrix"
    embedded = roles_of(tfopt.Muon(exclude_embeddings=False))
    assert embedded["token_embedding/embeddings"] == "matrix"
    given = roles_of(tfopt.Muon(exclude_layers=["head"], roles={"head": "matrix"}))
    assert given["head/kernel"] == "matrix"
    config = tfopt.Muon(exclude_layers=["head"], exclude_embeddings=False).get_config()
    assert roles_of(tfopt.Muon.from_config(config))["head/kernel"] == "adamw"
    assert roles_of(tfopt.Muon.from_config(config))["Embedding/table"] == "matrix"


def test_attention_of_keras_is_known_by_its_names():
    layer = keras.layers.MultiHeadAttention(2, 3, name="mha")
    layer.build((None, 5, 4), (None, 5, 4))
    found = tfopt.inspect.describe(tfopt.Muon(), layer.trainable_variables)
    kernels = {row.variable.split("/")[-2]: row.role for row in found if "kernel" in row.variable}
    assert kernels == {
        "query": "projection",
        "key": "projection",
        "value": "projection",
        "attention_output": "matrix",
    }


@pytest.mark.parametrize("name", [n for n, (shape, _) in PATHS.items() if len(shape) > 2])
def test_a_tensor_is_the_matrix_of_its_inputs_and_outputs(name):
    """The step is that of the matrix, so it is orthogonal there."""
    shape, role = PATHS[name]
    if role == "adamw":
        return
    matrix = (shape[0], -1) if role == "projection" else (-1, shape[-1])
    gradient = np.random.default_rng(0).normal(size=shape)
    tensor = tf.Variable(np.zeros(shape), name=name)
    flat = tf.Variable(np.zeros(shape).reshape(matrix), name="kernel")
    tfopt.Muon(1.0).apply_gradients([(tf.constant(gradient), tensor)])
    tfopt.Muon(1.0).apply_gradients([(tf.constant(gradient.reshape(matrix)), flat)])
    assert_same(value_of(tensor).reshape(matrix), value_of(flat), 1e-12)


# What the authors' coefficients make of a singular value, which is at most 1 at first.
RANGES = [({}, 1e-2, 0.68, 1.14), ({"polar_express": True}, 1e-3, 0.85, 1.15)]


@pytest.mark.parametrize(("numbers", "least", "low", "high"), RANGES, ids=["quintic", "polar"])
def test_singular_values_come_near_one(numbers, least, low, high):
    random = np.random.default_rng(0)
    values = np.geomspace(least, 1, 30)
    values = values / np.sqrt((values**2).sum())
    values = values[values >= least]
    left, right = (np.linalg.qr(random.normal(size=(n, len(values))))[0] for n in (50, 40))
    x = tf.Variable(np.zeros([50, 40]), name="kernel")
    muon = tfopt.Muon(1.0, momentum=0.0, rms_rate=None, weight_decay=None, **numbers)
    muon.apply_gradients([(tf.constant(left @ np.diag(values) @ right.T), x)])
    found = np.diag(left.T @ -value_of(x) @ right)
    assert low <= found.min() and found.max() <= high
    assert found.max() > 0.9


def test_the_step_has_the_size_of_one_of_adamw():
    for shape in ((64, 64), (16, 64), (64, 16)):
        x = tf.Variable(tf.zeros(shape), name="kernel")
        gradient = tf.random.stateless_normal(shape, [1, 2])
        tfopt.Muon(1.0, polar_express=True).apply_gradients([(gradient, x)])
        assert 0.17 < np.sqrt(np.mean(np.square(x))) < 0.23


def test_normuon_makes_outputs_alike_and_keeps_the_norm():
    gradient = np.random.default_rng(0).normal(size=(30, 20)) * np.geomspace(0.01, 1, 20)
    lengths = {}
    for beta in (None, 0.0):
        x = tf.Variable(np.zeros([30, 20]), name="kernel")
        muon = tfopt.Muon(1.0, normuon_beta=beta, ns_steps=2)
        muon.apply_gradients([(tf.constant(gradient), x)])
        lengths[beta] = np.linalg.norm(x, axis=0)
    assert lengths[None].max() > 1.5 * lengths[None].min()
    np.testing.assert_allclose(lengths[0.0], lengths[0.0][0], rtol=1e-6)
    assert np.isclose(np.linalg.norm(lengths[0.0]), np.linalg.norm(lengths[None]))


def test_embeddings_may_be_lazy():
    table, kernel = tf.Variable(tf.ones([5, 2]), name="embeddings"), tf.Variable(tf.ones([5, 2]))
    optimizer = tfopt.Muon(0.5, lazy=True)
    optimizer.apply_gradients([(rows(tf.ones([1, 2]), [3], [5, 2]), v) for v in (table, kernel)])
    assert_same(table[:3], np.ones([3, 2], "float32"))
    assert np.all(table[3] < 1)
    assert np.all(kernel[0] < 1)  # whose weights decay, with all rows


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_patterns_find_paths_of_either_keras(library):
    model = library.Sequential([library.layers.Dense(2, input_shape=(3,), name="out")])
    optimizer = tfopt.Muon(exclude_layers=["out/kernel$"])
    [kernel, _] = tfopt.inspect.describe(optimizer, model.trainable_variables)
    assert kernel.role == "adamw"


def test_empty_and_smallest_shapes():
    for shape in ((0, 3), (3, 0), (1, 1)):
        for rate in (0.2, None):
            x = tf.Variable(tf.ones(shape))
            tfopt.Muon(rms_rate=rate).apply_gradients([(tf.ones(shape), x)])
            assert np.isfinite(x).all()


def test_late_variables_of_schedule_free_have_an_average_of_their_age():
    late, alone = start()[0], start()[0]
    optimizer, other = tfopt.ScheduleFreeSGD(0.125), start()[1]
    twin = tfopt.ScheduleFreeSGD(0.125)
    for step in range(6):
        optimizer.apply_gradients([(tf.ones_like(other), other)])
        if step > 2:
            optimizer.apply_gradients([(tf.cos(late), late)])
            twin.apply_gradients([(tf.cos(alone), alone)])
    assert_same(late, alone, 1e-12)


def test_decay_of_the_rest():
    def decayed(**numbers):
        kernel, bias = start()
        train(tfopt.Muon(0.5, **numbers), [kernel, bias], [[np.zeros((5, 3)), np.zeros(4)]])
        first = start()
        return [float(np.mean(v / w)) for v, w in zip((kernel, bias), first, strict=True)]

    assert np.allclose(decayed(weight_decay=0.5), [0.75, 0.75])
    assert np.allclose(decayed(weight_decay=0.5, adam_weight_decay=0.25), [0.75, 0.875])
    assert np.allclose(decayed(weight_decay=0.0, adam_weight_decay=0.25), [1, 0.875])
    biases = {"exclude_from_weight_decay": [lambda v: len(v.shape) < 2]}
    assert np.allclose(decayed(weight_decay=0.5, adam_weight_decay=0.25, **biases), [0.75, 1])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"polar_express": True, "muon_b": -5.0}, "`muon_b` must not be given"),
        ({"polar_express": True, "ns_steps": 6}, "`ns_steps` must be <= 5"),
        ({"weight_decay": None, "adam_weight_decay": 0.5}, "`weight_decay` must be a number"),
        (
            {"adam_weight_decay": 0.5, "groups": {"bias": {"weight_decay": 0.1}}},
            "`groups` must not have a `weight_decay` next to `adam_weight_decay`",
        ),
        ({"momentum": 1.0}, "`momentum` must be >= 0 and < 1"),
        ({"ns_steps": None}, "`ns_steps` must be a whole number; got None"),
        ({"ns_steps": 0}, "`ns_steps` must be >= 1; got 0"),
        ({"exclude_layers": "head"}, "`exclude_layers` must be a list .* got 'head'"),
        ({"exclude_layers": [3]}, "`exclude_layers` must be a list .* got .3."),
        ({"roles": {"head": "muon"}}, "`roles` of Muon must be among"),
    ],
)
def test_refuses(numbers, message):
    with pytest.raises((ValueError, TypeError), match=message):
        tfopt.Muon(**numbers)
