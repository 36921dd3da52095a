"""Extensions of all kinds together: one class has them all, and their state goes on."""

import numpy as np
import pytest
from extensions import CodedAdam, EightBits, Lookahead, Looking, Scaled, Stacked, through_codes
from state_transfer import WAYS
from training import assert_same, value_of
from training_modes import LARGE, SHAPES, adamw, first_values, names_of, sums

import tfopt

EXTENDED = {
    "policy": lambda: Looking(0.1, sync_period=3, slow_step=0.25, master_weights=True),
    "codec": lambda: CodedAdam(0.1),
    "counters": lambda: Scaled(0.1),
}


@pytest.mark.parametrize("make", EXTENDED.values(), ids=EXTENDED)
def test_extensions_go_on_bit_for_bit(mode, make, tmp_path):
    """A break in the middle of a period, from whatever keeps state."""
    shapes = [*SHAPES[:2], LARGE, (4, 2)]
    opt, variables, steps = make(), mode.start(shapes), mode.gradients(8, shapes)
    trainer = mode.trainer(opt, variables)
    trainer(steps[:5])
    resumed = []
    for way in WAYS.values() if mode.name == "eager" else (WAYS["store"], WAYS["checkpoint"]):
        others = mode.start(shapes)
        for other, variable in zip(others, variables, strict=True):
            other.assign(variable)
        resumed.append((way(opt, variables, others, make, tmp_path), others))
    trainer(steps[5:])
    for twin, others in resumed:
        mode.trainer(twin, others)(steps[5:])
        assert_same([*twin.weights, *others], [*opt.weights, *variables])
        assert names_of(twin.weights)[1:] == names_of(opt.weights)[1:]


def test_extensions_go_together_and_are_inherited(mode):
    """A path, a policy and a codec in one class; another class has them from it."""

    class Everything(tfopt.Adam, policies=[Lookahead, EightBits], paths=[Stacked]):
        pass

    class Heir(Everything):
        pass

    steps, options = mode.gradients(4), {"sync_period": 4, "slow_step": 0.5}
    Stacked.launches.clear()
    variables = mode.train(Heir(0.1, **options), steps)
    assert set(Stacked.launches) == {1, 2}
    for variable, x, g in zip(variables, first_values(SHAPES).values(), sums(steps), strict=True):
        fast = adamw(x, g, 0.1, stored=through_codes)
        np.testing.assert_allclose(value_of(variable), x + 0.5 * (fast - x), 1e-4, 1e-4)
