"""Every optimizer of the table against its formula, its peer, and itself in other modes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import CASES, legacy

import tfopt
from tfopt.hyper import Hyper, Static

STEPS = 100
SHAPES = [(5, 3), (4,)]
MODES = ("eager", "graph", "xla")


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


each_case = each(CASES)
each_with_peer = each([case for case in CASES if case.peer])
each_with_v2_peer = each([case for case in CASES if case.has_v2_peer])


def start(dtype="float64", shapes=SHAPES):
    random = np.random.default_rng(1)
    return [tf.Variable(random.normal(size=shape), dtype=dtype) for shape in shapes]


def gradients(steps=STEPS, seed=2, shapes=SHAPES):
    """Random gradients, some of them zero: what makes the moments roll on."""
    random = np.random.default_rng(seed)
    return [
        [random.normal(size=shape) * (random.random(size=shape) > 0.2) for shape in shapes]
        for _ in range(steps)
    ]


def slots_of(case, optimizer, variable):
    """The slots of a variable, by name: of a factored second moment not all have each."""
    return {
        name: optimizer.get_slot(variable, name)
        for name in case.slots
        if name in optimizer._engine.state.slots.of(variable)
    }


def rows_of(gradient, first=3):
    """A gradient of two rows of which one is repeated, and the dense one it stands for."""
    indices = np.array([first, 0, first])
    dense = np.zeros_like(gradient)
    np.add.at(dense, indices, gradient[indices])
    slices = tf.IndexedSlices(tf.constant(gradient[indices]), tf.constant(indices))
    return slices, dense


def train(optimizer, variables, steps, mode="eager", convert=tf.constant):
    def step(*grads):
        optimizer.apply_gradients(zip(grads, variables, strict=True))

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    trajectory = []
    for grads in steps:
        step(*(g if isinstance(g, tf.IndexedSlices) else convert(g) for g in grads))
        trajectory.append(np.concatenate([v.numpy().ravel() for v in variables]))
    return np.array(trajectory)


def train_reference(case, steps, shapes=SHAPES, **changes):
    values = [v.numpy() for v in start(shapes=shapes)]
    states = [{} for _ in values]
    trajectory = []
    for t, grads in enumerate(steps, start=1):
        values = [
            case.reference(x, g, s, t, **{**case.arguments, **changes})
            for x, g, s in zip(values, grads, states, strict=True)
        ]
        trajectory.append(np.concatenate([x.ravel() for x in values]))
    return np.array(trajectory)


def train_peer(case, steps):
    if case.has_v2_peer:
        return train(case.make_peer(), start(), steps)
    return train_keras(case, steps)


def train_keras(case, steps):
    """Keras 3's scalars are float32 unless floatx says otherwise."""
    keras.config.set_floatx("float64")
    try:
        peer = case.make_peer()
        variables = [keras.Variable(v.numpy()) for v in start()]
        trajectory = []
        for grads in steps:
            peer.apply_gradients(zip(map(tf.constant, grads), variables, strict=True))
            trajectory.append(np.concatenate([v.numpy().ravel() for v in variables]))
    finally:
        keras.config.set_floatx("float32")
    return np.array(trajectory)


def same(actual, expected, tolerance=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * 1e-2)


@each_case
def test_equals_the_formula(case):
    same(train(case.make(), start(), gradients()), train_reference(case, gradients()))


@each_case
def test_equals_the_formula_for_any_rank(case):
    shapes = [(), (3, 1), (2, 4, 3)]
    steps = gradients(20, shapes=shapes)
    same(train(case.make(), start(shapes=shapes), steps), train_reference(case, steps, shapes))


@each_case
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
    if case.note.startswith("centered"):
        pytest.skip("the peer's variance rounds below zero: see the next test")
    same(train(case.make(), start(), gradients()), train_peer(case, gradients()))


@each([case for case in CASES if "centered" in case.note])
def test_centered_equals_the_peer_where_it_has_a_variance(case):
    steps = [[np.abs(g) + 0.1 + i % 3 for g in grads] for i, grads in enumerate(gradients())]
    ours, peers = train(case.make(), start(), steps), train_peer(case, steps)
    assert np.isfinite(peers).all()
    same(ours, peers)


def perturbations():
    for case in CASES:
        for name, value in case.arguments.items():
            if isinstance(value, bool):
                changed = not value
            else:
                nearby = value * (1.0625 if value < 0.9 else 0.9375) if value else 0.0625
                changed = case.perturb.get(name, nearby)
            yield pytest.param(case, {name: changed}, id=f"{case.name}-{name}")


@pytest.mark.parametrize(("case", "change"), list(perturbations()))
def test_sees_every_hyperparameter(case, change):
    changed = train(case.make(**change), start(), gradients(20))
    with pytest.raises(AssertionError):
        same(changed, train_reference(case, gradients(20)))
    same(changed, train_reference(case, gradients(20), **change))


@each_case
def test_every_declared_argument_is_in_the_table(case):
    rows = [other for other in CASES if other.cls is case.cls]
    tried = {name for row in rows for name in row.arguments}
    own = {
        name
        for name in case.cls._positional
        if isinstance(case.cls._declared.fields[name], Hyper | Static)
    }
    assert own <= tried


@each_case
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eager_is_graph_bit_for_bit_and_xla_within_rounding(case, sparse, dtype):
    steps = gradients(10)
    if sparse:
        steps = [[rows_of(matrix)[0], vector] for matrix, vector in steps]

    def convert(g):
        return tf.constant(g, dtype)

    def cast(g):
        return tf.IndexedSlices(tf.cast(g.values, dtype), g.indices)

    steps = [[cast(g) if isinstance(g, tf.IndexedSlices) else g for g in s] for s in steps]
    eager, graph, xla = (train(case.make(), start(dtype), steps, mode, convert) for mode in MODES)
    np.testing.assert_array_equal(eager, graph)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(xla, eager, rtol=tolerance, atol=tolerance)


@each_case
def test_every_compute_path_gives_the_same(case):
    auto = train(case.make(), start(), gradients(20))
    for choice in (True, False):
        same(train(case.make(jit_compile=choice), start(), gradients(20)), auto, 1e-11)


@each_case
def test_exact_rows_equal_the_dense_gradient(case):
    pairs = [(rows_of(m, 1 + i % 4), v) for i, (m, v) in enumerate(gradients(20))]
    sparse = [[slices, vector] for (slices, _), vector in pairs]
    dense = [[matrix, vector] for (_, matrix), vector in pairs]
    exact = case.sparse in ("exact", "whole") or case.rows_equal_exact
    by_rows, by_dense = train(case.make(), start(), sparse), train(case.make(), start(), dense)
    if exact:
        same(by_rows, by_dense)
    else:
        assert not np.allclose(by_rows, by_dense, rtol=1e-6)
    same(train(case.make(lazy=False), start(), sparse), by_dense)


@each_with_v2_peer  # Keras 3 squares repeated indices one by one
def test_rows_equal_the_peer(case):
    if "centered" in case.note:
        pytest.skip("the peer's variance rounds below zero")
    steps = [[rows_of(m, 1 + i % 4)[0], v] for i, (m, v) in enumerate(gradients(20))]
    same(train(case.make(), start(), steps), train(case.make_peer(), start(), steps))


@each([case for case in CASES if case.sparse == "whole"])
def test_lazy_is_refused_where_the_whole_variable_is_needed(case):
    with pytest.raises(ValueError, match="lazy"):
        case.make(lazy=True)


@each([case for case in CASES if case.sparse != "whole"])
def test_lazy_touches_the_rows_of_the_gradient_alone(case):
    """Each row moves as a variable of its own would that is updated when the row is."""
    matrix = start()[0]
    before = matrix.numpy()
    optimizer = case.make(lazy=True)
    steps = [rows_of(g[0]) for g in gradients(10)]
    for slices, _ in steps:
        optimizer.apply_gradients([(slices, matrix)])
    untouched = [1, 2, 4]
    np.testing.assert_array_equal(matrix.numpy()[untouched], before[untouched])
    for name in case.slots:
        slot = optimizer.get_slot(matrix, name).numpy()
        np.testing.assert_array_equal(slot[untouched], np.broadcast_to(slot[1], (3, 3)))
    alone = tf.Variable(before[[0, 3]])
    by_dense = case.make()
    for _, dense in steps:
        by_dense.apply_gradients([(tf.constant(dense[[0, 3]]), alone)])
    same(matrix.numpy()[[0, 3]], alone.numpy())


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
    steps = gradients(12)
    if "centered" in case.note:
        steps = [[np.abs(g) + 0.1 + i % 3 for g in grads] for i, grads in enumerate(steps)]
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
        same(train(taker, others, steps[-1:])[-1], whole[-1])


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


@each_case
def test_hyperparameters_change_without_a_retrace(case):
    numbers = [
        n for n, value in case.arguments.items() if isinstance(case.cls._declared.fields[n], Hyper)
    ]
    optimizer, variables, traces = case.make(), start(), []
    optimizer.build(variables)  # a function that creates variables is traced twice at first

    @tf.function
    def step(grads):
        traces.append(1)
        optimizer.apply_gradients(zip(grads, variables, strict=True))

    values = [v.numpy() for v in start()]
    states, now = [{}, {}], dict(case.arguments)
    for t, grads in enumerate(gradients(STEPS), start=1):
        if t % 20 == 0:
            name = numbers[t // 20 % len(numbers)]
            now[name] = case.perturb.get(name, now[name] * 0.75)
            setattr(optimizer, name, now[name])
        step([tf.constant(g) for g in grads])
        values = (
            [
                case.reference(x, g, s, t, **now)
                for x, g, s in zip(values, grads, states, strict=True)
            ]
            if case.cls is not tfopt.Nadam or not numbers
            else values
        )
    assert len(traces) == 1
    if case.cls is not tfopt.Nadam:  # its reference cannot look back at old values of beta_1
        same(
            np.concatenate([v.numpy().ravel() for v in variables]),
            np.concatenate([v.ravel() for v in values]),
        )


@each_case
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
    for name, slot in slots_of(case, optimizer, half).items():
        assert slot.dtype == tf.float32
        np.testing.assert_allclose(slot, other.get_slot(wide, name), rtol=1e-5, atol=1e-6)


@each_case
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_two_replicas_are_one_on_the_summed_gradient(case, sparse, mirrored):
    first, second = gradients(5), gradients(5, seed=3)
    with mirrored.scope():
        copies = start()
        optimizer = case.make()

    @tf.function
    def step(*grads):
        def replica(*values):
            optimizer.apply_gradients(zip(values, copies, strict=True))

        mirrored.run(replica, args=grads)

    expected_variables, alone = start(), case.make()
    for grads, others in zip(first, second, strict=True):
        pairs = []
        for i, (one, two) in enumerate(zip(grads, others, strict=True)):
            if sparse and i == 0:
                (one, _), (two, _) = rows_of(one), rows_of(two)
                joined = tf.IndexedSlices(
                    tf.concat([one.values, two.values], 0), tf.concat([one.indices, two.indices], 0)
                )
            else:
                one, two = tf.constant(one), tf.constant(two)
                joined = one + two
            pairs.append((one, two, joined))
        step(
            *(
                mirrored.experimental_distribute_values_from_function(
                    lambda context, a=a, b=b: (a, b)[context.replica_id_in_sync_group]
                )
                for a, b, _ in pairs
            )
        )
        alone.apply_gradients(
            [(j, v) for (_, _, j), v in zip(pairs, expected_variables, strict=True)]
        )
    for copy, expected in zip(copies, expected_variables, strict=True):
        locals_ = mirrored.experimental_local_results(copy)
        np.testing.assert_array_equal(locals_[0], locals_[1])
        same(locals_[0].numpy(), expected.numpy(), 1e-12)
        for name, slot in slots_of(case, optimizer, copy).items():
            slots = mirrored.experimental_local_results(slot)
            np.testing.assert_array_equal(slots[0], slots[1])
            same(slots[0].numpy(), alone.get_slot(expected, name).numpy(), 1e-12)
    assert int(optimizer.iterations.numpy()) == 5


def test_every_optimizer_has_a_row():
    named = {case.cls.__name__ for case in CASES}
    assert named == set(tfopt.optimizers.__all__)


def test_the_suite_tells_optimizers_apart():
    """The tolerance is tight enough to tell each row from every other."""
    runs = {case.name: train(case.make(), start(), gradients(20)) for case in CASES}
    for name, run in runs.items():
        for other, trajectory in runs.items():
            assert name == other or not np.allclose(run, trajectory, rtol=1e-6, atol=1e-8)


def test_legacy_is_what_it_is_called():
    assert legacy.Adam.__mro__[1].__name__ == "OptimizerV2"
