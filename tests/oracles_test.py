"""Optimizers do the same as those of other packages, step by step: `oracles/README.md` lists them.

The packages are not needed here. `oracles/record.py` has recorded what theirs did.
"""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from training import assert_same, values_of

import tfopt

HERE = pathlib.Path(__file__).parent / "oracles"
TRACES = sorted((HERE / "traces").glob("*.npz"))
each_trace = pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)


def read(path):
    """The texts and numbers of a trace, and its arrays: a list of one for each variable."""
    with np.load(path) as trace:
        texts = {name: trace[name].item() for name in trace.files if not trace[name].ndim}
        arrays = {}
        for name in trace.files:
            kind, _, number = name.rpartition("_")
            if number.isdigit():
                arrays.setdefault(kind, []).append(trace[name])
    return {**texts, **json.loads(texts["tfopt"])}, arrays


def make(optimizer, arguments):
    """An optimizer by its name. An argument that is a dict of both is an optimizer, too."""
    arguments = {k: make(**v) if isinstance(v, dict) else v for k, v in arguments.items()}
    return getattr(tfopt, optimizer)(**arguments)


def numbers(arguments):
    for value in arguments.values():
        if isinstance(value, dict):
            yield from numbers(value["arguments"])
        elif isinstance(value, float):
            yield value


def stacked(trajectory):
    """One array for each variable, whose first axis counts the steps."""
    return [np.stack(values) for values in zip(*trajectory, strict=True)]


@each_trace
def test_weights_are_those_of_the_other_package(path):
    trace, arrays = read(path)
    optimizer = make(trace["optimizer"], trace["arguments"])
    variables = [tf.Variable(x) for x in arrays["initial"]]
    ours, means = [], []

    @tf.function
    def step(*grads):
        optimizer.apply_gradients(zip(grads, variables, strict=True))

    for grads in zip(*arrays["gradients"], strict=True):
        step(*map(tf.constant, grads))
        ours.append(values_of(variables))
        if "evaluated" in arrays:
            with optimizer.evaluation_weights(variables):
                means.append(values_of(variables))
    assert_same(stacked(ours), arrays["weights"], trace["tolerance"], "weights, by step")
    if means:
        theirs = arrays["evaluated"]
        there = [np.where(np.isnan(b), b, a) for a, b in zip(stacked(means), theirs, strict=True)]
        assert_same(there, theirs, trace["tolerance"], "evaluation weights, by step")


@each_trace
def test_hyperparameters_are_exact_in_float32(path):
    trace, _ = read(path)
    exact = all(np.float32(value) == value for value in numbers(trace["arguments"]))
    assert exact or trace["tolerance"] >= 1e-6


def test_the_table_lists_each_trace():
    lines = (HERE / "README.md").read_text().splitlines()
    listed = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert listed[2:] == [path.stem for path in TRACES]
