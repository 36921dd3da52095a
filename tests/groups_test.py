"""Groups: parts of a model with numbers of their own, beside an optimizer for each part."""

import copy
import pickle

import numpy as np
import pytest
import saving
import tensorflow as tf
from saving import by_checkpoint, by_keras, by_safetensors
from training import (
    BRIEF,
    MODES,
    PLAIN,
    assert_same,
    counted,
    each,
    gradients,
    of_each_kind,
    of_some_kinds,
    rows_of,
    start,
    train,
    train_on_cosines,
    train_on_replicas,
    untraced,
    value_of,
    values_of,
)

import tfopt
from tfopt.hyper import Hyper

SHAPES = [(5, 3), (4,), (6, 2), (4,)]
NAMES = ["body/kernel", "body/bias", "head/kernel", "head/bias"]
BODY, HEAD, STEPS = [0, 1], [2, 3], 6
each_kind = each(of_each_kind(PLAIN))


def named(dtype="float64", names=NAMES):
    """Variables with names, of the same values at each call."""
    values = start(dtype, SHAPES)
    return [tf.Variable(value, name=name) for value, name in zip(values, names, strict=True)]


def numbers_of(case):
    """A factor of the learning rate, which is a power of 2 so that products are exact, and values
    of all other numbers."""
    own = {n for n, f in vars(case.cls).items() if isinstance(f, Hyper)} & case.arguments.keys()
    others = {name: case.arguments[name] * 0.75 for name in own - {"learning_rate"}}
    others |= {name: -0.25 for name in others if name == "learning_rate_power"}
    return {"learning_rate_factor": 0.25} | {n: v for n, v in others.items() if v is not None}


def parted(case, numbers, **options):
    """An optimizer with other numbers for the body, and an optimizer for each part."""
    grouped, own = case.make(**options, groups={"body": numbers}), {**case.arguments, **options}
    changed = {}
    for name, number in numbers.items():
        base = name.removesuffix("_factor")
        changed[base] = number if base == name else own[base] * number
    return grouped, case.make(**{**options, **changed}), case.make(**options)


def train_parts(optimizers, variables, steps, mode="eager"):
    """Trains each part with an optimizer of its own."""
    for optimizer, part in zip(optimizers, (BODY, HEAD), strict=True):
        own = [[grads[i] for i in part] for grads in steps]
        train(optimizer, [variables[i] for i in part], own, mode)


# --- as an optimizer for each part ----------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("mode", MODES)
def test_each_part_is_trained_as_by_an_optimizer_of_its_own(case, mode):
    grouped, *own = parted(case, numbers_of(case))
    together, apart = named(), named()
    steps = gradients(STEPS, shapes=SHAPES)
    train(grouped, together, steps, mode)
    train_parts(own, apart, steps, mode)
    assert_same(together, apart, 1e-12)


@each_kind
def test_every_number_of_a_group_is_noticed(case):
    steps, numbers = gradients(30, shapes=SHAPES), numbers_of(case)
    expected = named()
    with untraced():
        train(parted(case, numbers)[0], expected, steps)
    for name in numbers:
        others, changed = named(), {**numbers, name: numbers[name] * 1.0625}
        with untraced():
            train(parted(case, changed)[0], others, steps)
        assert not np.array_equal(others[0], expected[0]), name
        assert_same(others[2:], expected[2:])


@each_kind
@pytest.mark.parametrize("lazy", [True, False])
def test_rows(case, lazy):
    if case.sparse == "whole" and lazy:
        pytest.skip("it needs whole variables, and refuses to be lazy")
    grouped, *own = parted(case, {"learning_rate_factor": 0.25}, lazy=lazy)
    together, apart = named(), named()
    steps = [
        [rows_of(g)[0] if g.ndim == 2 else tf.constant(g) for g in grads]
        for grads in gradients(STEPS, shapes=SHAPES)
    ]
    train(grouped, together, steps)
    train_parts(own, apart, steps)
    assert_same(together, apart, 1e-12)


@each(of_some_kinds(PLAIN))
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits(case, dtype):
    grouped, *own = parted(case, {"learning_rate_factor": 0.25})
    together, apart = named(dtype), named(dtype)
    steps = [[tf.cast(g, dtype) for g in grads] for grads in gradients(BRIEF, shapes=SHAPES)]
    train(grouped, together, steps, convert=tf.identity)
    for optimizer, part in zip(own, (BODY, HEAD), strict=True):
        grads = [[each[i] for i in part] for each in steps]
        train(optimizer, [apart[i] for i in part], grads, convert=tf.identity)
    assert_same(together, apart)


@each_kind
@pytest.mark.parametrize("merge_call", [True, False], ids=["merge_call", "no_merge_call"])
def test_replicas(case, merge_call, mirrored, monkeypatch):
    if not merge_call:
        monkeypatch.setattr(mirrored.extended, "_use_merge_call", lambda: False)
    steps = [[np.stack([g, 2 * g]) for g in grads] for grads in gradients(STEPS, shapes=SHAPES)]
    numbers, alone = numbers_of(case), named()
    with mirrored.scope():
        together = named()
    optimizer = parted(case, numbers, jit_compile=False)[0]
    train_on_replicas(mirrored, optimizer, together, steps)
    train(parted(case, numbers)[0], alone, [[g.sum(0) for g in grads] for grads in steps])
    assert_same(together, alone, 1e-12)


def test_policies_act_in_all_groups():
    options = {"global_clipnorm": 0.5, "use_ema": True, "gradient_accumulation_steps": 2}
    make = [c for c in PLAIN if c.name == "AdamW"][0].make
    steps = gradients(STEPS, shapes=SHAPES)
    plain, grouped = named(), named()
    train(make(**options), plain, steps)
    optimizer = make(**options, groups={"body": {"learning_rate_factor": 1.0}})
    train(optimizer, grouped, steps)
    assert_same(grouped, plain)  # one norm over all groups, one window
    with optimizer.averaged_weights():
        assert not np.array_equal(grouped[0], plain[0])


def test_the_number_of_groups_does_not_change_a_state():
    """Nadam has one: the product of its momenta, which depend on `beta_1`."""
    optimizer = tfopt.Nadam(0.125, groups={"body": {"beta_1": 0.5}})
    own, steps = tfopt.Nadam(0.125, beta_1=0.5), gradients(STEPS, shapes=SHAPES)
    train(optimizer, named(), steps)
    train(own, named(), steps)
    cache, of_body = (value_of(weight) for weight in optimizer.weights[1:3])
    assert of_body == value_of(own.weights[1]) != cache


# --- rules that combine ---------------------------------------------------------------------------


def rates(optimizer, variables):
    """How far SGD moves each variable on a gradient of ones."""
    before = [value_of(v).copy() for v in variables]
    optimizer.apply_gradients([(tf.ones_like(v), v) for v in variables])
    return [float((b - value_of(v)).ravel()[0]) for b, v in zip(before, variables, strict=True)]


def test_factors_multiply_and_numbers_come_from_several_groups():
    variables = named()
    optimizer = tfopt.AdamW(
        0.5,
        weight_decay=0.5,
        groups=[
            {"body": {"lr_factor": 0.5}, "head": {"weight_decay": 0.25}},
            {"bias": {"learning_rate_factor": 0.25, "weight_decay_factor": 0.0}},
        ],
    )
    with pytest.raises(ValueError, match="`weight_decay` once.*`head/bias` has a value of 0.25"):
        optimizer.build(variables)
    optimizer = tfopt.SGD(
        1.0,
        weight_decay=0.5,
        groups=[
            {"body": {"lr_factor": 0.5}, "head/kernel": {"weight_decay": 0.25}},
            {"bias": {"learning_rate_factor": 0.25, "weight_decay_factor": 0.0}},
        ],
    )
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    moved = rates(optimizer, variables)
    np.testing.assert_allclose(moved, [0.5 * 1.5, 0.125, 1.25, 0.25])


@pytest.mark.parametrize(
    "groups",
    [
        {"body": {"learning_rate_factor": 0.5}, "kernel": {"learning_rate_factor": 0.5}},
        [{"body": {"learning_rate": 0.5}}, {"kernel": {"learning_rate": 0.5}}],
        [{"body": {"learning_rate": 0.5}}, {"kernel": {"learning_rate_factor": 0.5}}],
    ],
    ids=["factors in one mapping", "two values", "a value and a factor"],
)
def test_a_number_that_is_given_twice_raises(groups):
    variables, optimizer = named(), tfopt.SGD(1.0, groups=groups)
    with pytest.raises(ValueError, match="`learning_rate` once.*`body/kernel` has a .*'body'"):
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in variables])
    assert not optimizer.built
    assert_same(variables, named())


def test_what_is_excluded_does_not_decay_whatever_its_groups_say():
    variables = named()
    groups = {"head": {"weight_decay": 0.5}, "body": {"weight_decay_factor": 2.0}}
    exclude = {"exclude_from_weight_decay": ["bias"]}
    optimizer = tfopt.SGD(1.0, weight_decay=0.25, groups=groups, **exclude)
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    np.testing.assert_allclose(rates(optimizer, variables), [1.5, 1.0, 1.5, 1.0])


def test_members_may_be_variables_layers_functions_and_lists_of_these():
    layer = tf.keras.layers.Dense(4)
    layer.build((None, 3))
    variables = [*named("float32"), layer.kernel]
    groups = [
        (variables[0], {"learning_rate": 0.5}),
        ([variables[1], "head/k"], {"learning_rate": 0.25}),
        {layer: {"learning_rate": 0.125}, (lambda v: "head/b" in v.name): {"learning_rate": 2.0}},
    ]
    moved = rates(tfopt.SGD(1.0, groups=groups), variables)
    np.testing.assert_allclose(moved, [0.5, 0.25, 0.25, 2.0, 0.125], rtol=1e-5)


def test_a_callback_changes_the_base_that_factors_follow():
    variables = named()
    groups = {"body": {"learning_rate_factor": 0.5}, "head/b": {"learning_rate": 0.25}}
    optimizer = tfopt.SGD(1.0, groups=groups)
    np.testing.assert_allclose(rates(optimizer, variables), [0.5, 0.5, 1.0, 0.25])
    optimizer.learning_rate = 0.5
    np.testing.assert_allclose(rates(optimizer, variables), [0.25, 0.25, 0.5, 0.25])
    optimizer.groups["body"]["learning_rate_factor"] = 2.0
    optimizer.groups[1]["learning_rate"].assign(0.125)
    np.testing.assert_allclose(rates(optimizer, variables), [1.0, 1.0, 0.5, 0.125])


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_number_changes_without_a_retrace(mode):
    cls, traces = counted(tfopt.SGD)
    optimizer = cls(1.0, groups={"body": {"learning_rate_factor": 0.5}})
    variables, steps = named(), gradients(4, shapes=SHAPES)
    step = tf.function(lambda *g: optimizer.apply_gradients(zip(g, variables, strict=True)))
    make = step if mode == "graph" else step.python_function
    make(*map(tf.constant, steps[0]))
    before = len(traces)
    for factor, grads in zip((0.25, 0.0, 4.0), steps[1:], strict=True):
        was = value_of(variables[0]).copy()
        optimizer.groups[0]["learning_rate_factor"] = factor
        make(*map(tf.constant, grads))
        np.testing.assert_allclose(variables[0], was - factor * grads[0], 1e-12)
    assert len(traces) == before or mode == "eager"


def test_a_schedule_may_be_a_number_of_a_group():
    falling = tfopt.schedules.InverseTimeDecay(1.0, decay_steps=1, decay_rate=1.0)
    optimizer = tfopt.SGD(1.0, groups={"body": {"learning_rate": falling}})
    variables = named()
    again = tfopt.SGD.from_config(pickle.loads(pickle.dumps(optimizer.get_config())))
    for each_one in (optimizer, again):
        np.testing.assert_allclose(rates(each_one, variables), [1.0, 1.0, 1.0, 1.0])
        np.testing.assert_allclose(rates(each_one, variables), [0.5, 0.5, 1.0, 1.0])
    assert again.get_config() == optimizer.get_config()


# --- a rate of 0 from the start -------------------------------------------------------------------


OFF = [{"learning_rate": 0}, {"learning_rate_factor": 0.0}]


@pytest.mark.parametrize("numbers", OFF, ids=["value", "factor"])
@pytest.mark.parametrize("mode", MODES)
def test_a_rate_of_0_from_the_start_leaves_variables_alone(numbers, mode):
    optimizer, variables = tfopt.AdamW(0.125, groups={"body": numbers}), named()
    infinite = gradients(3, shapes=SHAPES)
    for grads in infinite:
        grads[0][:] = np.inf
    train(optimizer, variables, infinite, mode)
    assert_same(variables[:2], named()[:2])
    alone = tfopt.AdamW(0.125)
    own = named()[2:]
    train(alone, own, [grads[2:] for grads in infinite], mode)
    assert_same(variables[2:], own)
    assert len(optimizer.weights) == len(alone.weights) == 5
    with pytest.raises(KeyError):
        optimizer.get_slot(variables[0], "m")


@pytest.mark.parametrize("numbers", OFF, ids=["value", "factor"])
def test_another_rate_creates_the_slots_and_traces_once(numbers):
    cls, traces = counted(tfopt.Adam)
    optimizer, variables = cls(0.5, groups={"body": numbers}), named()
    [name] = numbers
    steps = gradients(6, shapes=SHAPES)
    train(optimizer, variables, steps[:3])
    before, [name] = len(traces), numbers
    optimizer.groups["body"][name] = 0.25
    own, rate = tfopt.Adam(0.25 if name == "learning_rate" else 0.125), value_of
    own.iterations.assign(3)
    apart = [tf.Variable(rate(v)) for v in variables[:2]]
    train(optimizer, variables, steps[3:])
    train(own, apart, [grads[:2] for grads in steps[3:]])
    assert_same(variables[:2], apart, 1e-12)
    traced = len(traces) - before
    train(optimizer, variables, steps)
    assert len(traces) - before == traced
    optimizer.groups["body"][name] = 0.0  # by now a number like any other
    kept = values_of(variables[:2])
    train(optimizer, variables, steps[:1])
    assert_same(variables[:2], kept)
    assert optimizer.get_slot(variables[0], "m") is not None


def test_a_function_that_was_traced_without_them_is_warned_of():
    optimizer, variables = tfopt.Adam(0.5, groups={"body": {"learning_rate": 0}}), named()

    @tf.function
    def step():
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in variables])

    step()
    with pytest.warns(tfopt.TfoptWarning, match="traced earlier leave these variables alone"):
        optimizer.groups[0]["learning_rate"] = 0.5


def test_a_base_rate_of_0_is_a_number():
    """As of a warmup that callbacks set."""
    optimizer, variables = tfopt.Adam(0.0), named()
    train(optimizer, variables, gradients(1, shapes=SHAPES))
    assert optimizer.get_slot(variables[0], "m") is not None


def test_if_all_are_left_alone_nothing_happens():
    optimizer, variables = tfopt.Adam(0.5, groups={"": {"learning_rate": 0}}), named()
    train(optimizer, variables, gradients(3, shapes=SHAPES))
    assert_same(variables, named())
    assert optimizer.iterations.numpy() == 0
    optimizer.groups[0]["learning_rate"] = 0.5
    train(optimizer, variables, gradients(1, shapes=SHAPES))
    assert optimizer.iterations.numpy() == 1


# --- state ----------------------------------------------------------------------------------------


def by_list(optimizer, again, trained, variables, path):
    """A list has no hyperparameters."""
    saving.by_list(optimizer, again, trained, variables, path)
    for group, other in zip(again.groups, optimizer.groups, strict=True):
        for name in other:
            group[name] = other[name].numpy()


@pytest.mark.parametrize("way", [by_list, by_keras, by_checkpoint, by_safetensors])
@pytest.mark.parametrize("off", [False, True], ids=["on", "began off"])
@pytest.mark.parametrize("from_config", [False, True], ids=["as written", "of a config"])
def test_state_and_numbers_are_saved(way, off, from_config, tmp_path):
    groups = {"body": {"learning_rate_factor": 0.0 if off else 0.5}, "h.*k": {"beta_1": 0.5}}
    optimizer, variables = tfopt.Nadam(0.125, groups=groups), named()
    train_on_cosines(optimizer, variables)
    optimizer.groups[0]["learning_rate_factor"] = 0.25
    train_on_cosines(optimizer, variables)
    config = optimizer.get_config()
    again = tfopt.Nadam.from_config(config) if from_config else tfopt.Nadam(0.125, groups=groups)
    others = [tf.Variable(v, name=n) for v, n in zip(variables, NAMES, strict=True)]
    if off and not from_config and way in (by_list, by_safetensors):
        again.groups[0]["learning_rate_factor"] = 0.25  # they need all slots before
    way(optimizer, again, variables, others, tmp_path / "state")
    train_on_cosines(optimizer, variables)
    train_on_cosines(again, others)
    assert_same(others, variables)
    assert_same(again.get_weights(), optimizer.get_weights())


@pytest.mark.parametrize("off", [False, True], ids=["on", "off"])
@pytest.mark.parametrize("how", ["pickle", "deep copy", "deep copy alone"])
def test_copies(how, off):
    variables = named()
    groups = [
        (variables[:2], {"learning_rate": 0.0 if off else 0.25}),
        {"head": {"learning_rate_factor": 0.5}},
    ]
    optimizer = tfopt.Nadam(0.125, groups=groups)
    train_on_cosines(optimizer, variables)
    if how == "pickle":
        twin = pickle.loads(pickle.dumps(optimizer))
        others = [tf.Variable(v, name=n) for v, n in zip(variables, NAMES, strict=True)]
    elif how == "deep copy":
        twin, others = copy.deepcopy((optimizer, variables))
    else:
        twin, others = copy.deepcopy(optimizer), variables
        optimizer, variables = copy.deepcopy((optimizer, variables))
    before = values_of(others)
    train_on_cosines(twin, others)
    train_on_cosines(optimizer, variables)
    assert_same(others, variables)
    assert np.array_equal(others[0], before[0]) is off
    twin.groups[1]["learning_rate_factor"] = 0.125
    assert optimizer.groups[1]["learning_rate_factor"].numpy() == 0.5
    assert twin.get_config()["groups"][0] == optimizer.get_config()["groups"][0]


@pytest.mark.parametrize("shift", [0, 1, 5], ids=["same names", "names overlap", "other names"])
@pytest.mark.parametrize("off", [False, True], ids=["on", "off"])
def test_members_are_found_again_where_names_have_shifted(shift, off):
    def stack(first):
        return [tf.Variable([1.0], name=f"dense_{first + n}/kernel") for n in range(4)]

    variables = stack(0)
    groups = [
        (variables[1], {"learning_rate": 0.0 if off else 0.25}),
        (lambda v: v is variables[2], {"learning_rate": 0.125}),
    ]
    optimizer = tfopt.SGD(1.0, groups=groups)
    expected = [1.0, 0.0 if off else 0.25, 0.125, 1.0]
    assert rates(optimizer, variables) == expected
    again = tfopt.SGD.from_config(optimizer.get_config())
    once_more = tfopt.SGD.from_config(again.get_config())  # before it has seen variables
    for twin in (again, once_more):
        assert rates(twin, stack(shift)) == expected


def test_what_no_longer_matches_is_named():
    variables = named()
    optimizer = tfopt.SGD(1.0, groups=[(variables[1], {"learning_rate": 0.25})])
    rates(optimizer, variables)
    twin = tfopt.SGD.from_config(optimizer.get_config())
    with pytest.warns(tfopt.TfoptWarning, match="`groups` was saved for body/bias.*not among"):
        assert rates(twin, [named()[0]]) == [1.0]
    typo = tfopt.SGD(1.0, groups={"boddy": {"learning_rate": 0.25}})
    with pytest.warns(tfopt.TfoptWarning, match="'boddy', which none.*matches: body/kernel, body"):
        rates(typo, variables)


def test_functions_that_have_seen_no_variables_are_not_in_a_config():
    optimizer = tfopt.SGD(1.0, groups=[(lambda v: True, {"learning_rate": 0.25})])
    with pytest.warns(tfopt.TfoptWarning, match="`groups` holds functions"):
        optimizer.get_config()
    kept = tfopt.SGD(1.0, groups=[(tfopt.groups.biases_and_norms, {"learning_rate": 0.25})])
    twin = tfopt.SGD.from_config(kept.get_config())
    assert rates(twin, named()) == [1.0, 0.25, 1.0, 0.25]


def test_variables_of_one_name_are_told_apart():
    variables = [tf.Variable([1.0]), tf.Variable([1.0])]
    optimizer = tfopt.SGD(1.0, groups=[([variables[0]], {"learning_rate": 0.5})])
    assert rates(optimizer, variables) == [0.5, 1.0]
    again = pickle.loads(pickle.dumps(optimizer))
    assert rates(again, [tf.Variable([1.0]), tf.Variable([1.0])]) == [0.5, 1.0]


@pytest.mark.parametrize("way", [by_list, by_keras, by_checkpoint])
def test_a_rate_that_became_0_is_a_number_in_a_config_too(way, tmp_path):
    options = {"momentum": 0.5, "global_clipnorm": 0.5}
    optimizer = tfopt.SGD(0.5, **options, groups={"body": {"learning_rate": 0.25}})
    variables = named()
    train_on_cosines(optimizer, variables)
    optimizer.groups[0]["learning_rate"] = 0.0
    train_on_cosines(optimizer, variables)
    again = tfopt.SGD.from_config(optimizer.get_config())
    others = [tf.Variable(v, name=n) for v, n in zip(variables, NAMES, strict=True)]
    way(optimizer, again, variables, others, tmp_path / "state")
    for each_one, its in ((optimizer, variables), (again, others)):
        train_on_cosines(each_one, its)
        each_one.groups[0]["learning_rate"] = 0.25
        train_on_cosines(each_one, its)
    assert_same(others, variables)
    assert_same(again.get_weights(), optimizer.get_weights())


def test_a_number_may_end_in_factor():
    class Noisy(tfopt.SGD):
        noise_factor = tfopt.Hyper(1.0, low=0)

        def update(self, g, x, s, h):
            return x - h.learning_rate * h.noise_factor * g

    groups = {"body": {"noise_factor": 0.5}, "head": {"noise_factor_factor": 0.25}}
    np.testing.assert_allclose(rates(Noisy(1.0, groups=groups), named()), [0.5, 0.5, 0.25, 0.25])


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "groups, error, text",
    [
        ({"body": 0.5}, TypeError, "`groups` must map members to numbers by name"),
        ({"body": {}}, TypeError, "`groups` must map members"),
        (["body"], TypeError, "`groups` must be a mapping"),
        ({"(": {"learning_rate": 1.0}}, ValueError, "`groups` must hold regular expressions"),
        ([(3, {"learning_rate": 1.0})], TypeError, "`groups` must hold variables.*got 3"),
        ({"body": {"clipnorm": 1.0}}, TypeError, "`groups` can change .*learning_rate.*'clipnorm'"),
        ({"body": {"momentum": 0.5}}, ValueError, "`momentum` of SGD is 0.0"),
        ({"body": {"weight_decay": 0.5}}, ValueError, "`weight_decay` of SGD is None"),
        ({"body": {"learning_rate": -1.0}}, ValueError, "`learning_rate_0` must be >= 0"),
        ({"body": {"learning_rate_factor": -1.0}}, ValueError, "`learning_rate_factor_0` must"),
        ({"body": {"lr": 1.0, "learning_rate": 1.0}}, ValueError, "`learning_rate` once"),
        ({"body": {"lr": 1.0, "lr_factor": 1.0}}, ValueError, "`learning_rate` once"),
        ({"body": {"learning_rate": None}}, TypeError, "'learning_rate' to a number; got None"),
    ],
)
def test_what_has_no_effect_raises(groups, error, text):
    with pytest.raises(error, match=text):
        tfopt.SGD(1.0, groups=groups)


def test_hooks_that_would_not_see_groups_raise():
    class Hooked(tfopt.Optimizer):
        learning_rate = tfopt.Hyper(0.5, low=0)

        def resource_apply_dense(self, grad, var):
            return var.assign_sub(self.learning_rate * grad)

    with pytest.raises(ValueError, match="`groups` must be None: hooks"):
        Hooked(groups={"body": {"learning_rate": 0.5}})
    with pytest.raises(TypeError, match="groups"):
        tfopt.legacy.Adam(groups={"body": {"learning_rate": 0.5}})


def test_a_number_out_of_range_changes_nothing():
    optimizer = tfopt.SGD(1.0, groups={"body": {"learning_rate_factor": 0.5}})
    with pytest.raises(ValueError, match="`learning_rate_factor_0` must be >= 0"):
        optimizer.groups[0]["learning_rate_factor"] = -1
    with pytest.raises(KeyError, match="no number 'learning_rate'"):
        optimizer.groups[0]["learning_rate"] = 1.0
    with pytest.raises(KeyError, match="0 groups have the pattern .*'head"):
        optimizer.groups["head"]
    np.testing.assert_allclose(rates(optimizer, named()), [0.5, 0.5, 1.0, 1.0])


# --- what is shown --------------------------------------------------------------------------------


def test_the_table_says_which_numbers_follow_the_base():
    falling = tfopt.schedules.InverseTimeDecay(1.0, decay_steps=1, decay_rate=1.0)
    groups = [
        {"body/k": {"learning_rate_factor": 0.5}, "head/b": {"learning_rate": falling}},
        {"head/k": {"learning_rate": 0.0}, "body/k": {"weight_decay": 0.5}},
    ]
    optimizer = tfopt.AdamW(0.5, weight_decay=0.25, groups=groups)
    for built in (False, True):
        rows = tfopt.inspect.describe(optimizer, named() if not built else None)
        assert [row.numbers for row in rows][:2] == [
            ("learning_rate x 0.5", "weight_decay = 0.5"),
            (),
        ]
        paths = {row.variable: row.path for row in rows}
        assert paths.get("head/kernel", "off") == "off"
        optimizer.build(named())
    assert tfopt.inspect.describe(tfopt.Nadam(groups={"b": {"beta_1": 0.5}}), named())


def test_layerwise():
    nested = tf.keras.Sequential([tf.keras.layers.Dense(4), tf.keras.layers.ReLU()])
    layers = [tf.keras.layers.Dense(4), nested, tf.keras.layers.Dense(4)]
    model = tf.keras.Sequential([tf.keras.layers.Input((4,)), *layers])
    groups = tfopt.groups.layerwise(model, 0.5)
    moved = rates(tfopt.SGD(1.0, groups=groups), model.trainable_variables)
    np.testing.assert_allclose(moved, [0.25, 0.25, 0.5, 0.5, 1.0, 1.0])
    parts = [[layers[0], nested], layers[2]]
    optimizer = tfopt.SGD(1.0, groups=tfopt.groups.layerwise(model, 0.25, layers=parts))
    moved = rates(optimizer, model.trainable_variables)
    np.testing.assert_allclose(moved, [0.25, 0.25, 0.25, 0.25, 1.0, 1.0])
    for decay in (0, 1.5, "a"):
        with pytest.raises(ValueError, match="`decay` must"):
            tfopt.groups.layerwise(model, decay)
    with pytest.raises(ValueError, match="`model` must have layers with variables"):
        tfopt.groups.layerwise(tf.keras.Sequential([tf.keras.layers.Dense(4)]), 0.5)
