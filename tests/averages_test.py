"""Exponential moving averages of variables: what they follow, and when they take their place."""

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import X, Y, each_library, linear_data, linear_model
from training import (
    PLAIN,
    assert_same,
    each,
    flat,
    gradients,
    of_each_kind,
    rows,
    rows_of,
    start,
    train,
    train_on_replicas,
)

import tfopt


def average_of(trajectory, first, momentum):
    average = first
    for values in trajectory:
        average = momentum * average + (1 - momentum) * values
    return average


def optimizer_average(optimizer, variable):
    with optimizer.averaged_weights([variable]):
        return variable.numpy()


@each(of_each_kind([case for case in PLAIN if not case.averages_itself]))
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_averages_follow_and_change_nothing(case, mode):
    steps, variables = gradients(20), start()
    optimizer = case.make(use_ema=True, ema_momentum=0.75)
    trajectory = train(optimizer, variables, steps, mode)
    without = train(case.make(), start(), steps, mode)
    if mode == "xla":  # rounds otherwise what it fuses otherwise
        assert_same(trajectory, without, 1e-14)
    else:
        assert_same(trajectory, without)
    expected = average_of(trajectory, flat(start()), 0.75)
    with optimizer.averaged_weights():
        assert_same(flat(variables), expected, 1e-10)
    assert_same(flat(variables), trajectory[-1])
    optimizer.finalize_variable_values(variables[:1])
    assert_same(flat(variables[:1]), expected[: variables[0].shape.num_elements()], 1e-10)
    assert_same(flat(variables[1:]), trajectory[-1][-variables[1].shape.num_elements() :])


def test_an_average_follows_the_steps_of_its_variable():
    """Whatever else the optimizer has seen, and however its functions were traced."""
    idle, other = tf.Variable([1.0]), tf.Variable([1.0])
    optimizer = tfopt.Adam(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.apply_gradients([(tf.ones([1]), idle), (tf.ones([1]), other)])
    x = idle.numpy()
    for _ in range(3):
        optimizer.apply_gradients([(tf.ones([1]), other)])
    np.testing.assert_allclose(optimizer_average(optimizer, idle), x + (1 - x) * 0.5)


def test_averages_of_networks_that_take_turns_do_not_depend_on_a_break(tmp_path):
    """What was known when a step was traced is not what it averages."""

    def turns(optimizer, variables, first, last):
        for number in range(first, last):
            variable = variables[number % 2]
            optimizer.apply_gradients([(tf.cos(variable + number), variable)])

    def make():
        variables = [tf.Variable([1.0, 2.0]), tf.Variable([3.0])]
        return variables, tfopt.AdamW(0.5, use_ema=True, ema_momentum=0.5, lazy=False)

    variables, optimizer = make()
    turns(optimizer, variables, 0, 12)
    halved, half = make()
    turns(half, halved, 0, 5)
    path = tf.train.Checkpoint(v=halved, o=half).save(str(tmp_path / "half"))
    again, resumed = make()
    tf.train.Checkpoint(v=again, o=resumed).restore(path)
    resumed.build(again)
    turns(resumed, again, 5, 12)
    for one, other in zip(variables, again, strict=True):
        np.testing.assert_array_equal(
            optimizer_average(optimizer, one), optimizer_average(resumed, other)
        )


@pytest.mark.parametrize("sparse", [False, True])
def test_averages_overwrite_at_times(sparse):
    variable, average = tf.Variable([[1.0], [3.0]]), np.array([[1.0], [3.0]])
    optimizer = tfopt.SGD(0.5, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3)
    x = average.copy()
    for step in range(1, 8):
        gradient = np.array([[1.0], [0.0]])
        given = rows([[1.0]], [0], (2, 1)) if sparse else tf.constant(gradient, tf.float32)
        optimizer.apply_gradients([(given, variable)])
        x = x - 0.5 * gradient
        average = 0.5 * average + 0.5 * x
        x = average if step % 3 == 0 else x
        np.testing.assert_allclose(variable.numpy(), x, rtol=1e-6)


def test_averages_of_replicas(mirrored):
    steps = [[np.stack([g, 2 * g]) for g in grads] for grads in gradients(6)]
    options = {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 4}
    with mirrored.scope():
        variables = start()
    optimizer = tfopt.Adam(0.1, **options)
    train_on_replicas(mirrored, optimizer, variables, steps)
    single, expected = tfopt.Adam(0.1, **options), start()
    train(single, expected, [[g.sum(axis=0) for g in grads] for grads in steps])
    assert_same(variables, expected, 1e-10)
    with optimizer.averaged_weights(), single.averaged_weights():
        assert_same(variables, expected, 1e-10)


def test_averages_of_shards():
    parts = [tf.Variable([1.0, 2.0]), tf.Variable([3.0])]
    whole = tf.__internal__.distribute.ShardedVariable(parts)
    optimizer = tfopt.Adam(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.apply_gradients([(tf.ones(part.shape), part) for part in parts])
    moved = [part.numpy() for part in parts]
    optimizer.finalize_variable_values([whole])
    for part, x, first in zip(parts, moved, ([1.0, 2.0], [3.0]), strict=True):
        np.testing.assert_allclose(part.numpy(), (x + np.array(first)) / 2)


def test_averages_are_read_and_assigned_by_position_as_in_keras():
    first, second = tf.Variable([2.0, 3.0]), tf.Variable(5.0)
    optimizer = tfopt.SGD(1.0, use_ema=True, ema_momentum=0.5)
    for _ in range(2):
        optimizer.apply_gradients([(tf.ones(2), first), (tf.constant(1.0), second)])
    averages = optimizer._model_variables_moving_average
    assert len(averages) == 2
    np.testing.assert_allclose(averages[0], [0.75, 1.75])
    np.testing.assert_allclose(averages[-1], 3.75)
    averages[0].assign([7.0, 8.0])
    with optimizer.averaged_weights():
        np.testing.assert_allclose(first, [7.0, 8.0])


def test_without_averages_there_are_none():
    optimizer = tfopt.SGD()
    with pytest.raises(ValueError, match="use_ema"), optimizer.averaged_weights():
        pass
    assert not hasattr(optimizer, "_model_variables_moving_average")
    variable = tf.Variable(1.0)
    optimizer.finalize_variable_values([variable])
    assert variable.numpy() == 1


# --- rows -----------------------------------------------------------------------------------------


@each(of_each_kind([case for case in PLAIN if case.sparse != "whole"]))
@pytest.mark.parametrize("lazy", [None, True])
def test_averages_of_rows_are_those_of_whole_variables(case, lazy):
    steps = [
        rows_of(grads[0], first)[0] for grads, first in zip(gradients(12), 6 * (3, 1), strict=True)
    ]
    [variable] = start(shapes=[(5, 3)])
    first = variable.numpy().ravel()
    optimizer = case.make(use_ema=True, ema_momentum=0.75, lazy=lazy)
    optimizer.build([variable])
    has_steps = tfopt.inspect.describe(optimizer)[0].sparse in ("rows", "rows_move")
    assert ("ema_step" in optimizer.get_slot_names()) == has_steps
    trajectory = train(optimizer, [variable], [[step] for step in steps])
    expected = average_of(trajectory, first, 0.75)
    with optimizer.averaged_weights():
        assert_same(flat([variable]), expected, 1e-10)
    if case.sparse == "rows" or lazy:  # one dense gradient among those of rows
        dense = gradients(1)[0][0]
        moved = train(optimizer, [variable], [[dense]])
        average = optimizer_average(optimizer, variable).ravel()
        assert_same(average, 0.75 * expected + 0.25 * moved[0], 1e-10)


def test_rows_go_on_from_their_averages():
    """What `fit` leaves at its end, and what comes after it."""
    variable = tf.Variable([[1.0], [3.0]])
    optimizer = tfopt.SGD(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.build([variable])
    x, average = variable.numpy(), variable.numpy()
    for step in range(6):
        optimizer.apply_gradients([(rows([[1.0]], [step % 2], (2, 1)), variable)])
        x = x - 0.5 * np.eye(2)[:, [step % 2]]
        average = 0.5 * average + 0.5 * x
        if step in (1, 2):
            optimizer.finalize_variable_values([variable])
            x = average
        np.testing.assert_allclose(optimizer_average(optimizer, variable), average, rtol=1e-6)


def test_an_average_by_rows_follows_all_steps():
    idle, other = tf.Variable([1.0]), tf.Variable([1.0])
    optimizer = tfopt.SGD(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.apply_gradients([(tf.ones([1]), idle), (tf.ones([1]), other)])
    x = idle.numpy()
    for _ in range(3):
        optimizer.apply_gradients([(tf.ones([1]), other)])
    np.testing.assert_allclose(optimizer_average(optimizer, idle), x + (1 - x) * 0.5**4)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_what_is_saved_among_averages_goes_on(name, tmp_path):
    def make():
        return tf.Variable([[1.0], [3.0]]), getattr(tfopt, name)(0.5, use_ema=True)

    variable, optimizer = make()
    for row in (0, 0, 1):
        optimizer.apply_gradients([(rows([[1.0]], [row], (2, 1)), variable)])
    expected = optimizer_average(optimizer, variable)
    with optimizer.averaged_weights():
        saved = tf.train.Checkpoint(v=variable, o=optimizer).save(str(tmp_path / "averages"))
    again, twin = make()
    twin.build([again])
    tf.train.Checkpoint(v=again, o=twin).restore(saved)
    np.testing.assert_allclose(again.numpy(), expected)
    np.testing.assert_allclose(optimizer_average(twin, again), expected, rtol=1e-6)
    np.testing.assert_allclose(
        optimizer_average(pickle.loads(pickle.dumps(twin)), again), expected, rtol=1e-6
    )


# --- Keras ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [{"use_ema": True}, {"use_ema": True, "clipnorm": 1.0}])
def test_a_model_that_its_first_batch_builds(policy):
    """Keras makes its variables while the train function is traced: they have no value then."""

    def fitted(run_eagerly):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
        optimizer = tfopt.SGD(0.1, **policy)
        model.compile(optimizer, loss=keras.losses.MeanSquaredError(), run_eagerly=run_eagerly)
        random = np.random.default_rng(0)
        data = random.normal(size=(16, 3)), random.normal(size=(16, 1))
        model.fit(*data, 4, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    for one, other in zip(fitted(True), fitted(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@each_library
def test_fit_ends_with_the_averages(library):
    optimizer = tfopt.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model, (inputs, targets) = linear_model(library, optimizer), linear_data()
    seen = [flat(model.get_weights())]
    watch = library.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs=None: seen.append(flat(model.get_weights()))
    )
    model.fit(inputs, targets, 4, epochs=2, verbose=0, callbacks=[watch])
    assert_same(flat(model.get_weights()), average_of(seen[1:], seen[0], 0.5), 1e-5)


@pytest.mark.parametrize("lazy", [None, True])
def test_keras_callback_swaps_averages(lazy):
    """On an embedding, too, of which most rows are idle."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input([2], dtype="int32"),
            keras.layers.Embedding(9, 2),
            keras.layers.Flatten(),
        ]
        + [keras.layers.Dense(1)]
    )
    optimizer = tfopt.Adagrad(0.5, use_ema=True, ema_momentum=0.5, lazy=lazy)
    model.compile(optimizer, loss=keras.losses.MeanSquaredError())
    random = np.random.default_rng(0)
    inputs, targets = random.integers(0, 8, (12, 2)), random.normal(size=(12, 1))
    seen = [flat(model.get_weights())]
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs=None: seen.append(flat(model.get_weights()))
    )
    evaluated = []

    class Tested(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            evaluated.append(flat(model.get_weights()))

    model.fit(
        *(inputs, targets, 2),
        validation_data=(inputs, targets),
        validation_batch_size=12,
        callbacks=[watch, keras.callbacks.SwapEMAWeights(), Tested()],
        verbose=0,
    )
    np.testing.assert_allclose(evaluated[-1], average_of(seen[1:], seen[0], 0.5), atol=1e-5)


@pytest.mark.parametrize(
    ("wrap", "policy"),
    [
        (tfopt.LossScaleOptimizer, "mixed_float16"),
        (keras.optimizers.LossScaleOptimizer, "float32"),
    ],
    ids=["tfopt", "Keras 3"],
)
def test_averages_are_swapped_within_a_loss_scale(wrap, policy, tmp_path):
    def history(wrap):
        keras.utils.set_random_seed(0)
        dense = [keras.layers.Dense(n, dtype=policy) for n in (4, 1)]
        model = keras.Sequential([keras.layers.Input((6,)), *dense])
        optimizer = tfopt.Adam(0.1, use_ema=True, ema_momentum=0.5)
        model.compile(wrap(optimizer), loss=keras.losses.MeanSquaredError(), jit_compile=False)
        swaps = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        saves = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
        arguments = {"validation_data": (X, Y), "callbacks": [swaps, saves], "shuffle": False}
        losses = model.fit(X, Y, epochs=2, verbose=0, **arguments).history["val_loss"]
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert_same(loaded.get_weights(), model.get_weights())
        return losses

    np.testing.assert_allclose(history(wrap), history(lambda optimizer: optimizer), 2e-2)
