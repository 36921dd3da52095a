"""Optimizers around another one, each as one class: Lookahead, an average, nothing at all."""

import copy
import pickle

import files_matrix
import numpy as np
import pytest
import tensorflow as tf
from models import X, Y
from saving import by_checkpoint, by_keras, by_list, by_safetensors
from training import (
    BRIEF,
    MODES,
    PLAIN,
    assert_same,
    each,
    gradients,
    of_each_kind,
    of_some_kinds,
    rows_of,
    start,
    train,
    train_on_cosines,
    train_on_replicas,
    value_of,
    values_of,
)

import tfopt
from tfopt import Lookahead

STEPS = 6
each_kind = each(of_each_kind(PLAIN))


class Same(tfopt.Wrapper):
    """Changes nothing."""

    sparse = tfopt.Wrapper.sparse

    def update(self, g, x, s, h):
        return super().update(g, x, s, h)


class Counted(tfopt.Wrapper):
    """Has a scalar of its own."""

    state = {"steps_of_wrapper": 0.0}

    def begin(self, h, state):
        super().begin(h, state)
        state.steps_of_wrapper = state.steps_of_wrapper + 1


class ScheduleFree(tfopt.Wrapper):
    """The variable is between the base's iterates z and their mean x, which is evaluated."""

    beta = tfopt.Hyper(0.75, low=0, below=1)
    sparse = tfopt.Wrapper.sparse

    def slots(self, x):
        return {**super().slots(x), "z": tfopt.copy(x), "mean": tfopt.copy(x)}

    def update(self, g, x, s, h):
        s.z = super().update(g, s.z, s, h)
        s.mean = s.mean + (s.z - s.mean) / h.t
        return (1 - h.beta) * s.z + h.beta * s.mean

    def evaluated(self, x, s, h):
        return s.mean


def named(names=("a/kernel", "b/bias")):
    return [tf.Variable(v, name=n) for v, n in zip(start(), names, strict=True)]


def make(**options):
    return Lookahead(tfopt.Nadam(0.125, weight_decay=0.5), 2, **options)


@each(of_some_kinds(PLAIN))
@pytest.mark.parametrize("mode", MODES)
def test_around_nothing_changes(case, mode):
    wrapped, alone, steps = named(), named(), gradients(STEPS)
    train(Same(case.make()), wrapped, steps, mode)
    train(case.make(), alone, steps, mode)
    assert_same(wrapped, alone, 1e-12)


@each_kind
def test_lookahead_equals_its_formula(case):
    """The base makes two steps from where it is put; then fast weights go back halfway."""
    optimizer, base = Lookahead(case.make(), 2), case.make()
    wrapped, fast, steps = named(), named(), gradients(STEPS)
    slow = values_of(fast)
    for t, grads in enumerate(steps, start=1):
        train(optimizer, wrapped, [grads])
        train(base, fast, [grads])
        if t % 2 == 0:
            slow = [s + 0.5 * (value_of(x) - s) for s, x in zip(slow, fast, strict=True)]
            for variable, value in zip(fast, slow, strict=True):
                variable.assign(value)
        assert_same(wrapped, fast, 1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_schedule_free_equals_its_formula(mode):
    """With gradients of a quadratic, at the point between z and x."""
    optimizer, variable = ScheduleFree(tfopt.SGD(0.25)), tf.Variable(start()[0])
    z = x = y = value_of(variable).copy()

    def step():
        optimizer.apply_gradients([(tf.cos(3 * variable), variable)])

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    for t in range(1, 8):
        step()
        z = z - 0.25 * np.cos(3 * y)
        x = x + (z - x) / t
        y = 0.25 * z + 0.75 * x
        assert_same(variable, y, 1e-12)
    with optimizer.evaluation_weights():
        assert_same(variable, x, 1e-12)


@each_kind
@pytest.mark.parametrize("lazy", [True, False])
def test_rows(case, lazy):
    if case.sparse == "whole" and lazy:
        pytest.skip("it needs whole variables, and refuses to be lazy")
    wrapped, alone = named(), named()
    steps = [[rows_of(grads[0])[0], tf.constant(grads[1])] for grads in gradients(STEPS)]
    train(Same(case.make(lazy=lazy)), wrapped, steps)
    train(case.make(lazy=lazy), alone, steps)
    assert_same(wrapped, alone, 1e-12)


ALL_ROWS = {
    "Lookahead": lambda **options: Lookahead(tfopt.SGD(0.125, momentum=0.5, **options), 2),
    "SWA": lambda **options: tfopt.SWA(tfopt.SGD(0.125, momentum=0.5, **options), 1, 2),
}


@pytest.mark.parametrize("name", ALL_ROWS)
def test_rows_that_are_not_in_the_batch_take_part(name):
    """What is averaged or synchronized is the whole variable, so rows are as the dense gradient."""
    optimizers, by_rows, by_dense = (ALL_ROWS[name](), ALL_ROWS[name]()), start(), start()
    for i, (matrix, vector) in enumerate(gradients(STEPS)):
        slices, dense = rows_of(matrix, 1 + i % 4)
        train(optimizers[0], by_rows, [[slices, vector]])
        train(optimizers[1], by_dense, [[dense, vector]])
    both = zip(optimizers, (by_rows, by_dense), strict=True)
    state = [values_of(variables, optimizer) for optimizer, variables in both]
    assert_same(*state, 1e-12)
    with pytest.raises(ValueError, match=f"`lazy` of `inner_optimizer` .* {name} changes all rows"):
        ALL_ROWS[name](lazy=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits(dtype):
    wrapped, alone = start(dtype), start(dtype)
    steps = [[tf.cast(g, dtype) for g in grads] for grads in gradients(BRIEF)]
    train(Same(tfopt.Adam(0.125)), wrapped, steps, convert=tf.identity)
    train(tfopt.Adam(0.125), alone, steps, convert=tf.identity)
    assert_same(wrapped, alone)


@pytest.mark.parametrize("merge_call", [True, False], ids=["merge_call", "no_merge_call"])
def test_replicas(merge_call, mirrored, monkeypatch):
    if not merge_call:
        monkeypatch.setattr(mirrored.extended, "_use_merge_call", lambda: False)
    steps = [[np.stack([g, 2 * g]) for g in grads] for grads in gradients(STEPS)]
    with mirrored.scope():
        together = named()
    alone, optimizer, other = named(), make(jit_compile=False), make(jit_compile=False)
    train_on_replicas(mirrored, optimizer, together, steps)
    train(other, alone, [[g.sum(0) for g in grads] for grads in steps])
    assert_same(together, alone, 1e-12)
    for one, two in zip(optimizer.weights, other.weights, strict=True):
        assert_same(value_of(one), value_of(two), 1e-12)


def test_hyperparameters_of_the_inner_optimizer_are_its_own():
    optimizer, variables = make(groups={"bias": {"beta_1": 0.5}}), named()
    train_on_cosines(optimizer, variables)
    before = values_of(variables)
    optimizer.learning_rate = 0.0
    optimizer.slow_step_size = 1.0
    train_on_cosines(optimizer, variables, 2)
    assert_same(variables, before)
    assert optimizer.inner_optimizer.learning_rate.numpy() == 0.0
    assert optimizer.beta_1.numpy() == np.float32(0.9)
    config = optimizer.get_config()
    assert config["inner_optimizer"]["config"]["learning_rate"] == 0.0
    assert "weight_decay" not in config and config["sync_period"] == 2
    assert [row.decays for row in tfopt.inspect.describe(optimizer)] == [True, True]


def test_roles_of_the_inner_optimizer_are_its_own():
    class Signs(tfopt.SGD):
        roles = ("plain", "sign")

        def slots(self, x):
            return {}

        def update(self, g, x, s, h):
            return x - h.learning_rate * (tf.sign(g) if h.role == "sign" else g)

    for rule in ({}, {"roles": {"bias": "sign"}}):
        alone, wrapped, steps = named(), named(), gradients(2)
        train(Signs(0.5, **rule), alone, steps)
        train(Same(Signs(0.5, **rule)), wrapped, steps)
        assert_same(wrapped, alone, 1e-12)
    twin = copy.deepcopy(Same(Signs(0.5, roles={"bias": "sign"})))
    assert [row.role for row in tfopt.inspect.describe(twin, named())] == ["plain", "sign"]


def test_what_belongs_to_both():
    counted, steps = Counted(tfopt.Nadam(0.125)), gradients(3)
    wrapped, alone = named(), named()
    train(counted, wrapped, steps)
    train(tfopt.Nadam(0.125), alone, steps)
    assert_same(wrapped, alone, 1e-12)
    assert counted.weights[2].numpy() == 3.0
    around = Lookahead(Same(tfopt.SGD(0.5)), 1, 0.5)
    multi = tfopt.MultiOptimizer({"a": Lookahead(tfopt.SGD(0.5), 1, 0.5)}, tfopt.SGD(0.25))
    for optimizer in (around, multi):
        wrapped, alone = named(), named()
        train(optimizer, wrapped, steps)
        train(tfopt.SGD(0.25), alone, steps)
        assert_same(wrapped, alone, 1e-12)


# --- state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [by_list, by_keras, by_checkpoint, by_safetensors])
def test_training_goes_on_from_what_was_saved(way, tmp_path):
    optimizer, variables = make(use_ema=True), named()
    train_on_cosines(optimizer, variables)
    optimizer.learning_rate = 0.0625
    config = optimizer.get_config()
    again = Lookahead.from_config(config) if way is by_list else make(use_ema=True)
    others = [tf.Variable(v, name=v.name[:-2]) for v in variables]
    way(optimizer, again, variables, others, tmp_path / "state")
    for each_one, its in ((optimizer, variables), (again, others)):
        train_on_cosines(each_one, its)
    assert_same(others, variables)
    assert_same(again.get_weights(), optimizer.get_weights())
    assert again.get_config() == config


@pytest.mark.parametrize("how", ["pickle", "deep copy"])
def test_copies(how):
    optimizer, variables = make(), named()
    train_on_cosines(optimizer, variables)
    if how == "pickle":
        twin = pickle.loads(pickle.dumps(optimizer))
        others = [tf.Variable(v, name=v.name[:-2]) for v in variables]
    else:
        twin, others = copy.deepcopy((optimizer, variables))
    train_on_cosines(optimizer, variables)
    train_on_cosines(twin, others)
    assert_same(others, variables)
    twin.learning_rate = 0.0
    assert optimizer.learning_rate.numpy() == 0.125


@pytest.mark.parametrize("library", list(files_matrix.LIBRARIES))
@pytest.mark.parametrize("kind", files_matrix.KINDS)
def test_a_model_is_saved_and_loaded(library, kind, tmp_path):
    def fit(model):
        model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)

    model = files_matrix.make(library, kind)
    files_matrix.compiled(library, model, Lookahead(tfopt.Adam(0.05)))
    fit(model)
    model.save(tmp_path / "model.keras")
    again = files_matrix.LIBRARIES[library].models.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer.inner_optimizer, tfopt.Adam)
    fit(model)
    fit(again)
    assert_same(values_of(again.trainable_variables), values_of(model.trainable_variables))
    assert_same(again.optimizer.get_weights(), model.optimizer.get_weights())


def test_what_does_not_fit_raises():
    with pytest.raises(TypeError, match="`inner_optimizer` must be of optimizers of tfopt"):
        Lookahead(tf.keras.optimizers.Adam())
    with pytest.raises(ValueError, match="`clipnorm` must be given to the optimizer around"):
        Lookahead(tfopt.Adam(clipnorm=1.0))
    with pytest.raises(ValueError, match="`weight_decay` must be given to `inner_optimizer`"):
        Lookahead(tfopt.Adam(), weight_decay=0.5)

    with pytest.raises(ValueError, match="must not have a MultiOptimizer"):
        Same(tfopt.MultiOptimizer({}, tfopt.Adam()))
    with pytest.raises(ValueError, match="must not have a `steps_of_wrapper` in its `state`"):
        Counted(Counted(tfopt.Adam()))
    inner = tfopt.Adam()
    with pytest.raises(ValueError, match="slow_step_size"):
        Lookahead(inner, slow_step_size=2.0)
    assert Lookahead(inner).inner_optimizer is inner

    class Both(tfopt.Wrapper):
        beta_1 = tfopt.Hyper(0.5)

    with pytest.raises(ValueError, match="must not have a `beta_1`, since Both has one"):
        Both(tfopt.Adam())


def test_swa_holds_what_a_variable_had_when_it_moved():
    """Two networks take turns: one of them never moves in a step that enters."""
    optimizer, (one, other) = tfopt.SWA(tfopt.SGD(0.5), average_period=2), start()
    for step in range(6):
        variable = other if step % 2 else one
        optimizer.apply_gradients([(tf.ones_like(variable), variable)])
    before = values_of([one, other])
    with optimizer.evaluation_weights():
        assert_same(one, before[0] + 0.5, 1e-12)  # of 0.5, 1.0 and 1.5 steps
        assert_same(other, before[1])


@pytest.mark.parametrize("make", [*ALL_ROWS.values(), lambda: tfopt.ScheduleFreeSGD(0.125)])
def test_constraints_are_refused_where_other_weights_would_not_obey(make):
    variable = tf.Variable([1.0], constraint=tf.nn.relu)
    free = tf.Variable([1.0])
    optimizer = make()
    with pytest.raises(RuntimeError, match="has a constraint, .* would not obey"):
        optimizer.apply_gradients([(tf.ones([1]), free), (tf.ones([1]), variable)])
    assert not optimizer.built and free.numpy() == 1


def test_averages_of_averages_are_refused():
    for inner in (tfopt.ScheduleFreeSGD(), tfopt.SWA(tfopt.SGD())):
        with pytest.raises(ValueError, match="`inner_optimizer` must not average"):
            tfopt.SWA(inner)
        with pytest.raises(ValueError, match="`inner_optimizer` must not average"):
            Lookahead(inner)
