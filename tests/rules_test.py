"""Rules: other numbers for some of the variables."""

import copy

import numpy as np
import tensorflow as tf
from extensions import Noting
from training import value_of
from training_modes import LARGE, SHAPES, adamw, assert_close, first_values, names_of, sums

import tfopt
from tfopt._engine.members import Members
from tfopt._engine.rules import Rule as RuleOfMembers


def named(part):
    return lambda variable: part in variable.name


def Rule(match, **kwargs):
    """A rule for variables of which a function says that they are members."""
    return RuleOfMembers(Members("rules", [match]), **kwargs)


def ruled(optimizer, *rules):
    """The optimizer with rules."""
    for rule in rules:
        optimizer._engine.groups.add(rule)
    return optimizer


def number_of(optimizer, name):
    return optimizer._engine.hypers[name]


def test_all_rules_that_match_a_variable_hold_for_it(mode):
    rules = [
        Rule(named("kernel"), factors={"learning_rate": 0.1}),
        Rule(named("bias"), values={"weight_decay": 0.05}),
        Rule(lambda v: v.shape.rank == 1, factors={"learning_rate": 0.5}, partition=1),
        Rule(named("bias_2"), factors={"learning_rate": 0.5}, partition=2),
        Rule(named("kernel_3"), off=["weight_decay"]),
    ]
    shapes = [*SHAPES, (2, 2), LARGE]
    names = ["kernel_0", "bias_1", "bias_2", "kernel_3", "kernel_4"]
    assert list(first_values(shapes)) == names
    numbers = [(0.01, 0.1), (0.05, 0.05), (0.025, 0.05), (0.01, 0.0), (0.01, 0.1)]
    opt = ruled(tfopt.AdamW(0.1, weight_decay=0.1, master_weights=True), *rules)
    steps = mode.gradients(8, shapes)
    variables = mode.train(opt, steps, shapes)
    expected = [
        adamw(x, g, *own)
        for x, g, own in zip(first_values(shapes).values(), sums(steps), numbers, strict=True)
    ]
    variables[3] = opt.get_slot(variables[3], "master_weight")  # it is the one of bfloat16
    assert_close(variables, expected, 2e-5)


def test_a_factor_of_a_rule_changes_without_a_retrace(mode):
    class Noted(tfopt.SGD, policies=[Noting], shared=True):
        pass

    rule = Rule(named("kernel"), factors={"learning_rate": 0.5})
    opt, variables = ruled(Noted(1.0), rule), mode.start()
    steps, trainer = mode.gradients(5), mode.trainer(opt, variables)
    Noting.steps = 0
    trainer(steps[:3])  # eager steps are traced when they come for the third time
    before = Noting.steps
    number_of(opt, "learning_rate_factor_0").set(0.25)
    trainer(steps[3:])
    assert Noting.steps == before > 0
    factors = [0.5, 0.5, 0.5, 0.25, 0.25]
    expected = [
        x - sum((f if x.ndim == 2 else 1) * each for f, each in zip(factors, g, strict=True))
        for x, g in zip(first_values(SHAPES).values(), sums(steps), strict=True)
    ]
    assert_close(variables, expected, 1e-6)


def test_a_number_of_a_rule_may_be_a_schedule(mode):
    falling = tfopt.schedules.InverseTimeDecay(1.0, decay_steps=1, decay_rate=1.0)
    rule, steps = Rule(named("kernel"), values={"learning_rate": falling}), mode.gradients(4)
    variables = mode.train(ruled(tfopt.SGD(0.5), rule), steps)
    expected = [
        x - sum((1 / t if x.ndim == 2 else 0.5) * each for t, each in enumerate(g, 1))
        for x, g in zip(first_values(SHAPES).values(), sums(steps), strict=True)
    ]
    assert_close(variables, expected, 1e-6)


def test_state_advances_once_whatever_rules_there_are(mode):
    """From the group of everybody, be there a variable in it or not."""
    rules = [
        Rule(lambda v: True, factors={"learning_rate": 0.5}),
        Rule(named("bias"), factors={"beta_1": 0.5}),
    ]
    opt, steps = ruled(tfopt.Nadam(0.2), *rules), mode.gradients(6)
    variables = mode.train(opt, steps)
    plain = tfopt.Nadam(0.1)
    [kernel, *_] = mode.train(plain, steps)
    assert_close(variables[:1], [value_of(kernel)], 1e-6)
    assert names_of(opt.weights)[1] == "Nadam/momentum_cache"
    caches = [value_of(each.weights[1]) for each in (opt, plain)]
    mu = [0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in range(1, 7)]
    np.testing.assert_allclose(caches, [np.prod(mu)] * 2, 1e-5)


def test_a_deep_copy_has_the_rules_and_numbers_of_its_own():
    rule = Rule(lambda v: True, factors={"learning_rate": 0.5})
    opt = ruled(tfopt.SGD(1.0), rule)
    twin = copy.deepcopy(opt)
    number_of(twin, "learning_rate_factor_0").set(0.25)
    for each, expected in ((opt, -0.5), (twin, -0.25)):
        variable = tf.Variable(0.0)
        each.apply_gradients([(tf.constant(1.0), variable)])
        assert variable.numpy() == expected
