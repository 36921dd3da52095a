"""A kernel that takes more than others, and a path that updates variables together."""

import pytest
import tensorflow as tf
from extensions import AdamOfOneKernel, Stacked, StackedAdamW
from training import assert_same, value_of
from training_modes import LARGE, SHAPES, adamw, assert_close, first_values, sums

import tfopt


@pytest.mark.parametrize("clip", [(), ("clip_factor",)], ids=["", "clipped"])
def test_a_kernel_takes_decay_and_clip_factor(mode, clip):
    shapes = [LARGE, (5, 3), (4,)]  # AdamW alone would have the first two compiled by XLA
    options = {"weight_decay": 0.1, "exclude_from_weight_decay": ["bias"]}
    options |= {"clipnorm": 0.5} if clip else {}
    steps = mode.gradients(6, shapes)
    AdamOfOneKernel.given.clear()
    variables = mode.train(AdamOfOneKernel(0.1, **options), steps, shapes)
    decayed = (*clip, "decay_rate")
    expected = {(*LARGE, *decayed), (5, 3, *decayed), (4, *clip)}
    assert set(AdamOfOneKernel.given) == expected
    plain = mode.train(tfopt.AdamW(0.1, **options), steps, shapes)
    assert_close(variables, [value_of(v) for v in plain])
    if not clip:
        references = [
            adamw(x, g, 0.1, 0.0 if x.ndim == 1 else 0.1)
            for x, g in zip(first_values(shapes).values(), sums(steps), strict=True)
        ]
        assert_close(variables, references, 2e-5)


def test_the_table_of_an_optimizer_knows_of_the_kernel():
    variables = [tf.Variable(tf.zeros(LARGE))]
    options = {"weight_decay": 0.1, "clipnorm": 1.0}
    for cls, path in ((AdamOfOneKernel, "fused"), (tfopt.AdamW, "XLA")):
        assert tfopt.inspect.describe(cls(**options), variables)[0].path == path


def test_a_path_updates_all_variables_of_a_shape_at_once(mode):
    """What decays and what does not have other scalars, so a stack each."""
    shapes, options = SHAPES * 3, {"weight_decay": 0.1, "exclude_from_weight_decay": ["bias"]}
    steps = mode.gradients(6, shapes)
    Stacked.launches.clear()
    variables = mode.train(StackedAdamW(0.1, **options), steps, shapes)
    assert set(Stacked.launches) == {1, 2, 6}  # one kernel is of bfloat16
    assert_close(variables, map(value_of, mode.train(tfopt.AdamW(0.1, **options), steps, shapes)))
    rows = mode.rows(6, LARGE)
    Stacked.launches.clear()
    [variable] = mode.train(StackedAdamW(0.1, weight_decay=0.1, lazy=True), rows, [LARGE])
    assert not Stacked.launches  # what it does not take goes to the paths of all optimizers
    [other] = mode.train(tfopt.AdamW(0.1, weight_decay=0.1, lazy=True), rows, [LARGE])
    assert_same([variable], [other])
    [row] = tfopt.inspect.describe(StackedAdamW(), [tf.Variable(tf.zeros(LARGE))])
    assert row.path == "stacked"
