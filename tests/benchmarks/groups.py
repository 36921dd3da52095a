"""Steps of many variables in several groups, beside the same variables in one."""

import functools

import contenders
import problems
import tensorflow as tf
from measure import in_turn, row
from suite import Case

import tfopt

OPTIMIZERS, MODES = ("SGD", "Adam", "AdamW"), ("graph", "eager")
GROUPS = {  # 200 variables: a half with a factor, a fifth with a value, the rest as it is
    "^part_0": {"learning_rate_factor": 0.1},
    "^part_1": {"learning_rate": 1e-2},
}


def cases():
    for optimizer in OPTIMIZERS:
        for mode in MODES:
            title = f"{optimizer} in 3 groups, small, {mode}"
            yield Case((title,), functools.partial(_compare, title, optimizer, mode))


def _compare(title, optimizer, mode, settings):
    values, gradients = problems.dense("small")
    batches = [[tf.constant(gradient) for gradient in gradients]]
    cls, rate = getattr(tfopt, optimizer), 1e-3
    steps = {
        "tfopt": Step("tfopt", cls(rate, groups=GROUPS), values, batches, mode, repeats=5),
        "one group": Step("tfopt", cls(rate), values, batches, mode, repeats=5),
    }
    for step in steps.values():
        step.build()
    return [row("groups", title, in_turn(steps, settings.seconds))]


class Step(contenders.Step):
    """Its variables have names, by which they are in groups."""

    def __init__(self, library, optimizer, values, batches, mode, repeats):
        super().__init__(library, optimizer, values, batches, mode, None, repeats)
        parts = [0 if i % 2 else 1 if i % 5 == 0 else 2 for i in range(len(values))]
        self.variables[:] = [
            tf.Variable(value, name=f"part_{part}")
            for value, part in zip(values, parts, strict=True)
        ]
