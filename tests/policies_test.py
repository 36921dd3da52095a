"""The policies of a step: accumulation, averages, loss scale, steps left out, master weights."""

import contextlib
import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from cases import CASES
from conformance_test import each, gradients, rows_of, same, start, train

import tfopt

PLAIN = [case for case in CASES if not case.note]
BY_ROWS = [case for case in PLAIN if case.sparse != "whole"]
KERASES = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
EVERY_POLICY = {
    "use_ema": True,
    "ema_momentum": 0.75,
    "gradient_accumulation_steps": 3,
    "loss_scale_factor": 4.0,
    "skip_nonfinite": True,
    "master_weights": True,
}


def rows(values, indices, shape):
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant(shape, tf.int64))


def values_of(variables):
    return [v.numpy() for v in variables]


def assert_equal(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def micro(steps, count, seed=5):
    """Each step's gradients as `count` that have them as their mean."""
    random = np.random.default_rng(seed)
    result = []
    for grads in steps:
        noises = [[random.normal(size=g.shape) for g in grads] for _ in range(count)]
        mean = [np.mean([noise[i] for noise in noises], axis=0) for i in range(len(grads))]
        result += [
            [g + n - m for g, n, m in zip(grads, noise, mean, strict=True)] for noise in noises
        ]
    return result


# --- accumulation ---------------------------------------------------------------------------------


def decaying(case):
    """Arguments that act on applied updates only."""
    options = {"clipvalue": 1.5, "clipnorm": 2.0}
    return {**options, "weight_decay": 0.125} if case.cls.decays else options


@each(PLAIN)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_micro_steps_are_one_step_on_their_mean(case, mode):
    steps = [[np.where(g == 0, 0.5, g) for g in grads] for grads in gradients(10)]  # for signs
    variables, options = start(), decaying(case)
    optimizer = case.make(gradient_accumulation_steps=3, **options)
    trajectory = train(optimizer, variables, micro(steps, 3), mode)
    expected = train(case.make(**options), start(), steps)
    same(trajectory[2::3], expected)
    assert_equal(trajectory[3::3], trajectory[2:-1:3])  # an idle call moves nothing
    assert optimizer.iterations.numpy() == 10


@each(BY_ROWS)
@pytest.mark.parametrize("lazy", [None, True])
def test_rows_accumulate_as_rows(case, lazy):
    random = np.random.default_rng(3)
    shape = (7, 3)
    [variable], [expected] = start(shapes=[shape]), start(shapes=[shape])
    optimizer = case.make(gradient_accumulation_steps=3, lazy=lazy, clipnorm=1.0)
    plain = case.make(lazy=lazy, clipnorm=1.0)
    for _ in range(5):
        parts = [(random.normal(size=(4, 3)), random.integers(0, 6, 4)) for _ in range(3)]
        for values, indices in parts:
            optimizer.apply_gradients([(rows(values, indices, shape), variable)])
        values, indices = (np.concatenate(part) for part in zip(*parts, strict=True))
        plain.apply_gradients([(rows(values / 3, indices, shape), expected)])
    same(variable.numpy(), expected.numpy())
    assert np.any(variable.numpy()[:6] != start(shapes=[shape])[0].numpy()[:6])
    if optimizer._engine.rows_word == "rows":  # nobody asked for the last row
        assert_equal(variable.numpy()[6:], start(shapes=[shape])[0].numpy()[6:])


def test_dense_gradients_and_rows_may_share_a_window():
    shape = (4, 2)
    variable, expected = tf.Variable(tf.ones(shape)), tf.Variable(tf.ones(shape))
    optimizer = tfopt.Adagrad(0.5, gradient_accumulation_steps=2)
    dense, sparse = tf.ones(shape), rows([[2.0, 2.0]], [1], shape)
    for first, second in ((dense, sparse), (sparse, dense)):
        optimizer.apply_gradients([(first, variable)])
        optimizer.apply_gradients([(second, variable)])
    plain = tfopt.Adagrad(0.5)
    for _ in range(2):
        plain.apply_gradients([((dense + tf.convert_to_tensor(sparse)) / 2, expected)])
    same(variable.numpy(), expected.numpy(), 1e-6)


@pytest.mark.parametrize("graph", [True, False])
def test_flush_applies_the_mean_of_what_there_is(graph):
    variable = tf.Variable([1.0, 2.0])
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=4)
    optimizer.build([variable])
    flush = tf.function(optimizer.flush) if graph else optimizer.flush
    assert flush().numpy() == 0
    for gradient in ([1.0, 0.0], [3.0, 1.0]):
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    assert flush().numpy() == 1
    assert_equal(variable.numpy(), [-1.0, 1.5])
    assert flush().numpy() == 1  # there is nothing more
    assert_equal(variable.numpy(), [-1.0, 1.5])


def test_two_networks_that_take_turns_have_a_window_each():
    generator, discriminator = tf.Variable(0.0), tf.Variable(0.0)
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=2)
    for step in range(1, 5):
        optimizer.apply_gradients([(-1.0, generator)])
        optimizer.apply_gradients([(-2.0, discriminator)])
        assert generator.numpy() == step // 2 and discriminator.numpy() == 2 * (step // 2)
    assert optimizer.iterations.numpy() == 4


def test_unfreezing_in_the_middle_of_a_window():
    """Whatever the order in which the variables are given."""
    backbone, head = tf.Variable(0.0), tf.Variable(0.0)
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=4)
    for _ in range(2):
        optimizer.apply_gradients([(1.0, head)])
    for _ in range(6):
        optimizer.apply_gradients([(1.0, backbone), (1.0, head)])
    assert (backbone.numpy(), head.numpy()) == (-1.5, -2.0)
    assert optimizer.iterations.numpy() == 2


@pytest.mark.parametrize("way", ["weights", "pickle", "deepcopy"])
def test_flush_knows_of_a_window_that_was_loaded(way):
    variable = tf.Variable([1.0])
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=4)
    optimizer.apply_gradients([(tf.ones([1]), variable)])

    def make():
        return tfopt.SGD(1.0, gradient_accumulation_steps=4)

    twin = FORMATS[way](optimizer, [variable], make, None)
    twin.build([variable])
    assert twin.flush().numpy() == 1 and variable.numpy() == 0


def test_flush_is_not_traced_in_vain():
    with pytest.raises(RuntimeError, match="build"):
        tf.function(tfopt.SGD(gradient_accumulation_steps=2).flush)()


def test_flush_aggregates_as_the_calls_did(mirrored):
    with mirrored.scope():
        variable = tf.Variable([0.0])
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=4)

    def replica():
        pairs = [(tf.ones([1]), variable)]
        optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)

    tf.function(lambda: mirrored.run(replica))()
    tf.function(lambda: mirrored.run(optimizer.flush))()
    assert variable.numpy() == -1


def test_a_gradient_that_is_not_finite_discards_its_window():
    variable = tf.Variable([1.0])
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=2, skip_nonfinite=True)
    for gradient in (np.inf, 1.0, 1.0, -np.inf, 1.0, 2.0):
        optimizer.apply_gradients([(tf.constant([gradient]), variable)])
    assert variable.numpy() == [-0.5]
    assert optimizer.iterations.numpy() == 1 and optimizer.skipped_steps.numpy() == 2


def replicated(strategy, optimizer, variables, steps, flush=False):
    """Trains two replicas, each with gradients of its own; gives all copies of each variable."""

    def replica(grads):
        replica_id = tf.distribute.get_replica_context().replica_id_in_sync_group
        chosen = [tf.gather(gradient, replica_id) for gradient in grads]
        optimizer.apply_gradients(zip(chosen, variables, strict=True))

    @tf.function
    def step(*grads):
        strategy.run(replica, args=(grads,))

    for grads in steps:
        step(*map(tf.constant, grads))
    if flush:
        tf.function(lambda: strategy.run(optimizer.flush))()
    return [[c.numpy() for c in strategy.experimental_local_results(v)] for v in variables]


@pytest.mark.parametrize("lazy", [None, True])
@each(PLAIN)
def test_two_replicas_accumulate_each_its_own(case, lazy, mirrored):
    if lazy and case.sparse == "whole":
        pytest.skip("it refuses to be lazy")
    ours, theirs = micro(gradients(4), 2), micro(gradients(4, seed=9), 2)
    both = [
        [np.stack(pair) for pair in zip(*step, strict=True)]
        for step in zip(ours, theirs, strict=True)
    ]
    options = {"gradient_accumulation_steps": 3, "clipnorm": 1.0, "lazy": lazy}
    optimizer = case.make(**options)
    with mirrored.scope():
        variables = start()
    copies = replicated(mirrored, optimizer, variables, both, flush=True)
    single, expected = case.make(**options), start()
    train(single, expected, [[g.sum(axis=0) for g in grads] for grads in both])
    single.flush()
    for (one, other), value in zip(copies, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        same(one, value.numpy(), 1e-9)
    assert optimizer.iterations.numpy() == single.iterations.numpy() == 3


def collectives(function):
    """How many reductions a graph holds, by whether they are inside of a branch."""
    inner = function.graph._functions
    branches = set()
    for op in function.graph.get_operations():
        if op.type in ("If", "StatelessIf"):
            branches |= {op.get_attr(name).name for name in ("then_branch", "else_branch")}
    count = {True: 0, False: 0}
    for name, graph in [("", function.graph), *((n, f.graph) for n, f in inner.items())]:
        for op in graph.get_operations():
            kinds = ("CollectiveReduce", "CollectiveReduceV2", "NcclAllReduce", "AddN")
            if op.type in kinds and len(op.inputs) and op.inputs[0].shape.num_elements() != 1:
                count[name in branches] += 1
    return count


def test_an_idle_call_does_not_communicate(mirrored):
    with mirrored.scope():
        variables = [tf.Variable(tf.ones([8, 3])), tf.Variable(tf.ones([5]))]

    def traced(**options):
        optimizer = tfopt.Adam(**options)
        optimizer.build(variables)

        def replica():
            optimizer.apply_gradients([(tf.ones(v.shape), v) for v in variables])

        return tf.function(lambda: mirrored.run(replica)).get_concrete_function()

    always, at_times = traced(), traced(gradient_accumulation_steps=2)
    assert collectives(always)[False] > 0  # it is seen where it is
    assert collectives(at_times)[False] == 0
    assert collectives(at_times)[True] > 0


@KERASES
def test_fit_with_small_batches_is_fit_with_large_ones(library):
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(24, 3)), random.normal(size=(24, 1))

    def fitted(batch, **options):
        library.utils.set_random_seed(0)
        model = library.Sequential(
            [library.layers.Input([3]), library.layers.Dense(4), library.layers.Dense(1)]
        )
        model.compile(tfopt.Adam(0.01, **options), loss=library.losses.MeanSquaredError())
        model.fit(inputs, targets, batch, epochs=3, shuffle=False, verbose=0)
        return [np.asarray(weight) for weight in model.get_weights()]

    small = fitted(4, gradient_accumulation_steps=3)
    for one, other in zip(small, fitted(12), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# --- averages -------------------------------------------------------------------------------------


def average_of(trajectory, first, momentum):
    average = first
    for values in trajectory:
        average = momentum * average + (1 - momentum) * values
    return average


def flat(values):
    return np.concatenate([np.ravel(value) for value in values])


@each(PLAIN)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_averages_follow_and_change_nothing(case, mode):
    steps, variables = gradients(20), start()
    optimizer = case.make(use_ema=True, ema_momentum=0.75)
    trajectory = train(optimizer, variables, steps, mode)
    without = train(case.make(), start(), steps, mode)
    if mode == "xla":  # rounds otherwise what it fuses otherwise
        same(trajectory, without, 1e-14)
    else:
        assert_equal(trajectory, without)
    expected = average_of(trajectory, flat(values_of(start())), 0.75)
    with optimizer.averaged_weights():
        same(flat(values_of(variables)), expected)
    assert_equal(flat(values_of(variables)), trajectory[-1])
    optimizer.finalize_variable_values(variables[:1])
    same(variables[0].numpy().ravel(), expected[: variables[0].shape.num_elements()])
    assert_equal(variables[1].numpy(), trajectory[-1][-variables[1].shape.num_elements() :])


@each(BY_ROWS)
@pytest.mark.parametrize("lazy", [None, True])
def test_averages_of_rows_are_those_of_whole_variables(case, lazy):
    steps = [
        rows_of(grads[0], first)[0] for grads, first in zip(gradients(12), 6 * (3, 1), strict=True)
    ]
    [variable] = start(shapes=[(5, 3)])
    first = variable.numpy().ravel()
    optimizer = case.make(use_ema=True, ema_momentum=0.75, lazy=lazy)
    optimizer.build([variable])
    has_steps = optimizer._engine.rows_word in ("rows", "rows_move")
    assert ("ema_step" in optimizer._engine.state.slots.of(variable)) == has_steps
    trajectory = train(optimizer, [variable], [[step] for step in steps])
    expected = average_of(trajectory, first, 0.75)
    with optimizer.averaged_weights():
        same(variable.numpy().ravel(), expected)
    if case.sparse == "rows" or lazy:  # one dense gradient among those of rows
        dense = gradients(1)[0][0]
        moved = train(optimizer, [variable], [[dense]])
        same(
            flat([v for v in [optimizer_average(optimizer, variable)]]),
            0.75 * expected + 0.25 * moved[0],
        )


def optimizer_average(optimizer, variable):
    with optimizer.averaged_weights([variable]):
        return variable.numpy()


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


def test_an_average_follows_the_steps_of_its_variable():
    """Whatever else the optimizer has seen, and however its functions were traced."""
    idle, other = tf.Variable([1.0]), tf.Variable([1.0])
    optimizer = tfopt.Adam(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.apply_gradients([(tf.ones([1]), idle), (tf.ones([1]), other)])
    x = idle.numpy()
    for _ in range(3):
        optimizer.apply_gradients([(tf.ones([1]), other)])
    np.testing.assert_allclose(optimizer_average(optimizer, idle), x + (1 - x) * 0.5)


def test_an_average_by_rows_follows_all_steps():
    idle, other = tf.Variable([1.0]), tf.Variable([1.0])
    optimizer = tfopt.SGD(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.apply_gradients([(tf.ones([1]), idle), (tf.ones([1]), other)])
    x = idle.numpy()
    for _ in range(3):
        optimizer.apply_gradients([(tf.ones([1]), other)])
    np.testing.assert_allclose(optimizer_average(optimizer, idle), x + (1 - x) * 0.5**4)


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


def test_averages_of_shards():
    parts = [tf.Variable([1.0, 2.0]), tf.Variable([3.0])]
    whole = tf.__internal__.distribute.ShardedVariable(parts)
    optimizer = tfopt.Adam(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.apply_gradients([(tf.ones(part.shape), part) for part in parts])
    moved = [part.numpy() for part in parts]
    optimizer.finalize_variable_values([whole])
    for part, x, first in zip(parts, moved, ([1.0, 2.0], [3.0]), strict=True):
        np.testing.assert_allclose(part.numpy(), (x + np.array(first)) / 2)


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
    copies = replicated(mirrored, optimizer, variables, steps)
    single, expected = tfopt.Adam(0.1, **options), start()
    train(single, expected, [[g.sum(axis=0) for g in grads] for grads in steps])
    with optimizer.averaged_weights(), single.averaged_weights():
        for variable, value in zip(variables, expected, strict=True):
            same(variable.numpy(), value.numpy())
            one, other = mirrored.experimental_local_results(variable)
            assert_equal(one.numpy(), other.numpy())
    for (one, other), value in zip(copies, expected, strict=True):
        assert_equal(one, other)
        same(one, value.numpy())


def digits_like(library, optimizer):
    random = np.random.default_rng(0)
    library.utils.set_random_seed(0)
    model = library.Sequential([library.layers.Input([3]), library.layers.Dense(1)])
    model.compile(optimizer, loss=library.losses.MeanSquaredError())
    return model, random.normal(size=(16, 3)), random.normal(size=(16, 1))


@KERASES
def test_fit_ends_with_the_averages(library):
    optimizer = tfopt.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model, inputs, targets = digits_like(library, optimizer)
    seen = [flat(model.get_weights())]
    watch = library.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs=None: seen.append(flat(model.get_weights()))
    )
    model.fit(inputs, targets, 4, epochs=2, verbose=0, callbacks=[watch])
    same(flat(model.get_weights()), average_of(seen[1:], seen[0], 0.5), 1e-5)


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


def test_without_averages_there_are_none():
    optimizer = tfopt.SGD()
    with pytest.raises(ValueError, match="use_ema"), optimizer.averaged_weights():
        pass
    assert not hasattr(optimizer, "_model_variables_moving_average")
    variable = tf.Variable(1.0)
    optimizer.finalize_variable_values([variable])
    assert variable.numpy() == 1


# --- steps left out -------------------------------------------------------------------------------


@each(PLAIN)
@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_a_step_that_is_not_finite_is_left_out(case, bad):
    steps = gradients(6)
    wrong = [g.copy() for g in steps[0]]
    wrong[1][2] = bad
    optimizer, variables = case.make(skip_nonfinite=True), start()
    train(optimizer, variables, [*steps[:3], wrong, *steps[3:], wrong])
    expected = start()
    train(case.make(), expected, steps)
    assert_equal(values_of(variables), values_of(expected))
    assert optimizer.iterations.numpy() == 6 and optimizer.skipped_steps.numpy() == 2


@each(BY_ROWS)
def test_rows_that_are_not_finite_are_left_out(case):
    optimizer = case.make(skip_nonfinite=True, lazy=True)
    [variable] = start(shapes=[(5, 3)])
    before = variable.numpy()
    optimizer.apply_gradients([(rows(np.full((2, 3), np.nan), [1, 1], (5, 3)), variable)])
    assert_equal(variable.numpy(), before)
    assert optimizer.iterations.numpy() == 0 and optimizer.skipped_steps.numpy() == 1


def test_large_gradients_are_finite():
    """Their squares are not."""
    variable = tf.Variable([1.0, 1.0])
    optimizer = tfopt.SGD(2.0**-120, skip_nonfinite=True)
    optimizer.apply_gradients([(tf.constant([2.0**120, 2.0**121]), variable)])
    assert_equal(variable.numpy(), [0.0, -1.0])


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
    assert_equal([c.numpy() for c in mirrored.experimental_local_results(variable)], weights)
    assert_equal(weights[0], weights[1])
    assert_equal(optimizer.get_weights()[:3], before[:3])  # iterations and slots
    assert optimizer.skipped_steps.numpy() == 1
    if wrap:
        for copies in map(mirrored.experimental_local_results, (optimizer.loss_scale,)):
            assert [c.numpy() for c in copies] == len(copies) * [4.0]


# --- loss scale -----------------------------------------------------------------------------------


@each(PLAIN)
def test_a_fixed_loss_scale_cancels(case):
    variables, expected = start(), start()
    optimizer, plain = case.make(loss_scale_factor=1024.0), case.make()
    for _ in range(3):
        optimizer.minimize(lambda: sum(tf.reduce_sum(v**2) for v in variables), variables)
        plain.minimize(lambda: sum(tf.reduce_sum(v**2) for v in expected), expected)
    assert_equal(values_of(variables), values_of(expected))


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


def test_states_that_no_scale_has():
    optimizer = tfopt.LossScaleOptimizer("sgd", 8.0, 3)
    before = optimizer.get_weights()
    for bad in ([np.nan, 0, 0], [0.0, 0, 0], [8.0, -1, 0], [8.0, [1], 0]):
        with pytest.raises(ValueError, match="scale"):
            optimizer.set_weights([np.array(0), *map(np.array, bad)])
    names = ("loss_scale", "dynamic_counter", "skipped_steps")
    with pytest.raises(ValueError, match="scale"):
        optimizer.load_own_variables(dict(zip(names, (99.0, [[1]], 0), strict=True)))
    assert_equal(optimizer.get_weights(), before)
    with pytest.raises(ValueError, match="loss_scale_factor"):
        optimizer.loss_scale_factor = 4.0
    optimizer.set_weights([np.array(0), np.array(8.0), np.array(5), np.array(0)])
    optimizer.apply_gradients([(1.0, tf.Variable(1.0))])  # a counter past the end grows, too
    assert float(optimizer.loss_scale) == 16


def test_the_inner_optimizer_counts_too():
    inner = tfopt.SGD(skip_nonfinite=True)
    optimizer = tfopt.LossScaleOptimizer(inner)
    optimizer.apply_gradients([(np.inf, tf.Variable(1.0))])
    assert inner.skipped_steps.numpy() == optimizer.skipped_steps.numpy() == 1


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
    assert_equal(x.numpy(), expected.numpy())


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


@pytest.fixture
def mixed_float16(library):
    policies = library.mixed_precision
    set_policy = getattr(policies, "set_dtype_policy", None) or policies.set_global_policy
    set_policy("mixed_float16")
    yield
    set_policy("float32")


@KERASES
@pytest.mark.parametrize("wrapped", ["by us", "by Keras"])
def test_mixed_precision(library, wrapped, mixed_float16, tmp_path):
    optimizer = tfopt.Adam(0.01)
    if wrapped == "by us":
        optimizer = tfopt.LossScaleOptimizer(optimizer, dynamic_growth_steps=3)
    model, inputs, targets = digits_like(library, optimizer)
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
        assert_equal(again.optimizer.get_weights(), optimizer.get_weights())
        for both in (model, again):
            both.fit(inputs, targets, 4, shuffle=False, verbose=0)
        assert_equal(again.get_weights(), model.get_weights())
        assert_equal(again.optimizer.get_weights(), optimizer.get_weights())


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
    assert_equal([*inner.get_weights(), variable.numpy()], before)
    step(tf.ones([2, 2]))
    assert inner.iterations.numpy() == 2
    assert np.all(variable.numpy() < before[-1])


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


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
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


def test_a_step_of_ones_own_is_not_passed_over():
    class Counting(tfopt.SGD):
        steps = 0

        def apply_gradients(self, *args, **kwargs):
            self.steps += 1
            return super().apply_gradients(*args, **kwargs)

    with pytest.raises(ValueError, match="apply_gradients"):
        tfopt.LossScaleOptimizer(Counting())
    optimizer = Counting()
    optimizer.apply([tf.ones([])], [tf.Variable(1.0)])
    assert optimizer.steps == 1


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


# --- master weights -------------------------------------------------------------------------------


@each(PLAIN)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_master_weight_rounds_to_its_variable(case, dtype):
    steps = [[np.round(g * 4) / 4 for g in grads] for grads in gradients(20)]  # exact in 8 bits
    variables = start(dtype)
    first = [tf.Variable(tf.cast(v, tf.float32)) for v in variables]

    def convert(to):
        return lambda g: tf.constant(g, to)

    train(case.make(master_weights=True), variables, steps, convert=convert(dtype))
    train(case.make(jit_compile=True), first, steps, convert=convert("float32"))
    for variable, exact in zip(variables, first, strict=True):
        rounded = tf.cast(exact, dtype).numpy().astype(np.float32)
        np.testing.assert_allclose(
            variable.numpy().astype(np.float32), rounded, rtol=2.0**-7, atol=2.0**-9
        )
        assert np.mean(variable.numpy().astype(np.float32) == rounded) > 0.9


@pytest.mark.parametrize("name", ["SGD", "Adam", "Lion"])
def test_small_steps_add_up(name):
    """A thousand of them, none of which bfloat16 could show."""

    def trained(dtype, **options):
        variable = tf.Variable(tf.ones([8], dtype) * 100)
        optimizer = getattr(tfopt, name)(1e-3, **options)
        step = tf.function(lambda: optimizer.apply_gradients([(tf.ones([8], dtype), variable)]))
        for _ in range(1000):
            step()
        return variable.numpy().astype(np.float32)

    exact = trained("float32")
    moved = 100 - exact
    assert np.all(np.abs(moved - 1) < 0.1)
    np.testing.assert_allclose(100 - trained("bfloat16", master_weights=True), moved, rtol=0.5)
    assert_equal(trained("bfloat16"), 8 * [100.0])  # without it nothing moves


def test_small_steps_of_a_model_add_up():
    random = np.random.default_rng(0)
    inputs, target = random.normal(size=(64, 8)), random.normal(size=(8, 1))

    def loss_after(dtype, **options):
        weights = tf.Variable(tf.zeros([8, 1], dtype))
        optimizer = tfopt.Adam(1e-3, **options)
        data = tf.constant(inputs, tf.float32)
        labels = tf.matmul(data, tf.constant(target, tf.float32))

        def loss():
            return tf.reduce_mean((tf.matmul(data, tf.cast(weights, tf.float32)) - labels) ** 2)

        step = tf.function(lambda: optimizer.minimize(loss, [weights]))
        for _ in range(1000):
            step()
        return float(loss())

    exact = loss_after("float32")
    assert abs(loss_after("bfloat16", master_weights=True) / exact - 1) < 0.01
    assert abs(loss_after("bfloat16") / exact - 1) > 0.01


@pytest.mark.parametrize("lazy", [None, True])
def test_master_weights_of_rows(lazy):
    table = tf.Variable(tf.ones([4, 2], tf.bfloat16))
    optimizer = tfopt.Adam(1e-3, master_weights=True, lazy=lazy)
    for _ in range(20):
        optimizer.apply_gradients([(rows(np.ones((1, 2), np.float32), [2], (4, 2)), table)])
    master = optimizer.get_slot(table, "master_weight")
    assert master.dtype == tf.float32
    np.testing.assert_allclose(master.numpy()[2], 1 - 0.02, rtol=1e-4)
    assert_equal(table.numpy(), tf.cast(master, tf.bfloat16).numpy())
    assert_equal(master.numpy()[[0, 1, 3]], np.ones((3, 2)))


def test_what_is_assigned_to_a_variable_counts():
    variable = tf.Variable(tf.ones([2], tf.bfloat16))
    optimizer = tfopt.SGD(1e-3, master_weights=True)
    optimizer.apply_gradients([(tf.ones([2], tf.bfloat16), variable)])
    variable.assign([5.0, variable[1]])
    optimizer.apply_gradients([(tf.ones([2], tf.bfloat16), variable)])
    master = optimizer.get_slot(variable, "master_weight").numpy()
    np.testing.assert_allclose(master, [5 - 1e-3, 1 - 2e-3])


def test_masters_of_rows_that_do_not_move():
    table = tf.Variable(tf.ones([2, 1], tf.bfloat16))
    optimizer = tfopt.Nadam(1e-4, master_weights=True)
    optimizer.apply_gradients([(rows(np.ones((1, 1), "f"), [0], (2, 1)), table)])
    before = optimizer.get_slot(table, "master_weight").numpy()[0]
    for _ in range(3):
        optimizer.apply_gradients([(rows(np.ones((1, 1), "f"), [1], (2, 1)), table)])
    assert optimizer.get_slot(table, "master_weight").numpy()[0] == before


def test_averages_see_what_was_assigned():
    table = tf.Variable(tf.ones([2, 1], tf.bfloat16))
    optimizer = tfopt.SGD(0.5, master_weights=True, use_ema=True, ema_momentum=0.5)
    step = rows(np.ones((1, 1), "f"), [0], (2, 1))
    optimizer.apply_gradients([(step, table)])
    table.assign([[5.0], [5.0]])
    for _ in range(12):
        optimizer.apply_gradients([(step, table)])
    with optimizer.averaged_weights():
        np.testing.assert_allclose(table.numpy()[1].astype("f"), 5, rtol=0.01)


def test_wide_variables_are_their_own_masters():
    variable = tf.Variable([1.0])
    optimizer = tfopt.SGD(master_weights=True)
    optimizer.apply_gradients([([1.0], variable)] if False else [(tf.ones([1]), variable)])
    assert optimizer.get_slot_names() == []


def test_hooks_have_no_master_weights():
    class Hooked(tfopt.Optimizer):
        def resource_apply_dense(self, grad, var):
            var.assign_sub(grad)

    with pytest.raises(ValueError, match="master_weights"):
        Hooked(master_weights=True)


# --- all of them, and their state -----------------------------------------------------------------


@each(PLAIN)
def test_every_policy_at_once_on_replicas(case, mirrored):
    steps = [[np.stack([g, -0.5 * g]) for g in grads] for grads in gradients(8)]
    with mirrored.scope():
        variables = start()
    optimizer = case.make(**EVERY_POLICY)
    copies = replicated(mirrored, optimizer, variables, steps, flush=True)
    single, expected = case.make(**EVERY_POLICY), start()
    train(single, expected, [[g.sum(axis=0) for g in grads] for grads in steps])
    single.flush()
    for (one, other), value in zip(copies, expected, strict=True):
        assert_equal(one, other)
        same(one, value.numpy(), 1e-9)


def moved_by_weights(optimizer, variables, make):
    twin = make()
    twin.build(variables)
    twin.set_weights(optimizer.get_weights())
    return twin


def moved_by_waiting_weights(optimizer, variables, make):
    twin = make()
    twin.set_weights(optimizer.get_weights())
    twin.build(variables)
    return twin


def moved_by_checkpoint(optimizer, variables, make, path, build=True):
    saved = tf.train.Checkpoint(optimizer=optimizer, variables=variables).save(path)
    twin = make()
    if build:
        twin.build(variables)
    status = tf.train.Checkpoint(optimizer=twin, variables=variables).restore(saved)
    twin.build(variables)
    status.assert_existing_objects_matched()
    return twin


FORMATS = {
    "weights": lambda o, v, make, path: moved_by_weights(o, v, make),
    "weights before build": lambda o, v, make, path: moved_by_waiting_weights(o, v, make),
    "checkpoint": lambda o, v, make, path: moved_by_checkpoint(o, v, make, path),
    "checkpoint before build": lambda o, v, make, path: moved_by_checkpoint(
        o, v, make, path, False
    ),
    "pickle": lambda o, v, make, path: pickle.loads(pickle.dumps(o)),
    "deepcopy": lambda o, v, make, path: copy.deepcopy(o),
}


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("way", FORMATS)
@each([case for case in CASES if case.name in ("SGD-momentum", "Nadam", "LAMB")])
def test_policies_go_on_where_they_were(case, way, wrap, tmp_path):
    """In the middle of a window, with a table and a half-precision matrix."""

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
        for grads in steps:
            optimizer.apply_gradients(zip(grads, variables, strict=True))

    straight, expected = make(), variables()
    go(straight, expected, steps)
    optimizer, moved = make(), variables()
    go(optimizer, moved, steps[:7])
    twin = FORMATS[way](optimizer, moved, make, str(tmp_path / "state"))
    go(twin, moved, steps[7:])
    assert_equal(values_of(moved), values_of(expected))
    assert_equal(twin.get_weights(), straight.get_weights())


@KERASES
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_policies_go_on_in_a_model(library, suffix, tmp_path):
    def fit(model, epochs):
        random = np.random.default_rng(0)
        data = random.normal(size=(20, 3)), random.normal(size=(20, 1))
        model.fit(*data, 4, epochs=epochs, shuffle=False, verbose=0)

    def compiled():
        options = {**EVERY_POLICY, "use_ema": False}  # `fit` would end with averages
        return digits_like(library, tfopt.Adam(0.01, **options))[0]

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
    assert_equal(again.get_weights(), straight.get_weights())
    assert_equal(again.optimizer.get_weights(), straight.optimizer.get_weights())


def test_state_of_one_replica_goes_on_with_two_and_back(mirrored, tmp_path):
    """In the middle of a window, of which each replica holds a part."""
    steps = [[np.stack([g, 3 * g]) for g in grads] for grads in gradients(5)]
    with mirrored.scope():
        variables = start()
    optimizer = tfopt.Adam(0.1, **EVERY_POLICY)
    replicated(mirrored, optimizer, variables, steps)
    alone = start()
    for variable, value in zip(alone, variables, strict=True):
        variable.assign(value.numpy())
    twin = tfopt.Adam(0.1, **EVERY_POLICY)
    twin.build(alone)
    twin.set_weights(optimizer.get_weights())
    assert_equal(twin.get_weights(), optimizer.get_weights())
    train(twin, alone, [[g.sum(axis=0) for g in grads] for grads in steps])
    back = tfopt.Adam(0.1, **EVERY_POLICY)
    with mirrored.scope():
        others = start()
    for variable, value in zip(others, variables, strict=True):
        variable.assign(value.numpy())
    back.build(others)
    back.set_weights(optimizer.get_weights())
    assert_equal(back.get_weights(), optimizer.get_weights())
    copies = replicated(mirrored, back, others, steps)
    for (one, _), value in zip(copies, alone, strict=True):
        same(one, value.numpy(), 1e-9)


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
        return [*values_of(variables), *optimizer.get_weights()]

    for one, other in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


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
