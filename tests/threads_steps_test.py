"""Threads that step one optimizer, with variables of their own or the same ones."""

import os

import numpy as np
import pytest
import tensorflow as tf
from threads import (
    ALONE,
    COUNTED,
    FEW,
    MAKE,
    STEPS,
    THREADS,
    Net,
    Saver,
    at_once,
    check_as_alone,
    check_whole,
    nets,
)

import tfopt

REPEAT = int(os.environ.get("TFOPT_REPEAT", "1"))  # rounds of the tests that are the longest
pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("shared")]
rounds = pytest.mark.parametrize("round_", range(REPEAT))


# --- variables of each thread's own ---------------------------------------------------------------


@rounds
@pytest.mark.parametrize("name", ["SGD", "compiled", "Adam"])
def test_threads_that_step_one_optimizer_have_the_bits_of_optimizers_alone_while_one_saves(
    name, round_, tmp_path
):
    optimizer, made = MAKE[name](), nets()
    slots = ["m", "v"] if name in COUNTED else ["momentum"]
    saver = Saver(optimizer, MAKE[name], made, slots, tmp_path)
    at_once(*(lambda n=n: n.train(optimizer, STEPS) for n in made), saver=saver)
    assert int(optimizer.iterations) == THREADS * STEPS
    check_whole(optimizer, made, slots)
    check_as_alone(optimizer, made, MAKE[name], STEPS, own=name in ALONE)
    saver.check()


@pytest.mark.parametrize("how", ["at first", "built", "in functions"])
@pytest.mark.parametrize("name", MAKE)
def test_each_thread_has_the_bits_of_an_optimizer_alone(name, how):
    optimizer, made = MAKE[name](), nets()
    for net in made if how == "built" else ():
        optimizer.build(net.variables)
    at_once(*(lambda n=n: n.train(optimizer, FEW, how == "in functions") for n in made))
    assert int(optimizer.iterations) == THREADS * FEW
    check_whole(optimizer, made, optimizer.get_slot_names())
    check_as_alone(optimizer, made[:2], MAKE[name], FEW, own=name in ALONE)


@pytest.mark.parametrize("in_functions", [False, True])
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam"])
def test_gradients_of_rows_do_too(name, in_functions):
    optimizer, made = MAKE[name](), nets(rows=True)
    at_once(*(lambda n=n: n.train(optimizer, FEW, in_functions) for n in made))
    assert int(optimizer.iterations) == THREADS * FEW
    check_as_alone(optimizer, made[:2], MAKE[name], FEW, own=name in ALONE, rows=True)


def test_windows_of_accumulation_are_of_each_thread_alone():
    def make():
        return tfopt.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2)

    optimizer, made = make(), nets()
    at_once(*(lambda n=n: n.train(optimizer, 20) for n in made))
    assert int(optimizer.iterations) == THREADS * 10
    for number, net in enumerate(made):
        alone, same = make(), Net(number)
        same.train(alone, 20)
        for x, y in zip(net.variables, same.variables, strict=True):
            np.testing.assert_array_equal(x, y)
            slots = optimizer.get_slot(x, "momentum"), alone.get_slot(y, "momentum")
            np.testing.assert_array_equal(*slots)


def test_threads_may_make_their_variables_in_the_functions_that_update_them():
    def make():
        return tfopt.SGD(0.1, use_ema=True, ema_momentum=0.5, lazy=False)

    optimizer, found = make(), {}

    def train(number):
        @tf.function(autograph=False)
        def step(gradient):
            if number not in found:
                found[number] = tf.Variable([1.0, float(number)])
            optimizer.apply_gradients([(gradient, found[number])])

        for _ in range(FEW):
            step(tf.constant([1.0, 0.0]))

    at_once(*(lambda n=n: train(n) for n in range(THREADS)))
    assert int(optimizer.iterations) == THREADS * FEW
    alone, x = make(), tf.Variable([1.0, 0.0])
    for _ in range(FEW):
        alone.apply_gradients([(tf.constant([1.0, 0.0]), x)])
    expected = alone.get_slot(x, "ema_average").numpy()
    for number, variable in found.items():
        average = optimizer.get_slot(variable, "ema_average").numpy()
        np.testing.assert_allclose(average, expected + [0, number], rtol=1e-6, atol=1e-6)


# --- variables that threads share -----------------------------------------------------------------


@rounds
@pytest.mark.parametrize("name", ["SGD", "compiled", "Adam"])
def test_threads_may_share_variables_while_one_saves(name, round_, tmp_path):
    optimizer, made = MAKE[name](), nets()
    slots = ["m", "v"] if name in COUNTED else ["momentum"]
    saver = Saver(optimizer, MAKE[name], made[:1], slots, tmp_path)
    at_once(*[lambda: made[0].train(optimizer, STEPS)] * THREADS, saver=saver)
    assert int(optimizer.iterations) == THREADS * STEPS
    check_whole(optimizer, made[:1], slots)
    saver.check()


@pytest.mark.parametrize("name", ["RMSprop", "policies", "hooks", "AdamW"])
def test_sets_of_variables_that_overlap_are_built_once(name):
    optimizer, made = MAKE[name](), nets()

    def train(number):
        for net in (made[number % 2], made[(number + 1) % 2]):
            net.train(optimizer, FEW, in_function=number % 4 > 1)

    at_once(*(lambda n=n: train(n) for n in range(THREADS)))
    assert int(optimizer.iterations) == THREADS * 2 * FEW
    check_whole(optimizer, made[:2], optimizer.get_slot_names())
