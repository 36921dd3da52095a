"""What an optimizer becomes at special values of its numbers, and what changes nothing in it."""

import numpy as np
import pytest
import tensorflow as tf
from cases import ADAM, CASES, MUON
from training import SHAPES, assert_same, each, gradients, start, train, values_of

import tfopt

TOLERANCE = 1e-12
ADAMW = {**ADAM, "weight_decay": 0.5}
NO_EPSILON = {**ADAM, "epsilon": 0.0}
# Where the root is corrected for bias before epsilon is added, or after: the same without epsilon.
PAIRS = {
    "AdEMAMix without the slow average is AdamW": (
        lambda: tfopt.AdEMAMix(**NO_EPSILON, alpha=0.0, weight_decay=0.5),
        lambda: tfopt.AdamW(**NO_EPSILON, weight_decay=0.5),
    ),
    "AdEMAMix: a warmup of one step is none": (
        lambda: tfopt.AdEMAMix(**ADAM, alpha_warmup_steps=1, beta_3_warmup_steps=1),
        lambda: tfopt.AdEMAMix(**ADAM),
    ),
    "NAdamW without momentum is AdamW": (
        lambda: tfopt.NAdamW(**{**NO_EPSILON, "beta_1": 0.0}, weight_decay=0.5),
        lambda: tfopt.AdamW(**{**NO_EPSILON, "beta_1": 0.0}, weight_decay=0.5),
    ),
    "RectifiedAdam that is never sure is momentum corrected for bias": (
        lambda: tfopt.RectifiedAdam(**{**ADAM, "beta_1": 0.0}, sma_threshold=1e6),
        lambda: tfopt.SGD(ADAM["learning_rate"]),
    ),
    "AdaBelief around 0 is RectifiedAdam": (
        lambda: tfopt.AdaBelief(**{**NO_EPSILON, "beta_1": 0.0}, sma_threshold=1e6),
        lambda: tfopt.RectifiedAdam(**{**NO_EPSILON, "beta_1": 0.0}, sma_threshold=1e6),
    ),
    "LARS of which all is plain is SGD with momentum": (
        lambda: tfopt.LARS(0.125, momentum=0.75, roles={".*": "plain"}),
        lambda: tfopt.SGD(0.125, momentum=0.75),
    ),
    "Adan without differences is AdamW that divides": (
        lambda: tfopt.Adan(0.125, 0.875, 0.0, 0.96875, 0.0),
        lambda: tfopt.Adam(0.125, 0.875, 0.96875, 0.0),
    ),
    "Lookahead all the way is its inner optimizer": (
        lambda: tfopt.Lookahead(tfopt.AdamW(**ADAMW), 3, slow_step_size=1.0),
        lambda: tfopt.AdamW(**ADAMW),
    ),
    "Lookahead that never looks is its inner optimizer": (
        lambda: tfopt.Lookahead(tfopt.AdamW(**ADAMW), 1000),
        lambda: tfopt.AdamW(**ADAMW),
    ),
    "SWA trains as its inner optimizer": (
        lambda: tfopt.SWA(tfopt.AdamW(**ADAMW), 0, 1),
        lambda: tfopt.AdamW(**ADAMW),
    ),
    "Schedule-Free without momentum trains z": (
        lambda: tfopt.ScheduleFreeSGD(0.125, momentum=0.0),
        lambda: tfopt.SGD(0.125),
    ),
    "Muon of which all is the rest is AdamW": (
        lambda: tfopt.Muon(**MUON, exclude_layers=["."]),
        lambda: tfopt.AdamW(MUON["learning_rate"], 0.5, 0.875, 0.96875, 2.0**-10),
    ),
    "Proximal Adagrad without regularization is Adagrad": (
        lambda: tfopt.ProximalAdagrad(0.25, 0.125),
        lambda: tfopt.Adagrad(0.25, 0.125, epsilon=0.0),
    ),
    "cautious where all steps agree is the same": (
        lambda: tfopt.Adam(**{**ADAM, "beta_1": 0.0}, cautious=True),
        lambda: tfopt.Adam(**{**ADAM, "beta_1": 0.0}),
    ),
}


def dense(count=10):
    """Gradients without zeros: where a gradient is 0 a mask and a first step say otherwise."""
    return [[g + 0.01 * (g == 0) for g in grads] for grads in gradients(count)]


@pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))
def test_reduces_to(pair):
    one, other = start(), start()
    train(pair[0](), one, dense())
    train(pair[1](), other, dense())
    assert_same(one, other, TOLERANCE)


def test_schedule_free_averages_alike_at_a_constant_rate():
    """x is the plain mean of z_1 to z_t."""
    optimizer, (x, _) = tfopt.ScheduleFreeAdamW(**ADAM), start()
    z = []
    for grads in dense():
        optimizer.apply_gradients([(tf.constant(grads[0]), x)])
        z.append(optimizer.get_slot(x, "z").numpy())
    with optimizer.evaluation_weights():
        assert_same(x, np.mean(z, axis=0), TOLERANCE)


def test_swa_is_the_mean_of_what_enters():
    optimizer, variables, entered = tfopt.SWA(tfopt.SGD(0.125, momentum=0.5), 2, 3), start(), []
    for t, grads in enumerate(dense()):
        train(optimizer, variables, [grads])
        own = values_of(variables)
        entered += [own] if t in (2, 5, 8) else []
        expected = [np.mean(each, axis=0) for each in zip(*entered, strict=True)] or own
        with optimizer.evaluation_weights():
            assert_same(variables, expected, TOLERANCE)
        assert_same(variables, own)


def test_novograd_makes_a_first_step_of_one_length():
    x = start()[0]
    before = x.numpy()
    tfopt.NovoGrad(0.25, beta_1=0.0, epsilon=0.0).apply_gradients([(tf.constant(before), x)])
    assert np.isclose(np.linalg.norm(x - before), 0.25)


def test_adopt_converges_where_adam_does_not():
    """The counterexample of Reddi et al.: a rare large gradient, and small ones against it."""

    def end(optimizer):
        x = tf.Variable(0.0, dtype="float64")

        @tf.function
        def step(t):
            g = tf.where(t % 10 == 0, tf.constant(10.0, "float64"), -1.0)
            optimizer.apply_gradients([(g, x)])
            x.assign(tf.clip_by_value(x, -1.0, 1.0))

        for t in range(3000):
            step(tf.constant(t))
        return float(x)

    # The sum of 10 gradients is positive, so the least in [-1, 1] is at -1.
    assert end(tfopt.Adam(0.05, beta_1=0.0, beta_2=0.5)) > 0.5
    assert end(tfopt.ADOPT(0.05, beta_1=0.0, beta_2=0.999)) < -0.5


# --- what changes nothing -------------------------------------------------------------------------

ROW = {case.name: case for case in CASES}


def run(optimizer, first, steps):
    x = tf.Variable(first)
    for g in steps:
        optimizer.apply_gradients([(tf.constant(g), x)])
    return x.numpy()


@pytest.mark.parametrize("note", ["", "-original"])
def test_muon_turns_with_its_matrices(note):
    """A run with rotated weights and gradients is the rotated run."""
    random = np.random.default_rng(0)
    rotations = [np.linalg.qr(random.normal(size=(n, n)))[0] for n in (5, 4)]
    first, steps = random.normal(size=(5, 4)), random.normal(size=(10, 5, 4))

    def turned(x):
        return rotations[0] @ x @ rotations[1].T

    case = ROW["Muon" + note]
    together = run(case.make(), turned(first), map(turned, steps))
    np.testing.assert_allclose(together, turned(run(case.make(), first, steps)), atol=1e-12)
    adam = run(tfopt.Adam(0.125), turned(first), map(turned, steps))
    assert np.abs(adam - turned(run(tfopt.Adam(0.125), first, steps))).max() > 0.1


FREE_OF_SCALE = [
    (tfopt.Muon, {}),
    (tfopt.NAdamW, {"epsilon": 0.0}),
    (tfopt.AdEMAMix, {"epsilon": 0.0}),
    (tfopt.AdaBelief, {"epsilon": 0.0, "rectify": False}),
    (tfopt.LARS, {}),
    (tfopt.Adan, {"epsilon": 0.0}),
    (tfopt.ADOPT, {"epsilon": 0.0}),
    (tfopt.NovoGrad, {"epsilon": 0.0}),
    (tfopt.ScheduleFreeAdamW, {"epsilon": 0.0}),
    (tfopt.ScheduleFreeRAdam, {"epsilon": 0.0}),
    (tfopt.ConditionalGradient, {"epsilon": 0.0}),
]


@pytest.mark.parametrize(
    ("cls", "numbers"), FREE_OF_SCALE, ids=lambda x: getattr(x, "__name__", "")
)
def test_larger_gradients_make_the_same_steps(cls, numbers):
    steps = [grads[0] for grads in dense()]
    first = start()[0].numpy()
    larger = run(cls(**numbers), first, [128 * g for g in steps])
    np.testing.assert_allclose(larger, run(cls(**numbers), first, steps), rtol=2e-7)


@each([ROW[n] for n in ("COCOB", "ScheduleFreeRAdam", "ADOPT")])
def test_a_first_step_that_only_looks(case):
    """A gradient of zeros moves nothing; ADOPT and Schedule-Free RAdam move at no first step."""
    variables = start()
    optimizer = case.make(**({"weight_decay": None} if case.cls is tfopt.ADOPT else {}))
    grads = [np.zeros(s) for s in SHAPES] if case.cls is tfopt.COCOB else dense(1)[0]
    train(optimizer, variables, [grads])
    assert_same(variables, start())
