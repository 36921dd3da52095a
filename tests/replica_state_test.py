"""State on replicas that comes in, or is read, before the first step: with merge calls or without.

Under XLA on GPUs a replica cannot leave its function by a `merge_call`. The tests ask for that path
as TensorFlow's own do.
"""

import contextlib
import copy
import pickle

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt._libraries.tf_variables import values_of

SHAPES = [(2,), (3, 2)]
KINDS = {
    "Adam": lambda: tfopt.Adam(0.1, jit_compile=False),
    "all": lambda: tfopt.Nadam(
        0.1, skip_nonfinite=True, use_ema=True, gradient_accumulation_steps=2, jit_compile=False
    ),
}


@pytest.fixture(params=[True, False], ids=["merge_call", "no_merge_call"])
def strategy(request, mirrored, monkeypatch):
    if not request.param:
        monkeypatch.setattr(mirrored.extended, "_use_merge_call", lambda: False)
    return mirrored


def variables_of(scope):
    with scope:
        return [tf.Variable(np.ones(shape)) for shape in SHAPES]


def train(optimizer, variables, steps):
    for step in range(steps):
        gradients = [tf.ones(shape, tf.float64) * 3 * (i + step) for i, shape in enumerate(SHAPES)]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))


def train_replicas(strategy, optimizer, variables, steps):
    """The same: the gradients of both replicas are not alike, and have the same sum."""

    @tf.function(autograph=False)
    def all_replicas(step):
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            part = tf.cast((number + 1) * step, tf.float64)
            gradients = [
                tf.ones(shape, tf.float64) * (part + i * tf.cast(number + 1, tf.float64))
                for i, shape in enumerate(SHAPES)
            ]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

        strategy.run(replica)

    for step in range(steps):
        all_replicas(tf.constant(step))


def set_weights(make, giver, scope):
    with scope:
        optimizer = make()
    optimizer.set_weights(giver.get_weights())
    return optimizer


def set_weights_in_scope(make, giver, scope):
    with scope:
        return set_weights(make, giver, contextlib.nullcontext())


def unpickle(make, giver, scope):
    pickled = pickle.dumps(giver)
    with scope:
        return pickle.loads(pickled)


def read_early(make, giver, scope):
    with scope:
        optimizer = make()
    assert optimizer.iterations.numpy() == 0
    assert optimizer.learning_rate.numpy() > 0
    _ = optimizer.weights
    return optimizer


def copy_of_what_waits(make, giver, scope):
    with scope:
        return copy.deepcopy(set_weights(make, giver, contextlib.nullcontext()))


ROADS = [set_weights, set_weights_in_scope, unpickle, read_early, copy_of_what_waits]


def assert_equal_to_one(strategy, optimizer, variables, alone, others):
    assert optimizer.iterations.numpy() == alone.iterations.numpy()
    assert len(optimizer.weights) == len(alone.weights)
    pairs = zip([*variables, *optimizer.weights], [*others, *alone.weights], strict=True)
    for ours, theirs in pairs:
        if "accumulated_rows" in ours.name:  # flags, which count replicas
            continue
        [value], [expected] = values_of([ours]), values_of([theirs])
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-15)
        if "accumulated" not in ours.name:  # a sum of the replicas'
            first, *more = strategy.experimental_local_results(ours)
            for other in more:
                np.testing.assert_array_equal(first.numpy(), other.numpy())


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kind", "in_scope"),
    [("Adam", False), ("Adam", True), ("all", True)],
    ids=["Adam made outside", "Adam made inside", "all made inside"],
)
@pytest.mark.parametrize("road", ROADS, ids=lambda road: road.__name__)
def test_state_before_the_first_step_is_that_of_all_replicas(strategy, road, kind, in_scope):
    make, giver = KINDS[kind], KINDS[kind]()
    train(giver, variables_of(contextlib.nullcontext()), 3)
    optimizer = road(make, giver, strategy.scope() if in_scope else contextlib.nullcontext())
    alone = road(make, giver, contextlib.nullcontext())
    variables, others = variables_of(strategy.scope()), variables_of(contextlib.nullcontext())
    train_replicas(strategy, optimizer, variables, 3)
    train(alone, others, 3)
    assert_equal_to_one(strategy, optimizer, variables, alone, others)


@pytest.mark.timeout(120)
def test_a_deep_copy_may_begin_on_replicas(strategy):
    """Alone for the same variables, and together with those that it was copied with."""
    variables, others = variables_of(strategy.scope()), variables_of(contextlib.nullcontext())
    optimizer, alone = KINDS["all"](), KINDS["all"]()
    train_replicas(strategy, optimizer, variables, 3)
    train(alone, others, 3)
    twin, (second, copies) = copy.deepcopy(optimizer), copy.deepcopy((alone, others))
    train_replicas(strategy, twin, variables, 2)
    train(second, copies, 2)
    assert_equal_to_one(strategy, twin, variables, second, copies)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("in_scope", [True, False], ids=["made inside", "made outside"])
def test_a_loss_scale_read_early_changes_once_on_all_replicas(strategy, in_scope):
    variables, others = variables_of(strategy.scope()), variables_of(contextlib.nullcontext())
    made = []
    for scope in (strategy.scope() if in_scope else contextlib.nullcontext(), None):
        with scope or contextlib.nullcontext():
            inner = tfopt.SGD(0.1, jit_compile=False)
            made.append(tfopt.LossScaleOptimizer(inner, initial_scale=4.0, dynamic_growth_steps=2))
        assert made[-1].loss_scale.numpy() == 4
        assert made[-1].iterations.numpy() == 0
    train_replicas(strategy, made[0], variables, 5)
    train(made[1], others, 5)
    assert made[0].loss_scale.numpy() == 16
    assert_equal_to_one(strategy, made[0], variables, made[1], others)


@pytest.mark.timeout(60)
def test_where_iterations_lives(strategy):
    """Where the optimizer was made, else where its first variables are; what was read is kept."""
    with strategy.scope():
        inside = tfopt.SGD(0.1)
    outside, early = tfopt.SGD(0.1), tfopt.SGD(0.1)
    kept = early.iterations
    variables = variables_of(strategy.scope())
    outside.build(variables)
    assert isinstance(inside.iterations, tf.distribute.DistributedValues)
    assert isinstance(inside.learning_rate, tf.distribute.DistributedValues)
    assert isinstance(outside.iterations, tf.distribute.DistributedValues)
    train_replicas(strategy, early, variables, 2)
    assert early.iterations is kept
    assert kept.numpy() == 2


def test_an_optimizer_made_in_a_scope_updates_variables_from_outside(mirrored):
    """Whether `iterations` was read before, and lives on replicas, or not."""
    for early in (False, True):
        with mirrored.scope():
            optimizer = tfopt.Adam(0.1)
        if early:
            assert optimizer.iterations.numpy() == 0
        alone, variables = tfopt.Adam(0.1), variables_of(contextlib.nullcontext())
        others = variables_of(contextlib.nullcontext())
        train(optimizer, variables, 4)
        tf.function(lambda o=optimizer, v=variables: train(o, v, 2))()
        train(alone, others, 6)
        assert optimizer.iterations.numpy() == 6
        assert isinstance(optimizer.iterations, tf.distribute.DistributedValues) == early


@pytest.mark.parametrize("traced", [True, False])
def test_a_call_in_cross_replica_context_says_where_to_call(mirrored, traced):
    """Before anything is asked of a variable, which there has no handle."""
    optimizer = tfopt.SGD(0.1)
    [variable, _] = variables_of(mirrored.scope())

    def apply():
        with mirrored.scope():
            optimizer.apply_gradients([(tf.ones([2], tf.float64), variable)])

    def minimize():
        with mirrored.scope():
            optimizer.minimize(lambda: tf.reduce_sum(variable), [variable])

    for call in (apply, minimize):
        where = r"`apply_gradients` was called in cross-replica context. .*`strategy.run`"
        with pytest.raises(RuntimeError, match=where):
            (tf.function(call, autograph=False) if traced else call)()
    assert not optimizer.built


def test_flush_outside_of_the_strategy_says_where_to_call_it(mirrored):
    optimizer = tfopt.SGD(0.1, gradient_accumulation_steps=2)
    with mirrored.scope():
        optimizer.build(variables_of(contextlib.nullcontext()))
    where = r"`flush` was called outside the strategy of its variables. .*`strategy.run`"
    with pytest.raises(RuntimeError, match=where):
        optimizer.flush()


@pytest.mark.parametrize("cls", [tfopt.SGD, tfopt.Adam])
def test_a_variable_from_outside_of_the_scope_is_refused(mirrored, cls):
    variables, optimizer = variables_of(contextlib.nullcontext()), cls(0.1)
    with pytest.raises(ValueError, match=r"`Variable` was created outside the scope of"):
        train_replicas(mirrored, optimizer, variables, 1)
    assert not optimizer.built
    np.testing.assert_array_equal(variables[0], np.ones(2))


def test_a_refused_variable_leaves_no_state(mirrored):
    optimizer, variables = tfopt.Adam(0.1), variables_of(mirrored.scope())
    train_replicas(mirrored, optimizer, variables, 1)
    count = len(optimizer.weights)
    with pytest.raises(ValueError, match="created outside the scope"):
        train_replicas(mirrored, optimizer, variables_of(contextlib.nullcontext()), 1)
    assert len(optimizer.weights) == count
    train_replicas(mirrored, optimizer, variables, 1)
    assert optimizer.iterations.numpy() == 2
