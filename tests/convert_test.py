"""Live optimizers of Keras 3 and tf-keras become tfopt's and go on as they would have."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt
from tfopt.conversion import COUNTERPARTS

legacy = tf_keras.optimizers.legacy
LIBRARIES = {"keras": keras.optimizers, "tf_keras": tf_keras.optimizers, "legacy": legacy}

# Every number is exact in float32, which is how tfopt stores hyperparameters.
ADAM = {"learning_rate": 0.0625, "beta_1": 0.875, "beta_2": 0.96875, "epsilon": 2.0**-10}
RMS = {"learning_rate": 0.0625, "rho": 0.875, "epsilon": 2.0**-10}
ARGUMENTS = [
    ("SGD", {"learning_rate": 0.0625}),
    ("SGD", {"learning_rate": 0.0625, "momentum": 0.75}),
    ("SGD", {"learning_rate": 0.0625, "momentum": 0.75, "nesterov": True}),
    ("RMSprop", RMS),
    ("RMSprop", {**RMS, "momentum": 0.75}),
    ("RMSprop", {**RMS, "momentum": 0.75, "centered": True}),
    ("Adam", ADAM),
    ("Adam", {**ADAM, "amsgrad": True, "weight_decay": 0.25, "clipnorm": 1.0}),
    ("AdamW", {**ADAM, "weight_decay": 0.5}),
    ("Adadelta", {"learning_rate": 0.5, "rho": 0.875, "epsilon": 2.0**-10}),
    ("Adagrad", {"learning_rate": 0.25, "epsilon": 2.0**-10}),
    ("Adamax", ADAM),
    ("Nadam", ADAM),
    ("Ftrl", {"learning_rate": 0.5, "l1_regularization_strength": 0.125, "beta": 0.125}),
    ("Lion", {"learning_rate": 0.0625, "beta_1": 0.875, "beta_2": 0.96875}),
    ("Lamb", ADAM),
    ("Adafactor", {"learning_rate": 0.0625, "epsilon_2": 0.75, "beta_2_decay": -0.75}),
]
ROWS = [
    pytest.param(library, name, arguments, id=f"{library}-{name}-{number}")
    for library, namespace in LIBRARIES.items()
    for number, (name, arguments) in enumerate(ARGUMENTS)
    if hasattr(namespace, name) and not (library == "legacy" and "weight_decay" in arguments)
]
KERAS_ROWS = [row for row in ROWS if row.values[0] == "keras"]
each = pytest.mark.parametrize(("library", "name", "arguments"), ROWS)


def differs(library, name, arguments):
    """Whether the formula is another one: what `convert` refuses."""
    if library == "legacy":
        return False
    without_momentum = name == "RMSprop" and "momentum" not in arguments
    return without_momentum or name == "Adagrad" or (library == "tf_keras" and name == "Nadam")


def make(library, cls, **arguments):
    return getattr(LIBRARIES[library], cls)(**arguments)


def pair(library, dtype="float64"):
    kernel = np.linspace(-1, 2, 12).reshape(4, 3)
    bias = np.array([1.0, -2.0, 3.0])
    if library == "keras":
        return [keras.Variable(v, dtype=dtype, name=f"v{v.ndim}") for v in (kernel, bias)]
    return [tf.Variable(v, dtype=dtype, name=f"v{v.ndim}") for v in (kernel, bias)]


def train(opt, variables, steps=4):
    for step in range(steps):
        gradients = [tf.cos(tf.convert_to_tensor(v) * 3 + step) for v in variables]
        opt.apply_gradients(zip(gradients, variables, strict=True))


def arrays(variables):
    return [np.array(v) for v in variables]


def assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


@each
def test_goes_on_as_the_other_would(library, name, arguments):
    theirs, variables = make(library, name, **arguments), pair(library)
    train(theirs, variables)
    other = differs(library, name, arguments)
    if other:
        with pytest.raises(ValueError, match=f"formula of tfopt.{name}.*{name}"):
            tfopt.convert(theirs, variables)
    ours = tfopt.convert(theirs, variables, allow_different_formula=other)
    assert type(ours).__name__.lower() == name.lower()
    assert ours.iterations.numpy() == 4
    before = arrays(variables)
    train(theirs, variables)
    expected, state = (
        arrays(variables),
        tfopt.convert(theirs, variables, allow_different_formula=other),
    )
    assign(variables, before)
    train(ours, variables)
    tolerance = 2e-2 if other else 1e-6 if name == "Nadam" else 1e-9  # Nadam's 0.96 is float32's
    for variable, value, old in zip(variables, expected, before, strict=True):
        moved = np.max(np.abs(value - old))
        assert moved > 1e-3
        np.testing.assert_allclose(np.array(variable), value, rtol=0, atol=tolerance * moved)
    if not other:
        for one, another in zip(ours.get_weights(), state.get_weights(), strict=True):
            np.testing.assert_allclose(one, another, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(("library", "name", "arguments"), KERAS_ROWS)
def test_rows_go_on_as_they_did(library, name, arguments):
    """With gradients of rows, no index twice: Keras 3 squares repeated ones one by one."""
    theirs, (table, bias) = make(library, name, **arguments), pair(library)

    def step(opt):
        values = tf.constant([[0.5, -0.25, 1.0]] * 2, tf.float64)
        rows = tf.IndexedSlices(values, tf.constant([1, 3]), tf.constant([4, 3]))
        opt.apply_gradients([(rows, table), (tf.cos(tf.convert_to_tensor(bias)), bias)])

    train(theirs, [table, bias])
    other = differs(library, name, arguments)
    ours = tfopt.convert(theirs, allow_different_formula=other)
    before = arrays([table, bias])
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
    theirs, variables = make(library, "Adam", **ADAM), pair(library, dtype)
    train(theirs, variables)
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
    train(theirs, [a, b])
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
    theirs, variables = make(library, "Adam", **ADAM), pair(library)
    train(theirs, variables)
    given = {
        "none": None,
        "too few": variables[:1],
        "twice": [variables[0]] * 2,
        "a stranger": [variables[0], pair(library)[1]],
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
    train(ours, pair("legacy"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_schedules_and_callables_stay(library):
    schedules = (keras if library == "keras" else tf_keras).optimizers.schedules
    for rate in (schedules.ExponentialDecay(0.5, 2, 0.5), lambda *_: 0.25):
        if library == "tf_keras" and not hasattr(rate, "get_config"):
            continue  # it would keep the callable's first value
        theirs, variables = make(library, "SGD", learning_rate=rate), pair(library)
        train(theirs, variables)
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
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_policies_go_on(library, policy, name):
    """Averages; and a window of three batches, of which one is in."""
    arguments = ADAM if name == "Adam" else {"learning_rate": 0.0625}
    theirs, variables = make(library, name, **arguments, **policy), pair(library)
    train(theirs, variables)
    ours = tfopt.convert(theirs, variables)
    assert ours.iterations.numpy() == (1 if "clipnorm" in policy else 4)
    before = arrays(variables)
    train(theirs, variables)
    theirs.finalize_variable_values(variables)
    expected = arrays(variables)
    assign(variables, before)
    train(ours, variables)
    ours.finalize_variable_values(variables)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(np.array(variable), value, rtol=1e-9)


@pytest.mark.parametrize(
    ("library", "name", "arguments", "why"),
    [
        ("keras", "Lamb", {"weight_decay": 0.5}, "outside of the ratio"),
        ("keras", "Adafactor", {"relative_step": False}, "relative_step"),
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
    theirs, variables = make(library, "AdamW", **ADAM, weight_decay=0.5), pair(library)
    theirs.exclude_from_weight_decay(var_names=["v1"])
    train(theirs, variables)
    ours = tfopt.convert(theirs, variables)
    before = arrays(variables)
    train(theirs, variables)
    expected = arrays(variables)
    assign(variables, before)
    train(ours, variables)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(np.array(variable), value, rtol=1e-9)


def test_mirrored_variables(mirrored):
    with mirrored.scope():
        theirs, variables = keras.optimizers.Adam(**ADAM), pair("keras")
    values = [tf.constant(v) for v in arrays(variables)]

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


def test_the_table_names_every_optimizer_that_has_a_counterpart():
    ours = {name.lower() for name in tfopt.optimizers.__all__}
    theirs = {
        name
        for namespace in LIBRARIES.values()
        for name in dir(namespace)
        if isinstance(getattr(namespace, name), type) and name.lower() in ours
    }
    assert theirs == COUNTERPARTS.keys() - ({"Lamb"} - theirs)  # older Keras has no Lamb
    assert {counterpart.cls.__name__ for counterpart in COUNTERPARTS.values()} <= set(
        tfopt.optimizers.__all__
    )
