"""What TensorFlow's reference pages of its optimizers promise, item by item.

What they say of `get` is in get_test.py, and of the methods to override in hooks_test.py.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import each_library

import tfopt

# --- the optimizers page --------------------------------------------------------------------------


@each_library
def test_compile_by_instance_as_the_page_shows(library):
    model = library.Sequential()
    model.add(library.layers.Dense(64, kernel_initializer="uniform", input_shape=(10,)))
    model.add(library.layers.Activation("softmax"))
    opt = tfopt.Adam(learning_rate=0.01)
    model.compile(loss="categorical_crossentropy", optimizer=opt)
    assert model.optimizer is opt
    assert isinstance(model.optimizer, tf.Module)
    targets = np.eye(64, dtype="float32")[:32]
    before = model.get_weights()[0]
    model.fit(np.random.rand(32, 10), targets, verbose=0)
    assert not np.allclose(before, model.get_weights()[0])


def test_custom_loop_as_the_page_shows():
    optimizer = tfopt.Adam()
    model = keras.Sequential([keras.layers.Dense(2)])
    loss_fn = keras.losses.MeanSquaredError()
    dataset = [(tf.random.normal([4, 3]), tf.random.normal([4, 2])) for _ in range(3)]
    for x, y in dataset:
        with tf.GradientTape() as tape:
            logits = model(x)
            loss_value = loss_fn(y, logits)
        gradients = tape.gradient(loss_value, model.trainable_weights)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    assert optimizer.iterations.numpy() == 3


def test_clipping_applies_in_apply_gradients_too():
    """The page's remark that it does not is older than TensorFlow 2.4."""
    variable = tf.Variable([0.0, 0.0])
    opt = tfopt.SGD(1.0, clipnorm=1.0)
    opt.apply_gradients([(tf.constant([3.0, 4.0]), variable)])
    np.testing.assert_allclose(variable, [-0.6, -0.8], rtol=1e-6)


@each_library
def test_schedule_as_the_page_shows(library):
    lr_schedule = library.optimizers.schedules.ExponentialDecay(
        initial_learning_rate=1e-2, decay_steps=10000, decay_rate=0.9
    )
    optimizer = tfopt.SGD(learning_rate=lr_schedule)
    x = tf.Variable(1.0)
    for step in range(3):
        expected = x.numpy() - 1e-2 * 0.9 ** (step / 10000)
        optimizer.apply_gradients([(tf.constant(1.0), x)])
        np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_user_aggregates_gradients(mirrored):
    with mirrored.scope():
        variable = tf.Variable(0.0)
        optimizer = tfopt.SGD(1.0)

    @tf.function
    def step():
        def replica():
            grads = [tf.constant(1.0)]
            grads = tf.distribute.get_replica_context().all_reduce("sum", grads)
            optimizer.apply_gradients(
                zip(grads, [variable], strict=True), experimental_aggregate_gradients=False
            )

        mirrored.run(replica)

    step()
    np.testing.assert_array_equal(variable, -2.0)


@each_library
def test_rmsprop_has_exactly_three_weights_and_takes_them_back(library):
    opt = tfopt.RMSprop()
    m = library.models.Sequential([library.layers.Dense(10)])
    m.compile(opt, loss="mse")
    data = np.arange(100).reshape(5, 20)
    labels = np.zeros((5, 10))
    m.fit(data, labels, verbose=0)
    assert len(opt.get_weights()) == 3
    new_weights = [np.array(10), np.ones([20, 10]), np.zeros([10])]
    opt.set_weights(new_weights)
    assert opt.iterations.numpy() == 10
    assert opt.iterations.dtype == tf.int64
    assert opt.iterations.name == "RMSprop/iter:0"
    for got, given in zip(opt.get_weights(), new_weights, strict=True):
        np.testing.assert_array_equal(got, given)
    opt.set_weights(new_weights[1:])  # a list from before `iterations` was in it
    assert opt.iterations.numpy() == 0


def test_apply_gradients_raises_as_the_page_says(mirrored):
    variable = tf.Variable(1.0)
    opt = tfopt.SGD()
    with pytest.raises(TypeError, match="grads_and_vars"):
        opt.apply_gradients(3)
    with pytest.raises(ValueError, match="No gradients"):
        opt.apply_gradients([(None, variable)])
    with mirrored.scope(), pytest.raises(RuntimeError, match="strategy.run"):
        opt.apply_gradients([(tf.constant(1.0), variable)])
    assert opt.iterations.numpy() == 0


# --- Optimizer, version 2 -------------------------------------------------------------------------


def quadratic(var1, var2):
    return lambda: 3 * var1 * var1 + 2 * var2 * var2


def test_usage_in_eager_mode():
    var1, var2 = tf.Variable(1.0), tf.Variable(2.0)
    opt = tfopt.SGD(learning_rate=0.1)
    result = opt.minimize(quadratic(var1, var2), var_list=[var1, var2])
    assert result == 1
    np.testing.assert_allclose([var1, var2], [1 - 0.6, 2 - 0.8], rtol=1e-6)


def test_usage_in_a_v1_graph():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        var1, var2 = tf.Variable(1.0), tf.Variable(2.0)
        opt = tfopt.Adam(learning_rate=0.1)
        opt_op = opt.minimize(quadratic(var1, var2), var_list=[var1, var2])
        assert isinstance(opt_op, tf.Operation)
        session.run(tf.compat.v1.global_variables_initializer())
        for _ in range(3):
            opt_op.run()
        steps, weights = session.run(opt.iterations), opt.get_weights()
        values = session.run([var1, var2])
    assert steps == 3
    assert len(weights) == 5
    var1, var2, opt = tf.Variable(1.0), tf.Variable(2.0), tfopt.Adam(learning_rate=0.1)
    for _ in range(3):
        opt.minimize(quadratic(var1, var2), [var1, var2])
    np.testing.assert_array_equal(values, [var1.numpy(), var2.numpy()])
    for in_graph, in_eager in zip(weights, opt.get_weights(), strict=True):
        np.testing.assert_array_equal(in_graph, in_eager)


def test_variables_that_the_loss_creates():
    opt = tfopt.SGD(learning_rate=0.1)
    model = keras.Sequential()
    model.add(keras.layers.Dense(4, activation="relu"))
    model.add(keras.layers.Dense(2, activation="sigmoid"))
    data = [(tf.random.normal([8, 3]), tf.zeros([8, 2])) for _ in range(2)]
    losses = []
    for inputs, output in data:

        def loss_fn(inputs=inputs, output=output):
            loss = tf.reduce_mean((model(inputs) - output) ** 2)
            losses.append(loss)
            return loss

        opt.minimize(loss_fn, lambda: model.trainable_weights)
    assert len(model.trainable_weights) == 4
    assert opt.iterations.numpy() == 2


def test_gradients_processed_before_they_are_applied():
    variables = [tf.Variable(1.0), tf.Variable(2.0)]
    opt = tfopt.SGD(learning_rate=0.1)
    with tf.GradientTape() as tape:
        loss = quadratic(*variables)()
    grads = tape.gradient(loss, variables)
    capped = [(tf.minimum(g, 1.0), v) for g, v in zip(grads, variables, strict=True)]
    opt.apply_gradients(capped)
    np.testing.assert_allclose(variables, [0.9, 1.9], rtol=1e-6)


def test_hyperparameters_are_overwritten():
    var1, var2 = tf.Variable(1.0), tf.Variable(2.0)
    opt = tfopt.SGD(learning_rate=0.1)
    loss = lambda: 3 * var1 + 2 * var2  # noqa: E731 the page's own words
    opt.minimize(loss, var_list=[var1, var2])
    opt.learning_rate = 0.05
    opt.minimize(loss, var_list=[var1, var2])
    np.testing.assert_allclose([var1, var2], [1 - 0.45, 2 - 0.3], rtol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_constraint_follows_the_update_and_refuses_rows(sparse):
    constraint = tf.keras.constraints.NonNeg()
    variable = tf.Variable([[1.0], [2.0]], constraint=constraint, name="table")
    opt = tfopt.SGD(10.0)
    gradient = tf.ones([2, 1])
    if sparse:
        rows = tf.IndexedSlices(gradient[:1], tf.constant([0]))
        with pytest.raises(RuntimeError, match="`table` has a constraint"):
            opt.apply_gradients([(rows, variable)])
        np.testing.assert_array_equal(variable, [[1.0], [2.0]])
        assert opt.iterations.numpy() == 0
        opt = tfopt.SGD(10.0, lazy=False)
        opt.apply_gradients([(rows, variable)])
        np.testing.assert_array_equal(variable, [[0.0], [2.0]])
    else:
        opt.apply_gradients([(gradient, variable)])
        np.testing.assert_array_equal(variable, [[0.0], [0.0]])


@pytest.mark.parametrize("name", ["", 3, None])
def test_name_must_be_a_string_that_is_not_empty(name):
    if name is None:
        assert tfopt.Optimizer(name).name == "Optimizer"
    else:
        with pytest.raises(ValueError, match="name"):
            tfopt.Optimizer(name)


@pytest.mark.parametrize("name", ["my-adam", "größe 7/x", "_", "1"])
def test_any_name_works_in_every_mode(name):
    opt, variable = tfopt.Adam(name=name), tf.Variable(1.0)
    tf.function(lambda: opt.minimize(lambda: variable * variable, [variable]))()
    assert opt.name == name


def test_weights_and_variables_in_order_of_creation():
    variables = [tf.Variable(1.0, name="a"), tf.Variable(1.0, name="b")]
    opt = tfopt.Adam()
    opt.minimize(lambda: variables[0] * variables[1], variables)
    expected = [opt.get_slot(v, s) for s in ("m", "v") for v in variables]
    assert opt.weights[0] is opt.iterations
    assert all(a is b for a, b in zip(opt.weights[1:], expected, strict=True))
    assert all(a is b for a, b in zip(opt.variables(), opt.weights, strict=True))
    assert opt.get_slot_names() == ["m", "v"]


def test_add_slot_and_add_weight():
    opt, variable = tfopt.SGD(), tf.Variable(tf.ones([2, 3], tf.float16))
    slot = opt.add_slot(variable, "extra", initializer="ones")
    assert slot.dtype == tf.float16
    np.testing.assert_array_equal(slot, np.ones([2, 3]))
    assert opt.add_slot(variable, "extra") is slot
    assert opt.get_slot(variable, "extra") is slot
    vector = opt.add_slot(variable, "vector", shape=[4])
    assert vector.shape == [4]
    with pytest.raises(KeyError, match="other"):
        opt.get_slot(variable, "other")
    weight = opt.add_weight("scale", shape=[], initializer=tfopt.initializers.Constant(3.0))
    assert weight.numpy() == 3.0
    assert not weight.trainable
    assert opt.add_weight("x", [2], dtype=tf.int32).dtype == tf.int32
    with pytest.raises(ValueError, match="trainable"):
        opt.add_weight("y", [], trainable=True)


def test_from_config_with_custom_objects():
    class Steps(tfopt.schedules.LearningRateSchedule):
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, step):
            return tf.constant(self.rate)

        def get_config(self):
            return {"rate": self.rate}

    config = tfopt.SGD(Steps(0.5)).get_config()
    again = tfopt.SGD.from_config(config, custom_objects={"Steps": Steps})
    assert again.get_config() == config
    assert again.learning_rate.numpy() == 0.5
    with pytest.raises(ValueError, match="Steps"):
        tfopt.SGD.from_config(config)


def test_get_gradients_and_updates_in_a_graph():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x, unused = tf.Variable(3.0), tf.Variable(1.0)
        placeholder = tf.compat.v1.placeholder(tf.float32, [])
        loss = placeholder * x * x
        opt = tfopt.SGD(0.1)
        (gradient,) = opt.get_gradients(loss, [x])
        (update,) = opt.get_updates(loss, [x])
        with pytest.raises(ValueError, match="no gradient"):
            opt.get_gradients(loss, [unused])
        session.run(tf.compat.v1.global_variables_initializer())
        assert session.run(gradient, {placeholder: 2.0}) == 12.0
        session.run(update, {placeholder: 2.0})
        np.testing.assert_allclose(session.run(x), 3 - 1.2, rtol=1e-6)


def test_minimize_raises_for_what_is_no_variable():
    with pytest.raises(ValueError, match="var_list"):
        tfopt.SGD().minimize(lambda: tf.constant(1.0), [tf.constant(1.0)])
    with pytest.raises(ValueError, match="tape"):
        tfopt.SGD().minimize(tf.constant(1.0), [tf.Variable(1.0)])


def test_minimize_moves_variables_that_a_tape_does_not_watch_by_itself():
    frozen = tf.Variable(1.0, trainable=False)
    tfopt.SGD(0.1).minimize(lambda: frozen * frozen, [frozen])
    np.testing.assert_allclose(frozen, 0.8, rtol=1e-6)


def test_minimize_with_tape_and_grad_loss():
    x = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        loss = x * x
    tfopt.SGD(0.1).minimize(loss, [x], tape=tape)
    np.testing.assert_allclose(x, 0.8, rtol=1e-6)
    tfopt.SGD(0.1).minimize(lambda: 2 * x, [x], grad_loss=tf.constant(0.5))
    np.testing.assert_allclose(x, 0.7, rtol=1e-6)


# --- version 1, and the class Optimizer of Keras 1 ------------------------------------------------


@pytest.mark.parametrize("keyword", ["clipnorm", "clipvalue"])
def test_clip_keywords(keyword):
    x = tf.Variable([0.0, 0.0])
    tfopt.SGD(1.0, **{keyword: 0.5}).apply_gradients([(tf.constant([0.0, 4.0]), x)])
    np.testing.assert_allclose(x, [0.0, -0.5], rtol=1e-6)


def test_set_weights_raises_for_shapes_that_do_not_fit():
    x, opt = tf.Variable([1.0, 2.0]), tfopt.Adam()
    opt.minimize(lambda: tf.reduce_sum(x * x), [x])
    before = opt.get_weights()
    for wrong in (before[:2], [before[0], np.zeros([3]), before[2]], before * 2):
        with pytest.raises(ValueError, match="weights"):
            opt.set_weights(wrong)
    for now, then in zip(opt.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
