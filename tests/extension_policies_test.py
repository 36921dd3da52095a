"""Policies that a class takes by keyword: their state, numbers and place in a step."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
from extensions import CoupledAdam, CoupledSGD, Looking, Noting, Scaled
from training import assert_same, value_of
from training_modes import LARGE, SHAPES, adamw, assert_close, first_values, names_of, sums

import tfopt


def looking_ahead(x, gradients, rate, period, slow_steps):
    slow = fast = x
    for t, (g, part) in enumerate(zip(gradients, slow_steps, strict=True), 1):
        fast = fast - rate * g
        if t % period == 0:
            slow = fast = slow + part * (fast - slow)
    return fast


def test_a_policy_keeps_a_slot_and_its_number_changes_without_a_retrace(mode):
    """The bfloat16 variable is its master weight rounded, and that is what looks ahead."""
    shapes = [*SHAPES, (4, 2)]
    steps = mode.gradients(9, shapes)

    class Noted(Looking, policies=[Noting]):
        pass

    opt = Noted(0.1, sync_period=3, slow_step=0.25, master_weights=True)
    variables = mode.start(shapes)
    assert variables[3].dtype == tf.bfloat16
    trainer = mode.trainer(opt, variables)
    Noting.steps = 0
    trainer(steps[:6])
    before = Noting.steps
    opt.slow_step = 0.75
    trainer(steps[6:])
    assert Noting.steps == before > 0
    parts = [0.25] * 6 + [0.75] * 3
    expected = [
        looking_ahead(x, g, 0.1, 3, parts)
        for x, g in zip(first_values(shapes).values(), sums(steps), strict=True)
    ]
    assert_close([*variables[:3], opt.get_slot(variables[3], "master_weight")], expected)
    assert_same(variables[3:], [tf.cast(opt.get_slot(variables[3], "master_weight"), tf.bfloat16)])
    assert_close([opt.get_slot(v, "slow") for v in variables], expected)


def test_keywords_of_a_policy_are_the_optimizers():
    assert {"sync_period", "slow_step"} <= inspect.signature(Looking).parameters.keys()
    assert "sync_period" not in inspect.signature(tfopt.SGD).parameters
    config = Looking(0.1, sync_period=3, slow_step=0.25).get_config()
    assert (config["sync_period"], config["slow_step"]) == (3, 0.25)
    again = Looking.from_config(config)
    assert again.get_config() == config
    assert (again.sync_period, float(again.slow_step)) == (3, 0.25)
    for wrong in ({"sync_period": 0}, {"slow_step": 1.5}, {"slow_step": -0.5}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
            Looking(**wrong)
    with pytest.raises(ValueError, match="`slow_step` must be"):
        again.slow_step = 2.0
    again.build([tf.Variable(1.0)])
    with pytest.raises(ValueError, match="cannot change once slots exist"):
        again.sync_period = 4


def test_slots_of_a_policy_are_the_last_in_weights():
    """What acts last comes first among them; a block that is seen later changes no order."""
    opt = Looking(momentum=0.5, use_ema=True, master_weights=True, lazy=False)
    opt.build([tf.Variable([1.0], name="a"), tf.Variable([1.0], name="b", dtype=tf.bfloat16)])
    opt.build([tf.Variable([1.0], name="c")])
    own = ["iter", "a/momentum", "b/momentum", "c/momentum"]
    policies = ["a/slow", "b/slow", "b/master_weight", "a/ema_average", "b/ema_average"]
    names = [name.removeprefix(f"{opt.name}/") for name in names_of(opt.weights)]
    assert names == [*own, *policies, "c/slow", "c/ema_average"]


def test_a_dynamic_loss_scale_skips_and_halves(mode):
    """One infinity, on the last replica only, and all replicas leave the step out."""
    steps = mode.gradients(6)
    steps[3][0][-1, 0, 0] = np.inf
    opt = Scaled(0.1)
    variables = mode.train(opt, steps)
    scale, expected = 8.0, list(first_values(SHAPES).values())
    for t, grads in enumerate(steps):
        if t == 3:
            scale /= 2
            continue
        expected = [x - 0.1 * g.sum(0) / scale for x, g in zip(expected, grads, strict=True)]
        scale *= 2 if t in (1, 5) else 1
    assert_close(variables, expected)
    assert value_of(opt.loss_scale) == scale == 16
    assert value_of(opt.iterations) == 5
    assert names_of(opt.weights)[-2:] == ["Scaled/loss_scale", "Scaled/good_steps"]


# --- inside the update ----------------------------------------------------------------------------


def test_a_policy_acts_inside_updates(mode):
    """A kernel, which cannot know of it, is left out; without a keyword it has the update."""
    shapes = [LARGE, (5, 3), (4,)]
    steps = mode.gradients(6, shapes)
    for decay, path in ((None, "fused"), (0.25, "XLA")):
        opt = CoupledAdam(0.1, coupled_decay=decay)
        assert tfopt.inspect.describe(opt, [tf.Variable(tf.zeros(LARGE))])[0].path == path
        expected = [
            adamw(x, g, coupled=decay or 0.0)
            for x, g in zip(first_values(shapes).values(), sums(steps), strict=True)
        ]
        assert_close(mode.train(opt, steps, shapes), expected, 2e-5)


@pytest.mark.parametrize(
    "options", [{"coupled_decay": 0.25}, {"weight_decay": 0.25}], ids=["coupled", "decay"]
)
def test_hooks_of_users_get_what_policies_make_of_it_once(mode, options):
    """`update` is called in the hook with what has happened already."""

    class Hooked(CoupledSGD):
        def resource_apply_dense(self, grad, var):
            return super().resource_apply_dense(grad, var)

    shape = (20, 6)
    for steps in (mode.gradients(3, [shape]), mode.rows(3, shape)):
        [plain], [hooked] = (
            mode.train(c(0.5, **options), steps, [shape]) for c in (CoupledSGD, Hooked)
        )
        assert_close([hooked], [value_of(plain)])
