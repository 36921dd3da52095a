"""Loss scales: the fixed one, the wrapper with one that finds its size, and mixed precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import each_library, linear_data, linear_model
from training import assert_same, each_plain_kind, rows, start

import tfopt


@each_plain_kind
def test_a_fixed_loss_scale_cancels(case):
    variables, expected = start(), start()
    optimizer, plain = case.make(loss_scale_factor=1024.0), case.make()
    for _ in range(3):
        optimizer.minimize(lambda: sum(tf.reduce_sum(v**2) for v in variables), variables)
        plain.minimize(lambda: sum(tf.reduce_sum(v**2) for v in expected), expected)
    assert_same(variables, expected)


@pytest.mark.parametrize("wrap", [False, True])
def test_updates_of_a_graph_are_scaled_and_unscaled(wrap):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.Variable([1.0])
        optimizer = tfopt.SGD(1.0, loss_scale_factor=None if wrap else 4.0)
        optimizer = tfopt.LossScaleOptimizer(optimizer, 4.0) if wrap else optimizer
        [update] = optimizer.get_updates(tf.reduce_sum(x), [x])
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(update)
        assert session.run(x) == [0.0]


@pytest.mark.parametrize("vocabulary", ["minimize", "tape", "Keras 3", "tf-keras", "function"])
@pytest.mark.parametrize("graph", [False, True])
def test_loss_scaling_in_everybodys_words(vocabulary, graph):
    x, expected = tf.Variable([1.0, 2.0]), tf.Variable([1.0, 2.0])
    optimizer = tfopt.LossScaleOptimizer(tfopt.SGD(0.25, momentum=0.5))

    def step():
        if vocabulary == "minimize":
            optimizer.minimize(lambda: tf.reduce_sum(x * x), [x])
            return
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(x * x)
            if vocabulary == "Keras 3":
                loss = optimizer.scale_loss(loss)
            elif vocabulary == "tf-keras":
                loss = optimizer.get_scaled_loss(loss)
            elif vocabulary == "function":
                loss = optimizer.get_scaled_loss(lambda: tf.reduce_sum(x * x))()
        if vocabulary == "tape":
            optimizer.minimize(loss, [x], tape=tape)
            return
        grads = tape.gradient(loss, [x])
        if vocabulary in ("tf-keras", "function"):
            grads = optimizer.get_unscaled_gradients(grads)
        optimizer.apply_gradients(zip(grads, [x], strict=True))

    step = tf.function(step) if graph else step
    plain = tfopt.SGD(0.25, momentum=0.5)
    for _ in range(3):
        step()
        plain.minimize(lambda: tf.reduce_sum(expected * expected), [expected])
    assert_same(x.numpy(), expected.numpy())


def test_the_scale_finds_its_size():
    x = tf.Variable(0.0)
    optimizer = tfopt.LossScaleOptimizer(tfopt.SGD(0.0), 4.0, 2)
    seen = []
    for gradient in (1.0, 1.0, 1.0, np.nan, 1.0, 1.0, np.inf, np.inf, np.inf, np.inf):
        optimizer.apply_gradients([(gradient, x)])
        seen.append((float(optimizer.loss_scale), int(optimizer.dynamic_counter)))
    assert seen[:6] == [(4, 1), (8, 0), (8, 1), (4, 0), (4, 1), (8, 0)]
    assert seen[6:] == [(4, 0), (2, 0), (1, 0), (1, 0)]
    assert optimizer.iterations.numpy() == 5 and optimizer.skipped_steps.numpy() == 5
    fixed = tfopt.LossScaleOptimizer(tfopt.SGD(0.5), initial_scale=4.0, dynamic=False)
    fixed.apply_gradients([(np.inf, x)])
    fixed.apply_gradients([(4.0, x)])
    assert float(fixed.loss_scale) == 4 and float(x) == -0.5
    assert fixed.dynamic_growth_steps is None and not fixed.dynamic


def test_rows_are_unscaled_and_none_is_left_alone():
    optimizer = tfopt.LossScaleOptimizer(tfopt.SGD(), 4.0)
    slices, nothing = optimizer.get_unscaled_gradients([rows([[4.0]], [1], (3, 1)), None])
    assert slices.values.numpy() == 1 and slices.indices.numpy() == 1 and nothing is None
    table = tf.Variable(tf.zeros([3, 1]))
    optimizer.scale_loss(tf.constant(1.0))  # from now on steps divide
    optimizer.apply_gradients([(rows([[4.0]], [1], (3, 1)), table)])
    np.testing.assert_allclose(table.numpy(), [[0], [-0.01], [0]])


@pytest.mark.parametrize("loss", [2.0, 2, np.float32(2), tf.constant(2.0, tf.float16)])
def test_a_loss_may_be_a_plain_number(loss):
    for optimizer in (
        tfopt.LossScaleOptimizer(tfopt.SGD(), 0.5),
        tfopt.SGD(loss_scale_factor=0.5),
    ):
        scaled = optimizer.scale_loss(loss)
        assert scaled.dtype == getattr(loss, "dtype", tf.float32)
        assert scaled.numpy() == 1.0


def test_states_that_no_scale_has():
    optimizer = tfopt.LossScaleOptimizer("sgd", 8.0, 3)
    before = optimizer.get_weights()
    for bad in ([np.nan, 0, 0], [0.0, 0, 0], [8.0, -1, 0], [8.0, [1], 0]):
        with pytest.raises(ValueError, match="scale"):
            optimizer.set_weights([np.array(0), *map(np.array, bad)])
    names = ("loss_scale", "dynamic_counter", "skipped_steps")
    with pytest.warns(tfopt.TfoptWarning, match="not loaded.*scale > 0"):  # and a model loads
        optimizer.load_own_variables(dict(zip(names, (99.0, [[1]], 0), strict=True)))
    assert_same(optimizer.get_weights(), before)
    with pytest.raises(ValueError, match="loss_scale_factor"):
        optimizer.loss_scale_factor = 4.0
    optimizer.set_weights([np.array(0), np.array(8.0), np.array(5), np.array(0)])
    optimizer.apply_gradients([(1.0, tf.Variable(1.0))])  # a counter past the end grows, too
    assert float(optimizer.loss_scale) == 16


# --- the wrapper ----------------------------------------------------------------------------------


def test_the_inner_optimizer_counts_too():
    inner = tfopt.SGD(skip_nonfinite=True)
    optimizer = tfopt.LossScaleOptimizer(inner)
    optimizer.apply_gradients([(np.inf, tf.Variable(1.0))])
    assert inner.skipped_steps.numpy() == optimizer.skipped_steps.numpy() == 1


def test_hyperparameters_of_the_inner_optimizer_are_the_wrappers():
    inner = tfopt.SGD(0.5, momentum=0.5)
    optimizer = tfopt.LossScaleOptimizer(inner)
    optimizer.learning_rate = 0.25
    optimizer.momentum = 0.75
    assert inner.lr.numpy() == optimizer.lr.numpy() == 0.25
    assert inner.momentum.numpy() == optimizer.momentum.numpy() == 0.75
    x = tf.Variable(1.0)
    optimizer.apply_gradients([(1.0, x)])
    assert optimizer.get_slot(x, "momentum") is inner.get_slot(x, "momentum")
    with pytest.raises(AttributeError):
        _ = optimizer.beta_1


def test_a_step_of_ones_own_is_not_passed_over():
    class Counting(tfopt.SGD):
        steps = 0

        def apply_gradients(self, *args, **kwargs):
            self.steps += 1
            return super().apply_gradients(*args, **kwargs)

    optimizer, x = Counting(), tf.Variable(1.0)
    optimizer.apply([tf.ones([])], [x])
    assert optimizer.steps == 1
    tfopt.LossScaleOptimizer(optimizer).apply([tf.ones([])], [x])
    assert optimizer.steps == 2


def test_a_step_of_ones_own_that_calls_no_other_is_refused():
    class Nothing(tfopt.SGD):
        def apply_gradients(self, *args, **kwargs):
            return self.iterations

    optimizer = tfopt.LossScaleOptimizer(Nothing())
    with pytest.raises(RuntimeError, match="apply_gradients"):
        optimizer.apply([tf.ones([])], [tf.Variable(1.0)])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inner_optimizer": keras.optimizers.SGD()}, TypeError, "inner_optimizer"),
        ({"inner_optimizer": tfopt.SGD(loss_scale_factor=2.0)}, ValueError, "loss_scale_factor"),
        ({"initial_scale": 0}, ValueError, "initial_scale"),
        ({"initial_scale": True}, ValueError, "initial_scale"),
        ({"dynamic_growth_steps": 0}, ValueError, "dynamic_growth_steps"),
        ({"dynamic_growth_steps": 1.5}, ValueError, "dynamic_growth_steps"),
        ({"dynamic": False}, ValueError, "initial_scale"),
        ({"dynamic": 1}, TypeError, "dynamic"),
        ({"name": ""}, ValueError, "name"),
    ],
)
def test_a_loss_scale_of_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        tfopt.LossScaleOptimizer(**{"inner_optimizer": "sgd", **arguments})


# --- Keras ----------------------------------------------------------------------------------------


@pytest.fixture
def mixed_float16(library):
    policies = library.mixed_precision
    set_policy = getattr(policies, "set_dtype_policy", None) or policies.set_global_policy
    set_policy("mixed_float16")
    yield
    set_policy("float32")


@each_library
@pytest.mark.parametrize("wrapped", ["by us", "by Keras"])
def test_mixed_precision(library, wrapped, mixed_float16, tmp_path):
    optimizer = tfopt.Adam(0.01)
    if wrapped == "by us":
        optimizer = tfopt.LossScaleOptimizer(optimizer, dynamic_growth_steps=3)
    model, (inputs, targets) = linear_model(library, optimizer), linear_data()
    if wrapped == "by us":
        assert model.optimizer is optimizer
        assert isinstance(optimizer, tf.Module)
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        assert isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
    else:
        assert model.optimizer.inner_optimizer is optimizer
    losses = model.fit(inputs, targets, 4, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    if wrapped == "by us":
        assert optimizer.iterations.numpy() + optimizer.skipped_steps.numpy() == 20
        model.save(tmp_path / "model.keras")
        again = library.models.load_model(tmp_path / "model.keras")
        assert type(again.optimizer) is tfopt.LossScaleOptimizer
        assert_same(again.optimizer.get_weights(), optimizer.get_weights())
        for both in (model, again):
            both.fit(inputs, targets, 4, shuffle=False, verbose=0)
        assert_same(again.get_weights(), model.get_weights())
        assert_same(again.optimizer.get_weights(), optimizer.get_weights())


def test_inside_keras_wrapper_no_replica_spoils_the_weights(mirrored):
    """Keras 3's wrapper looks at the first replica only."""
    with mirrored.scope():
        variable = keras.Variable([1.0, 2.0])
        inner = tfopt.Adam(0.1)
        optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1.0)
        optimizer.build([variable])

    def replica(gradients):
        replica_id = tf.distribute.get_replica_context().replica_id_in_sync_group
        optimizer.apply_gradients([(tf.gather(gradients, replica_id), variable)])

    step = tf.function(lambda gradients: mirrored.run(replica, args=(gradients,)))
    step(tf.ones([2, 2]))
    before = [*inner.get_weights(), variable.numpy()]
    step(tf.constant([[1.0, 1.0], [1.0, np.nan]]))
    assert_same([*inner.get_weights(), variable.numpy()], before)
    step(tf.ones([2, 2]))
    assert inner.iterations.numpy() == 2
    assert np.all(variable.numpy() < before[-1])


@each_library
def test_configs_of_both_wrappers_make_ours(library):
    if library is keras:
        theirs = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5), 8.0, 5)
        config = keras.optimizers.serialize(theirs)
    else:
        inner = tf_keras.optimizers.SGD(0.5)
        theirs = tf_keras.mixed_precision.LossScaleOptimizer(inner, True, 8.0, 5)
        config = tf_keras.optimizers.serialize(theirs, use_legacy_format=True)
    ours = tfopt.get(config)
    assert type(ours) is tfopt.LossScaleOptimizer
    assert (ours.initial_scale, ours.dynamic_growth_steps) == (8.0, 5)
    assert type(ours.inner_optimizer) is tfopt.SGD
    assert ours.learning_rate.numpy() == 0.5
    again = tfopt.deserialize(tfopt.serialize(ours))
    assert again.get_config() == ours.get_config()


def test_no_name_of_keras_leaks_into_the_wrapper():
    tracking = set(dir(tf.Module)) - set(dir(object))
    for name in dir(tfopt.LossScaleOptimizer):
        owner = next(c for c in tfopt.LossScaleOptimizer.__mro__ if name in vars(c))
        if not name.startswith("_") or name in tracking:
            assert owner.__module__.startswith(("tfopt", "tensorflow.python.")), name
