"""Steps as functions: equal to steps on variables, pure, and differentiable."""

import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf
from training import (
    PLAIN,
    assert_same,
    each,
    gradients,
    of_each_kind,
    of_some_kinds,
    rows_of,
    start,
    train,
    value_of,
    values_of,
)

import tfopt

STEPS = 5
each_kind = each(of_each_kind(PLAIN))
POLICIES = {
    "": {},
    "clipping and decay": {"global_clipnorm": 0.5, "weight_decay": 0.25, "clipvalue": 0.75},
    "groups": {"groups": [(lambda v: len(v.shape) == 1, {"learning_rate_factor": 0.5})]},
    "a schedule": {"learning_rate": tfopt.schedules.ExponentialDecay(0.25, 2, 0.5)},
}


def without_kernel(optimizer):
    """Takes the plain path: kernels and XLA round otherwise."""
    optimizer._engine.paths = tuple(
        path for path in optimizer._engine.paths if path.name in ("plain", "rows")
    )
    return optimizer


def steps_of(optimizer, values, steps):
    state = tfopt.functional.init(optimizer, values)
    for grads in steps:
        values, state = tfopt.functional.step(optimizer, grads, values, state)
    return values, state


def assert_as_on_variables(optimizer, variables, values, state, tolerance=0):
    assert_same(values_of(variables), [value.numpy() for value in values], tolerance)
    for variable, slots in zip(variables, state.slots, strict=True):
        for name, slot in slots.items():
            assert_same(value_of(optimizer.get_slot(variable, name)), slot.numpy(), tolerance)
    assert state.iterations.numpy() == optimizer.iterations.numpy()


@each_kind
@pytest.mark.parametrize("policy", POLICIES)
def test_steps_equal_those_on_variables_bit_for_bit(case, policy):
    options = POLICIES[policy]
    if case.cls.decays is None and "weight_decay" in options:
        options = {"global_clipnorm": 0.5}
    optimizer, variables = without_kernel(case.make(jit_compile=False, **options)), start()
    steps = gradients(STEPS)
    train(optimizer, variables, steps, "graph")
    pure = case.make(**options)

    @tf.function
    def step(grads, values, state):
        return tfopt.functional.step(pure, grads, values, state)

    values = [tf.constant(value) for value in values_of(start())]
    state = tfopt.functional.init(pure, values)
    for grads in steps:
        values, state = step([tf.constant(g) for g in grads], values, state)
    assert_as_on_variables(optimizer, variables, values, state)
    assert not pure.built and pure.get_weights() == [0]  # nothing is changed


@each(of_some_kinds(PLAIN))
@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_eager_and_xla(case, mode):
    variables, steps = start(), gradients(STEPS)
    optimizer, pure = case.make(), case.make()
    train(optimizer, variables, steps)
    step = tf.function(
        lambda g, v, s: tfopt.functional.step(pure, g, v, s), jit_compile=mode == "xla"
    )
    values = tuple(map(tf.constant, values_of(start())))
    state = tfopt.functional.init(pure, values)
    for grads in steps:
        make = step if mode == "xla" else step.python_function
        values, state = make(tuple(map(tf.constant, grads)), values, state)
    assert_as_on_variables(optimizer, variables, values, state, 1e-12)


@each_kind
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits(case, dtype):
    variables = start(dtype)
    steps = [[tf.cast(g, dtype) for g in grads] for grads in gradients(2)]
    optimizer = without_kernel(case.make(jit_compile=False))
    train(optimizer, variables, steps, "graph", tf.identity)
    values = [tf.cast(value, dtype) for value in values_of(start())]
    values, state = tf.function(lambda v: steps_of(case.make(), v, steps))(values)
    assert values[0].dtype == dtype
    assert_as_on_variables(optimizer, variables, values, state, 1e-2)


def test_rows_are_made_dense():
    variables, values = start(), [tf.constant(v) for v in values_of(start())]
    optimizer, pure = tfopt.Adam(0.125, lazy=False), tfopt.Adam(0.125)
    steps = [[rows_of(g)[0] if g.ndim == 2 else tf.constant(g) for g in grads]
             for grads in gradients(3)]  # fmt: skip
    train(optimizer, variables, steps)
    values, state = steps_of(pure, values, steps)
    assert_as_on_variables(optimizer, variables, values, state, 1e-12)


def test_any_structure_and_missing_gradients():
    optimizer = tfopt.MultiOptimizer({"^body": tfopt.Nadam(0.5)}, tfopt.SGD(0.25))
    values = {"body": {"kernel": tf.ones([2, 2])}, "head": (tf.ones([2]), tf.ones([]))}
    state = tfopt.functional.init(optimizer, values)
    grads = {"body": {"kernel": tf.ones([2, 2])}, "head": (tf.ones([2]), None)}
    values, state = tfopt.functional.step(optimizer, grads, values, state)
    assert_same(values["head"][0].numpy(), np.full(2, 0.75, "float32"))
    assert float(values["head"][1]) == 1.0 and values["body"]["kernel"].numpy()[0, 0] < 0.75
    assert sorted(state.slots[0]) == ["m", "v"] and state.slots[1:] == ({}, {})
    assert list(state.scalars) == ["Nadam.momentum_cache"]
    assert state.scalars["Nadam.momentum_cache"].numpy() != 1


def test_a_group_that_is_left_alone():
    optimizer = tfopt.Adam(0.5, groups={"a": {"learning_rate": 0}})
    values = {"a": tf.ones([2]), "b": tf.ones([2])}
    new, state = steps_of(optimizer, values, [values])
    assert_same(new["a"].numpy(), np.ones(2, "float32"))
    assert state.slots[0] == {} and new["b"].numpy()[0] < 1


# --- derivatives ----------------------------------------------------------------------------------


def loss_after(optimizer, values, start, **numbers):
    """The loss of a quadratic after some steps on it."""
    scale = tf.constant([1.0, 3.0, 0.5], tf.float64)
    state = tfopt.functional.init(optimizer, values)
    for _ in range(3):
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = tf.reduce_sum(scale * (values - 1) ** 2)
        gradient = tape.gradient(loss, values)
        values, state = tfopt.functional.step(optimizer, gradient, values, state, **numbers)
    return tf.reduce_sum(scale * (values - 1) ** 2)


@each_kind
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_derivatives_equal_finite_differences(case, mode):
    """With respect to the learning rate, and to the values to begin with."""
    if case.cls is tfopt.Lion:
        pytest.skip("its derivative with respect to values is that of signs")
    optimizer = case.make()
    first = tf.constant([0.25, -0.5, 2.0], tf.float64)

    def loss(rate, values):
        return loss_after(optimizer, values, first, learning_rate=rate)

    def derivatives(rate, values):
        with tf.GradientTape() as tape:
            tape.watch([rate, values])
            result = loss(rate, values)
        return tape.gradient(result, [rate, values])

    if mode != "eager":
        derivatives = tf.function(derivatives, jit_compile=mode == "xla")
    rate, step = tf.constant(0.0625, tf.float64), 1e-5
    by_rate, by_values = derivatives(rate, first)
    expected = (loss(rate + step, first) - loss(rate - step, first)) / (2 * step)
    np.testing.assert_allclose(by_rate, expected, 1e-5, 1e-7)
    for i, move in enumerate(np.eye(3) * step):
        expected = (loss(rate, first + move) - loss(rate, first - move)) / (2 * step)
        np.testing.assert_allclose(by_values[i], expected, 1e-4, 1e-6)


@each(of_some_kinds(PLAIN))
def test_many_at_once(case):
    """Each model of a batch takes the steps that it takes alone."""
    optimizer, steps = case.make(), gradients(2, shapes=[(4, 5, 3)])
    values = tf.constant(np.random.default_rng(0).normal(size=(4, 5, 3)))

    def alone(parts):
        value, *grads = parts
        return steps_of(optimizer, value, grads)[0]

    together = tf.vectorized_map(alone, (values, *[tf.constant(g[0]) for g in steps]))
    for i in range(4):
        expected = alone((values[i], *[tf.constant(g[0][i]) for g in steps]))
        assert_same(together[i].numpy(), expected.numpy(), 1e-10)


def test_threads_do_not_meet():
    optimizer = tfopt.SGD(1.0, groups={"a": {"learning_rate_factor": 0.5}})

    def run(name):
        values = {name: tf.zeros([1])}
        new, _ = steps_of(optimizer, values, [{name: tf.ones([1])}] * 40)
        return float(new[name][0])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, ["a", "b"] * 8))
    assert found == [-20.0, -40.0] * 8


# --- errors ---------------------------------------------------------------------------------------


def test_what_needs_variables_raises():
    class Hooked(tfopt.Optimizer):
        def resource_apply_dense(self, grad, var):
            return var.assign_sub(grad)

    for optimizer, text in (
        (tfopt.Adam(use_ema=True), "must not use `use_ema`"),
        (tfopt.Adam(gradient_accumulation_steps=2), "must not use `gradient_accumulation_steps`"),
        (tfopt.Adam(skip_nonfinite=True), "must not use `skip_nonfinite`"),
        (tfopt.Adam(master_weights=True), "must not use `master_weights`"),
        (Hooked(), "must define `update`"),
    ):
        with pytest.raises(ValueError, match=text):
            tfopt.functional.init(optimizer, [tf.ones([2])])
    with pytest.raises(TypeError, match="must be a tfopt.Optimizer"):
        tfopt.functional.init(tf.keras.optimizers.Adam(), [tf.ones([2])])


def test_what_does_not_fit_raises():
    optimizer, values = tfopt.Adam(), [tf.ones([2])]
    state = tfopt.functional.init(optimizer, values)
    with pytest.raises(ValueError, match="must be for 1 values; got 2 gradients"):
        tfopt.functional.step(optimizer, [tf.ones([2])] * 2, values, state)
    with pytest.raises(ValueError, match="The gradient of `0` must have shape"):
        tfopt.functional.step(optimizer, [tf.ones([3])], values, state)
    named = {"a": tf.ones([2]), "b": tf.ones([2])}
    of_named = tfopt.functional.init(optimizer, named)
    with pytest.raises(ValueError, match="`gradients` must have the structure.*a, b; got x, y"):
        other = {"x": tf.ones([2]), "y": tf.ones([2])}
        tfopt.functional.step(optimizer, other, named, of_named)
    with pytest.raises(ValueError, match="`learning_rate` must be a scalar"):
        tfopt.functional.step(optimizer, values, values, state, learning_rate=[1.0, 2.0])
    with pytest.raises(ValueError, match="`0` must be of a float dtype; got int32"):
        tfopt.functional.init(optimizer, [tf.ones([2], tf.int32)])
    variable = tf.Variable([1.0], constraint=lambda x: x)
    with pytest.raises(ValueError, match="must have no constraint"):
        tfopt.functional.init(optimizer, [variable])
    grouped = tfopt.Adam(groups=[(variable, {"learning_rate": 0.5})])
    with pytest.raises(ValueError, match="by patterns or functions"):
        tfopt.functional.init(grouped, values)
    with pytest.raises(TypeError, match="`momentum` is no hyperparameter"):
        tfopt.functional.step(optimizer, values, values, state, momentum=0.5)


def test_a_traced_step_logs_nothing(caplog):
    """AutoGraph would try to rewrite what a step calls, and fail at methods without a body."""

    @tf.function
    def train(values, state):
        return tfopt.functional.step(optimizer, values, values, state)

    optimizer, values = tfopt.SGD(0.5, momentum=0.5), [tf.constant([1.0])]
    tf.get_logger().addHandler(caplog.handler)
    try:
        train(values, tfopt.functional.init(optimizer, values))
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert not caplog.messages
