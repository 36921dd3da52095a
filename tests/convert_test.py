"""Live optimizers of Keras 3 and tf-keras become tfopt's and go on as they would have."""

import cases
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from training import train_on_cosines, values_of

import tfopt

legacy = tf_keras.optimizers.legacy
LIBRARIES = {"keras": keras.optimizers, "tf_keras": tf_keras.optimizers, "legacy": legacy}

# Every number is exact in float32, which is how tfopt stores hyperparameters.
ADAM = {"learning_rate": 0.0625, "beta_1": 0.875, "beta_2": 0.96875, "epsilon": 2.0**-10}
RMS = {"learning_rate": 0.0625, "rho": 0.875, "epsilon": 2.0**-10}
MUON = {**cases.MUON, "adam_weight_decay": 0.25, "rms_rate": 0.25}
NEWER = ("keras", "tf_keras")
# Name, arguments, in which libraries the formula is another, which `convert` refuses; and within
# what it is the same otherwise, if not 1e-9.
TABLE = [
    ("SGD", {"learning_rate": 0.0625}, ()),
    ("SGD", {"learning_rate": 0.0625, "momentum": 0.75}, ()),
    ("SGD", {"learning_rate": 0.0625, "momentum": 0.75, "nesterov": True}, ()),
    ("RMSprop", RMS, NEWER),
    ("RMSprop", {**RMS, "momentum": 0.75}, ()),
    ("RMSprop", {**RMS, "momentum": 0.75, "centered": True}, ()),
    ("Adam", ADAM, ()),
    ("Adam", {**ADAM, "amsgrad": True, "weight_decay": 0.25, "clipnorm": 1.0}, ()),
    ("AdamW", {**ADAM, "weight_decay": 0.5}, ()),
    ("Adadelta", {"learning_rate": 0.5, "rho": 0.875, "epsilon": 2.0**-10}, ()),
    ("Adagrad", {"learning_rate": 0.25, "epsilon": 2.0**-10}, NEWER),
    ("Adamax", ADAM, ()),
    ("Nadam", ADAM, ("tf_keras",), 1e-6),  # whose 0.96 is float32's there
    ("Ftrl", {"learning_rate": 0.5, "l1_regularization_strength": 0.125, "beta": 0.125}, ()),
    ("Lion", {"learning_rate": 0.0625, "beta_1": 0.875, "beta_2": 0.96875}, ()),
    ("Lamb", ADAM, ()),
    ("Adafactor", {"learning_rate": 0.0625, "epsilon_2": 0.75, "beta_2_decay": -0.75}, ()),
    ("Muon", MUON, ()),
]
ROWS = [
    pytest.param(
        *(library, name, arguments, library in differs, *(tolerance or [1e-9])),
        id=f"{library}-{name}-{number}",
    )
    for library, namespace in LIBRARIES.items()
    for number, (name, arguments, differs, *tolerance) in enumerate(TABLE)
    if hasattr(namespace, name) and not (library == "legacy" and "weight_decay" in arguments)
]
KERAS_ROWS = [row for row in ROWS if row.values[0] == "keras"]


@pytest.fixture(autouse=True)
def in_float64():
    """Keras 3's Muon makes numbers of the default dtype, and does not cast them."""
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


def make(library, cls, **arguments):
    return getattr(LIBRARIES[library], cls)(**arguments)


def new_variables(library, dtype="float64"):
    kernel = np.linspace(-1, 2, 12).reshape(4, 3)
    bias = np.array([1.0, -2.0, 3.0])
    kind = keras.Variable if library == "keras" else tf.Variable
    return [kind(v, dtype=dtype, name=f"v{v.ndim}") for v in (kernel, bias)]


def assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


@pytest.mark.parametrize(("library", "name", "arguments", "other", "tolerance"), ROWS)
def test_goes_on_as_the_other_would(library, name, arguments, other, tolerance):
    theirs, variables = make(library, name, **arguments), new_variables(library)
    train_on_cosines(theirs, variables, 4)
    if other:
        with pytest.raises(ValueError, match=f"formula of tfopt.{name}.*{name}"):
            tfopt.convert(theirs, variables)
    ours = tfopt.convert(theirs, variables, allow_different_formula=other)
    assert type(ours).__name__.lower() == name.lower()
    assert ours.iterations.numpy() == 4
    before = values_of(variables)
    train_on_cosines(theirs, variables, 4)
    expected, state = (
        values_of(variables),
        tfopt.convert(theirs, variables, allow_different_formula=other),
    )
    assign(variables, before)
    train_on_cosines(ours, variables, 4)
    tolerance = 2e-2 if other else tolerance
    for variable, value, old in zip(variables, expected, before, strict=True):
        moved = np.max(np.abs(value - old))
        assert moved > 1e-3
        np.testing.assert_allclose(np.array(variable), value, rtol=0, atol=tolerance * moved)
    if not other:
        for one, another in zip(ours.get_weights(), state.get_weights(), strict=True):
            np.testing.assert_allclose(one, another, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(("library", "name", "arguments", "other", "tolerance"), KERAS_ROWS)
def test_rows_go_on_as_they_did(library, name, arguments, other, tolerance):
    """With gradients of rows, no index twice: Keras 3 squares repeated ones one by one."""
    theirs, (table, bias) = make(library, name, **arguments), new_variables(library)

    def step(opt):
        values = tf.constant([[0.5, -0.25, 1.0]] * 2, tf.float64)
        rows = tf.IndexedSlices(values, tf.constant([1, 3]), tf.constant([4, 3]))
        opt.apply_gradients([(rows, table), (tf.cos(tf.convert_to_tensor(bias)), bias)])

    train_on_cosines(theirs, [table, bias], 4)
    ours = tfopt.convert(theirs, allow_different_formula=other)
    before = values_of([table, bias])
    for _ in range(3):
        step(theirs)
    expected = np.array(table)
    assign([table, bias], before)
    for _ in range(3):
        step(ours)
    atol = (2e-2 if other else 1e-6) * np.max(np.abs(expected - before[0]))
    np.testing.assert_allclose(np.array(table), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_slots_of_any_dtype(library, dtype):
    theirs, variables = make(library, "Adam", **ADAM), new_variables(library, dtype)
    train_on_cosines(theirs, variables, 4)
    ours = tfopt.convert(theirs, variables)
    slots = ours.get_weights()[1:]
    assert {slot.dtype for slot in slots} == {np.dtype("float32")}
    again = ours.get_slot(variables[0], "m").numpy()
    if library == "legacy":
        mine = theirs.get_slot(variables[0], "m")
    else:
        mine = theirs._momentums[0]
    np.testing.assert_array_equal(again, np.array(tf.cast(mine, tf.float32)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_variables_in_another_order(library):
    """Slots are found by variable: two of one shape cannot be taken for each other."""
    kind = keras.Variable if library == "keras" else tf.Variable
    a, b = kind([1.0, 2.0], name="x"), kind([3.0, 4.0], name="x")
    theirs = make(library, "Adam", **ADAM)
    train_on_cosines(theirs, [a, b], 4)
    ours = tfopt.convert(theirs, [b, a])
    straight = tfopt.convert(theirs, [a, b])
    for variable in (a, b):
        for slot in "mv":
            np.testing.assert_array_equal(
                ours.get_slot(variable, slot), straight.get_slot(variable, slot)
            )
    assert not np.array_equal(ours.get_slot(a, "m"), ours.get_slot(b, "m"))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("fault", ["none", "too few", "twice", "a stranger"])
def test_wrong_variables_are_refused(library, fault):
    theirs, variables = make(library, "Adam", **ADAM), new_variables(library)
    train_on_cosines(theirs, variables, 4)
    given = {
        "none": None,
        "too few": variables[:1],
        "twice": [variables[0]] * 2,
        "a stranger": [variables[0], new_variables(library)[1]],
    }[fault]
    if library == "keras" and given is None:
        assert len(tfopt.convert(theirs).weights) == 5
        return
    with pytest.raises(ValueError, match="`variables` must be"):
        tfopt.convert(theirs, given)


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_optimizer_not_yet_used(library):
    ours = tfopt.convert(make(library, "Adam", **ADAM, clipnorm=0.5, name="mine"))
    config = ours.get_config()
    assert {name: config[name] for name in ADAM} == ADAM
    assert config["clipnorm"] == 0.5
    assert config["name"] == "mine"
    assert not ours.built
    train_on_cosines(ours, new_variables("legacy"), 4)


@pytest.mark.parametrize("library", LIBRARIES)
def test_schedules_and_callables_stay(library):
    schedules = (keras if library == "keras" else tf_keras).optimizers.schedules
    for rate in (schedules.ExponentialDecay(0.5, 2, 0.5), lambda *_: 0.25):
        if library == "tf_keras" and not hasattr(rate, "get_config"):
            continue  # it would keep the callable's first value
        theirs, variables = make(library, "SGD", learning_rate=rate), new_variables(library)
        train_on_cosines(theirs, variables, 4)
        ours = tfopt.convert(theirs, variables)
        assert float(ours.learning_rate) == (0.125 if hasattr(rate, "get_config") else 0.25)


def test_a_subclass_or_stranger_has_no_counterpart():
    class Mine(keras.optimizers.Adam):
        pass

    wrapped = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam())
    for theirs in (Mine(), wrapped, tf_keras.mixed_precision.LossScaleOptimizer(legacy.SGD())):
        with pytest.raises(ValueError, match=type(theirs).__name__):
            tfopt.convert(theirs)
    for stranger in (None, "adam", 3, tf.compat.v1.train.AdamOptimizer()):
        with pytest.raises(TypeError, match="`optimizer` must be"):
            tfopt.convert(stranger)
    ours = tfopt.Adam()
    assert tfopt.convert(ours) is ours


@pytest.mark.parametrize(
    ("library", "policy"),
    [
        ("keras", {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 3}),
        ("tf_keras", {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 3}),
        ("keras", {"gradient_accumulation_steps": 3, "clipnorm": 1.0}),
    ],
)
@pytest.mark.parametrize(
    ("name", "arguments"), [("SGD", {"learning_rate": 0.0625}), ("Adam", ADAM)], ids=["SGD", "Adam"]
)
def test_policies_go_on(library, policy, name, arguments):
    """Averages; and a window of three batches, of which one is in."""
    theirs, variables = make(library, name, **arguments, **policy), new_variables(library)
    train_on_cosines(theirs, variables, 4)
    ours = tfopt.convert(theirs, variables)
    assert ours.iterations.numpy() == (1 if "clipnorm" in policy else 4)
    before = values_of(variables)
    train_on_cosines(theirs, variables, 4)
    theirs.finalize_variable_values(variables)
    expected = values_of(variables)
    assign(variables, before)
    train_on_cosines(ours, variables, 4)
    ours.finalize_variable_values(variables)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(np.array(variable), value, rtol=1e-9)


@pytest.mark.parametrize(
    ("library", "name", "arguments", "why"),
    [
        ("keras", "Lamb", {"weight_decay": 0.5}, "outside of the ratio"),
        ("keras", "Adafactor", {"relative_step": False}, "relative_step"),
        ("keras", "Muon", {"rms_rate": None}, "no factor"),
        ("keras", "ScheduleFreeAdamW", {}, "the average itself"),
        ("tf_keras", "SGD", {"clipnorm": 1.0, "clipvalue": 1.0}, "clipvalue"),
        ("tf_keras", "Adam", {"adaptive_epsilon": True}, "adaptive_epsilon"),
        ("keras", "SGD", {"use_ema": True}, "begin with the variables after the first step"),
        (
            "keras",
            "SGD",
            {"gradient_accumulation_steps": 2, "use_ema": True},
            "averages follow every batch",
        ),
        (
            "keras",
            "SGD",
            {
                "gradient_accumulation_steps": 2,
                "learning_rate": keras.optimizers.schedules.ExponentialDecay(0.5, 2, 0.5),
            },
            "schedules count batches",
        ),
    ],
)
def test_other_formulas_are_refused_by_name(library, name, arguments, why):
    try:
        theirs = make(library, name, **arguments)
    except (AttributeError, TypeError):
        pytest.skip("This version of Keras does not have it.")
    with pytest.raises(ValueError, match=f"{why}.*allow_different_formula"):
        tfopt.convert(theirs)
    assert isinstance(tfopt.convert(theirs, allow_different_formula=True), tfopt.Optimizer)


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_what_does_not_decay_stays_so(library):
    theirs, variables = make(library, "AdamW", **ADAM, weight_decay=0.5), new_variables(library)
    theirs.exclude_from_weight_decay(var_names=["v1"])
    train_on_cosines(theirs, variables, 4)
    ours = tfopt.convert(theirs, variables)
    before = values_of(variables)
    train_on_cosines(theirs, variables, 4)
    expected = values_of(variables)
    assign(variables, before)
    train_on_cosines(ours, variables, 4)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(np.array(variable), value, rtol=1e-9)


def test_mirrored_variables(mirrored):
    with mirrored.scope():
        theirs, variables = keras.optimizers.Adam(**ADAM), new_variables("keras")
    values = [tf.constant(v) for v in values_of(variables)]

    @tf.function
    def step(opt):
        mirrored.run(lambda: opt.apply_gradients(zip(values, variables, strict=True)))

    step(theirs)
    ours = tfopt.convert(theirs)
    slot = ours.get_slot(variables[0], "m")
    copies = [np.array(copy) for copy in mirrored.experimental_local_results(slot)]
    np.testing.assert_array_equal(copies[0], copies[1])
    np.testing.assert_array_equal(copies[0], np.array(theirs.variables[2]))
    assert np.all(copies[0])


def test_every_optimizer_with_a_name_of_ours_has_a_counterpart():
    ours = {name.lower(): getattr(tfopt, name) for name in tfopt.optimizers.__all__}
    found = set()
    for library, namespace in LIBRARIES.items():
        for name in dir(namespace):
            if isinstance(getattr(namespace, name), type) and name.lower() in ours:
                converted = tfopt.convert(make(library, name), allow_different_formula=True)
                assert type(converted) is ours[name.lower()]
                found.add((library, name))
    assert found == {row.values[:2] for row in ROWS} | {("keras", "ScheduleFreeAdamW")}


def test_muon_goes_on_by_adamw_where_keras_does():
    """Keras 3 trains kernels of convolutions by AdamW; tfopt would not by itself."""
    values = np.random.default_rng(1).normal(size=(2, 2, 3, 4)), np.ones((3, 2))
    variables = [keras.Variable(v, dtype="float64", name=f"v{v.ndim}") for v in values]
    theirs = make("keras", "Muon", **MUON)
    train_on_cosines(theirs, variables, 3)
    ours = tfopt.convert(theirs)

    assert [row.role for row in tfopt.inspect.describe(ours)] == ["adamw", "matrix"]
    before = [np.array(v) for v in variables]
    train_on_cosines(theirs, variables, 3)
    expected = [np.array(v) for v in variables]
    assign(variables, before)
    train_on_cosines(ours, variables, 3)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(np.array(variable), value, rtol=1e-9)


def test_schedule_free_goes_on_from_the_average_of_keras():
    variables = new_variables("keras")
    theirs = keras.optimizers.ScheduleFreeAdamW(0.0625)
    train_on_cosines(theirs, variables, 3)
    ours = tfopt.convert(theirs, allow_different_formula=True)
    with ours.evaluation_weights():
        inside = [np.array(v) for v in variables]
    for variable, value in zip(variables, inside, strict=True):
        np.testing.assert_allclose(np.array(variable), value)
    assert float(ours.get_slot(variables[0], "weight_sum")) == 3 * 0.0625**2
