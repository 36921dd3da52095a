"""Graphs that a session runs: every optimizer, policies, checkpoints, and TensorFlow 1's own."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from training import assert_same, each_plain_kind, gradients, start, train, values_of

import tfopt

POLICIES = {
    "none": {},
    "averages": {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 4},
    "accumulation": {"gradient_accumulation_steps": 2, "skip_nonfinite": True},
    "scale": {"loss_scale_factor": 8.0, "clipnorm": 1.0},
    "groups": {"groups": {"": {"learning_rate_factor": 0.5}}},
}
v1 = tf.compat.v1


@contextlib.contextmanager
def graph():
    with tf.Graph().as_default(), v1.Session() as session:
        yield session


@each_plain_kind
def test_a_session_does_what_eager_mode_does(case):
    steps = gradients(5)
    with graph() as session:
        variables = start()
        losses = [v1.placeholder(tf.float64, v.shape) for v in variables]
        optimizer = case.make()

        def loss():
            return tf.add_n([tf.reduce_sum(p * v) for p, v in zip(losses, variables, strict=True)])

        update = optimizer.minimize(loss, variables)
        session.run(v1.global_variables_initializer())
        for grads in steps:
            session.run(update, dict(zip(losses, grads, strict=True)))
        values, weights = session.run(variables), optimizer.get_weights()
    expected, eager = start(), case.make()
    train(eager, expected, steps)
    assert_same([*values, *weights], values_of(expected, eager))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_policies_in_a_session(name, policy):
    steps = gradients(5, shapes=[(4, 2)])

    def make():
        return getattr(tfopt, name)(0.125, **POLICIES[policy])

    def finished(optimizer, variable, run):
        result = [run(variable), *optimizer.get_weights()]
        if policy == "averages":
            with optimizer.averaged_weights():
                result.append(run(variable))
        return result

    with graph() as session:
        [variable], gradient = start(shapes=[(4, 2)]), v1.placeholder(tf.float64, (4, 2))
        optimizer = make()
        update = optimizer.apply_gradients([(gradient, variable)])
        flush = optimizer.flush()
        session.run(v1.global_variables_initializer())
        for [grad] in steps:
            session.run(update, {gradient: grad})
        session.run(flush)
        in_graph = finished(optimizer, variable, session.run)
    [variable], optimizer = start(shapes=[(4, 2)]), make()
    train(optimizer, [variable], steps)
    optimizer.flush()
    assert_same(in_graph, finished(optimizer, variable, lambda variable: variable.numpy()))


@pytest.mark.parametrize("way", ["Saver", "Checkpoint", "weights"])
def test_state_goes_on_in_another_session(way, tmp_path):
    path = str(tmp_path / "state")

    def build(session):
        x = v1.get_variable("x", initializer=[1.0, 2.0], use_resource=True)
        scale = v1.placeholder(tf.float32, [])
        optimizer = tfopt.Adam(0.5, use_ema=True)
        update = optimizer.minimize(lambda: tf.reduce_sum(scale * x * x), [x])
        session.run(v1.global_variables_initializer())
        return x, scale, optimizer, update

    with graph() as session:
        x, scale, optimizer, update = build(session)
        for _ in range(2):
            session.run(update, {scale: 2.0})
        middle = [session.run(x), *optimizer.get_weights()]
        if way == "Saver":
            v1.train.Saver().save(session, path)
        elif way == "Checkpoint":
            path = v1.train.Checkpoint(x=x, optimizer=optimizer).save(path, session=session)
        for _ in range(2):
            session.run(update, {scale: 2.0})
        end = [session.run(x), *optimizer.get_weights()]
    with graph() as session:
        x, scale, optimizer, update = build(session)
        if way == "Saver":
            v1.train.Saver().restore(session, path)
        elif way == "Checkpoint":
            status = v1.train.Checkpoint(x=x, optimizer=optimizer).restore(path)
            status.assert_existing_objects_matched().run_restore_ops(session)
        else:
            x.load(middle[0], session)
            optimizer.set_weights(middle[1:])
        for _ in range(2):
            session.run(update, {scale: 2.0})
        assert_same([session.run(x), *optimizer.get_weights()], end)


def test_an_optimizer_of_tensorflow_1_in_a_session():
    with graph() as session:
        x = v1.get_variable("x", initializer=[1.0, 2.0], use_resource=True)
        optimizer = tfopt.get(v1.train.MomentumOptimizer(0.25, 0.5))
        update = optimizer.minimize(lambda: tf.reduce_sum(x * x), [x])
        session.run(v1.global_variables_initializer())
        for _ in range(2):
            session.run(update)
        np.testing.assert_allclose(session.run(x), [0.0, 0.0], atol=1e-6)
        assert session.run(optimizer.iterations) == 2


# --- state that eager mode wrote, loaded in a session ---------------------------------------------


def written(optimizer, own):
    optimizer.apply_gradients([(tf.ones_like(v), v) for v in own])
    store = {}
    optimizer.save_own_variables(store)
    return store, optimizer.get_weights()


def two(make=tf.Variable):
    return [make([1.0, 2.0], name="a"), make([3.0], name="b")]


@pytest.mark.parametrize("way", ["list", "store"])
def test_state_is_loaded_before_the_first_variable_is_initialized(way):
    store, weights = written(tfopt.Adam(0.1), two())
    with graph() as session:
        optimizer = tfopt.Adam(0.1)
        if way == "list":
            optimizer.set_weights(weights)
        else:
            optimizer.load_own_variables(store)
        assert session.run(optimizer.iterations) == 1
        optimizer.build(two())
        assert_same(optimizer.get_weights(), weights)


def test_a_file_that_fits_in_part_is_loaded():
    store, weights = written(tfopt.Adam(0.1), two()[:1])
    with graph() as session:
        optimizer = tfopt.Adam(0.1)
        own = two()
        optimizer.build(own)
        session.run(v1.global_variables_initializer())
        slot = optimizer.get_slot(own[1], "m")
        slot.load(np.ones(1, "f4"), session)
        with pytest.warns(tfopt.TfoptWarning, match="2 of 4 slots"):
            optimizer.load_own_variables(store)
        assert_same(session.run(optimizer.get_slot(own[0], "m")), weights[1])
        assert_same(session.run(slot), np.zeros(1))


def test_a_file_that_does_not_say_its_schedule_is_loaded():
    store, _ = written(tfopt.Adam(lambda: 0.25), two())
    with graph() as session:
        optimizer = tfopt.Adam(tfopt.schedules.ExponentialDecay(0.5, 1, 0.5))
        with pytest.warns(tfopt.TfoptWarning, match="step 1, where `learning_rate` is 0.25"):
            optimizer.load_own_variables(store)
        assert session.run(optimizer.iterations) == 1
