"""State goes in and out whole: checkpoints, lists of weights, and the order of both."""

import copy
import functools
import pickle

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from cases import CASES
from models import each_library
from state_transfer import WAYS
from training import (
    assert_same,
    each,
    slots_of,
    train_on_cosines,
    two_variables,
    values_of,
)

import tfopt

legacy = tf_keras.optimizers.legacy
# No slots; a scalar; slots of other shapes: resume_test saves and resumes every row of the table.
each_of_few = each([case for case in CASES if case.name in ("SGD", "Nadam", "Adafactor")])


@pytest.mark.filterwarnings("ignore:The checkpoint has changed")  # the rate, on purpose
@each_of_few
@pytest.mark.parametrize("slots_first", [False, True], ids=["deferred", "into slots"])
def test_checkpoint_restores_and_training_goes_on_bit_for_bit(case, slots_first, tmp_path):
    opt, variables = case.make(), two_variables()
    train_on_cosines(opt, variables)
    opt.learning_rate = 0.0625
    path = tf.train.Checkpoint(opt=opt, variables=variables).save(str(tmp_path / "ckpt"))
    again, others = case.make(), two_variables()
    if slots_first:
        train_on_cosines(again, others, 1)
    status = tf.train.Checkpoint(opt=again, variables=others).restore(path)
    if slots_first:
        status.assert_consumed()
    train_on_cosines(opt, variables)
    train_on_cosines(again, others)
    status.assert_existing_objects_matched()
    status.assert_consumed()
    assert_same(values_of(others, again), values_of(variables, opt))
    assert float(again.learning_rate) == 0.0625


@each([case for case in CASES if case.has_v2_peer])
@pytest.mark.parametrize("slots_first", [False, True], ids=["deferred", "into slots"])
@pytest.mark.parametrize("ours_first", [False, True], ids=["from legacy", "to legacy"])
def test_checkpoints_interchange_with_optimizer_v2(case, slots_first, ours_first, tmp_path):
    makers = [case.make, case.make_peer]
    first, second = makers if ours_first else reversed(makers)
    opt, variables = first(), two_variables()
    train_on_cosines(opt, variables)
    path = tf.train.Checkpoint(opt=opt, variables=variables).save(str(tmp_path / "ckpt"))
    again, others = second(), two_variables()
    if slots_first:
        train_on_cosines(again, others, 1)
    status = tf.train.Checkpoint(opt=again, variables=others).restore(path)
    (again._create_all_weights if ours_first else again.build)(others)
    status.assert_existing_objects_matched()
    assert again.iterations.numpy() == opt.iterations.numpy()
    for name in case.slots:
        for other, variable in zip(others, variables, strict=True):
            np.testing.assert_array_equal(again.get_slot(other, name), opt.get_slot(variable, name))
    opt.learning_rate = again.learning_rate = 0.125
    train_on_cosines(opt, variables)
    train_on_cosines(again, others)
    for other, variable in zip(others, variables, strict=True):
        np.testing.assert_allclose(other, variable.numpy(), rtol=1e-4, atol=1e-6)


def test_checkpoint_keys_are_optimizer_v2s(tmp_path):
    opt, variables = tfopt.Nadam(), two_variables()
    train_on_cosines(opt, variables)
    path = tf.train.Checkpoint(opt=opt, v=variables[0]).save(str(tmp_path / "ckpt"))
    keys = {
        key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for key, _ in tf.train.list_variables(path)
    }
    assert keys == {
        "_CHECKPOINTABLE_OBJECT_GRAPH",
        "save_counter",
        "v",
        "v/.OPTIMIZER_SLOT/opt/m",
        "v/.OPTIMIZER_SLOT/opt/v",
        "opt/iter",
        "opt/learning_rate",
        "opt/beta_1",
        "opt/beta_2",
        "opt/decay",
        "opt/momentum_cache",
    }


@each_library
def test_checkpoint_of_a_model_with_its_optimizer(library, tmp_path):
    def make():
        model = library.Sequential([library.layers.Dense(2), library.layers.Dense(1)])
        model.build((None, 3))
        model.compile(optimizer=tfopt.Adam(0.05), loss=library.losses.MeanSquaredError())
        return model

    def fit(model):
        model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0, shuffle=False, batch_size=4)

    model = make()
    fit(model)
    path = tf.train.Checkpoint(model=model, opt=model.optimizer).save(str(tmp_path / "ckpt"))
    slots = [name for name, _ in tf.train.list_variables(path) if ".OPTIMIZER_SLOT" in name]
    assert len(slots) == 8
    again = make()
    status = tf.train.Checkpoint(model=again, opt=again.optimizer).restore(path)
    fit(again)
    fit(model)
    status.assert_existing_objects_matched()
    assert_same(again.get_weights(), model.get_weights())
    assert_same(again.optimizer.get_weights(), model.optimizer.get_weights())


def test_checkpoint_manager_and_partial_models(tmp_path):
    opt, variables = tfopt.Adam(), two_variables()
    checkpoint = tf.train.Checkpoint(opt=opt, a=variables[0], b=variables[1])
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)
    for _ in range(3):
        train_on_cosines(opt, variables, 1)
        manager.save()
    assert len(manager.checkpoints) == 2
    again, alone = tfopt.Adam(), two_variables()[1]
    tf.train.Checkpoint(opt=again, b=alone).restore(manager.latest_checkpoint).expect_partial()
    again.build([alone])
    assert again.iterations.numpy() == 3
    np.testing.assert_array_equal(again.get_slot(alone, "m"), opt.get_slot(variables[1], "m"))


def test_restoring_does_not_change_the_order(tmp_path):
    opt, variables = tfopt.Adam(), two_variables()
    train_on_cosines(opt, variables)
    path = tf.train.Checkpoint(opt=opt, b=variables[1], a=variables[0]).save(str(tmp_path / "c"))
    again, others = tfopt.Adam(), two_variables()
    tf.train.Checkpoint(opt=again, b=others[1], a=others[0]).restore(path)
    again.build(others)
    assert_same(again.get_weights(), opt.get_weights())


# --- lists of weights -----------------------------------------------------------------------------


@each_of_few
def test_set_weights_before_there_are_slots(case):
    opt, variables = case.make(), two_variables()
    train_on_cosines(opt, variables)
    again, others = case.make(), [tf.Variable(v) for v in variables]
    again.set_weights(opt.get_weights())
    assert_same(again.get_weights(), opt.get_weights())
    train_on_cosines(again, others)
    train_on_cosines(opt, variables)
    assert_same(values_of(others, again), values_of(variables, opt))


def test_a_factored_second_moment_is_smaller_than_its_variable():
    shapes = [(5, 3), (4,), (2, 5, 3), ()]
    opt = tfopt.Adafactor()
    opt.build([tf.Variable(tf.ones(shape)) for shape in shapes])
    assert opt.get_slot_names() == ["r", "c", "v"]
    assert [w.shape for w in opt.weights[1:]] == [(5,), (2, 5), (3,), (2, 3), (4,), ()]


def test_kept_weights_that_do_not_fit_raise_and_change_nothing():
    opt, variables = tfopt.Adam(), two_variables()
    before = [v.numpy() for v in variables]
    opt.set_weights([np.array(3), np.zeros(3)])
    with pytest.raises(ValueError, match="`set_weights` was given"):
        train_on_cosines(opt, variables)
    assert_same([v.numpy() for v in variables], before)
    assert_same(opt.get_weights(), [0])  # as it was made
    good = tfopt.Adam()
    train_on_cosines(good, two_variables())
    opt.set_weights(good.get_weights())
    train_on_cosines(opt, variables)
    assert opt.iterations.numpy() == 6


@pytest.mark.parametrize("name", ["RMSprop", "Adagrad", "Adadelta", "Adam"])
def test_lists_of_older_keras_as_optimizer_v2_takes_them(name):
    ours, theirs = getattr(tfopt, name)(), getattr(legacy, name)()
    for opt in (ours, theirs):
        train_on_cosines(opt, two_variables())
    old = [w + 0.5 for w in ours.get_weights()[1:]]
    if name == "Adam":
        old = [np.array(7), *old, *(np.zeros(1) for _ in range(2))]
    for opt in (ours, theirs):
        opt.set_weights(old)
    assert_same(ours.get_weights(), theirs.get_weights())


def test_iterations_may_be_replaced_before_use():
    counter, opt, variable = tf.Variable(41, dtype=tf.int64), tfopt.SGD(), tf.Variable(1.0)
    opt.iterations = counter
    assert opt.apply_gradients([(1.0, variable)]) == 42
    assert counter.numpy() == 42
    with pytest.raises(RuntimeError, match="iterations"):
        opt.iterations = tf.Variable(0, dtype=tf.int64)
    for wrong in (3, tf.Variable(1.0)):
        with pytest.raises(TypeError, match="iterations"):
            tfopt.SGD().iterations = wrong


# --- copies ---------------------------------------------------------------------------------------


@each_of_few
def test_pickle_holds_config_and_state(case):
    opt, variables = case.make(), two_variables()
    train_on_cosines(opt, variables)
    opt.learning_rate = 0.0625
    again, others = pickle.loads(pickle.dumps(opt)), [tf.Variable(v) for v in variables]
    assert again.get_config() == opt.get_config()
    train_on_cosines(again, others)
    train_on_cosines(opt, variables)
    assert_same(values_of(others, again), values_of(variables, opt))


@each_of_few
def test_deepcopy_stays_bound_to_the_same_variables(case):
    opt, variables = case.make(), two_variables()
    train_on_cosines(opt, variables)
    twin = copy.deepcopy(opt)
    assert_same(twin.get_weights(), opt.get_weights())
    before = [v.numpy() for v in variables]
    train_on_cosines(twin, variables)
    after = [v.numpy() for v in variables]
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    train_on_cosines(opt, variables)
    assert_same([v.numpy() for v in variables], after)
    assert_same(twin.get_weights(), opt.get_weights())


@pytest.mark.parametrize("model_first", [False, True])
def test_deepcopy_with_a_model_is_bound_to_the_copies(model_first):
    """Whichever of the two is copied first."""
    holder = {"variables": two_variables(), "opt": tfopt.Adam(0.5)}
    holder = holder if model_first else dict(reversed(holder.items()))
    train_on_cosines(holder["opt"], holder["variables"])
    twin = copy.deepcopy(holder)
    for original, copied in zip(holder["variables"], twin["variables"], strict=True):
        np.testing.assert_array_equal(
            twin["opt"].get_slot(copied, "m"), holder["opt"].get_slot(original, "m")
        )
        with pytest.raises(KeyError):
            twin["opt"].get_slot(original, "m")
    train_on_cosines(twin["opt"], twin["variables"])
    train_on_cosines(holder["opt"], holder["variables"])
    assert_same(
        values_of(twin["variables"], twin["opt"]), values_of(holder["variables"], holder["opt"])
    )


def test_copies_of_an_optimizer_with_several_blocks():
    opt, (a, b) = tfopt.Adam(), two_variables()
    train_on_cosines(opt, [a])
    train_on_cosines(opt, [a, b])
    for again in (pickle.loads(pickle.dumps(opt)), copy.deepcopy(opt)):
        assert_same(again.get_weights(), opt.get_weights())
        again.build([a])
        again.build([a, b])
        assert_same(again.get_weights(), opt.get_weights())
        assert again.get_slot(b, "m").numpy().any()


def test_copies_of_an_optimizer_not_yet_used():
    opt = tfopt.Adam(0.5, clipnorm=1.0)
    opt.set_weights([np.array(3)])
    for again in (pickle.loads(pickle.dumps(opt)), copy.deepcopy(opt)):
        assert again.iterations.numpy() == 3
        assert again.get_config() == opt.get_config()


def test_a_number_given_to_a_deep_copy_before_its_first_use_stays():
    opt, x = tfopt.Adam(0.125), tf.Variable(1.0)
    opt.build([x])
    opt.learning_rate.assign(0.5)
    twin, other = copy.deepcopy(opt), copy.deepcopy(opt)
    opt.learning_rate.assign(1.0)
    twin.learning_rate = 0.25
    for which, rate in ((twin, 0.25), (other, 0.5)):
        which.build([x])
        assert float(which.learning_rate) == which.get_config()["learning_rate"] == rate


def test_deepcopy_keeps_callables_variables_and_own_attributes():
    rate = tf.Variable(0.5)
    opt = tfopt.SGD(rate, momentum=lambda: 0.25)
    opt.note = ["mine"]
    twin = copy.deepcopy(opt)
    assert twin.learning_rate is rate
    assert twin.momentum == 0.25
    assert list(twin.note) == ["mine"]
    assert twin.note is not opt.note


class Counting(tfopt.SGD):
    """An optimizer with a variable of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.extra = self.add_weight("extra", [], initializer=1.0)


def test_added_weights_are_copied_and_saved(tmp_path):
    opt, store = Counting(0.5), {}
    opt.extra.assign(5.0)
    opt.save_own_variables(store)
    loaded = Counting(0.5)
    loaded.load_own_variables(store)
    for again in (pickle.loads(pickle.dumps(opt)), copy.deepcopy(opt), loaded):
        assert again.extra.numpy() == 5.0
        path = tf.train.Checkpoint(opt=again).save(str(tmp_path / "ckpt"))
        assert any("extra" in name for name, _ in tf.train.list_variables(path))


def test_a_checkpoint_of_a_fresh_copy(tmp_path):
    opt, variables = tfopt.Adam(0.5), two_variables()
    train_on_cosines(opt, variables)
    twin = copy.deepcopy(opt)
    path = tf.train.Checkpoint(opt=twin, variables=variables).save(str(tmp_path / "ckpt"))
    assert sum("OPTIMIZER_SLOT" in name for name, _ in tf.train.list_variables(path)) == 4


def test_waiting_state_is_seen_and_missed(tmp_path):
    opt = tfopt.Adam()
    train_on_cosines(opt, two_variables())
    again = tfopt.Adam()
    again.set_weights(opt.get_weights())
    assert again.iterations.numpy() == 3
    with pytest.warns(tfopt.TfoptWarning, match="build"):
        tf.train.Checkpoint(opt=again).save(str(tmp_path / "ckpt"))


def test_odd_names_in_a_v1_graph():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable, opt = tf.Variable(1.0), tfopt.Adam(0.5, name="my adam: ü")
        update = opt.apply_gradients([(tf.constant(1.0), variable)])
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(update)
        assert session.run(variable) < 1.0


class Averaging(tfopt.Optimizer):
    """An optimizer with a scalar, and no slots."""

    learning_rate = tfopt.Hyper(0.5, low=0)
    state = {"total": 0.0}

    def begin(self, h, state):
        state.total = h.total = state.total + h.learning_rate

    def update(self, g, x, s, h):
        return x - h.learning_rate / h.total * g


def test_a_scalar_without_slots_is_carried_over():
    opt, variables, store = Averaging(), two_variables(), {}
    train_on_cosines(opt, variables)
    opt.save_own_variables(store)
    loaded = Averaging()
    loaded.load_own_variables(store)
    listed = Averaging()
    listed.set_weights(opt.get_weights())
    for again in (loaded, listed, pickle.loads(pickle.dumps(opt)), copy.deepcopy(opt)):
        again.build(variables)
        assert_same(again.get_weights(), opt.get_weights())


def test_pending_weights_that_do_not_fit_inside_a_function():
    opt, variables = tfopt.Adam(), two_variables()
    opt.set_weights([np.array(3), np.zeros(3)])
    step = tf.function(lambda: train_on_cosines(opt, variables, 1))
    with pytest.raises(ValueError, match="set_weights"):
        step()
    assert opt.iterations.numpy() == 0


def test_a_deepcopy_has_exclusions_of_its_own():
    opt = tfopt.SGD(weight_decay=0.5, exclude_from_weight_decay=["norm"])
    twin = copy.deepcopy(opt)
    twin.exclude_from_weight_decay(var_names=["bias"])
    assert opt.get_config()["exclude_from_weight_decay"] == ["norm"]
    assert twin.get_config()["exclude_from_weight_decay"] == ["norm", "bias"]


def test_a_refused_call_leaves_what_a_checkpoint_restored(mirrored, tmp_path):
    def make():
        with mirrored.scope():
            return tf.Variable([1.0, 2.0]), tfopt.Adam(0.5)

    def step(optimizer, *variables):
        mirrored.run(lambda: optimizer.apply_gradients([(tf.ones([2]), v) for v in variables]))

    variable, optimizer = make()
    for _ in range(3):
        step(optimizer, variable)
    path = tf.train.Checkpoint(v=variable, o=optimizer).save(str(tmp_path / "three"))
    again, twin = make()
    tf.train.Checkpoint(v=again, o=twin).restore(path)
    with pytest.raises(ValueError, match="outside the scope"):
        step(twin, again, tf.Variable([1.0, 2.0]))
    for v, o in ((variable, optimizer), (again, twin)):
        step(o, v)
    assert_same(optimizer.get_weights(), twin.get_weights())


@pytest.mark.parametrize("name", ["Adam", "Nadam"])
def test_what_was_loaded_before_the_first_step_reaches_all_replicas(name, mirrored):
    def step_on_replicas(optimizer, variable, steps):
        @tf.function
        def step():
            mirrored.run(lambda: optimizer.apply_gradients([(tf.cos(variable), variable)]))

        for _ in range(steps):
            step()

    options = {"skip_nonfinite": True, "gradient_accumulation_steps": 2, "use_ema": True}
    with mirrored.scope():
        variable, optimizer = tf.Variable([1.0, 2.0]), getattr(tfopt, name)(0.25, **options)
    step_on_replicas(optimizer, variable, 3)
    with mirrored.scope():
        again, twin = tf.Variable(variable.numpy()), getattr(tfopt, name)(0.25, **options)
    twin.set_weights(optimizer.get_weights())  # outside of the scope, and before there are slots
    step_on_replicas(optimizer, variable, 4)
    step_on_replicas(twin, again, 4)
    for one, other in zip(optimizer.weights, twin.weights, strict=True):
        mine, yours = (getattr(weight, "values", [weight]) for weight in (one, other))
        for number, part in enumerate(yours):
            np.testing.assert_allclose(part.numpy(), mine[number].numpy(), rtol=1e-6)
    np.testing.assert_array_equal(*[copy.numpy() for copy in again.values])


def test_a_deep_copy_has_the_rate_that_was_assigned():
    optimizer = tfopt.Adam(0.25)
    optimizer.learning_rate.assign(0.5)
    twin = copy.deepcopy(optimizer)
    assert twin.learning_rate.numpy() == twin.get_config()["learning_rate"] == 0.5


# --- restored, and saved again before the first step ----------------------------------------------

AT_ONCE = [way for way in WAYS if not way.startswith("list")]  # a list needs an order of slots


@pytest.mark.filterwarnings("ignore:The checkpoint has changed")
@pytest.mark.parametrize("seen", [0, 1], ids=["no variable seen", "one variable seen"])
@pytest.mark.parametrize("cls", [tfopt.Adam, tfopt.Nadam])
@pytest.mark.parametrize("way", AT_ONCE)
def test_what_a_checkpoint_brought_is_not_lost_before_the_first_step(way, cls, seen, tmp_path):
    def make(rate=0.25):
        return cls(rate, use_ema=True, skip_nonfinite=True)

    variables, optimizer = two_variables(), make()
    train_on_cosines(optimizer, variables)
    optimizer.learning_rate = 0.5
    path = tf.train.Checkpoint(o=optimizer, v=variables).save(str(tmp_path / "first"))
    restored = make()
    tf.train.Checkpoint(o=restored, v=variables).restore(path)
    restored.build(variables[:seen]) if seen else None
    assert restored.get_config()["learning_rate"] == 0.5
    others = list(variables) if way == "deepcopy" else two_variables()
    twin = WAYS[way](restored, variables, others, functools.partial(make, 0.5), tmp_path)
    twin.build(others)
    assert twin.learning_rate.numpy() == 0.5
    assert twin.iterations.numpy() == 3
    for variable, other in zip(variables, others, strict=True):
        assert_same(
            list(slots_of(twin, other).values()), list(slots_of(optimizer, variable).values())
        )
