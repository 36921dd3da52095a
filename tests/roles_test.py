"""Roles: an optimizer that treats parts of a model differently, here by one class."""

import copy
import pickle

import numpy as np
import pytest
import tensorflow as tf
from training import (
    MODES,
    assert_same,
    counted,
    rows,
    start,
    train,
    train_on_cosines,
    untraced,
    value_of,
    values_of,
)

import tfopt

SHAPES = [(5, 3), (4,), (6, 2), (7, 2)]
NAMES = ["dense/kernel", "dense/bias", "head/kernel", "table/embeddings"]


class Halves(tfopt.Optimizer):
    """Momentum for matrices, signs for the rest, and rows of embeddings alone."""

    learning_rate = tfopt.Hyper(0.5, low=0)
    momentum = tfopt.Hyper(0.5, low=0)
    roles = ("matrix", "embedding", "rest")
    sparse = {"matrix": "whole", "embedding": "rows", "rest": "exact"}
    state = {"seen": 0.0}

    def choose_role(self, x):
        if "embeddings" in x.name:
            return "embedding"
        return "matrix" if len(x.shape) == 2 else "rest"

    def slots(self, x):
        return {"m": tfopt.zeros(x)} if self.role_of(x) != "rest" else {}

    def begin(self, h, state):
        h.step = h.learning_rate * (1.0 if h.role == "matrix" else 0.5)
        if h.role == "rest":
            state.seen = state.seen + 1

    def update(self, g, x, s, h):
        if h.role == "rest":
            return x - h.step * tf.sign(g)
        s.m = h.momentum * s.m + g
        return x - h.step * s.m


def reference(role, x, gradients, rate=0.5, momentum=0.5):
    m = np.zeros_like(x)
    for g in gradients:
        if role == "rest":
            x = x - 0.5 * rate * np.sign(g)
        else:
            m = momentum * m + g
            x = x - rate * (1 if role == "matrix" else 0.5) * m
    return x


def named(dtype="float64"):
    values = start(dtype, SHAPES)
    return [tf.Variable(value, name=name) for value, name in zip(values, NAMES, strict=True)]


def steps_of(count=4):
    random = np.random.default_rng(3)
    return [[random.normal(size=shape) for shape in SHAPES] for _ in range(count)]


ROLES = ["matrix", "rest", "matrix", "embedding"]


@pytest.mark.parametrize("mode", MODES)
def test_each_part_is_treated_by_its_role(mode):
    optimizer, variables, steps = Halves(), named(), steps_of()
    first = values_of(variables)
    train(optimizer, variables, steps, mode)
    for variable, role, x, own in zip(variables, ROLES, first, zip(*steps, strict=True),
                                      strict=True):  # fmt: skip
        assert_same(variable, reference(role, x, own), 1e-12)
    assert optimizer.weights[1].numpy() == 4  # the state, which one role advances
    assert [row.role for row in tfopt.inspect.describe(optimizer)] == ROLES


def test_a_rule_changes_a_role():
    rule = {"head": "embedding", tfopt.groups.biases_and_norms: "rest"}
    optimizer, variables, steps = Halves(roles=rule), named(), steps_of()
    first = values_of(variables)
    twin = Halves.from_config(optimizer.get_config())
    roles = ["matrix", "rest", "embedding", "embedding"]
    assert [row.role for row in tfopt.inspect.describe(twin, variables)] == roles
    with untraced():
        train(optimizer, variables, steps)
    for variable, role, x, own in zip(variables, roles, first, zip(*steps, strict=True),
                                      strict=True):  # fmt: skip
        assert_same(variable, reference(role, x, own), 1e-12)


def test_roles_and_groups_combine():
    groups = {"dense": {"learning_rate_factor": 0.5}, "embed": {"momentum": 0.25}}
    optimizer, variables, steps = Halves(groups=groups), named(), steps_of()
    first = values_of(variables)
    train(optimizer, variables, steps)
    numbers = [(0.25, 0.5), (0.25, 0.5), (0.5, 0.5), (0.5, 0.25)]
    for i, (role, own) in enumerate(zip(ROLES, numbers, strict=True)):
        expected = reference(role, first[i], [grads[i] for grads in steps], *own)
        assert_same(variables[i], expected, 1e-12)


def test_rows_by_role():
    optimizer, variables = Halves(), named()
    first = values_of(variables)
    gradient = rows(np.ones((1, 2)), [2], [7, 2])
    matrix = rows(np.ones((1, 2)), [2], [6, 2])
    for _ in range(2):
        optimizer.apply_gradients([(gradient, variables[3]), (matrix, variables[2])])
        optimizer.apply_gradients([(tf.zeros([7, 2], tf.float64), variables[3])])
    assert_same(variables[3][:2], first[3][:2])
    assert not np.array_equal(variables[3][2], first[3][2])
    kinds = {row.variable: row.sparse for row in tfopt.inspect.describe(optimizer, variables)}
    assert kinds["table/embeddings"] == "rows" and kinds["head/kernel"] == "whole"


def test_roles_on_replicas(mirrored):
    with mirrored.scope():
        variables = named()
    alone, optimizer, other = named(), Halves(), Halves()

    @tf.function
    def step(*grads):
        mirrored.run(lambda: optimizer.apply_gradients(zip(grads, variables, strict=True)))

    for grads in steps_of():
        step(*map(tf.constant, grads))
        other.apply_gradients([(2 * g, v) for g, v in zip(grads, alone, strict=True)])
    assert_same(variables, alone, 1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits(dtype):
    """Slots and arithmetic are float32."""
    optimizer, variables, steps = Halves(), named(dtype), steps_of(2)
    first = [np.asarray(value, "float32") for value in values_of(variables)]
    steps = [[np.asarray(tf.cast(g, dtype), "float32") for g in grads] for grads in steps]
    train(optimizer, variables, steps, convert=lambda g: tf.cast(g, dtype))
    for variable, role, x, own in zip(variables, ROLES, first, zip(*steps, strict=True),
                                      strict=True):  # fmt: skip
        assert_same(np.asarray(value_of(variable), "float32"), reference(role, x, own), 2e-2)
    assert optimizer.get_slot(variables[0], "m").dtype == tf.float32


tfopt.register(Halves, "roles_test")


@pytest.mark.parametrize("how", ["list", "file", "checkpoint", "pickle", "deep copy"])
def test_training_goes_on_from_what_was_saved(how, tmp_path):
    optimizer, variables = Halves(roles={"head": "rest"}), named()
    train_on_cosines(optimizer, variables)
    again = Halves.from_config(optimizer.get_config())
    others = [tf.Variable(v, name=n) for v, n in zip(variables, NAMES, strict=True)]
    if how == "list":
        again.set_weights(optimizer.get_weights())
    elif how == "file":
        store = {}
        optimizer.save_own_variables(store)
        again.load_own_variables(store)
    elif how == "checkpoint":
        path = str(tmp_path / "checkpoint")
        tf.train.Checkpoint(o=optimizer, v=variables).write(path)
        tf.train.Checkpoint(o=again, v=others).read(path)
    elif how == "pickle":
        again = pickle.loads(pickle.dumps(optimizer))
    else:
        again, others = copy.deepcopy((optimizer, variables))
    for each_one, its in ((optimizer, variables), (again, others)):
        train_on_cosines(each_one, its)
    assert_same(others, variables)
    assert_same(again.get_weights(), optimizer.get_weights())


def test_the_role_is_in_the_trace_key():
    """Two variables of one shape, and of different roles, share no compiled function."""
    cls, _ = counted(Halves)
    optimizer = cls(roles={"second": "rest"}, jit_compile=True)
    variables = [tf.Variable(tf.zeros([100, 100]), name=n) for n in ("first", "second")]
    for _ in range(2):
        optimizer.apply_gradients([(tf.fill([100, 100], 4.0), v) for v in variables])
    assert variables[0][0, 0] == -5.0 and variables[1][0, 0] == -0.5


def test_an_unknown_role_raises():
    with pytest.raises(ValueError, match="`roles` of Halves must be among 'matrix'.*got 'other'"):
        Halves(roles={"head": "other"})
    with pytest.raises(ValueError, match="`roles` must be None: Adam treats all variables alike"):
        tfopt.Adam(roles={"head": "other"})
    with pytest.raises(TypeError, match="`roles` must map members to roles"):
        Halves(roles=["head"])
    with pytest.raises(ValueError, match="`roles` must give `role` once.*has 'matrix' by 'a'"):
        Halves(roles={"a": "matrix", "k": "rest"}).build([tf.Variable([1.0], name="ak")])

    class Wrong(Halves):
        def choose_role(self, x):
            return "other"

    with pytest.raises(ValueError, match="`choose_role` of Wrong must return one of.*`dense/ker"):
        Wrong().build(named())
