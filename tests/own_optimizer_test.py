"""Optimizers of users."""

from training_modes import LARGE, assert_close, first_values, sums

import tfopt
from tfopt.hyper import Hyper


class OwnFactor(tfopt.Optimizer, shared=True):
    """What `update` reads of the instance is no part of what the class declares."""

    learning_rate = Hyper(1.0)
    factor = 1.0

    def update(self, g, x, s, h):
        return x - self.factor * h.learning_rate * g


def test_an_attribute_of_an_instance_is_its_own(mode, shared):
    steps = mode.gradients(2, [LARGE])
    [[first]], [gradients] = [list(first_values([LARGE]).values())], sums(steps)
    for factor in (2.0, 3.0):
        opt = OwnFactor(0.5)
        opt.factor = factor
        assert_close(mode.train(opt, steps, [LARGE]), [first - factor * 0.5 * sum(gradients)])
    assert len(shared) == 0  # each has compiled a function for itself


def test_numbers_are_no_part_of_compiled_functions(mode, shared):
    steps = mode.gradients(2, [LARGE])
    [[first]], [gradients] = [list(first_values([LARGE]).values())], sums(steps)
    for rate in (0.5, 0.25):
        assert_close(mode.train(OwnFactor(rate), steps, [LARGE]), [first - rate * sum(gradients)])
    [function] = shared.values()
    assert function.experimental_get_tracing_count() == 1
