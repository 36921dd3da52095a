"""Schedules: values against NumPy, Keras 3, tf-keras and PyTorch; refused arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from schedule_cases import CASES, KERAS_CASES, STEPS, assert_rates, cosine, expected, make

from tfopt import schedules

KERASES = {"keras": keras.optimizers.schedules, "tf_keras": tf_keras.optimizers.schedules}

cases = pytest.mark.parametrize("case", CASES)


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

    eager = np.stack([schedule(tf.constant(STEPS)) for schedule in all_schedules])
    for number, step in enumerate(STEPS[:-3]):
        rates = compiled(tf.constant(step, tf.int64))
        np.testing.assert_allclose(rates, eager[:, number], rtol=1e-6, atol=3e-8)
    assert len(traces) == 1


@pytest.mark.parametrize("case", KERAS_CASES)
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


@pytest.mark.parametrize("jit_compile", [False, True])
def test_cyclic_rates_turn_on_the_very_step(jit_compile):
    for half in (41, 49, 98, 103):
        schedule = schedules.Cyclic(0.0, 1.0, half, "triangular2")
        compiled = tf.function(schedule, jit_compile=jit_compile)
        k = np.arange(12)
        np.testing.assert_allclose(compiled(tf.constant(2 * half * k)), 0.0, atol=1e-7)
        np.testing.assert_allclose(compiled(tf.constant(2 * half * k + half)), 0.5**k, rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_phases_end_on_the_very_step(jit_compile):
    for steps in (10, 30, 100, 490):
        for schedule, at in (
            (schedules.OneCycle(1.0, steps, final_div_factor=2.0), {steps * 3 // 10 - 1: 1.0}),
            (schedules.OneCycle(1.0, steps, final_div_factor=2.0), {steps - 1: 0.02}),
            (
                schedules.OneCycle(1.0, steps, 0.3, 25, 2, "linear", True),
                {steps * 6 // 10 - 2: 0.04},
            ),
            (schedules.WarmupStableDecay(1.0, steps, 7, 9), {steps: 1.0, steps + 7: 1.0}),
            (schedules.WarmupStableDecay(1.0, steps, 7, 9, "1-sqrt"), {steps + 16: 0.0}),
            (
                schedules.Warmup(schedules.LinearDecay(1.0, steps), steps),
                {steps: 1.0, 2 * steps: 0},
            ),
            (schedules.Sequence([1.0, 0.5, 0.25], [7, steps]), {6: 1.0, 7: 0.5, steps: 0.25}),
        ):
            compiled = tf.function(schedule, jit_compile=jit_compile)
            rates = compiled(tf.constant(list(at)))
            np.testing.assert_allclose(rates, list(at.values()), rtol=1e-6, atol=1e-7)


# Recorded from torch 2.13.0: the rate before each step of SGD, with `cycle_momentum=False`.
TORCH = {
    "OneCycleLR(max_lr=0.1, total_steps=10)": (
        schedules.OneCycle(0.1, 10),
        """0.004 0.052 0.1 0.0950484632 0.0811745654 0.0611262022 0.0388741978 0.0188258346
        0.0049519368 4e-07""",
    ),
    "OneCycleLR(max_lr=0.2, total_steps=12, pct_start=0.4, anneal_strategy='linear', "
    "div_factor=10.0, final_div_factor=100.0)": (
        schedules.OneCycle(0.2, 12, 0.4, 10.0, 100.0, anneal="linear"),
        """0.02 0.0673684211 0.114736842 0.162105263 0.19445 0.1667 0.13895 0.1112 0.08345 0.0557
        0.02795 0.0002""",
    ),
    "OneCycleLR(max_lr=0.1, total_steps=14, pct_start=0.35, three_phase=True, "
    "final_div_factor=10.0)": (
        schedules.OneCycle(0.1, 14, 0.35, final_div_factor=10.0, three_phase=True),
        """0.004 0.018749231 0.0539327651 0.0879285159 0.0998443508 0.082357378 0.0462142393
        0.0136267474 0.00398687597 0.00354731935 0.0026307682 0.0015617112 0.000718629041 0.0004""",
    ),
    "OneCycleLR(max_lr=0.1, total_steps=5, pct_start=0.0)": (
        schedules.OneCycle(0.1, 5, 0.0),
        "0.0904508879 0.0654509879 0.0345494121 0.00954951208 4e-07",
    ),
    "CyclicLR(base_lr=0.01, max_lr=0.1, step_size_up=4)": (
        schedules.Cyclic(0.01, 0.1, 4),
        """0.01 0.0325 0.055 0.0775 0.1 0.0775 0.055 0.0325 0.01 0.0325 0.055 0.0775 0.1 0.0775
        0.055 0.0325 0.01 0.0325""",
    ),
    "CyclicLR(base_lr=0.01, max_lr=0.1, step_size_up=4, mode='triangular2')": (
        schedules.Cyclic(0.01, 0.1, 4, "triangular2"),
        """0.01 0.0325 0.055 0.0775 0.1 0.0775 0.055 0.0325 0.01 0.02125 0.0325 0.04375 0.055
        0.04375 0.0325 0.02125 0.01 0.015625""",
    ),
    "CyclicLR(base_lr=0.01, max_lr=0.1, step_size_up=4, mode='exp_range', gamma=0.9)": (
        schedules.Cyclic(0.01, 0.1, 4, "exp", 0.9),
        """0.01 0.03025 0.04645 0.0592075 0.069049 0.049858075 0.033914845 0.0207616803 0.01
        0.018716961 0.0256905298 0.0311822152 0.0354186583 0.0271575943 0.0202945566 0.0146325505
        0.01 0.0137523659""",
    ),
    "SequentialLR([LinearLR(0.1, 1.0, total_iters=4), CosineAnnealingLR(T_max=8)], [4]), lr=0.1": (
        schedules.Warmup(schedules.CosineDecay(0.1, 8), 4, 0.01),
        """0.01 0.0325 0.055 0.0775 0.1 0.0961939766 0.0853553391 0.0691341716 0.05 0.0308658284
        0.0146446609 0.00380602337 0.0""",
    ),
    "the same SequentialLR": (
        schedules.Sequence(
            [schedules.LinearDecay(0.01, 4, 0.1), schedules.CosineDecay(0.1, 8)], [4]
        ),
        """0.01 0.0325 0.055 0.0775 0.1 0.0961939766 0.0853553391 0.0691341716 0.05 0.0308658284
        0.0146446609 0.00380602337 0.0""",
    ),
}


@pytest.mark.parametrize("case", TORCH)
def test_values_are_those_of_pytorch(case):
    schedule, recorded = TORCH[case]
    rates = np.array(recorded.split(), float)
    np.testing.assert_allclose(schedule(tf.range(len(rates))), rates, rtol=3e-6, atol=2e-8)


def test_schedules_inside_of_others_get_integer_steps():
    seen = []

    class Table(schedules.LearningRateSchedule):
        def __call__(self, step):
            seen.append(step.dtype)
            return tf.gather([0.5, 0.25, 0.125], step)

    for step in (7, np.int64(7), tf.constant(7), tf.constant(7, tf.uint64), tf.Variable(7)):
        assert float(schedules.Warmup(Table(), 5)(step)) == 0.125
        assert float(schedules.Sequence([0.0, Table()], [6])(step)) == 0.25
    assert set(seen) == {tf.int64}


@pytest.mark.parametrize("library", KERASES)
def test_schedules_of_keras_inside_of_others(library):
    theirs = KERASES[library].CosineDecay(0.1, 14)
    for schedule in (schedules.Warmup(theirs, 7, 0.1), schedules.Sequence([0.1, theirs], [7])):
        rates = [float(schedule(t)) for t in range(30)]
        np.testing.assert_allclose(
            rates, [cosine(max(t - 7, 0), 0.1, 14) for t in range(30)], rtol=1e-6, atol=3e-8
        )


def test_steps_beyond_int32_and_float32():
    huge = 2**40
    piecewise = schedules.PiecewiseConstantDecay([huge], [1.0, 2.0])
    assert [float(piecewise(step)) for step in (huge, huge + 1)] == [1.0, 2.0]
    stairs = schedules.ExponentialDecay(1.0, huge, 0.5, staircase=True)
    assert [float(stairs(step)) for step in (2 * huge - 10**6, 2 * huge)] == [0.5, 0.25]
    sequence = schedules.Sequence([1.0, schedules.LinearDecay(1.0, 4)], [huge])
    assert [float(sequence(step)) for step in (huge - 1, huge, huge + 1)] == [1.0, 1.0, 0.75]
    warm = schedules.Warmup(schedules.LinearDecay(1.0, 4), huge)
    assert [float(warm(step)) for step in (huge // 2, huge, huge + 1)] == [0.5, 1.0, 0.75]


@pytest.mark.parametrize("case", {name: case for case, (name, *_) in CASES.items()}.values())
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
        lambda rate: schedules.LinearDecay(rate, 4000),
        lambda rate: schedules.WarmupStableDecay(rate, 1000, 500, 4000, "1-sqrt"),
        lambda rate: schedules.OneCycle(rate, 4000),
        lambda rate: schedules.Cyclic(rate, 0.1, 3000),
        lambda rate: schedules.Warmup(rate, 4000),
        lambda rate: schedules.Warmup(schedules.LinearDecay(rate, 4000), 1000),
        lambda rate: schedules.Sequence([rate, schedules.LinearDecay(1.0, 4000)], [1000]),
    ):
        value, exact = make_schedule(rate)(2001), make_schedule(1.0)(2001)
        assert value.dtype == dtype
        # 16 bits hold two digits of the rate; the step is not rounded to them.
        tolerance = 1e-2 if dtype.size == 2 else 1e-6
        np.testing.assert_allclose(tf.cast(value, tf.float32), exact, rtol=tolerance)


def test_float64_is_computed_in_float64():
    rates = schedules.CosineDecay(np.float64(0.1), 28, 0.2)(tf.constant(STEPS))
    np.testing.assert_allclose(rates, [cosine(t, 0.1, 28, 0.2) for t in STEPS], rtol=1e-14)
    for case in ("wsd-sqrt", "one-cycle", "cyclic-exp", "linear-end", "warmup-number"):
        name, (rate, *others), _, _ = CASES[case]
        rates = getattr(schedules, name)(np.float64(rate), *others)(tf.constant(STEPS))
        np.testing.assert_allclose(rates, expected(case), rtol=1e-13, atol=1e-17)


def test_a_variable_rate_is_followed():
    rate = tf.Variable(0.5)
    for schedule in (schedules.CosineDecay(rate, 10), schedules.Warmup(rate, 0)):
        rate.assign(0.5)
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
S_ARGS = {"peak_learning_rate": 0.1, "warmup_steps": 0, "stable_steps": 10, "decay_steps": 10}
O_ARGS = {"max_learning_rate": 0.1, "total_steps": 10}
CYCLE_ARGS = {"initial_learning_rate": 0.1, "maximal_learning_rate": 0.2, "step_size": 10}
W_ARGS = {"schedule": 0.1, "warmup_steps": 0}
Q_ARGS = {"schedules": [0.1, 0.2, 0.3], "boundaries": [1, 2]}


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
        ("LinearDecay", C_ARGS, "initial_learning_rate", ">= 0", -0.1),
        ("LinearDecay", C_ARGS, "decay_steps", "> 0", 0),
        ("LinearDecay", C_ARGS, "end_learning_rate", ">= 0", -1e-4),
        ("WarmupStableDecay", S_ARGS, "peak_learning_rate", ">= 0", -0.1),
        ("WarmupStableDecay", S_ARGS, "warmup_steps", ">= 0", -1),
        ("WarmupStableDecay", S_ARGS, "stable_steps", ">= 0", -1),
        ("WarmupStableDecay", S_ARGS, "decay_steps", "> 0", 0),
        ("WarmupStableDecay", S_ARGS, "decay", "'linear', 'cosine', '1-sqrt'", "sqrt"),
        ("WarmupStableDecay", S_ARGS, "decay", "'linear', 'cosine', '1-sqrt'", None),
        ("WarmupStableDecay", S_ARGS, "initial_learning_rate", ">= 0", -0.1),
        ("WarmupStableDecay", S_ARGS, "initial_learning_rate", "would have no effect", 0.01),
        ("WarmupStableDecay", S_ARGS, "end_learning_rate", ">= 0", -0.1),
        ("OneCycle", O_ARGS, "max_learning_rate", ">= 0", -0.1),
        ("OneCycle", O_ARGS, "total_steps", "> 1", 1),
        ("OneCycle", O_ARGS, "pct_start", ">= 0", -0.1),
        ("OneCycle", O_ARGS, "pct_start", "< 1", 1.0),
        ("OneCycle", {**O_ARGS, "three_phase": True}, "pct_start", "at most 0.5", 0.6),
        ("OneCycle", O_ARGS, "div_factor", "> 0", 0.0),
        ("OneCycle", O_ARGS, "final_div_factor", "> 0", 0.0),
        ("OneCycle", O_ARGS, "anneal", "'cos', 'linear'", "cosine"),
        ("OneCycle", O_ARGS, "three_phase", "True or False", 1),
        ("Cyclic", CYCLE_ARGS, "initial_learning_rate", ">= 0", -0.1),
        ("Cyclic", CYCLE_ARGS, "maximal_learning_rate", ">= 0", -0.1),
        ("Cyclic", CYCLE_ARGS, "step_size", "> 0", 0),
        ("Cyclic", CYCLE_ARGS, "scale", "'triangular', 'triangular2', 'exp'", "exp_range"),
        ("Cyclic", {**CYCLE_ARGS, "scale": "exp"}, "gamma", "> 0", 0.0),
        ("Cyclic", CYCLE_ARGS, "gamma", "would have no effect", 0.9),
        ("Cyclic", CYCLE_ARGS, "scale_mode", "None, 'cycle', 'iterations'", "step"),
        ("Cyclic", CYCLE_ARGS, "scale_mode", "would have no effect", "cycle"),
        ("Warmup", W_ARGS, "schedule", "schedule or a finite number >= 0", -0.1),
        ("Warmup", W_ARGS, "schedule", "schedule or a finite number >= 0", None),
        ("Warmup", W_ARGS, "schedule", "schedule or a finite number >= 0", [0.1]),
        ("Warmup", W_ARGS, "schedule", "schedule or a finite number >= 0", abs),
        ("Warmup", W_ARGS, "warmup_steps", ">= 0", -1),
        ("Warmup", W_ARGS, "initial_learning_rate", ">= 0", -0.1),
        ("Warmup", W_ARGS, "initial_learning_rate", "would have no effect", 0.01),
        ("Sequence", Q_ARGS, "schedules", "one element more", [0.1]),
        ("Sequence", Q_ARGS, "schedules", "list", 5),
        ("Sequence", Q_ARGS, "boundaries", "one element more", [1]),
        ("Sequence", Q_ARGS, "boundaries", "increasing", [2, 2]),
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
    with pytest.raises(ValueError, match="`schedules` must be .* >= 0; got 'cosine'"):
        schedules.Sequence([0.1, "cosine"], [1])
    with pytest.raises(ValueError, match="`boundaries` must be a finite number > 0; got 0"):
        schedules.Sequence([0.1, 0.2], [0])


def test_no_boundaries_mean_a_constant():
    assert float(schedules.PiecewiseConstantDecay([], [0.5])(7)) == 0.5
    assert schedules.Sequence([0.5], [])([7, 8]).numpy().tolist() == [0.5, 0.5]
