"""Steps under MirroredStrategy on two logical devices, in a process of their own each."""

import functools

import child
import contenders
import problems
import tensorflow as tf
from measure import in_turn, row
from suite import Case

CASES = (("Adam", "transformer"), ("AdamW", "transformer"), ("Adam", "small"))


def cases():
    for optimizer, problem in CASES:
        title = f"mirrored {optimizer}, {problem}"
        yield Case((title,), functools.partial(_ask, title, optimizer, problem))


def _ask(title, optimizer, problem, settings):
    times = child.ask(__file__, optimizer, problem, settings.seconds)
    return [row("mirrored", title, times)]


def _times(optimizer, problem, seconds):
    device = tf.config.list_physical_devices("CPU")[0]
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(device, halves)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    values, gradients = problems.dense(problem)
    batches = [[tf.constant(gradient) for gradient in gradients]]
    steps = contenders.make_all(contenders.DENSE, optimizer, {}, values, batches, "graph", strategy)
    return in_turn(steps, seconds)


if __name__ == "__main__":
    child.serve(_times)
