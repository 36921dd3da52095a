"""Variables that turn up late, take turns, or belong to a strategy; steps in functions."""

import numpy as np
import pytest
import tensorflow as tf

import tfopt

# --- variables that turn up late ------------------------------------------------------------------


def test_a_second_function_brings_a_new_variable():
    a, b, opt = tf.Variable(1.0), tf.Variable(1.0), tfopt.Adam(0.5)

    @tf.function
    def first():
        opt.minimize(lambda: a * a, [a])

    @tf.function
    def second():
        opt.minimize(lambda: a * b, [a, b])

    first()
    kept = opt.get_slot(a, "v").numpy()
    second()
    first()
    assert opt.get_slot(b, "m").numpy() != 0
    assert opt.get_slot(a, "v").numpy() != kept
    assert opt.iterations.numpy() == 3
    expected = [opt.get_slot(variable, name) for variable in (a, b) for name in ("m", "v")]
    assert all(w is e for w, e in zip(opt.weights[1:], expected, strict=True))


def test_one_function_brings_a_new_variable_when_it_is_traced_again():
    a, b, opt, traces = tf.Variable(1.0), tf.Variable(1.0), tfopt.Adam(0.5), []

    @tf.function
    def step(both):
        traces.append(both)
        opt.minimize(lambda: a * b, [a, b] if both else [a])

    for both in (False, False, True, True, False):
        step(both)
    assert traces == [False, True]
    assert opt.iterations.numpy() == 5


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_alternating_partial_lists_are_two_optimizers_by_turns(mode):
    variables = [tf.Variable(1.0), tf.Variable(2.0), tf.Variable(3.0)]
    opt = tfopt.SGD(0.5, momentum=0.5)
    turns = [[0, 1], [2], [1, 2], [0, 1], [2, 1, 0]]
    expected, momentum = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    for turn in turns:
        chosen = [variables[i] for i in turn]

        def step(chosen=chosen):
            opt.apply_gradients([(tf.constant(1.0), v) for v in chosen])

        (step if mode == "eager" else tf.function(step))()
        momentum[turn] = 0.5 * momentum[turn] - 0.5
        expected[turn] += momentum[turn]
    np.testing.assert_allclose(variables, expected, rtol=1e-6)
    assert opt.iterations.numpy() == len(turns)


def test_a_gan_with_two_optimizers_in_one_function():
    generator, critic = tf.Variable(1.0), tf.Variable(-1.0)
    first, second = tfopt.Adam(0.1), tfopt.RMSprop(0.1)

    @tf.function
    def step():
        with tf.GradientTape(persistent=True) as tape:
            loss = generator * critic
        first.apply_gradients([(tape.gradient(loss, generator), generator)])
        second.apply_gradients([(-tape.gradient(loss, critic), critic)])

    for _ in range(3):
        step()
    assert first.iterations.numpy() == second.iterations.numpy() == 3
    assert generator.numpy() > 1.0
    assert critic.numpy() > -1.0


# --- in functions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", tfopt.optimizers.__all__)
def test_first_used_inside_a_function(name, jit_compile):
    variable = tf.Variable([1.0, 2.0])
    opt = getattr(tfopt, name)(0.5)

    @tf.function(jit_compile=jit_compile)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((variable * x) ** 2)
        return opt.apply_gradients([(tape.gradient(loss, variable), variable)])

    assert [int(step(tf.constant(1.0))) for _ in range(3)] == [1, 2, 3]
    other, eager = tf.Variable([1.0, 2.0]), getattr(tfopt, name)(0.5)
    for _ in range(3):
        eager.minimize(lambda: tf.reduce_sum(other**2), [other])
    np.testing.assert_allclose(variable, other.numpy(), rtol=1e-5)


def test_one_optimizer_in_a_loop_inside_a_function():
    variable, opt = tf.Variable(1.0), tfopt.SGD(0.5)

    @tf.function
    def train(steps):
        for _ in tf.range(steps):
            opt.minimize(lambda: variable * variable / 2.0, [variable])

    train(tf.constant(3))
    assert variable.numpy() == 0.125
    assert opt.iterations.numpy() == 3


def test_inside_a_cond():
    variable, opt = tf.Variable(1.0), tfopt.Adam(0.5)

    @tf.function
    def step(go):
        if go:
            opt.minimize(lambda: variable * variable, [variable])

    step(tf.constant(False))
    assert opt.iterations.numpy() == 0
    step(tf.constant(True))
    assert opt.iterations.numpy() == 1


# --- under a strategy -----------------------------------------------------------------------------


def test_made_outside_the_scope(mirrored):
    opt = tfopt.Nadam(0.5)
    with mirrored.scope():
        variable, late = tf.Variable(1.0), tf.Variable(1.0)

    @tf.function
    def step(both):
        mirrored.run(
            lambda: opt.minimize(
                lambda: variable * variable + late, [variable, late] if both else [variable]
            )
        )

    step(False)
    step(True)
    assert opt.iterations.numpy() == 2
    slot = opt.get_slot(late, "m")
    assert len(mirrored.experimental_local_results(slot)) == 2


def test_eager_replicas(mirrored):
    """Without a function around `strategy.run`."""
    with mirrored.scope():
        variable, opt = tf.Variable([1.0, 2.0]), tfopt.Adam(0.5, clipnorm=1.0)
    for _ in range(2):
        mirrored.run(lambda: opt.apply_gradients([(tf.constant([1.0, 0.0]), variable)]))
    assert opt.iterations.numpy() == 2
    copies = mirrored.experimental_local_results(variable)
    np.testing.assert_array_equal(copies[0], copies[1])
    np.testing.assert_allclose(copies[0], [0.0, 2.0], atol=1e-5)


def test_a_mirrored_variable_outside_its_strategy_is_refused(mirrored):
    with mirrored.scope():
        variable = tf.Variable([1.0, 2.0])
    with pytest.raises(RuntimeError, match="strategy.run"):
        tfopt.SGD().apply_gradients([(tf.ones(2), variable)])
    for copy in mirrored.experimental_local_results(variable):
        np.testing.assert_array_equal(copy, [1.0, 2.0])


def test_a_build_that_fails_leaves_nothing(mirrored):
    plain = tf.Variable(1.0)
    with mirrored.scope():
        opt, variables = tfopt.Adam(), [tf.Variable(1.0), plain]
        with pytest.raises(ValueError, match="scope"):
            opt.build(variables)
        assert len(opt.weights) == 1
        assert not opt.built
        opt.build(variables[:1])
        assert len(opt.weights) == 3


def test_a_plain_variable_under_a_strategy_is_refused(mirrored):
    variable, opt = tf.Variable(1.0), tfopt.Adam()

    @tf.function
    def step():
        mirrored.run(lambda: opt.apply_gradients([(tf.constant(1.0), variable)]))

    with pytest.raises(ValueError, match="scope"):
        step()
