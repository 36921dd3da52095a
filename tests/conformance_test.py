"""Every optimizer of the table against its formula, its peer, and itself in other modes."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import CASES
from training import (
    ALL,
    BRIEF,
    BY_ROWS,
    MODES,
    PLAIN,
    SHAPES,
    STEPS,
    assert_same,
    each,
    each_case,
    each_kind,
    each_optimizer,
    flat,
    gradients,
    of_each_kind,
    rows_of,
    slots_of,
    start,
    train,
    values_of,
)

import tfopt

each_with_peer = each([case for case in CASES if case.peer])
each_with_v2_peer = each([case for case in CASES if case.has_v2_peer])


def train_reference(case, steps, shapes=SHAPES, **changes):
    values, states = values_of(start(shapes=shapes)), [{} for _ in shapes]
    trajectory = []
    for t, grads in enumerate(steps, start=1):
        values = reference_step(case, values, grads, states, t, changes)
        trajectory.append(flat(values))
    return np.array(trajectory)


def reference_step(case, values, grads, states, t, changes):
    arguments = {**case.arguments, **changes}
    return [
        case.reference(x, g, s, t, **arguments)
        for x, g, s in zip(values, grads, states, strict=True)
    ]


def train_peer(case, steps):
    keras.config.set_floatx("float64")  # Keras 3's scalars would be float32
    try:
        make = tf.Variable if case.has_v2_peer else keras.Variable
        return train(case.make_peer(), start(make=make), steps)
    finally:
        keras.config.set_floatx("float32")


def steps_for_peer(case, count=STEPS):
    """Gradients from which the peer gets numbers."""
    steps = gradients(count)
    if case.peer_needs_variance:
        return [[np.abs(g) + 0.1 + i % 3 for g in grads] for i, grads in enumerate(steps)]
    return steps


@each_case
def test_equals_the_formula(case):
    expected = train_reference(case, gradients())
    assert_same(train(case.make(), start(), gradients()), expected, case.tolerance)


@each_kind
def test_equals_the_formula_for_any_rank(case):
    shapes = [(), (3, 1), (2, 4, 3)]
    steps = gradients(20, shapes=shapes)
    expected = train_reference(case, steps, shapes)
    assert_same(train(case.make(), start(shapes=shapes), steps), expected, case.tolerance)


@each_optimizer
def test_zeros_stay_numbers_in_float32(case):
    """Rows and columns, gradients and variables of zeros beside large ones, by the defaults."""
    matrix, vector, optimizer = tf.Variable(tf.ones([3, 4])), tf.Variable([0.0, 0.0]), case.cls()
    gradient = np.full([3, 4], 1e4, "float32")
    gradient[1], gradient[:, 2] = 0, 0
    for _ in range(3):
        optimizer.apply_gradients([(tf.constant(gradient), matrix), (tf.zeros([2]), vector)])
    assert np.isfinite(matrix).all()
    np.testing.assert_array_equal(vector, [0.0, 0.0])


@each_with_peer
def test_equals_the_peer(case):
    steps = steps_for_peer(case)
    expected = train_peer(case, steps)
    assert np.isfinite(expected).all()
    assert_same(train(case.make(), start(), steps), expected, case.tolerance)


def perturbations():
    for case in CASES:
        for name, value in case.arguments.items():
            changed = case.perturb[name] if name in case.perturb else changed_a_little(value)
            yield pytest.param(case, {name: changed}, id=f"{case.name}-{name}")


def changed_a_little(value):
    if isinstance(value, bool):
        return not value
    return value * (1.0625 if abs(value) < 0.9 else 0.9375) if value else 0.0625


@pytest.mark.parametrize(("case", "change"), list(perturbations()))
def test_sees_every_hyperparameter(case, change):
    for steps in gradients(BRIEF), gradients(20):  # most are seen at once
        changed = train(case.make(**change), start(), steps)
        assert_same(changed, train_reference(case, steps, **change), case.tolerance)
        try:
            assert_same(changed, train_reference(case, steps), case.tolerance)
        except AssertionError:
            return
    pytest.fail("the change was not noticed")


@each_case
def test_every_declared_argument_is_in_the_table(case):
    rows = [other for other in CASES if other.cls is case.cls]
    tried = {name for row in rows for name in row.arguments}
    parameters = inspect.signature(case.cls).parameters.values()
    assert {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} <= tried


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        *((case, "float64") for case in (CASES if ALL else PLAIN)),
        *((case, "float32") for case in of_each_kind(PLAIN)),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_eager_is_graph_bit_for_bit_and_xla_within_rounding(case, dtype):
    """Of a matrix by rows, a matrix and a vector."""
    shapes = [SHAPES[0], *SHAPES]
    steps = [
        [rows_of(table.astype(dtype))[0], *rest] for table, *rest in gradients(10, shapes=shapes)
    ]
    eager, graph, xla = (
        train(case.make(), start(dtype, shapes), steps, mode, lambda g: tf.constant(g, dtype))
        for mode in MODES
    )
    assert_same(graph, eager)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(xla, eager, rtol=tolerance, atol=tolerance)


@each_kind
def test_every_compute_path_gives_the_same(case):
    auto = train(case.make(), start(), gradients(20))
    for choice in (True, False):
        assert_same(train(case.make(jit_compile=choice), start(), gradients(20)), auto, 1e-11)


@each_optimizer
def test_exact_rows_equal_the_dense_gradient(case):
    pairs = [(rows_of(m, 1 + i % 4), v) for i, (m, v) in enumerate(gradients(6))]
    sparse = [[slices, vector] for (slices, _), vector in pairs]
    dense = [[matrix, vector] for (_, matrix), vector in pairs]
    exact = case.sparse in ("exact", "whole") or case.rows_equal_exact
    by_rows, by_dense = train(case.make(), start(), sparse), train(case.make(), start(), dense)
    if exact:
        assert_same(by_rows, by_dense, case.tolerance)
    else:
        assert not np.allclose(by_rows, by_dense, rtol=1e-6)
    assert_same(train(case.make(lazy=False), start(), sparse), by_dense, case.tolerance)


@each_with_v2_peer  # Keras 3 squares repeated indices one by one
def test_rows_equal_the_peer(case):
    steps = [[rows_of(m, 1 + i % 4)[0], v] for i, (m, v) in enumerate(steps_for_peer(case, BRIEF))]
    expected = train_peer(case, steps)
    assert np.isfinite(expected).all()
    assert_same(train(case.make(), start(), steps), expected, case.tolerance)


@each([case for case in CASES if case.cls.sparse == "whole"])
def test_lazy_is_refused_where_the_whole_variable_is_needed(case):
    with pytest.raises(ValueError, match="lazy"):
        case.make(lazy=True)


@each(BY_ROWS)
def test_lazy_touches_the_rows_of_the_gradient_alone(case):
    """Each row moves as a variable of its own would that is updated when the row is."""
    matrix = start()[0]
    before = matrix.numpy()
    optimizer = case.make(lazy=True)
    optimizer.build([matrix])
    first = {name: optimizer.get_slot(matrix, name).numpy() for name in case.slots}
    steps = [rows_of(g[0]) for g in gradients(BRIEF)]
    for slices, _ in steps:
        optimizer.apply_gradients([(slices, matrix)])
    untouched = [1, 2, 4]
    np.testing.assert_array_equal(matrix.numpy()[untouched], before[untouched])
    for name in case.slots:
        slot = optimizer.get_slot(matrix, name).numpy()
        np.testing.assert_array_equal(slot[untouched], first[name][untouched])
    alone = tf.Variable(before[[0, 3]])
    by_dense = case.make()
    for _, dense in steps:
        by_dense.apply_gradients([(tf.constant(dense[[0, 3]]), alone)])
    assert_same(matrix.numpy()[[0, 3]], alone, case.tolerance)


@each([case for case in CASES if case.sparse == "rows"])
def test_to_touch_rows_alone_is_the_default_where_the_table_says_so(case):
    steps = [[rows_of(matrix)[0], vector] for matrix, vector in gradients(BRIEF)]
    by_default, lazily = start(), start()
    optimizers = case.make(), case.make(lazy=True)
    train(optimizers[0], by_default, steps)
    train(optimizers[1], lazily, steps)
    assert_same(values_of(by_default, optimizers[0]), values_of(lazily, optimizers[1]))


@each_case
def test_config_round_trip_is_exact(case):
    optimizer = case.make(clipnorm=0.5, name="mine")
    config = optimizer.get_config()
    again = case.cls.from_config(config)
    assert again.get_config() == config
    assert {name: config[name] for name in case.arguments} == case.arguments
    assert tfopt.deserialize(tfopt.serialize(optimizer)).get_config() == config
    default = case.cls()
    assert case.cls.from_config(default.get_config()).get_config() == default.get_config()


@each_with_v2_peer  # Keras 3's list has the learning rate in it
def test_weights_interchange_with_the_peer(case):
    """Train with one, carry the state over, and the next step agrees; both ways."""
    steps = steps_for_peer(case, 4)
    for first, second in [(case.make_peer, case.make), (case.make, case.make_peer)]:
        straight = start()
        whole = train(first(), straight, steps)
        variables, giver = start(), first()
        train(giver, variables, steps[:-1])
        taker, others = second(), start()
        train(taker, others, steps[:1])  # so that it has slots
        taker.set_weights(giver.get_weights())
        for other, variable in zip(others, variables, strict=True):
            other.assign(variable)
        assert_same(train(taker, others, steps[-1:])[-1], whole[-1], case.tolerance)


@each_case
def test_weights_have_the_peers_order_and_shapes(case):
    optimizer, variables = case.make(), start()
    train(optimizer, variables, gradients(1))
    assert optimizer.get_slot_names() == list(case.slots)
    if case.has_v2_peer:
        peer = case.make_peer()
        train(peer, variables, gradients(1))
        assert [w.shape for w in optimizer.get_weights()] == [w.shape for w in peer.get_weights()]
        assert optimizer.get_slot_names() == peer.get_slot_names()
    assert optimizer.weights[0] is optimizer.iterations
    assert optimizer.variables() == optimizer.variables == optimizer.weights


@each_optimizer
def test_hyperparameters_change_without_a_retrace(case):
    numbers = [
        name
        for name, value in case.arguments.items()
        if value is not None and isinstance(getattr(case.cls, name), tfopt.Hyper)
    ]
    optimizer, variables, traces = case.make(), start(), []
    optimizer.build(variables)  # a function that creates variables is traced twice at first

    @tf.function
    def step(grads):
        traces.append(1)
        optimizer.apply_gradients(zip(grads, variables, strict=True))

    values, states, now = values_of(start()), [{}, {}], dict(case.arguments)
    for t, grads in enumerate(gradients(), start=1):
        if t % 10 == 0:
            name = numbers[t // 10 % len(numbers)]
            now[name] = case.perturb.get(name, now[name] * 0.75)
            setattr(optimizer, name, now[name])
        step([tf.constant(g) for g in grads])
        values = reference_step(case, values, grads, states, t, now)
    assert len(traces) == 1
    assert_same(variables, values, case.tolerance)


@each_kind
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_rounds_once_a_step(case, dtype):
    """Slots and arithmetic are float32; the variable is the float32 result, rounded."""
    optimizer = case.make()
    variable = tf.Variable(start()[0], dtype=tf.float64)
    half = tf.Variable(tf.cast(variable, dtype))
    wide = tf.Variable(tf.cast(half, tf.float32))
    other = case.make()
    for grads in gradients(5):
        gradient = tf.cast(grads[0], dtype)
        wide.assign(tf.cast(half, tf.float32))  # where the half one starts from
        optimizer.apply_gradients([(gradient, half)])
        other.apply_gradients([(tf.cast(gradient, tf.float32), wide)])
        ulp = 2.0**-7 if dtype == "bfloat16" else 2.0**-10
        np.testing.assert_allclose(tf.cast(half, tf.float32), wide.numpy(), rtol=ulp, atol=1e-6)
    for name, slot in slots_of(optimizer, half).items():
        assert slot.dtype == tf.float32
        np.testing.assert_allclose(slot, other.get_slot(wide, name), rtol=1e-5, atol=1e-6)


def test_every_optimizer_has_a_row():
    named = {case.cls.__name__ for case in CASES}
    assert named == set(tfopt.optimizers.__all__)


def test_the_suite_tells_optimizers_apart():
    """The tolerance is tight enough to tell each row from every other."""
    runs = {case.name: train(case.make(), start(), gradients(20)) for case in CASES}
    for name, run in runs.items():
        for other, trajectory in runs.items():
            assert name == other or not np.allclose(run, trajectory, rtol=1e-6, atol=1e-8)
