"""Schedules: values against NumPy and Keras 3 and tf-keras, configs, and what is refused."""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfopt import schedules

KERASES = {"keras": keras.optimizers.schedules, "tf_keras": tf_keras.optimizers.schedules}


def exponential(t, rate, steps, factor, staircase=False):
    return rate * factor ** (t // steps if staircase else t / steps)


def piecewise(t, boundaries, values):
    for boundary, value in zip(boundaries, values, strict=False):
        if t <= boundary:
            return value
    return values[-1]


def polynomial(t, rate, steps, end=1e-4, power=1.0, cycle=False):
    total = steps
    while cycle and total < t:
        total += steps
    return end + (rate - end) * (1 - min(t, total) / total) ** power


def inverse_time(t, rate, steps, factor, staircase=False):
    return rate / (1 + factor * (t // steps if staircase else t / steps))


def cosine(t, rate, steps, alpha=0.0, target=None, warmup=0):
    if target is None:
        target, warmup = rate, 0
    if t < warmup:
        return np.interp(t, [0, warmup], [rate, target])
    low = alpha * target
    return low + (target - low) * np.cos(np.pi / 2 * min((t - warmup) / steps, 1)) ** 2


def restarts(t, rate, steps, t_mul=2.0, m_mul=1.0, alpha=0.0):
    height = 1.0
    while t >= steps:
        t, steps, height = t - steps, steps * t_mul, height * m_mul
    return rate * (alpha + (1 - alpha) * height * np.cos(np.pi / 2 * t / steps) ** 2)


# name: (class, arguments in order, arguments by name, reference of the same arguments)
CASES = {
    "exponential": ("ExponentialDecay", (0.1, 7, 0.5), {}, exponential),
    "exponential-up": ("ExponentialDecay", (1e-3, 8.5, 1.2), {}, exponential),
    "exponential-staircase": ("ExponentialDecay", (0.1, 7, 0.9, True), {}, exponential),
    "piecewise": ("PiecewiseConstantDecay", ([7, 20], [0.1, 0.05, 0.01]), {}, piecewise),
    "piecewise-one": ("PiecewiseConstantDecay", ([14], [0.0, 0.2]), {}, piecewise),
    "polynomial": ("PolynomialDecay", (0.1, 28), {}, polynomial),
    "polynomial-root": ("PolynomialDecay", (0.1, 28, 0.01, 0.5), {}, polynomial),
    "polynomial-up": ("PolynomialDecay", (0.01, 28, 0.1, 2.0), {}, polynomial),
    "polynomial-cycle": ("PolynomialDecay", (0.1, 7, 0.01, 2.0, True), {}, polynomial),
    "polynomial-constant": ("PolynomialDecay", (0.1, 7, 0.01, 0.0), {}, polynomial),
    "inverse": ("InverseTimeDecay", (0.1, 7, 0.5), {}, inverse_time),
    "inverse-staircase": ("InverseTimeDecay", (0.1, 7, 0.5, True), {}, inverse_time),
    "inverse-constant": ("InverseTimeDecay", (0.1, 7, 0.0), {}, inverse_time),
    "cosine": ("CosineDecay", (0.1, 28), {}, cosine),
    "cosine-alpha": ("CosineDecay", (0.1, 28, 0.2), {}, cosine),
    "cosine-warm": (
        "CosineDecay",
        (0.0, 14, 0.1),
        {"warmup_target": 0.1, "warmup_steps": 7},
        lambda t, *args: cosine(t, *args, target=0.1, warmup=7),
    ),
    "cosine-down": (
        "CosineDecay",
        (0.2, 14, 0.1),
        {"warmup_target": 0.1, "warmup_steps": 7},
        lambda t, *args: cosine(t, *args, target=0.1, warmup=7),
    ),
    "cosine-cold": (
        "CosineDecay",
        (0.0, 14),
        {"warmup_target": 0.1},
        lambda t, *args: cosine(t, *args, target=0.1),
    ),
    "restarts": ("CosineDecayRestarts", (0.1, 7), {}, restarts),
    "restarts-equal": ("CosineDecayRestarts", (0.1, 7, 1.0, 0.8, 0.1), {}, restarts),
    "restarts-faster": ("CosineDecayRestarts", (0.1, 4, 1.5, 0.5), {}, restarts),
    "restarts-up": ("CosineDecayRestarts", (0.1, 7, 3.0, 1.5, 0.01), {}, restarts),
}
STEPS = [*range(30), 35, 48, 49, 50, 70, 91, 92, 280, 1000, 12345]

cases = pytest.mark.parametrize("case", CASES)


def make(case, library=schedules):
    name, args, kwargs, _ = CASES[case]
    return getattr(library, name)(*args, **kwargs)


def expected(case, steps=STEPS):
    _, args, _, reference = CASES[case]
    return np.array([reference(t, *args) for t in steps])


def assert_rates(actual, expected):
    # Where terms cancel, float32 is as exact as the terms, of the size of the early rates.
    scale = np.abs(expected[:30]).max()
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=3e-7 * scale)


@cases
def test_values_follow_the_formula(case):
    schedule = make(case)
    rates = schedule(tf.constant(STEPS))
    assert rates.dtype == tf.float32
    if case == "exponential-up":  # float32 holds 1.2 to 4e-8, and the power multiplies that
        np.testing.assert_allclose(rates[:-3], expected(case)[:-3], rtol=3e-6)
    else:
        assert_rates(rates, expected(case))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_values_without_retracing(jit_compile):
    all_schedules, traces = [make(case) for case in CASES], []

    @tf.function(jit_compile=jit_compile)
    def compiled(step):
        traces.append(step)
        return [schedule(step) for schedule in all_schedules]

    for step in STEPS[:-3]:
        expected = [schedule(step) for schedule in all_schedules]
        rates = compiled(tf.constant(step, tf.int64))
        np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=3e-8)
    assert len(traces) == 1


@cases
def test_values_are_those_of_keras(case):
    for library in KERASES.values():
        reference = make(case, library)
        theirs = np.array([np.asarray(reference(step)) for step in STEPS])
        assert_rates(make(case)(tf.constant(STEPS)), theirs)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    "make_schedule",
    [
        lambda steps: schedules.ExponentialDecay(1.0, steps, 0.5, staircase=True),
        lambda steps: schedules.InverseTimeDecay(1.0, steps, 1.0, staircase=True),
        lambda steps: schedules.CosineDecayRestarts(1.0, steps, t_mul=1.0, m_mul=0.5),
    ],
)
def test_compiled_periods_change_on_the_very_step(make_schedule, jit_compile):
    # Compiled, 49 / 49 is 49 * (1 / 49) < 1; the period after must begin all the same.
    for period in (41, 49, 98, 103):
        begins = tf.constant([period * k for k in range(1, 12)])
        schedule = make_schedule(period)
        compiled = tf.function(schedule, jit_compile=jit_compile)
        np.testing.assert_allclose(compiled(begins), schedule(begins + 0), rtol=1e-6)
        assert np.all(compiled(begins)[1:] < compiled(begins)[:-1])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_restarts_on_the_very_step(jit_compile):
    for t_mul in (1.0, 2.0, 3.0, 7.0, 10.0):
        schedule = schedules.CosineDecayRestarts(1.0, 49, t_mul=t_mul)
        begins = np.cumsum([49 * int(t_mul) ** i for i in range(7)])
        compiled = tf.function(schedule, jit_compile=jit_compile)
        np.testing.assert_allclose(compiled(tf.constant(begins)), 1.0, atol=1e-6)
        assert np.all(compiled(tf.constant(begins - 1)) < 0.01)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_cycles_end_on_the_very_step(jit_compile):
    ends = tf.constant([41 * k for k in range(1, 12)])
    schedule = schedules.PolynomialDecay(1.0, 41, 0.25, cycle=True)
    compiled = tf.function(schedule, jit_compile=jit_compile)
    np.testing.assert_allclose(compiled(ends), 0.25, atol=1e-6)
    assert np.all(compiled(ends + 1) > 0.26)


def test_steps_beyond_int32_and_float32():
    huge = 2**40
    piecewise = schedules.PiecewiseConstantDecay([huge], [1.0, 2.0])
    assert [float(piecewise(step)) for step in (huge, huge + 1)] == [1.0, 2.0]
    stairs = schedules.ExponentialDecay(1.0, huge, 0.5, staircase=True)
    assert [float(stairs(step)) for step in (2 * huge - 10**6, 2 * huge)] == [0.5, 0.25]


@pytest.mark.parametrize(
    "case", ["exponential", "piecewise", "polynomial", "inverse", "cosine-warm", "restarts"]
)
def test_any_step_type(case):
    for step in (
        9,
        9.0,
        np.int64(9),
        np.float32(9),
        np.array(9),
        tf.constant(9),
        tf.constant(9, tf.int64),
        tf.constant(9, tf.uint64),
        tf.constant(9.0),
        tf.constant(9.0, tf.float64),
        tf.Variable(9, dtype=tf.int64),
    ):
        rate = make(case)(step)
        assert rate.dtype == tf.float32 and rate.shape == ()
        np.testing.assert_allclose(rate, expected(case, [9])[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("rate", "dtype"),
    [
        (1, tf.float32),
        (1.0, tf.float32),
        (np.int64(1), tf.float32),
        (tf.constant(1), tf.float32),
        (np.float32(1), tf.float32),
        (np.float64(1), tf.float64),
        (np.array(1.0), tf.float64),
        (tf.constant(1, tf.float16), tf.float16),
        (tf.constant(1, tf.bfloat16), tf.bfloat16),
        (tf.constant(1, tf.float64), tf.float64),
    ],
)
def test_the_initial_rate_gives_the_dtype(rate, dtype):
    for make_schedule in (
        lambda rate: schedules.ExponentialDecay(rate, 1000, 0.25),
        lambda rate: schedules.PiecewiseConstantDecay([1000], [rate, 0.5]),
        lambda rate: schedules.PolynomialDecay(rate, 4000, 0.0),
        lambda rate: schedules.InverseTimeDecay(rate, 1000, 1.0),
        lambda rate: schedules.CosineDecay(rate, 4000, warmup_target=1.0, warmup_steps=10),
        lambda rate: schedules.CosineDecayRestarts(rate, 4000),
    ):
        value, exact = make_schedule(rate)(2001), make_schedule(1.0)(2001)
        assert value.dtype == dtype
        # 16 bits hold two digits of the rate; the step is not rounded to them.
        tolerance = 1e-2 if dtype.size == 2 else 1e-6
        np.testing.assert_allclose(tf.cast(value, tf.float32), exact, rtol=tolerance)


def test_float64_is_computed_in_float64():
    rates = schedules.CosineDecay(np.float64(0.1), 28, 0.2)(tf.constant(STEPS))
    np.testing.assert_allclose(rates, [cosine(t, 0.1, 28, 0.2) for t in STEPS], rtol=1e-14)


def test_a_variable_rate_is_followed():
    rate = tf.Variable(0.5)
    schedule = schedules.CosineDecay(rate, 10)
    compiled = tf.function(schedule)
    assert float(compiled(tf.constant(0))) == 0.5
    rate.assign(2.0)
    assert float(compiled(tf.constant(0))) == 2.0


def test_v1_graph():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        step = tf.compat.v1.placeholder(tf.int64, [])
        rates = {case: make(case)(step) for case in CASES}
        for t in (0, 7, 9, 14):
            actual = session.run(rates, {step: t})
            for case, rate in actual.items():
                np.testing.assert_allclose(rate, expected(case, [t])[0], rtol=2e-6, atol=1e-8)


E_ARGS = {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}
R_ARGS = {"initial_learning_rate": 0.1, "first_decay_steps": 10}
C_ARGS = {"initial_learning_rate": 0.1, "decay_steps": 10}
P_ARGS = {"boundaries": [1, 2], "values": [0.1, 0.2, 0.3]}


@pytest.mark.parametrize(
    ("name", "kwargs", "argument", "rule", "value"),
    [
        ("ExponentialDecay", E_ARGS, "initial_learning_rate", ">= 0", -0.1),
        ("ExponentialDecay", E_ARGS, "initial_learning_rate", "finite", float("nan")),
        ("ExponentialDecay", E_ARGS, "initial_learning_rate", "number", "0.1"),
        ("ExponentialDecay", E_ARGS, "initial_learning_rate", "number", None),
        ("ExponentialDecay", E_ARGS, "initial_learning_rate", "number", [0.1]),
        ("ExponentialDecay", E_ARGS, "initial_learning_rate", "number", True),
        ("ExponentialDecay", E_ARGS, "initial_learning_rate", ">= 0", tf.constant(-1.0)),
        ("ExponentialDecay", E_ARGS, "decay_steps", "> 0", 0),
        ("ExponentialDecay", E_ARGS, "decay_steps", "> 0", -3),
        ("ExponentialDecay", E_ARGS, "decay_steps", "finite", float("inf")),
        ("ExponentialDecay", E_ARGS, "decay_rate", "> 0", 0.0),
        ("ExponentialDecay", E_ARGS, "decay_rate", "> 0", -0.5),
        ("ExponentialDecay", E_ARGS, "staircase", "True or False", "yes"),
        ("PiecewiseConstantDecay", P_ARGS, "boundaries", "increasing", [2, 1]),
        ("PiecewiseConstantDecay", P_ARGS, "boundaries", "increasing", [2, 2]),
        ("PiecewiseConstantDecay", P_ARGS, "boundaries", "list", 5),
        ("PiecewiseConstantDecay", P_ARGS, "values", "one element more", [0.1, 0.2]),
        ("PiecewiseConstantDecay", P_ARGS, "values", "one element more", []),
        ("PolynomialDecay", C_ARGS, "decay_steps", "> 0", 0),
        ("PolynomialDecay", C_ARGS, "end_learning_rate", ">= 0", -1e-4),
        ("PolynomialDecay", C_ARGS, "power", ">= 0", -1.0),
        ("PolynomialDecay", C_ARGS, "cycle", "True or False", 1),
        ("InverseTimeDecay", E_ARGS, "decay_steps", "> 0", 0),
        ("InverseTimeDecay", E_ARGS, "decay_rate", ">= 0", -0.5),
        ("CosineDecay", C_ARGS, "decay_steps", "> 0", 0),
        ("CosineDecay", C_ARGS, "alpha", ">= 0", -0.1),
        ("CosineDecay", C_ARGS, "warmup_target", ">= 0", -0.1),
        ("CosineDecay", C_ARGS, "warmup_steps", ">= 0", -1),
        ("CosineDecay", C_ARGS, "warmup_steps", "would have no effect", 7),
        ("CosineDecayRestarts", R_ARGS, "first_decay_steps", "> 0", 0),
        ("CosineDecayRestarts", R_ARGS, "t_mul", ">= 1", 0.5),
        ("CosineDecayRestarts", R_ARGS, "m_mul", ">= 0", -1.0),
        ("CosineDecayRestarts", R_ARGS, "alpha", ">= 0", -0.1),
    ],
)
def test_refuses_bad_arguments(name, kwargs, argument, rule, value):
    cls = getattr(schedules, name)
    assert cls(**kwargs)
    with pytest.raises(ValueError) as error:
        cls(**{**kwargs, argument: value})
    message = str(error.value)
    assert f"`{argument}`" in message and rule in message and repr(value) in message


def test_one_bad_value_is_named():
    with pytest.raises(ValueError, match="`values` must be a finite number >= 0; got -0.2"):
        schedules.PiecewiseConstantDecay([1], [0.1, -0.2])


def test_no_boundaries_mean_a_constant():
    assert float(schedules.PiecewiseConstantDecay([], [0.5])(7)) == 0.5


def test_configs_are_those_of_keras():
    for case in CASES:
        config = make(case).get_config()
        assert config == make(case, keras.optimizers.schedules).get_config()
        assert json.loads(json.dumps(config)) == config
        copy = type(make(case)).from_config(config)
        assert copy == make(case) and hash(copy) == hash(make(case))


def test_equal_by_class_and_config():
    a = schedules.ExponentialDecay(0.1, 10, 0.5)
    assert a != schedules.ExponentialDecay(0.2, 10, 0.5)
    assert a != schedules.InverseTimeDecay(0.1, 10, 0.5)
    assert a != "ExponentialDecay"
    double = schedules.ExponentialDecay(tf.constant(0.1, tf.float64), 10, 0.5)
    single = schedules.ExponentialDecay(tf.constant(0.1, tf.float32), 10, 0.5)
    assert double != single and double == schedules.ExponentialDecay(np.float64(0.1), 10, 0.5)


def test_repr_shows_the_config():
    schedule = schedules.InverseTimeDecay(0.1, 10, 0.5)
    assert repr(schedule) == (
        "InverseTimeDecay(initial_learning_rate=0.1, decay_steps=10, decay_rate=0.5, "
        "staircase=False, name='InverseTimeDecay')"
    )
    assert eval(repr(schedule), vars(schedules)) == schedule


def test_schedules_lists_the_six():
    assert sorted(cls.__name__ for cls in schedules.SCHEDULES) == sorted(
        {name for name, *_ in CASES.values()}
    )


def test_serialized_form():
    for schedule in map(make, CASES):
        serialized = schedules.serialize(schedule)
        name = type(schedule).__name__
        assert serialized == {
            "module": "tfopt.schedules",
            "class_name": name,
            "config": schedule.get_config(),
            "registered_name": f"tfopt>{name}",
        }
        assert schedules.deserialize(json.loads(json.dumps(serialized))) == schedule


@pytest.mark.parametrize("library", KERASES)
def test_reads_what_keras_writes(library):
    for case in CASES:
        serialized = KERASES[library].serialize(make(case, KERASES[library]))
        schedule = schedules.deserialize(json.loads(json.dumps(serialized)))
        assert type(schedule) is getattr(schedules, CASES[case][0])
        assert_rates(schedule(tf.constant(STEPS)), make(case)(tf.constant(STEPS)).numpy())


def test_reads_the_legacy_form():
    legacy = tf_keras.optimizers.schedules.serialize(
        tf_keras.optimizers.schedules.CosineDecay(0.1, 10), use_legacy_format=True
    )
    assert sorted(legacy) == ["class_name", "config"]
    assert schedules.deserialize(legacy) == schedules.CosineDecay(0.1, 10, name=None)


@pytest.mark.parametrize("library", KERASES)
def test_keras_reads_what_is_written_here(library):
    schedule = schedules.CosineDecay(0.1, 10, 0.2)
    copy = KERASES[library].deserialize(
        schedules.serialize(schedule),
        custom_objects={f"tfopt>{cls.__name__}": cls for cls in schedules.SCHEDULES},
    )
    assert copy == schedule


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float32, tf.float64])
def test_tensors_keep_their_dtype_when_serialized(dtype):
    schedule = schedules.CosineDecay(tf.constant(0.1, dtype), 10)
    copy = schedules.deserialize(json.loads(json.dumps(schedules.serialize(schedule))))
    assert copy == schedule and copy(3).dtype == dtype and copy(3) == schedule(3)


def test_reads_tensors_arrays_and_tuples_of_keras():
    theirs = keras.optimizers.schedules
    cosine = theirs.serialize(theirs.CosineDecay(tf.constant(0.1, tf.float64), 10))
    assert schedules.deserialize(cosine)(0).dtype == tf.float64
    piecewise = theirs.serialize(theirs.PiecewiseConstantDecay((1, 2), np.array([0.1, 0.2, 0.3])))
    assert schedules.deserialize(piecewise).boundaries == [1, 2]
    assert float(schedules.deserialize(piecewise)(2)) == 0.2
    written = {"class_name": "__tuple__", "items": [1, 2]}
    config = {"boundaries": written, "values": [0.1, 0.2, 0.3]}
    config = {"class_name": "PiecewiseConstantDecay", "config": config}
    assert schedules.deserialize(config).boundaries == [1, 2]


GOOD = {"module": "keras.optimizers.schedules", "class_name": "CosineDecay", "config": C_ARGS}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"class_name": "NoSuchDecay"}, "NoSuchDecay"),
        ({"class_name": "cosinedecay"}, "cosinedecay"),
        ({"class_name": "LearningRateSchedule"}, "LearningRateSchedule"),
        ({"class_name": "serialize"}, "serialize"),
        ({"class_name": "tfopt.schedules.CosineDecay"}, "tfopt.schedules.CosineDecay"),
        ({"class_name": None}, "None"),
        ({"class_name": ["CosineDecay"]}, "['CosineDecay']"),
        ({"module": "antigravity"}, "antigravity"),
        ({"module": "antigravity", "class_name": "geohash"}, "antigravity"),
        ({"registered_name": "other>CosineDecay"}, "other>CosineDecay"),
        ({"config": None}, "None"),
        ({"config": [1]}, "[1]"),
        ({"config": {**C_ARGS, "decay_rate": 0.5}}, "decay_rate"),
        ({"config": {"decay_steps": 10}}, "initial_learning_rate"),
        ({"config": {**C_ARGS, 3: 4}}, "3"),
        ({"config": {**C_ARGS, "decay_steps": 0}}, "decay_steps"),
        (
            {
                "config": {
                    **C_ARGS,
                    "initial_learning_rate": {"class_name": "__tensor__", "config": {"value": 0.1}},
                }
            },
            "dtype",
        ),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_refuses_bad_configs(change, told):
    assert schedules.deserialize(GOOD) == schedules.CosineDecay(0.1, 10)
    before = set(sys.modules)
    with pytest.raises(ValueError) as error:
        schedules.deserialize({**GOOD, **change})
    assert told in str(error.value)
    assert "antigravity" not in set(sys.modules) - before


def test_refuses_what_is_no_config():
    for config in (None, "CosineDecay", [GOOD], 3):
        with pytest.raises(ValueError) as error:
            schedules.deserialize(config)
        assert repr(config) in str(error.value)


def test_refuses_to_serialize_what_is_no_schedule():
    with pytest.raises(ValueError, match="`schedule` must be a LearningRateSchedule; got 0.1"):
        schedules.serialize(0.1)


class Halving(schedules.LearningRateSchedule):
    def __init__(self, start, steps=1):
        self.start = start
        self.steps = steps

    def __call__(self, step):
        return self.start * 0.5 ** (tf.cast(step, tf.float32) / self.steps)


class Private(schedules.LearningRateSchedule):
    def __init__(self, start):
        self._start = start

    def __call__(self, step):
        return self._start


def test_custom_schedules_have_configs_and_are_found_only_when_given():
    serialized = schedules.serialize(Halving(0.1, 5))
    assert serialized["config"] == {"start": 0.1, "steps": 5}
    assert schedules.deserialize(serialized, {"Halving": Halving}) == Halving(0.1, 5)
    with pytest.raises(ValueError, match="Halving"):
        schedules.deserialize(serialized)
    with pytest.raises(ValueError, match="Halving"):
        schedules.deserialize(serialized, {"Halving": "no class"})


def test_custom_objects_are_found_by_registered_name_and_come_first():
    config = {"module": "mine", "class_name": "CosineDecay", "registered_name": "mine>CosineDecay"}
    config["config"] = {"start": 0.1}
    found = schedules.deserialize(config, {"mine>CosineDecay": Halving})
    assert found == Halving(0.1)
    found = schedules.deserialize(
        {"class_name": "CosineDecay", "config": {"start": 0.1}}, {"CosineDecay": Halving}
    )
    assert found == Halving(0.1)


def test_a_schedule_without_config_says_so_when_asked():
    schedule = Private(0.1)
    assert "Private" in repr(schedule) and schedule == schedule
    with pytest.raises(NotImplementedError, match="Private must override `get_config`"):
        schedule.get_config()


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        schedules.LearningRateSchedule()
