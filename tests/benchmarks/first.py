"""How long the first step takes: tracing, and all of it from a fresh optimizer on."""

import functools
import time

import contenders
import problems
import tensorflow as tf
from measure import balanced, row
from suite import Case, clean_up

OPTIMIZERS = ("Adam", "AdamW")
PROBLEMS = ("transformer", "small")


def cases():
    for problem in PROBLEMS:
        for optimizer in OPTIMIZERS:
            title = f"{optimizer}, {problem}"
            titles = (f"trace {title}", f"first call {title}", f"first eager call {title}")
            yield Case(titles, functools.partial(_first_calls, titles, optimizer, problem))


def _first_calls(titles, optimizer, problem, settings):
    del settings
    values, gradients = problems.dense(problem)
    batches = [[tf.constant(gradient) for gradient in gradients]]
    times = [{}, {}, {}]
    for order in balanced(contenders.DENSE):
        for library in order:
            made = contenders.make_optimizer(library, optimizer)
            if made is None:
                continue
            step = contenders.Step(library, made, values, batches, "graph")
            start = time.perf_counter()
            step.build()
            built = time.perf_counter()
            step.trace()
            traced = time.perf_counter()
            step.step()
            times[0].setdefault(library, []).append(traced - built)
            times[1].setdefault(library, []).append(time.perf_counter() - start)
            made = contenders.make_optimizer(library, optimizer)
            step = contenders.Step(library, made, values, batches, "eager")
            start = time.perf_counter()
            step.build()
            step.step()
            times[2].setdefault(library, []).append(time.perf_counter() - start)
        del step, made
        clean_up()
    return [row("first", title, figures) for title, figures in zip(titles, times, strict=True)]
