"""Cautious updates and cautious weight decay, against NumPy; and where they make no sense."""

import numpy as np
import pytest
import tensorflow as tf
from cases import ADAM, CASES
from training import (
    MODES,
    PLAIN,
    assert_same,
    each,
    gradients,
    rows_of,
    start,
    train,
    train_on_replicas,
    value_of,
    values_of,
)

import tfopt

TAKES = [case for case in CASES if case.make().can_be_cautious]
REFUSES = [case for case in CASES if not case.make().can_be_cautious]


def masked(x, new, g):
    """The step of those weights that go down the gradient, as large as before on average."""
    mask = (x - new) * g > 0
    return x + (new - x) * mask / max(mask.mean(), 1e-3)


def decayed(x, new, rate):
    """Those that the step leaves alone or brings nearer to 0 decay."""
    return np.where((x - new) * x >= 0, new - rate * x, new)


def one_by_one(case, steps, decay=0.0):
    """The formula of the row, of which each step is made cautious."""
    values, states, arguments = values_of(start()), [{}, {}], dict(case.arguments)
    if case.make().decays == "base":
        arguments.pop("weight_decay", None)
    for t, grads in enumerate(steps, start=1):
        for i, g in enumerate(grads):
            x = values[i]
            new = case.reference(x, g, states[i], t, **arguments)
            rate = decay * arguments["learning_rate"]
            values[i] = decayed(x, masked(x, new, g), rate) if decay else masked(x, new, g)
    return values


@each([case for case in TAKES if "weight_decay" not in case.arguments])
def test_equals_the_masked_formula(case):
    variables = start()
    train(case.make(cautious=True), variables, gradients(8))
    assert_same(variables, one_by_one(case, gradients(8)), 1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_both_together(mode):
    adam, variables = next(case for case in CASES if case.name == "Adam"), start()
    both = {"cautious": True, "cautious_weight_decay": True}
    train(tfopt.AdamW(**ADAM, weight_decay=0.5, **both), variables, gradients(8), mode)
    assert_same(variables, one_by_one(adam, gradients(8), decay=0.5), 1e-11)


@pytest.mark.parametrize("lazy", [None, True])
def test_decay_of_rows(lazy):
    """Rows that are not in the batch move by their momentum, or not at all."""
    optimizer = tfopt.AdamW(**ADAM, weight_decay=0.5, cautious_weight_decay=True, lazy=lazy)
    x, twin = start()[0], start()[0]
    dense = tfopt.AdamW(**ADAM, weight_decay=0.5, cautious_weight_decay=True)
    for grads in gradients(4):
        slices, whole = rows_of(grads[0])
        optimizer.apply_gradients([(slices, x)])
        dense.apply_gradients([(tf.constant(whole), twin)])
    if lazy is None:
        assert_same(x, twin, 1e-12)
    else:
        assert_same(value_of(x)[[1, 2, 4]], value_of(start()[0])[[1, 2, 4]])


def test_rows_are_made_dense():
    (slices, dense), (x, _), (twin, _) = rows_of(gradients(1)[0][0]), start(), start()
    tfopt.Adam(cautious=True).apply_gradients([(slices, x)])
    tfopt.Adam(cautious=True).apply_gradients([(tf.constant(dense), twin)])
    assert_same(x, twin)
    assert tfopt.inspect.describe(tfopt.Adam(cautious=True), [x])[0].sparse == "whole"


def test_excluded_variables_do_not_decay():
    optimizer = tfopt.AdamW(0.5, weight_decay=0.5, cautious_weight_decay=True,
                            exclude_from_weight_decay=[lambda v: len(v.shape) < 2])  # fmt: skip
    variables = start()
    train(optimizer, variables, [[np.zeros((5, 3)), np.zeros(4)]])
    assert_same(variables, [0.75 * value_of(start()[0]), start()[1]], 1e-12)


def test_replicas(mirrored):
    both = {"cautious": True, "cautious_weight_decay": True, "weight_decay": 0.5}
    steps = [[np.stack([g, 2 * g]) for g in grads] for grads in gradients(4)]
    with mirrored.scope():
        together = start()
    alone, optimizer = start(), tfopt.Adam(**ADAM, **both, jit_compile=False)
    train_on_replicas(mirrored, optimizer, together, steps)
    train(tfopt.Adam(**ADAM, **both), alone, [[g.sum(0) for g in grads] for grads in steps])
    assert_same(together, alone, 1e-12)


def test_config():
    optimizer = tfopt.AdamW(cautious=True, cautious_weight_decay=True)
    again = tfopt.AdamW.from_config(optimizer.get_config())
    assert again.cautious is True and again.cautious_weight_decay is True
    assert "cautious" not in tfopt.AdamW().get_config()


@each([case for case in REFUSES if case in PLAIN])
def test_refuses_where_there_is_no_momentum(case):
    with pytest.raises(ValueError, match=f"`cautious` must be False.* {case.cls.__name__}"):
        case.make(cautious=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tfopt.Adam(cautious=True, lazy=True), "`lazy` must not be True"),
        (lambda: tfopt.Adam(cautious_weight_decay=True), "without `weight_decay`"),
        (lambda: tfopt.Adan(weight_decay=0.5, cautious=True), "is part of the update of Adan"),
        (
            lambda: tfopt.LAMB(weight_decay=0.5, cautious_weight_decay=True),
            "is part of the update of LAMB",
        ),
        (lambda: tfopt.Lookahead(tfopt.Adam(), cautious=True), "`cautious` must be False"),
        (
            lambda: tfopt.Lookahead(tfopt.AdamW(), cautious_weight_decay=True),
            "`cautious_weight_decay` must be False: Lookahead",
        ),
        (lambda: tfopt.Lookahead(tfopt.Adam(cautious=True)), "`cautious` must be given"),
        (lambda: tfopt.Adam(cautious=1), "`cautious` must be True or False"),
    ],
)
def test_refuses(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
