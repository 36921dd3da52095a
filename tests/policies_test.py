"""All policies of a step at once: on replicas, compiled, and in what is saved."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from cases import CASES
from models import each_library, linear_data, linear_model
from state_transfer import WAYS
from training import (
    assert_same,
    each_plain_kind,
    gradients,
    rows,
    start,
    train,
    train_on_replicas,
    untraced,
    values_of,
)

import tfopt

EVERY_POLICY = {
    "use_ema": True,
    "ema_momentum": 0.75,
    "gradient_accumulation_steps": 3,
    "loss_scale_factor": 4.0,
    "skip_nonfinite": True,
    "master_weights": True,
}


@each_plain_kind
def test_every_policy_at_once_on_replicas(case, mirrored):
    steps = [[np.stack([g, -0.5 * g]) for g in grads] for grads in gradients(8)]
    with mirrored.scope():
        variables = start()
    averages = {"use_ema": False, "ema_momentum": 0.99} if case.averages_itself else {}
    policies = {**EVERY_POLICY, **averages}
    optimizer = case.make(**policies)
    train_on_replicas(mirrored, optimizer, variables, steps)
    tf.function(lambda: mirrored.run(optimizer.flush))()
    single, expected = case.make(**policies), start()
    train(single, expected, [[g.sum(axis=0) for g in grads] for grads in steps])
    single.flush()
    assert_same(variables, expected, 1e-9)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_policies_inside_a_users_compiled_function(name):
    def trained(jit_compile):
        variables = [tf.Variable(tf.ones([4, 2])), tf.Variable(tf.ones([6, 2]))]
        optimizer = getattr(tfopt, name)(0.1, **EVERY_POLICY, lazy=True)

        @tf.function(jit_compile=jit_compile)
        def step(dense, values, indices):
            slices = tf.IndexedSlices(values, indices, tf.constant([6, 2], tf.int64))
            optimizer.apply_gradients([(dense, variables[0]), (slices, variables[1])])

        random = np.random.default_rng(0)
        for _ in range(7):
            dense, values = random.normal(size=(4, 2)), random.normal(size=(3, 2))
            indices = random.integers(0, 6, 3)
            step(*(tf.constant(g, tf.float32) for g in (dense, values)), tf.constant(indices))
        return values_of(variables, optimizer)

    for one, other in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# --- state ----------------------------------------------------------------------------------------

STATEFUL = [case for case in CASES if case.name in ("SGD-momentum", "Nadam", "LAMB")]


@pytest.mark.parametrize("way", [way for way in WAYS if "store" not in way])
@pytest.mark.parametrize(
    ("case", "wrap"),
    [*((each_case, False) for each_case in STATEFUL), (STATEFUL[1], True)],
    ids=lambda value: getattr(value, "name", value),
)
def test_policies_go_on_where_they_were(case, way, wrap, tmp_path):
    """In the middle of a window, with a table and a half-precision matrix.

    The store of a wrapper does not hold the optimizer inside, which Keras saves by itself.
    """

    def make():
        options = dict(EVERY_POLICY)
        if wrap:
            del options["loss_scale_factor"]
            return tfopt.LossScaleOptimizer(case.make(**options), 16.0, 2)
        return case.make(**options)

    def variables():
        return [
            tf.Variable(tf.ones([3, 2], tf.bfloat16), name="half"),
            tf.Variable(tf.ones([6, 2]), name="table"),
        ]

    random = np.random.default_rng(0)
    steps = [
        [
            tf.constant(random.normal(size=(3, 2)), tf.bfloat16),
            rows(random.normal(size=(2, 2)).astype("f"), random.integers(0, 6, 2), (6, 2)),
        ]
        for _ in range(13)
    ]

    def go(optimizer, variables, steps):
        with untraced():
            for grads in steps:
                optimizer.apply_gradients(zip(grads, variables, strict=True))

    straight, expected = make(), variables()
    go(straight, expected, steps)
    optimizer, moved = make(), variables()
    go(optimizer, moved, steps[:7])
    twin = WAYS[way](optimizer, moved, moved, make, tmp_path)
    go(twin, moved, steps[7:])
    assert_same(moved, expected)
    assert_same(twin.get_weights(), straight.get_weights())


@each_library
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_policies_go_on_in_a_model(library, suffix, tmp_path):
    def fit(model, epochs):
        model.fit(*linear_data(20), 4, epochs=epochs, shuffle=False, verbose=0)

    def compiled():
        options = {
            **EVERY_POLICY,
            "use_ema": False,
            "ema_momentum": 0.99,
        }  # `fit` would end with averages
        library.utils.set_random_seed(0)
        return linear_model(library, tfopt.Adam(0.01, **options))

    straight, model = compiled(), compiled()
    fit(straight, 4)
    fit(model, 2)
    assert model.optimizer.get_slot(model.trainable_variables[0], "micro_steps").numpy() == 1
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        again = library.models.load_model(path)
    else:
        if library is tf_keras:
            pytest.skip("tf-keras leaves the optimizer out of these files")
        model.save_weights(path)
        again = compiled()
        again.optimizer.build(again.trainable_variables)
        again.load_weights(path)
    fit(again, 2)
    assert_same(again.get_weights(), straight.get_weights())
    assert_same(again.optimizer.get_weights(), straight.optimizer.get_weights())


def test_state_of_one_replica_goes_on_with_two_and_back(mirrored, tmp_path):
    """In the middle of a window, of which each replica holds a part."""
    steps = [[np.stack([g, 3 * g]) for g in grads] for grads in gradients(5)]
    with mirrored.scope():
        variables = start()
    optimizer = tfopt.Adam(0.1, **EVERY_POLICY)
    train_on_replicas(mirrored, optimizer, variables, steps)
    alone = start()
    for variable, value in zip(alone, variables, strict=True):
        variable.assign(value.numpy())
    twin = tfopt.Adam(0.1, **EVERY_POLICY)
    twin.build(alone)
    twin.set_weights(optimizer.get_weights())
    assert_same(twin.get_weights(), optimizer.get_weights())
    train(twin, alone, [[g.sum(axis=0) for g in grads] for grads in steps])
    back = tfopt.Adam(0.1, **EVERY_POLICY)
    with mirrored.scope():
        others = start()
    for variable, value in zip(others, variables, strict=True):
        variable.assign(value.numpy())
    back.build(others)
    back.set_weights(optimizer.get_weights())
    assert_same(back.get_weights(), optimizer.get_weights())
    train_on_replicas(mirrored, back, others, steps)
    assert_same(others, alone, 1e-9)


# --- keywords -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("ema_momentum", 1.5, ValueError),
        ("ema_momentum", None, TypeError),
        ("use_ema", 1, TypeError),
        ("ema_overwrite_frequency", 0, ValueError),
        ("ema_overwrite_frequency", 2.5, TypeError),
        ("gradient_accumulation_steps", 0, ValueError),
        ("gradient_accumulation_steps", "2", TypeError),
        ("loss_scale_factor", 0.0, ValueError),
        ("skip_nonfinite", None, TypeError),
        ("master_weights", "yes", TypeError),
    ],
)
def test_bad_values_of_keywords(name, value, error):
    with pytest.raises(error, match=name):
        tfopt.Adam(**{name: value})


@pytest.mark.parametrize("name", ["use_ema", "skip_nonfinite", "master_weights"])
def test_a_policy_stays_as_it_was_once_there_are_slots(name):
    optimizer = tfopt.Adam()
    optimizer.build([tf.Variable(1.0)])
    with pytest.raises(ValueError, match=name):
        setattr(optimizer, name, True)
    with contextlib.nullcontext():
        setattr(optimizer, name, False)


def test_names_of_policies_slots_are_taken():
    class Taking(tfopt.Optimizer):
        learning_rate = tfopt.Hyper(0.1)

        def slots(self, x):
            return {"micro_steps": tfopt.zeros(x)}

    with pytest.raises(ValueError, match="micro_steps"):
        Taking().build([tf.Variable(1.0)])
