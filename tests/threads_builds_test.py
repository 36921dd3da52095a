"""Threads that build one optimizer, or assign its hyperparameters, while others step it."""

import numpy as np
import pytest
import tensorflow as tf
from threads import (
    FEW,
    MAKE,
    THREADS,
    ByHooks,
    Net,
    Slow,
    at_once,
    check_as_alone,
    check_whole,
    nets,
)

import tfopt

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("shared")]

# --- builds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: Slow(0.1, momentum=0.9), ByHooks])
def test_builds_at_the_same_time_are_one_after_the_other(make):
    optimizer, made = make(), nets()
    at_once(*(lambda n=n: optimizer.build(n.variables) for n in made))
    check_whole(optimizer, made, optimizer.get_slot_names())
    names = [weight.name.split("/")[1] for weight in optimizer.weights[1:]]
    assert names == [name for name in dict.fromkeys(names) for _ in range(3)]


@pytest.mark.parametrize("make", [lambda: Slow(0.1, momentum=0.9), ByHooks])
def test_a_build_that_fails_leaves_nothing_and_disturbs_nobody(make):
    optimizer, made = make(), nets()

    def fail():
        bad = [tf.Variable([1.0], name="good"), tf.Variable([1.0], name="bad")]
        with pytest.raises(RuntimeError, match="a bad variable"):
            optimizer.build(bad)
        with pytest.raises(RuntimeError, match="a bad variable"):
            optimizer.apply_gradients([(tf.constant([1.0]), x) for x in bad])
        with pytest.raises(ValueError, match="floating-point"):
            optimizer.apply_gradients([(tf.constant([1]), tf.Variable([1]))])

    at_once(*(lambda n=n: n.train(optimizer, FEW) for n in made), saver=fail)
    assert int(optimizer.iterations) == THREADS * FEW
    check_whole(optimizer, made, optimizer.get_slot_names())
    check_as_alone(optimizer, made, make, FEW)
    good = tf.Variable([1.0], name="good")
    optimizer.build([good])
    slot = optimizer.get_slot(good, optimizer.get_slot_names()[0])
    assert (
        slot.path == f"{optimizer.name}/good/{optimizer.get_slot_names()[0]}"
    )  # the name is free again


def test_a_checkpoint_may_be_made_of_an_optimizer_that_is_first_used(tmp_path):
    for _ in range(20):
        optimizer, x = tfopt.SGD(0.1, momentum=0.9), tf.Variable([1.0, 2.0])
        at_once(
            lambda o=optimizer: tf.train.Checkpoint(optimizer=o),
            lambda o=optimizer, x=x: o.apply_gradients([(tf.constant([1.0, 1.0]), x)]),
            lambda o=optimizer: setattr(o, "learning_rate", 0.5),
        )
        assert int(optimizer.iterations) == 1
    checkpoint = tf.train.Checkpoint(optimizer=optimizer, x=x)
    checkpoint.read(checkpoint.write(str(tmp_path / "all"))).assert_consumed()


def test_two_optimizers_compile_the_same_shapes_at_the_same_time(shared):
    make, made = MAKE["compiled"], nets()[:2]
    optimizers = [make(), make()]
    at_once(*(lambda o=o, n=n: n.train(o, FEW) for o, n in zip(optimizers, made, strict=True)))
    compiled = len(shared)
    assert compiled
    for optimizer, net, number in zip(optimizers, made, (0, 1), strict=True):
        alone, same = make(), Net(number)
        same.train(alone, FEW)
        assert net.values(optimizer) == same.values(alone)
    assert len(shared) == compiled


# --- hyperparameters ------------------------------------------------------------------------------


@pytest.mark.parametrize("in_functions", [False, True])
def test_a_number_may_be_assigned_while_others_step(in_functions):
    optimizer, made = tfopt.SGD(0.1, momentum=0.9), nets()

    def assign():
        optimizer.learning_rate = 0.01
        optimizer.learning_rate = 0.02

    at_once(*(lambda n=n: n.train(optimizer, FEW, in_functions) for n in made), saver=assign)
    assert int(optimizer.iterations) == THREADS * FEW
    assert float(optimizer.learning_rate) == np.float32(0.02)
    check_whole(optimizer, made, ["momentum"])


@pytest.mark.filterwarnings("ignore:.*the number replaces the schedule")
def test_numbers_schedules_and_functions_may_take_turns_while_others_step():
    optimizer, made = tfopt.SGD(0.1, momentum=0.9), nets()

    def assign():
        optimizer.learning_rate = tfopt.schedules.ExponentialDecay(0.1, 10, 0.5)
        optimizer.learning_rate = 0.01
        optimizer.learning_rate = lambda: 0.02
        optimizer.learning_rate = 0.03

    def read():
        for _ in range(500):
            assert float(optimizer.learning_rate) < 0.2
            optimizer.get_config()

    at_once(read, *(lambda n=n: n.train(optimizer, FEW) for n in made), saver=assign)
    assert int(optimizer.iterations) == THREADS * FEW
    assert float(optimizer.learning_rate) == np.float32(0.03)
    check_whole(optimizer, made, ["momentum"])


def test_a_number_that_is_assigned_during_the_first_build_counts():
    for _ in range(20):
        optimizer = tfopt.SGD(0.1, momentum=0.9)

        def assign(optimizer=optimizer):
            for number in range(1, 6):
                optimizer.learning_rate = number / 8

        x = tf.Variable(1.0)
        at_once(lambda o=optimizer, x=x: o.build([x]), assign)
        assert float(optimizer.learning_rate) == optimizer.get_config()["learning_rate"] == 5 / 8
