"""Several optimizers as one, beside the same optimizers one by one."""

import copy
import pickle

import files_matrix
import keras
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
    rows_of,
    start,
    train,
    train_on_cosines,
    train_on_replicas,
    value_of,
    values_of,
)

import tfopt

SHAPES = [(5, 3), (4,), (6, 2), (4,)]
NAMES = ["body/kernel", "body/bias", "head/kernel", "head/bias"]
BODY, HEAD, STEPS = [0, 1], [2, 3], 6
KINDS = of_each_kind(PLAIN)
each_kind = each(KINDS)
each_library = pytest.mark.parametrize("library", list(files_matrix.LIBRARIES))


def named(dtype="float64", names=NAMES):
    values = start(dtype, SHAPES)
    return [tf.Variable(value, name=name) for value, name in zip(values, names, strict=True)]


def make(**options):
    """Three formulas: one with a state of its own, one with a kernel, one with decay."""
    return tfopt.MultiOptimizer(
        {
            "body/k": tfopt.Nadam(0.125),
            "head/k": tfopt.AdamW(0.25, weight_decay=0.5),
        },
        tfopt.SGD(0.25, momentum=0.5),
        **options,
    )


def apart():
    """The same, for each of the four variables."""
    sgd = [tfopt.SGD(0.25, momentum=0.5) for _ in range(2)]
    return [tfopt.Nadam(0.125), sgd[0], tfopt.AdamW(0.25, weight_decay=0.5), sgd[1]]


def train_apart(optimizers, variables, steps, mode="eager", convert=tf.constant):
    for i, (optimizer, variable) in enumerate(zip(optimizers, variables, strict=True)):
        train(optimizer, [variable], [[grads[i]] for grads in steps], mode, convert)


# --- as each of them alone ------------------------------------------------------------------------


@each_kind
def test_every_optimizer_may_be_a_part(case):
    together, alone = named(), named()
    steps = gradients(STEPS, shapes=SHAPES)
    optimizer = tfopt.MultiOptimizer({"body": case.make()}, tfopt.SGD(0.25))
    train(optimizer, together, steps)
    train(case.make(), alone[:2], [grads[:2] for grads in steps])
    train(tfopt.SGD(0.25), alone[2:], [grads[2:] for grads in steps])
    assert_same(together, alone)
    assert optimizer.iterations.numpy() == STEPS


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_modes_and_dtypes(mode, dtype):
    together, alone = named(dtype), named(dtype)
    steps = [[tf.cast(g, dtype) for g in grads] for grads in gradients(STEPS, shapes=SHAPES)]
    train(make(), together, steps, mode, tf.identity)
    train_apart(apart(), alone, steps, mode, tf.identity)
    assert_same(together, alone, 1e-2 if dtype == "bfloat16" and mode == "xla" else 1e-12)


def test_eager_equals_graph_bit_for_bit():
    eager, graph = named("float32"), named("float32")
    steps = [[tf.cast(g, "float32") for g in grads] for grads in gradients(8, shapes=SHAPES)]
    optimizers = [make(global_clipnorm=0.5) for _ in range(2)]
    for optimizer, variables, mode in zip(optimizers, (eager, graph), MODES, strict=False):
        train(optimizer, variables, steps, mode, tf.identity)
    assert_same(eager, graph)
    assert_same(optimizers[0].get_weights(), optimizers[1].get_weights())


def test_rows_are_those_of_each_part():
    together, alone = named(), named()
    steps = [
        [rows_of(g)[0] if g.ndim == 2 else tf.constant(g) for g in grads]
        for grads in gradients(STEPS, shapes=SHAPES)
    ]
    optimizer = tfopt.MultiOptimizer(
        {"body": tfopt.Adam(0.25, lazy=True), "head/k": tfopt.LAMB(0.25)}, tfopt.SGD(0.25)
    )
    train(optimizer, together, steps)
    own = [tfopt.Adam(0.25, lazy=True) for _ in range(2)]
    train_apart([*own, tfopt.LAMB(0.25), tfopt.SGD(0.25)], alone, steps)
    assert_same(together, alone, 1e-12)
    words = [row.sparse for row in tfopt.inspect.describe(optimizer)]
    assert words == ["rows", "rows", "whole", "rows"]


@pytest.mark.parametrize("merge_call", [True, False], ids=["merge_call", "no_merge_call"])
def test_replicas(merge_call, mirrored, monkeypatch):
    if not merge_call:
        monkeypatch.setattr(mirrored.extended, "_use_merge_call", lambda: False)
    steps = [[np.stack([g, 2 * g]) for g in grads] for grads in gradients(STEPS, shapes=SHAPES)]
    with mirrored.scope():
        together = named()
    alone, options = named(), {"global_clipnorm": 0.5, "jit_compile": False}
    optimizer, other = make(**options), make(**options)
    train_on_replicas(mirrored, optimizer, together, steps)
    train(other, alone, [[g.sum(0) for g in grads] for grads in steps])
    assert_same(together, alone, 1e-12)
    for one, two in zip(optimizer.weights, other.weights, strict=True):
        assert_same(value_of(one), value_of(two), 1e-12)


# --- as one optimizer -----------------------------------------------------------------------------


def test_one_norm_one_window_one_average():
    together, alone = named(), named()
    steps = gradients(STEPS, shapes=SHAPES)
    options = {"gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.5}
    optimizer = make(global_clipnorm=0.5, **options)
    train(optimizer, together, steps)
    means = [[(a + b) / 2 for a, b in zip(*steps[i : i + 2], strict=True)] for i in (0, 2, 4)]
    norms = [np.sqrt(sum(np.sum(g**2) for g in grads)) for grads in means]
    clipped = [[g * min(1, 0.5 / n) for g in m] for m, n in zip(means, norms, strict=True)]
    others = apart()
    train_apart(others, alone, clipped)
    assert_same(together, alone, 1e-12)
    assert optimizer.iterations.numpy() == 3
    with optimizer.averaged_weights():
        assert not np.array_equal(together[0], alone[0])


def test_a_step_is_skipped_for_all_parts():
    optimizer, variables = make(skip_nonfinite=True), named()
    train_on_cosines(optimizer, variables)
    before = values_of(variables, optimizer)
    gradient = [np.inf * g if i == 3 else g for i, g in enumerate(gradients(1, shapes=SHAPES)[0])]
    optimizer.apply_gradients(zip(map(tf.constant, gradient), variables, strict=True))
    after = values_of(variables, optimizer)
    assert_same(after[:-1], before[:-1])
    assert optimizer.skipped_steps.numpy() == 1


def test_a_loss_scale_around_it():
    together, alone, steps = named(), named(), gradients(BRIEF, shapes=SHAPES)
    optimizer = tfopt.LossScaleOptimizer(make(), initial_scale=4.0)
    train(optimizer, together, [[4 * g for g in grads] for grads in steps])
    train_apart(apart(), alone, steps)
    assert_same(together, alone, 1e-12)


def test_one_learning_rate_multiplies_all():
    together, alone, steps = named(), named(), gradients(4, shapes=SHAPES)
    falling = tfopt.schedules.ExponentialDecay(0.5, 1, 0.5)
    optimizer = tfopt.MultiOptimizer(
        {"body": tfopt.SGD(falling), "head/k": tfopt.SGD(1.0, decay=1.0)}, tfopt.SGD(2.0)
    )
    optimizer.learning_rate = 0.5
    train(optimizer, together, steps[:2])
    optimizer.optimizers[2].learning_rate = 4.0
    optimizer.learning_rate = 1.0
    train(optimizer, together, steps[2:])
    rates = [[0.25, 0.125, 0.125, 0.0625]] * 2
    rates += [[0.5, 0.25, 1 / 3, 0.25], [1.0, 1.0, 4.0, 4.0]]
    for i, (variable, own) in enumerate(zip(alone, rates, strict=True)):
        moved = sum(rate * grads[i] for rate, grads in zip(own, steps, strict=True))
        assert_same(together[i], variable - moved, 1e-6)


def test_what_a_part_or_the_whole_excludes_does_not_decay():
    variables = named()
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    part = tfopt.SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=["bias"])
    optimizer = tfopt.MultiOptimizer(
        {"body": part}, tfopt.SGD(1.0, weight_decay=0.25), exclude_from_weight_decay=["head/k"]
    )
    twin = tfopt.MultiOptimizer.from_config(optimizer.get_config())
    for each_one in (optimizer, twin):
        decays = [row.decays for row in tfopt.inspect.describe(each_one, variables)]
        assert decays == [True, False, False, True]
    optimizer.apply_gradients([(tf.zeros_like(v), v) for v in variables])
    assert [float(value_of(v).ravel()[0]) for v in variables] == [0.5, 1.0, 1.0, 0.75]


class Halves(tfopt.Optimizer):
    """Signs for vectors, and momentum for matrices, of which only the batch's rows move."""

    learning_rate = tfopt.Hyper(0.125, low=0)
    roles = ("matrix", "vector")
    sparse = {"matrix": "rows", "vector": "exact"}
    state = {"sum": 0.0}

    def choose_role(self, x):
        return "matrix" if len(x.shape) == 2 else "vector"

    def slots(self, x):
        return {"m": tfopt.zeros(x)} if self.role_of(x) == "matrix" else {}

    def begin(self, h, state):
        if h.role == "matrix":
            state.sum = state.sum + h.learning_rate

    def update(self, g, x, s, h):
        if h.role == "vector":
            return x - h.learning_rate * tf.sign(g)
        s.m = 0.5 * s.m + g
        return x - h.learning_rate * s.m


@pytest.mark.parametrize("mode", MODES)
def test_a_part_may_treat_parts_differently_itself(mode):
    steps, together, alone = gradients(STEPS, shapes=SHAPES), named(), named()
    optimizer = tfopt.MultiOptimizer({"body": Halves(0.5)}, Halves(0.25))
    train(optimizer, together, steps, mode)
    for part, rate in ((BODY, 0.5), (HEAD, 0.25)):
        own = [[grads[i] for i in part] for grads in steps]
        train(Halves(rate), [alone[i] for i in part], own)
    assert_same(together, alone, 1e-12)
    rows = tfopt.inspect.describe(optimizer)
    expected = ["Halves/matrix", "Halves/vector", "Halves_1/matrix", "Halves_1/vector"]
    assert [row.role for row in rows] == expected
    assert [row.sparse for row in rows] == ["rows", "exact"] * 2
    assert [value_of(w) for w in optimizer.weights[1:3]] == [0.5 * STEPS, 0.25 * STEPS]


def test_groups_are_for_the_whole_only():
    optimizer = make(groups={"bias": {"learning_rate_factor": 0.0}})
    variables = named()
    train_on_cosines(optimizer, variables)
    assert_same(variables[1::2], named()[1::2])
    assert not np.array_equal(variables[0], named()[0])


# --- state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [by_list, by_keras, by_checkpoint, by_safetensors])
@pytest.mark.parametrize("from_config", [False, True], ids=["as written", "of a config"])
def test_training_goes_on_from_what_was_saved(way, from_config, tmp_path):
    optimizer, variables = make(use_ema=True), named()
    train_on_cosines(optimizer, variables)
    if from_config or way is not by_list:
        optimizer.optimizers[1].learning_rate = 0.0625
    train_on_cosines(optimizer, variables)
    config = optimizer.get_config()
    again = tfopt.MultiOptimizer.from_config(config) if from_config else make(use_ema=True)
    others = [tf.Variable(v, name=n) for v, n in zip(variables, NAMES, strict=True)]
    way(optimizer, again, variables, others, tmp_path / "state")
    train_on_cosines(optimizer, variables)
    train_on_cosines(again, others)
    assert_same(others, variables)
    assert_same(again.get_weights(), optimizer.get_weights())
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize("how", ["pickle", "deep copy"])
@pytest.mark.parametrize("built", [False, True])
def test_copies_have_parts_of_their_own(how, built):
    optimizer, variables = make(), named()
    if built:
        train_on_cosines(optimizer, variables)
    if how == "pickle":
        twin = pickle.loads(pickle.dumps(optimizer))
        others = [tf.Variable(v, name=n) for v, n in zip(variables, NAMES, strict=True)]
    else:
        twin, others = copy.deepcopy((optimizer, variables))
    twin.optimizers[0].learning_rate = 0.0
    for each_one, its in ((optimizer, variables), (twin, others)):
        train_on_cosines(each_one, its)
    assert_same(others[1:], variables[1:])
    assert not np.array_equal(others[0], variables[0])
    assert optimizer.optimizers[0].learning_rate.numpy() == 0.125


@each_library
@pytest.mark.parametrize("kind", files_matrix.KINDS)
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_a_model_is_saved_and_loaded(library, kind, ending, tmp_path):
    def of(model):
        first = [layer for layer in getattr(model, "hidden", model.layers) if layer.weights][0]
        return tfopt.MultiOptimizer([(first, tfopt.Adam(0.05))], tfopt.SGD(0.1, momentum=0.5))

    def fit(model):
        model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)

    model = files_matrix.make(library, kind)
    files_matrix.compiled(library, model, of(model))
    assert isinstance(model.optimizer, tfopt.MultiOptimizer)
    fit(model)
    if ending == ".keras":
        model.save(tmp_path / "model.keras")
        for _ in range(3):  # names shift
            files_matrix.LIBRARIES[library].layers.Dense(1)
        again = files_matrix.LIBRARIES[library].models.load_model(tmp_path / "model.keras")
    else:
        model.save_weights(tmp_path / "model.weights.h5")
        again = files_matrix.make(library, kind)
        files_matrix.compiled(library, again, of(again))
        again.optimizer.build(again.trainable_variables)
        again.load_weights(tmp_path / "model.weights.h5")
    fit(model)
    fit(again)
    assert_same(values_of(again.trainable_variables), values_of(model.trainable_variables))
    assert_same(again.optimizer.get_weights(), model.optimizer.get_weights())


# --- how it is given ------------------------------------------------------------------------------


def roles(optimizer):
    return [row.role for row in tfopt.inspect.describe(optimizer, named())]


def test_as_keras_and_tensorflow_addons_give_it():
    expected = ["Adam", "Adam", "SGD", "SGD"]
    mapped = tfopt.OptimizerMap(tfopt.SGD())
    mapped["body/.*"] = tfopt.Adam()
    mapped["ody"] = tfopt.Lion()  # a pattern must match the whole path
    with pytest.warns(tfopt.TfoptWarning, match="which none of the variables matches"):
        optimizer = tfopt.MultiOptimizer(mapped)
        optimizer.build(named())
    assert roles(optimizer) == expected
    if hasattr(keras.optimizers, "OptimizerMap"):
        theirs = keras.optimizers.OptimizerMap(tfopt.SGD(), {"body/.*": tfopt.Adam()})
        assert roles(tfopt.MultiOptimizer(theirs)) == expected
    layers = [tf.keras.layers.Dense(2) for _ in range(2)]
    for layer in layers:
        layer.build((None, 2))
    addons = tfopt.MultiOptimizer([(tfopt.Adam(), layers[0]), (tfopt.SGD(), [layers[1]])])
    variables = [v for layer in layers for v in layer.trainable_variables]
    assert [row.role for row in tfopt.inspect.describe(addons, variables)] == expected


def test_one_optimizer_may_have_several_members():
    adam = tfopt.Adam()
    optimizer = tfopt.MultiOptimizer({"body/k": adam, "head/k": adam, "bias": "sgd"})
    twin = tfopt.MultiOptimizer.from_config(optimizer.get_config())
    assert roles(optimizer) == roles(twin) == ["Adam", "SGD", "Adam", "SGD"]
    assert optimizer.optimizers[0] is adam and len(twin.optimizers) == 2
    both = tfopt.MultiOptimizer({"body": tfopt.Adam(), "head": tfopt.Adam()})
    assert roles(both) == ["Adam", "Adam", "Adam_1", "Adam_1"]
    assert "tfopt.MultiOptimizer({'body': tfopt.Adam(" in repr(both)


def test_what_cannot_be_a_part_raises():
    class Hooked(tfopt.Optimizer):
        def resource_apply_dense(self, grad, var):
            return var.assign_sub(grad)

    seen, taken = tfopt.Adam(), tfopt.Adam()
    seen.build(named())
    tfopt.MultiOptimizer({}, taken)
    for part, text in (
        (Hooked(), "overrides hooks"),
        (taken, "is a part of another"),
        (Halves(roles={"a": "matrix"}), "`roles` must be given"),
        (seen, "has seen variables"),
        (tfopt.Adam(clipnorm=1.0), "`clipnorm` must be given to the optimizer around `optimizers`"),
        (tfopt.Adam(use_ema=True), "`use_ema` must be given"),
        (tfopt.Adam(groups={"a": {"lr": 1.0}}), "`groups` must be given"),
    ):
        with pytest.raises(ValueError, match=text):
            tfopt.MultiOptimizer({"body": part}, tfopt.SGD())
    with pytest.raises(TypeError, match="`optimizers` must be of optimizers of tfopt"):
        tfopt.MultiOptimizer({"body": keras.optimizers.Adam()})
    with pytest.raises(TypeError, match="`optimizers` must map members to optimizers"):
        tfopt.MultiOptimizer(lambda variable: tfopt.Adam())
    with pytest.raises(ValueError, match="`optimizers` must hold an optimizer"):
        tfopt.MultiOptimizer({})
    with pytest.raises(ValueError, match="`weight_decay` must be None"):
        tfopt.MultiOptimizer({}, tfopt.SGD(), weight_decay=0.5)


def test_the_default_may_have_members_too():
    """Then it is the last part all the same, also in a config."""
    first, second = tfopt.SGD(0.5, momentum=0.5), tfopt.SGD(0.25, momentum=0.5)
    optimizer = tfopt.MultiOptimizer({"body/k": first, "head/k": second}, first)
    assert optimizer.optimizers == [second, first]
    variables = named()
    train_on_cosines(optimizer, variables)
    twin = pickle.loads(pickle.dumps(optimizer))
    others = [tf.Variable(v, name=n) for v, n in zip(variables, NAMES, strict=True)]
    train_on_cosines(optimizer, variables)
    train_on_cosines(twin, others)
    assert_same(others, variables)


def test_a_failed_constructor_gives_the_parts_back():
    parts = tfopt.Adam(), tfopt.SGD()
    with pytest.raises(ValueError, match="clipnorm"):
        tfopt.MultiOptimizer({"body": parts[0]}, parts[1], clipnorm=-1.0)
    optimizer = tfopt.MultiOptimizer({"body": parts[0]}, parts[1])
    with pytest.raises(RuntimeError, match="`Adam` is a part of `MultiOptimizer`"):
        parts[0].apply_gradients([(tf.ones([1]), tf.Variable([1.0]))])
    assert optimizer.iterations.numpy() == 0


def test_a_part_may_have_any_name():
    part = tfopt.SGD(0.5, name="optimizers")
    optimizer = tfopt.MultiOptimizer({"body": part}, tfopt.SGD(0.25))
    variables = named()
    train_on_cosines(optimizer, variables)
    twin, others = copy.deepcopy((optimizer, variables))
    train_on_cosines(optimizer, variables)
    train_on_cosines(twin, others)
    assert_same(others, variables)


def test_every_variable_has_one_optimizer():
    none = tfopt.MultiOptimizer({"body": tfopt.Adam()})
    with pytest.raises(ValueError, match="must have an optimizer for each.*`head/kernel`"):
        none.build(named())
    two = tfopt.MultiOptimizer({"body": tfopt.Adam(), "kernel": tfopt.SGD()}, tfopt.SGD())
    with pytest.raises(ValueError, match="`optimizers` must give `role` once.*`body/kernel` has"):
        two.build(named())
    assert not none.built and not two.built


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="not in this Keras")
def test_parts_of_keras_own_one():
    """Its steps are those of each optimizer alone."""
    theirs = keras.optimizers.OptimizerMap(tfopt.SGD(0.25), {"body/.*": tfopt.Adam(0.125)})
    optimizer = keras.optimizers.MultiOptimizer(theirs)
    together = [
        keras.Variable(v, name=n) for v, n in zip(start(shapes=SHAPES), "abcd", strict=True)
    ]
    for variable, name in zip(together, NAMES, strict=True):
        variable._path = name
    alone, steps = named("float32"), gradients(3, shapes=SHAPES)
    optimizer.build(together)
    for grads in steps:
        optimizer.apply([tf.constant(g, "float32") for g in grads], together)
    train_apart(
        [tfopt.Adam(0.125), tfopt.Adam(0.125), tfopt.SGD(0.25), tfopt.SGD(0.25)],
        alone,
        steps,
        convert=lambda g: tf.constant(g, "float32"),
    )
    assert_same(values_of(together), values_of(alone), 1e-4)
