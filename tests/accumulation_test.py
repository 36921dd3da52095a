"""Accumulation: steps on the mean of several gradients, on one replica and on two."""

import numpy as np
import pytest
import tensorflow as tf
from models import each_library
from state_transfer import WAYS
from training import (
    PLAIN,
    assert_same,
    each,
    each_plain_kind,
    gradients,
    of_each_kind,
    rows,
    slots_of,
    start,
    train,
    train_on_replicas,
    value_of,
)

import tfopt


def micro(steps, count, seed=5):
    """Each step's gradients as `count` that have them as their mean."""
    random = np.random.default_rng(seed)
    result = []
    for grads in steps:
        noises = [[random.normal(size=g.shape) for g in grads] for _ in range(count)]
        mean = [np.mean([noise[i] for noise in noises], axis=0) for i in range(len(grads))]
        result += [
            [g + n - m for g, n, m in zip(grads, noise, mean, strict=True)] for noise in noises
        ]
    return result


def decaying(case):
    """Arguments that act on applied updates only."""
    options = {"clipvalue": 1.5, "clipnorm": 2.0}
    return {**options, "weight_decay": 0.125} if case.cls.decays else options


@each_plain_kind
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_micro_steps_are_one_step_on_their_mean(case, mode):
    steps = [[np.where(g == 0, 0.5, g) for g in grads] for grads in gradients(10)]  # for signs
    variables, options = start(), decaying(case)
    optimizer = case.make(gradient_accumulation_steps=3, **options)
    trajectory = train(optimizer, variables, micro(steps, 3), mode)
    expected = train(case.make(**options), start(), steps)
    assert_same(trajectory[2::3], expected, 1e-10)
    assert_same(trajectory[3::3], trajectory[2:-1:3])  # an idle call moves nothing
    assert optimizer.iterations.numpy() == 10


@each(of_each_kind([case for case in PLAIN if case.sparse != "whole"]))
@pytest.mark.parametrize("lazy", [None, True])
def test_rows_accumulate_as_rows(case, lazy):
    random = np.random.default_rng(3)
    shape = (7, 3)
    [variable], [expected] = start(shapes=[shape]), start(shapes=[shape])
    optimizer = case.make(gradient_accumulation_steps=3, lazy=lazy, clipnorm=1.0)
    plain = case.make(lazy=lazy, clipnorm=1.0)
    for _ in range(5):
        parts = [(random.normal(size=(4, 3)), random.integers(0, 6, 4)) for _ in range(3)]
        for values, indices in parts:
            optimizer.apply_gradients([(rows(values, indices, shape), variable)])
        values, indices = (np.concatenate(part) for part in zip(*parts, strict=True))
        plain.apply_gradients([(rows(values / 3, indices, shape), expected)])
    assert_same(variable, expected, 1e-10)
    assert np.any(variable.numpy()[:6] != start(shapes=[shape])[0].numpy()[:6])
    if tfopt.inspect.describe(optimizer)[0].sparse == "rows":  # nobody asked for the last row
        assert_same(variable.numpy()[6:], start(shapes=[shape])[0].numpy()[6:])


def test_dense_gradients_and_rows_may_share_a_window():
    shape = (4, 2)
    variable, expected = tf.Variable(tf.ones(shape)), tf.Variable(tf.ones(shape))
    optimizer = tfopt.Adagrad(0.5, gradient_accumulation_steps=2)
    dense, sparse = tf.ones(shape), rows([[2.0, 2.0]], [1], shape)
    for first, second in ((dense, sparse), (sparse, dense)):
        optimizer.apply_gradients([(first, variable)])
        optimizer.apply_gradients([(second, variable)])
    plain = tfopt.Adagrad(0.5)
    for _ in range(2):
        plain.apply_gradients([((dense + tf.convert_to_tensor(sparse)) / 2, expected)])
    assert_same(variable, expected, 1e-6)


def test_transformers_may_make_accumulated_rows_dense():
    """Rows out of a window know the shape of what they are rows of."""
    table, seen = tf.Variable(tf.ones([4, 2])), []

    def look(pairs):
        seen.extend(tf.convert_to_tensor(gradient).shape for gradient, _ in pairs)
        return pairs

    optimizer = tfopt.SGD(gradient_accumulation_steps=2, gradient_transformers=[look])
    for _ in range(2):
        optimizer.apply_gradients([(rows([[2.0, 2.0]], [1], (4, 2)), table)])
    assert seen == [table.shape]


@pytest.mark.parametrize("graph", [True, False])
def test_flush_applies_the_mean_of_what_there_is(graph):
    variable = tf.Variable([1.0, 2.0])
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=4)
    optimizer.build([variable])
    flush = tf.function(optimizer.flush) if graph else optimizer.flush
    assert flush().numpy() == 0
    for gradient in ([1.0, 0.0], [3.0, 1.0]):
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    assert flush().numpy() == 1
    assert_same(variable.numpy(), [-1.0, 1.5])
    assert flush().numpy() == 1  # there is nothing more
    assert_same(variable.numpy(), [-1.0, 1.5])


def test_two_networks_that_take_turns_have_a_window_each():
    generator, discriminator = tf.Variable(0.0), tf.Variable(0.0)
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=2)
    for step in range(1, 5):
        optimizer.apply_gradients([(-1.0, generator)])
        optimizer.apply_gradients([(-2.0, discriminator)])
        assert generator.numpy() == step // 2 and discriminator.numpy() == 2 * (step // 2)
    assert optimizer.iterations.numpy() == 4


def test_unfreezing_in_the_middle_of_a_window():
    """Whatever the order in which the variables are given."""
    backbone, head = tf.Variable(0.0), tf.Variable(0.0)
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=4)
    for _ in range(2):
        optimizer.apply_gradients([(1.0, head)])
    for _ in range(6):
        optimizer.apply_gradients([(1.0, backbone), (1.0, head)])
    assert (backbone.numpy(), head.numpy()) == (-1.5, -2.0)
    assert optimizer.iterations.numpy() == 2


@pytest.mark.parametrize("way", ["list into slots", "pickle", "deepcopy"])
def test_flush_knows_of_a_window_that_was_loaded(way):
    variable = tf.Variable([1.0])
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=4)
    optimizer.apply_gradients([(tf.ones([1]), variable)])

    def make():
        return tfopt.SGD(1.0, gradient_accumulation_steps=4)

    others = [variable]
    twin = WAYS[way](optimizer, [variable], others, make, None)
    twin.build(others)
    assert twin.flush().numpy() == 1 and others[0].numpy() == 0


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "traced"])
def test_flush_takes_each_variable_that_had_a_gradient_in_the_window(graph):
    """Whichever calls were traced last, and whichever calls of windows before had others."""
    a, b, one = tf.Variable(0.0), tf.Variable(0.0), tf.constant(1.0)
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=2)
    calls = [
        lambda: optimizer.apply_gradients([(one, a), (one, b)]),
        lambda: optimizer.apply_gradients([(one, a)]),
    ]
    both, alone = [tf.function(call, autograph=False) for call in calls] if graph else calls
    for step in (both, both, alone, alone, both):
        step()
    (tf.function(optimizer.flush) if graph else optimizer.flush)()
    assert (a.numpy(), b.numpy()) == (-3.0, -2.0)
    both()
    assert (a.numpy(), b.numpy()) == (-3.0, -2.0)


@pytest.mark.parametrize("name", ["AdamW", "RMSprop", "Lion"])
@pytest.mark.parametrize("restored", [False, True])
def test_flush_leaves_a_variable_without_a_gradient_as_it_is(name, restored, tmp_path):
    """Its weights neither decay nor move by their momentum, nor do its slots and average."""
    options = {"weight_decay": 1.0, "use_ema": True, "gradient_accumulation_steps": 2}

    def new():
        a, b = tf.Variable([1.0, 2.0], name="a"), tf.Variable([0.5, 3.0], name="b")
        optimizer = getattr(tfopt, name)(0.1, **options)
        return a, b, optimizer, tf.train.Checkpoint(a=a, b=b, optimizer=optimizer)

    a, b, optimizer, checkpoint = new()
    for _ in range(2):
        optimizer.apply_gradients([(tf.ones([2]), a), (tf.ones([2]), b)])
    optimizer.apply_gradients([(tf.ones([2]), a)])
    if restored:
        path = checkpoint.save(tmp_path / "checkpoint")
        a, b, optimizer, checkpoint = new()
        checkpoint.restore(path)
        optimizer.build([a, b])

    def state(variable):
        return [variable.numpy(), *(s.numpy() for s in slots_of(optimizer, variable).values())]

    of_a, of_b = state(a), state(b)
    optimizer.flush()
    for before, after in zip(of_b, state(b), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(of_a[0], a)
    assert int(optimizer.iterations) == 2


def test_a_gradient_of_zeros_is_a_gradient():
    x = tf.Variable([1.0, 2.0])
    optimizer = tfopt.AdamW(0.1, weight_decay=1.0, gradient_accumulation_steps=2)
    optimizer.apply_gradients([(tf.zeros([2]), x)])
    optimizer.flush()
    np.testing.assert_allclose(x, [0.9, 1.8], 1e-6)


def test_flush_takes_variables_that_joined_a_window_from_another_block():
    backbone, head = tf.Variable(0.0), tf.Variable(0.0)
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=4)
    optimizer.build([head])
    optimizer.build([backbone])
    for _ in range(2):
        optimizer.apply_gradients([(2.0, backbone), (1.0, head)])
    assert optimizer.flush().numpy() == 1
    assert (backbone.numpy(), head.numpy()) == (-2.0, -1.0)
    optimizer.apply_gradients([(2.0, head)])
    for _ in range(2):
        optimizer.apply_gradients([(3.0, backbone)])
    assert optimizer.flush().numpy() == 3
    assert (backbone.numpy(), head.numpy()) == (-5.0, -3.0)


@pytest.mark.parametrize("way", [way for way in WAYS if "list" not in way])
def test_flush_of_a_copy_takes_variables_that_joined_a_window_from_another_block(way, tmp_path):
    def make():
        return tfopt.SGD(1.0, gradient_accumulation_steps=4)

    own = [tf.Variable([0.0], name=name) for name in "ab"]
    optimizer, others = make(), list(own)
    for variable in own:
        optimizer.build([variable])
    optimizer.apply_gradients([(tf.ones([1]), variable) for variable in own])
    twin = WAYS[way](optimizer, own, others, make, tmp_path)
    for variable in others:
        twin.build([variable])
    assert twin.flush().numpy() == 1
    assert_same(others, [[-1.0], [-1.0]])


def test_flush_on_replicas_leaves_a_variable_without_a_gradient(mirrored):
    with mirrored.scope():
        a, b = tf.Variable([1.0]), tf.Variable([1.0])
    optimizer = tfopt.AdamW(0.1, weight_decay=1.0, gradient_accumulation_steps=4)
    optimizer.build([a, b])
    tf.function(lambda: mirrored.run(lambda: optimizer.apply_gradients([(tf.ones([1]), a)])))()
    tf.function(lambda: mirrored.run(optimizer.flush))()
    assert_same(value_of(b), [1.0])
    assert value_of(a)[0] < 0.95


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "float32"])
def test_sums_begin_with_minus_0_though_tensorflow_has_kept_a_0(dtype):
    variable = tf.Variable([1.0, 2.0], dtype=dtype)
    with tf.device(variable.device):
        tf.constant(0.0, dtype)  # TensorFlow takes this one for later constants of -0.0
    optimizer = tfopt.SGD(gradient_accumulation_steps=2)
    optimizer.build([variable])
    total = optimizer.get_slot(variable, "accumulated_gradient").numpy()
    assert np.signbit(total.astype("float64")).all()


def test_flush_is_not_traced_in_vain():
    with pytest.raises(RuntimeError, match="build"):
        tf.function(tfopt.SGD(gradient_accumulation_steps=2).flush)()


def test_a_gradient_that_is_not_finite_discards_its_window():
    variable = tf.Variable([1.0])
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=2, skip_nonfinite=True)
    for gradient in (np.inf, 1.0, 1.0, -np.inf, 1.0, 2.0):
        optimizer.apply_gradients([(tf.constant([gradient]), variable)])
    assert variable.numpy() == [-0.5]
    assert optimizer.iterations.numpy() == 1 and optimizer.skipped_steps.numpy() == 2


@each_library
def test_fit_with_small_batches_is_fit_with_large_ones(library):
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(24, 3)), random.normal(size=(24, 1))

    def fitted(batch, **options):
        library.utils.set_random_seed(0)
        model = library.Sequential(
            [library.layers.Input([3]), library.layers.Dense(4), library.layers.Dense(1)]
        )
        model.compile(tfopt.Adam(0.01, **options), loss=library.losses.MeanSquaredError())
        model.fit(inputs, targets, batch, epochs=3, shuffle=False, verbose=0)
        return [np.asarray(weight) for weight in model.get_weights()]

    small = fitted(4, gradient_accumulation_steps=3)
    for one, other in zip(small, fitted(12), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# --- replicas -------------------------------------------------------------------------------------


def test_flush_aggregates_as_the_calls_did(mirrored):
    with mirrored.scope():
        variable = tf.Variable([0.0])
    optimizer = tfopt.SGD(1.0, gradient_accumulation_steps=4)

    def replica():
        pairs = [(tf.ones([1]), variable)]
        optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)

    tf.function(lambda: mirrored.run(replica))()
    tf.function(lambda: mirrored.run(optimizer.flush))()
    assert variable.numpy() == -1


@pytest.mark.parametrize("lazy", [None, True])
@each_plain_kind
def test_two_replicas_accumulate_each_its_own(case, lazy, mirrored):
    if lazy and case.sparse == "whole":
        pytest.skip("it refuses to be lazy")
    ours, theirs = micro(gradients(4), 2), micro(gradients(4, seed=9), 2)
    both = [
        [np.stack(pair) for pair in zip(*step, strict=True)]
        for step in zip(ours, theirs, strict=True)
    ]
    options = {"gradient_accumulation_steps": 3, "clipnorm": 1.0, "lazy": lazy}
    optimizer = case.make(**options)
    with mirrored.scope():
        variables = start()
    train_on_replicas(mirrored, optimizer, variables, both)
    tf.function(lambda: mirrored.run(optimizer.flush))()
    single, expected = case.make(**options), start()
    train(single, expected, [[g.sum(axis=0) for g in grads] for grads in both])
    single.flush()
    assert_same(variables, expected, 1e-9)
    assert optimizer.iterations.numpy() == single.iterations.numpy() == 3


def collectives(function):
    """How many reductions a graph holds, by whether they are inside of a branch."""
    inner = function.graph._functions
    branches = set()
    for op in function.graph.get_operations():
        if op.type in ("If", "StatelessIf"):
            branches |= {op.get_attr(name).name for name in ("then_branch", "else_branch")}
    count = {True: 0, False: 0}
    for name, graph in [("", function.graph), *((n, f.graph) for n, f in inner.items())]:
        for op in graph.get_operations():
            kinds = ("CollectiveReduce", "CollectiveReduceV2", "NcclAllReduce", "AddN")
            if op.type in kinds and len(op.inputs) and op.inputs[0].shape.num_elements() != 1:
                count[name in branches] += 1
    return count


def test_an_idle_call_does_not_communicate(mirrored):
    with mirrored.scope():
        variables = [tf.Variable(tf.ones([8, 3])), tf.Variable(tf.ones([5]))]

    def traced(**options):
        optimizer = tfopt.Adam(**options)
        optimizer.build(variables)

        def replica():
            optimizer.apply_gradients([(tf.ones(v.shape), v) for v in variables])

        return tf.function(lambda: mirrored.run(replica)).get_concrete_function()

    always, at_times = traced(), traced(gradient_accumulation_steps=2)
    assert collectives(always)[False] > 0  # it is seen where it is
    assert collectives(at_times)[False] == 0
    assert collectives(at_times)[True] > 0


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "function"])
def test_a_flush_knows_groups_and_roles(traced):
    """A window may have begun in a function that was traced earlier."""
    matrix, vector = start()
    options = {"gradient_accumulation_steps": 8, "groups": {"slow": {"learning_rate_factor": 0.5}}}
    slow = tf.Variable(matrix, name="slow")
    sgd, lars = tfopt.SGD(1.0, **options), tfopt.LARS(1.0, momentum=0.5, **options)
    for optimizer in (sgd, lars):
        variables = [tf.Variable(matrix), tf.Variable(vector), tf.Variable(matrix, name="slow")]

        def step(optimizer=optimizer, variables=variables):
            optimizer.apply_gradients([(tf.ones_like(v), v) for v in variables])

        step = tf.function(step, autograph=False) if traced else step
        for _ in range(2):
            step()
            step()
            optimizer.flush()
        if optimizer is sgd:
            expected = [matrix - 2, vector - 2, slow - 1]
            assert_same(variables, [tf.constant(value) for value in expected], 1e-12)
        else:
            assert_same(variables[1], vector - 1 - 1.5, 1e-12)  # a vector has no ratio
            assert not np.allclose(variables[0], variables[2])
