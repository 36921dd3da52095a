"""How tests train: variables and gradients to begin with, steps in several ways, comparisons."""

import contextlib
import os

import numpy as np
import pytest
import tensorflow as tf
from cases import CASES

# More optimizers in each check: `make test-all`. "more", in CI, takes every one only where its
# state and its replicas are checked, and leaves out what `make test` has passed.
ALL = os.environ.get("TFOPT_TESTS") in ("all", "more")
EVERY_ONE = os.environ.get("TFOPT_TESTS") == "all"
STEPS = 100
BRIEF = 2  # steps of eager mode that are not worth a trace
SHAPES = [(5, 3), (4,)]
MODES = ("eager", "graph", "xla")
PLAIN = [case for case in CASES if not case.note]  # one row an optimizer
BY_ROWS = [case for case in CASES if case.sparse != "whole"]


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def of_each_kind(cases, every_optimizer=EVERY_ONE, fine=ALL):
    """The first row of each kind, for what does not look at the formula; or of each optimizer.

    Where kinds are coarse, they tell only kernels and what becomes of rows, and of those that
    differ in more the last stands for all: it has slots and a `begin`.
    """
    kinds = {}
    for case in cases:
        kinds.setdefault((case.kind, case.cls) if every_optimizer else case.kind, case)
    if not fine and not every_optimizer:
        kinds = {case.kind[:2]: case for case in kinds.values()}
    return list(kinds.values())


def of_some_kinds(cases, every_kind=ALL):
    """The same of some kinds, for what hardly depends on the kind: it is slow; or of each kind."""
    kinds = of_each_kind(cases, every_optimizer=False, fine=True)
    return kinds if every_kind else kinds[2::3]


def of_one_kind(cases):
    """The same of one kind, for what takes a process of its own; or of some, or of each kind."""
    kinds = of_some_kinds(cases, every_kind=EVERY_ONE)
    return kinds if ALL else kinds[:1]


each_case = each(CASES)
each_optimizer = each(CASES if ALL else PLAIN)
each_kind = each(of_each_kind(CASES))
each_plain_kind = each(of_each_kind(PLAIN))
each_of_some_kinds = each(of_some_kinds(PLAIN))


# --- variables ------------------------------------------------------------------------------------


def start(dtype="float64", shapes=SHAPES, make=tf.Variable):
    """Variables of random values, the same at each call; `make` may be `keras.Variable`."""
    random = np.random.default_rng(1)
    return [make(random.normal(size=shape), dtype=dtype) for shape in shapes]


def two_variables(names=("a", "b")):
    """A vector and a matrix, for tests that look at names, shapes or values."""
    values = [1.0, 2.0, 3.0], [[0.5], [-0.5]]
    return [tf.Variable(value, name=name) for value, name in zip(values, names, strict=True)]


def value_of(variable):
    """The value of a variable of either Keras, of an array, or of what all replicas have."""
    copies = [np.asarray(copy) for copy in getattr(variable, "values", [variable])]
    for other in copies[1:]:
        np.testing.assert_array_equal(copies[0], other)
    return copies[0]


def slots_of(optimizer, variable):
    """The slots of a variable, by name: not every variable has each."""
    slots = {}
    for name in optimizer.get_slot_names():
        with contextlib.suppress(KeyError):
            slots[name] = optimizer.get_slot(variable, name)
    return slots


def values_of(variables, optimizer=None):
    """The values of variables, and behind them an optimizer's state if there is one."""
    state = [] if optimizer is None else optimizer.get_weights()
    return [value_of(variable) for variable in [*variables, *state]]


def flat(variables):
    """All their numbers in one vector."""
    return np.concatenate([value_of(variable).ravel() for variable in variables])


# --- gradients ------------------------------------------------------------------------------------


def gradients(steps=STEPS, seed=2, shapes=SHAPES):
    """Random gradients, some of them zero: what makes the moments roll on."""
    random = np.random.default_rng(seed)
    return [
        [random.normal(size=shape) * (random.random(size=shape) > 0.2) for shape in shapes]
        for _ in range(steps)
    ]


def rows(values, indices, shape=None):
    """A gradient of rows, which may know the shape of its variable."""
    shape = None if shape is None else tf.constant(shape, tf.int64)
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices), shape)


def rows_of(gradient, first=3):
    """A gradient of two rows of which one is repeated, and the dense one it stands for."""
    indices = np.array([first, 0, first])
    dense = np.zeros_like(gradient)
    np.add.at(dense, indices, gradient[indices])
    slices = tf.IndexedSlices(tf.constant(gradient[indices]), tf.constant(indices))
    return slices, dense


# --- steps ----------------------------------------------------------------------------------------


def train(optimizer, variables, steps, mode="eager", convert=tf.constant):
    """Takes steps with given gradients; gives all numbers of the variables after each."""

    def step(*grads):
        optimizer.apply_gradients(zip(grads, variables, strict=True))

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    trajectory = []
    for grads in steps:
        step(*(g if isinstance(g, tf.IndexedSlices) else convert(g) for g in grads))
        trajectory.append(flat(variables))
    return np.array(trajectory)


def train_on_cosines(optimizer, variables, steps=3):
    """Takes steps whose gradients follow from the values: from equal ones they are equal."""
    for step in range(steps):
        grads = [tf.cos(tf.convert_to_tensor(v) * 3 + step) for v in variables]
        optimizer.apply_gradients(zip(grads, variables, strict=True))


def train_on_replicas(strategy, optimizer, variables, steps):
    """Takes steps with gradients of which each replica has one: the first axis counts replicas."""

    def replica(grads):
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        chosen = [tf.gather(gradient, number) for gradient in grads]
        optimizer.apply_gradients(zip(chosen, variables, strict=True))

    @tf.function
    def step(*grads):
        strategy.run(replica, args=(grads,))

    for grads in steps:
        step(*map(tf.constant, grads))


@contextlib.contextmanager
def untraced():
    """Steps run op by op: tracing takes most of the time, and has nothing to do with some tests."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def counted(cls):
    """The optimizer's class, and a list that grows when Python runs a step: at each trace."""
    steps = []

    class Counted(cls):
        def begin(self, h, state):
            steps.append(1)
            super().begin(h, state)

    return Counted, steps


# --- comparisons ----------------------------------------------------------------------------------


def assert_same(actual, expected, tolerance=0, message=""):
    """Arrays or variables, or lists of them, are equal: to the bit, or relative to their size.

    Numbers near zero may differ by a hundredth of the tolerance.
    """
    if isinstance(actual, list | tuple):
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other, tolerance, message)
        return
    actual, expected = value_of(actual), value_of(expected)
    assert actual.shape == expected.shape, message
    if tolerance:
        np.testing.assert_allclose(actual, expected, tolerance, tolerance / 100, err_msg=message)
    else:
        np.testing.assert_array_equal(actual, expected, err_msg=message)
