"""Every optimizer under every strategy, against one replica; strategies.py trains them."""

import numpy as np
import pytest
import strategies
import tensorflow as tf
from cases import CASES
from training import PLAIN

import tfopt
from tfopt._libraries.tf_variables import ShardedVariable

TOLERANCE = 1e-12  # in float64; sums over replicas are in another order


results_of = strategies.once(strategies.results_of)


def column(name, what=None):
    return results_of(next(names for names in strategies.PROCESSES if name in names))[what or name]


def cells():
    for name, replicas in strategies.STRATEGIES.items():
        for case in strategies.cases_of(name):
            for kind in strategies.kinds(name, case):
                yield pytest.param(name, replicas, case, kind, id=f"{name}-{case.name}-{kind}")


@pytest.mark.timeout(strategies.TIMEOUT + 60)
@pytest.mark.parametrize(("name", "replicas", "case", "kind"), list(cells()))
def test_replicas_are_one_on_the_summed_gradient(name, replicas, case, kind):
    result = column(name)[f"{case.name}/{kind}"]
    assert result["moved"] > 1e-3
    assert result["difference"] < TOLERANCE
    has_copies = name.startswith("Mirrored") or name == "MultiWorkerMirrored"
    assert len(result["copies"]) == (replicas if has_copies else 1)
    assert len(set(result["copies"])) == 1  # after 20 steps, bit by bit
    if kind == "fit":
        return
    shards = 2 if name == "ParameterServer" and case.sparse != "whole" else 1
    assert result["shards"] == shards
    # All dense gradients are one dtype; rows are gathered: 1 size, 2 times 2.
    counted = {"CollectiveGatherV2": 5, "CollectiveReduceV2": 1} if has_copies else {}
    assert result["collectives"] == counted


@pytest.mark.timeout(strategies.TIMEOUT + 60)
def test_parameter_servers_outside_of_the_scope():
    """Build, restore and deep copy, of what was made in the scope."""
    results = column("ParameterServer", "outside of the scope")
    assert [name for name, holds in results.items() if not holds] == []


@pytest.mark.timeout(strategies.TIMEOUT + 60)
def test_all_workers_read_the_sums_of_a_window():
    """The chief alone may read any state but this, of which each worker has a part."""
    result = column("MultiWorkerMirrored", "state that all workers read")["window"]
    assert result["summed"][0] == [3.0, 3.0]
    assert result["trained"] == [-2.0, -2.0]
    assert len(result["copies"]) == 2
    assert len(set(result["copies"])) == 1


@pytest.mark.timeout(strategies.TIMEOUT + 60)
@pytest.mark.parametrize("policy", strategies.policies())
def test_a_policy_needs_no_merge_call(policy):
    """Under XLA on GPUs a replica cannot leave its function."""
    names = next(names for names in strategies.PROCESSES if "Mirrored2NoMergeCall" in names)
    result = results_of(names)["Policies"][policy]
    assert result["moved"] > 1e-3
    assert result["steps"] > 1
    assert result["difference"] < TOLERANCE
    assert len(set(result["copies"])) == 1


def test_the_docs_have_the_table():
    text = strategies.DOCS.read_text()
    for name in strategies.STRATEGIES:
        assert f"| {name}" in text or f" {name} |" in text, name
    for case in PLAIN:
        assert f"| {case.name} |" in text, case.name


# --- replicas -------------------------------------------------------------------------------------


def test_each_dtype_is_one_collective(mirrored):
    """TensorFlow would pack unlike dtypes together, and fail."""
    dtypes = ["float32", "float64", "float16", "float32", "bfloat16", "float64"]
    with mirrored.scope():
        variables = [tf.Variable(tf.zeros([3], dtype)) for dtype in dtypes]
        optimizer = tfopt.SGD(1.0)

    @tf.function
    def step():
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            gradients = [tf.fill([3], tf.cast(number + 1, dtype)) for dtype in dtypes]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

        mirrored.run(replica)

    step()
    for variable in variables:
        for copy in mirrored.experimental_local_results(variable):
            np.testing.assert_array_equal(tf.cast(copy, tf.float32), [-3.0, -3.0, -3.0])
    graph = step.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    collectives = [node.op for node in nodes if node.op.startswith("Collective")]
    assert collectives == 2 * len(set(dtypes)) * ["CollectiveReduceV2"]


def test_a_kernel_updates_variables_that_nothing_reads(mirrored):
    """To ask a mirrored variable for an attribute that it has not reads its value."""

    def reads(count):
        with mirrored.scope():
            variables = [tf.Variable(tf.zeros([3])) for _ in range(count)]
            optimizer = tfopt.Adam(global_clipnorm=1.0)

        @tf.function
        def step():
            mirrored.run(lambda: optimizer.apply_gradients([(tf.ones([3]), v) for v in variables]))

        graph = step.get_concrete_function().graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        return sum(node.op == "ReadVariableOp" for node in nodes)

    assert reads(4) == reads(1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rows_of_16_bits_are_gathered_in_float32(dtype, mirrored):
    """TensorFlow cannot gather bfloat16; and 80000 is more than float16 has."""
    with mirrored.scope():
        variable = tf.Variable(tf.zeros([4, 2], dtype))
        optimizer = tfopt.SGD(2.0**-10, master_weights=True)

    @tf.function
    def step():
        def replica():
            values = tf.fill([2, 2], tf.cast(40000, dtype))
            optimizer.apply_gradients([(tf.IndexedSlices(values, tf.constant([1, 2])), variable)])

        mirrored.run(replica)

    step()
    row = [[0.0, 0.0], *[[-2.0 * float(tf.cast(40000, dtype)) * 2.0**-10] * 2] * 2, [0.0, 0.0]]
    for copy in mirrored.experimental_local_results(variable):
        np.testing.assert_array_equal(copy, tf.cast(row, dtype))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}], ids=["", "window"])
@pytest.mark.parametrize("wrap", [tf.function, lambda function: function], ids=["graph", "eager"])
def test_no_replica_may_have_a_row(wrap, options, mirrored):
    """TensorFlow's gather of no rows at all crashes the process."""
    with mirrored.scope():
        table, bias = tf.Variable(tf.ones([4, 2])), tf.Variable(1.0)
        optimizer = tfopt.Adam(0.5, lazy=True, skip_nonfinite=True, **options)

    @wrap
    def step(counts):
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            with tf.GradientTape() as tape:
                rows = tf.gather(table, tf.range(counts[number]))
                loss = tf.reduce_sum(rows**2) + bias
            optimizer.minimize(loss, [table, bias], tape=tape)

        mirrored.run(replica)

    def all_rows():
        return [copy.numpy() for copy in mirrored.experimental_local_results(table)]

    for _ in range(2):
        step(tf.constant([0, 0]))
    np.testing.assert_array_equal(all_rows(), np.ones([2, 4, 2]))
    assert bias.numpy() < 1
    for _ in range(2):
        step(tf.constant([0, 2]))  # one replica has rows
    for copy in all_rows():
        assert np.all(copy[:2] < 1)
        np.testing.assert_array_equal(copy[2:], np.ones([2, 2]))


def test_gradients_may_come_from_outside_of_the_replicas(mirrored):
    """As arguments of a function, which are on no device yet: each replica has the same."""
    with mirrored.scope():
        variable, table = tf.Variable([1.0, 2.0]), tf.Variable(tf.ones([3, 2]))
    optimizer = tfopt.SGD(1.0)

    @tf.function
    def step(dense, values, indices):
        def replica(dense, slices):
            optimizer.apply_gradients([(dense, variable), (slices, table)])

        mirrored.run(replica, args=(dense, tf.IndexedSlices(values, indices)))

    step(tf.ones([2]), tf.ones([1, 2]), tf.constant([1]))
    np.testing.assert_array_equal(variable, [-1.0, 0.0])
    np.testing.assert_array_equal(table, [[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]])


def test_nothing_is_summed_twice(mirrored):
    with mirrored.scope():
        variable, optimizer = tf.Variable(0.0), tfopt.SGD(1.0)

    @tf.function
    def step():
        def replica():
            context = tf.distribute.get_replica_context()
            total = context.all_reduce("sum", tf.constant(1.0))
            optimizer.apply_gradients([(total, variable)], experimental_aggregate_gradients=False)

        mirrored.run(replica)

    step()
    assert variable.numpy() == -2.0


def test_replicas_that_share_variables_must_sum():
    strategy = tf.distribute.experimental.CentralStorageStrategy(["CPU:0", "CPU:1"], "CPU:0")
    with strategy.scope():
        variable, optimizer = tf.Variable(1.0), tfopt.SGD(1.0)
    for off in ({"experimental_aggregate_gradients": False}, {"skip_gradients_aggregation": True}):

        @tf.function
        def step(off=off):
            strategy.run(lambda: optimizer.apply_gradients([(tf.constant(1.0), variable)], **off))

        with pytest.raises(NotImplementedError, match="share their variables; got CentralStorage"):
            step()
    assert variable.numpy() == 1.0
    assert not optimizer.built


# --- shards ---------------------------------------------------------------------------------------


def halves(value):
    """A variable in two shards, as under ParameterServerStrategy, but in this process."""
    half = (len(value) + 1) // 2
    return ShardedVariable([tf.Variable(value[:half]), tf.Variable(value[half:])])


def gradients_of(sharded, gradient):
    half = sharded.variables[0].shape[0]
    return [tf.constant(gradient[:half]), tf.constant(gradient[half:])]


CLIPS = [{"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"clipvalue": 0.5}]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: "".join(clip))
def test_a_norm_is_that_of_all_shards(clip, sparse):
    value, gradient = np.ones([5, 2]), np.arange(10.0).reshape(5, 2)
    sharded, whole, other = halves(value), tf.Variable(value), tf.Variable([1.0, 1.0])
    parts = gradients_of(sharded, gradient)
    if sparse:
        parts = [tf.IndexedSlices(part, tf.range(len(part))) for part in parts]
    ours, theirs = tfopt.Adam(0.5, **clip), tfopt.Adam(0.5, **clip)
    last, again = tf.constant([3.0, 4.0]), tf.Variable(other)
    for _ in range(3):
        ours.apply_gradients([*zip(parts, sharded.variables, strict=True), (last, other)])
        theirs.apply_gradients([(tf.constant(gradient), whole), (last, again)])
    np.testing.assert_allclose(sharded.numpy(), whole, rtol=1e-12)
    np.testing.assert_allclose(other, again, rtol=1e-6)


def test_a_slot_of_a_sharded_variable_is_sharded():
    sharded, optimizer = halves(np.ones([5, 2])), tfopt.Adam()
    with pytest.raises(KeyError, match="no slot"):
        optimizer.get_slot(sharded, "m")
    optimizer.build([sharded])
    slot = optimizer.get_slot(sharded, "m")
    assert isinstance(slot, ShardedVariable)
    assert slot.shape == [5, 2]
    assert optimizer.get_slot(sharded, "m") is slot
    for part, shard in zip(slot.variables, sharded.variables, strict=True):
        assert part is optimizer.get_slot(shard, "m")
    assert len(optimizer.weights) == 5


def test_minimize_takes_a_sharded_variable():
    sharded, optimizer = halves(np.array([1.0, 2.0, 3.0])), tfopt.SGD(0.5)
    optimizer.minimize(lambda: tf.reduce_sum(tf.convert_to_tensor(sharded) ** 2), [sharded])
    np.testing.assert_array_equal(sharded.numpy(), [0.0, 0.0, 0.0])
    with pytest.raises(TypeError, match="one shard"):
        optimizer.apply_gradients([(tf.ones([3], tf.float64), sharded)])


def test_a_sharded_variable_is_excluded_whole():
    sharded, optimizer = halves(np.ones([3])), tfopt.SGD(1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay([sharded])
    zeros = gradients_of(sharded, np.zeros(3))
    optimizer.apply_gradients(zip(zeros, sharded.variables, strict=True))
    np.testing.assert_array_equal(sharded.numpy(), np.ones(3))


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("target", [halves, tf.Variable], ids=["sharded", "whole"])
@pytest.mark.parametrize("source", [halves, tf.Variable], ids=["from-sharded", "from-whole"])
def test_checkpoints_do_not_know_shards(tmp_path, source, target, deferred):
    """What was saved from any number of shards is restored into any other."""

    def train(optimizer, variable, steps):
        for step in range(steps):
            gradient = np.arange(10.0).reshape(5, 2) - step
            if isinstance(variable, ShardedVariable):
                parts = gradients_of(variable, gradient)
                optimizer.apply_gradients(zip(parts, variable.variables, strict=True))
            else:
                optimizer.apply_gradients([(tf.constant(gradient), variable)])

    first, giver = source(np.ones([5, 2])), tfopt.Adam(0.5)
    train(giver, first, 3)
    path = tf.train.Checkpoint(variable=first, optimizer=giver).save(tmp_path / "ckpt")
    second, taker = target(np.zeros([5, 2])), tfopt.Adam(0.5)
    if not deferred:
        taker.build([second])
    status = tf.train.Checkpoint(variable=second, optimizer=taker).restore(path)
    if not deferred:
        status.assert_existing_objects_matched()
    taker.build([second])
    for name in ("m", "v"):
        np.testing.assert_array_equal(
            taker.get_slot(second, name).numpy(), giver.get_slot(first, name).numpy()
        )
    train(giver, first, 2)
    train(taker, second, 2)
    np.testing.assert_allclose(second.numpy(), first.numpy(), rtol=1e-12)


WHOLE = [case for case in CASES if case.cls.sparse == "whole"]


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_who_needs_whole_variables_refuses_shards(case):
    sharded, optimizer = halves(np.ones([5, 2])), case.make()
    parts = gradients_of(sharded, np.ones([5, 2]))
    with pytest.raises(ValueError, match="is a shard of one"):
        optimizer.apply_gradients(zip(parts, sharded.variables, strict=True))
    np.testing.assert_array_equal(sharded.numpy(), np.ones([5, 2]))
    assert not optimizer.built
