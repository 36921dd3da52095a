"""Steps with dense and with sparse gradients."""

import functools

import contenders
import numpy as np
import problems
import tensorflow as tf
from measure import in_turn, row, summary, warm_up
from suite import Case

VARIANTS = {
    "": {},
    " global_clipnorm": {"global_clipnorm": 1.0},
    " weight_decay": {"weight_decay": 0.004},
    " use_ema": {"use_ema": True, "ema_momentum": 0.99},
}
# Each optimizer, everywhere, would take an hour. AdamW decays weights anyway.
VARIED = {
    "SGD momentum": VARIANTS,
    "Adam": VARIANTS,
    "AdamW": VARIANTS.keys() - {" weight_decay"},
}
VARIED_IN = {("transformer", "graph"), ("small", "eager")}
CONTROL = "control Adam, transformer"
# Steps that a graph does in one call, where the call itself would take longer than the step.
REPEATS = {("small", "graph"): 5}
SPARSE_OPTIMIZERS = ("SGD", "SGD momentum", "RMSprop", "Adam", "Adagrad", "Nadam", "Ftrl")
ZIPF_OPTIMIZERS = ("SGD momentum", "Adam", "Adagrad")


def cases():
    yield Case((CONTROL,), _control)
    for problem in problems.DENSE:
        for mode in ("graph", "eager"):
            for optimizer in contenders.OPTIMIZERS:
                if optimizer in contenders.ALONE and (problem, mode) not in VARIED_IN:
                    continue
                varied = VARIED.get(optimizer, ()) if (problem, mode) in VARIED_IN else ()
                for variant, arguments in VARIANTS.items():
                    if variant and variant not in varied:
                        continue
                    title = f"{optimizer}{variant}, {problem}, {mode}"
                    run = functools.partial(_dense, title, optimizer, arguments, problem, mode)
                    yield Case((title,), run)
    for table in problems.TABLES:
        for distribution in problems.DISTRIBUTIONS:
            for optimizer in ZIPF_OPTIMIZERS if distribution == "Zipf" else SPARSE_OPTIMIZERS:
                title = f"{optimizer}, {table} {distribution}"
                titles = {"tfopt": f"{title}, default", "tfopt lazy": f"{title}, lazy"}
                run = functools.partial(_sparse, titles, optimizer, table, distribution)
                yield Case(tuple(titles.values()), run)


def _control(settings):
    """tfopt against itself, with others in between: what chance and order make of a ratio."""
    values, gradients = problems.dense("transformer")
    batches = [[tf.constant(gradient) for gradient in gradients]]
    steps = contenders.make_all(contenders.CONTROL, "Adam", {}, values, batches, "graph")
    times = in_turn(steps, settings.seconds)
    return [row("control", CONTROL, {name: times[name] for name in ("tfopt", "itself")})]


def _dense(title, optimizer, arguments, problem, mode, settings):
    if contenders.make_optimizer("tfopt", optimizer, **arguments) is None:
        return []
    values, gradients = problems.dense(problem)
    batches = [[tf.constant(gradient) for gradient in gradients]]
    repeats = REPEATS.get((problem, mode), 1)
    steps = contenders.make_all(
        contenders.DENSE, optimizer, arguments, values, batches, mode, repeats=repeats
    )
    everyone = {**steps, "copy": settings.copy}
    for framework in settings.frameworks:
        everyone |= framework.contenders(optimizer, arguments, problem)
    first = warm_up(everyone)
    deviations = _deviations(steps, values)
    times = in_turn(everyone, settings.seconds, first=first)
    bandwidths = steps["tfopt"].step_bytes() / np.array(times["tfopt"])
    limits = settings.copy.bytes / np.array(times["copy"])
    reached = summary(bandwidths / limits)
    return [row("dense", title, times, reached=reached, deviations=deviations)]


def _deviations(steps, values):
    """How far other libraries' weights are from tfopt's, relative to the way these have come."""
    way = steps["tfopt"].first_variable() - values[0]
    length = np.linalg.norm(way)
    if not 0 < length < np.inf:
        raise ArithmeticError("tfopt's weights did not move, or are not finite")
    return {
        library: float(np.linalg.norm(step.first_variable() - values[0] - way) / length)
        for library, step in steps.items()
        if library != "tfopt"
    }


def _sparse(titles, optimizer, table, distribution, settings):
    """Default and lazy tfopt beside the others, which have no such choice."""
    value, lookups = problems.sparse(table, distribution)
    shape = tf.constant(value.shape, tf.int64)
    batches = [
        [tf.IndexedSlices(tf.constant(gradient), tf.constant(indices), shape)]
        for indices, gradient in lookups
    ]
    steps = contenders.make_all(contenders.SPARSE, optimizer, {}, [value], batches, "graph")
    times = in_turn(steps, settings.seconds)
    return [row("sparse", title, times, ours) for ours, title in titles.items() if ours in times]
