"""Every optimizer under every strategy: what `strategies_test.py` checks and the docs show.

A strategy wants devices, ports and collective keys of its own, so those that cannot share a
process get one each (or two), which trains whole columns of the table and writes what came of
it as JSON:

    python tests/strategies.py                          # all strategies, and the docs' table
    python tests/strategies.py results.json Mirrored2   # one
"""

import contextlib
import functools
import hashlib
import json
import os
import sys
import tempfile
import types
from pathlib import Path

from processes import cluster_environments, ports, run_side_by_side

DOCS = Path(__file__).resolve().parent.parent / "docs" / "distribution.md"
STRATEGIES = {  # how many replicas each has
    "OneDevice": 1,
    "Mirrored2": 2,
    "Mirrored2NoMergeCall": 2,  # what TensorFlow does under XLA on GPUs
    "Mirrored4": 4,
    "MultiWorkerMirrored": 2,
    "ParameterServer": 1,
    "CentralStorage": 2,
}
PROCESSES = [  # two with collectives would use the same keys
    ("OneDevice", "Mirrored2", "Mirrored2NoMergeCall", "CentralStorage"),
    ("Mirrored4",),
    ("MultiWorkerMirrored",),
    ("ParameterServer",),
]
FIT = {  # a Keras that can fit there; under several workers and parameter servers Keras 3 cannot
    "OneDevice": "keras",
    "Mirrored2": "keras",
    "MultiWorkerMirrored": "tf_keras",
    "ParameterServer": "tf_keras",
    "CentralStorage": "tf_keras",
}
STEPS = 20
FIT_STEPS = 5
SHAPES = [(5, 3), (5, 3), (4,)]  # the gradient of the first is one of rows
FIT_SHAPES = [(5, 3), (6, 2), (2,)]  # an embedding, and a dense layer on two words
POLICIES = {  # in the column without `merge_call`
    "clipnorm": lambda t: t.SGD(0.1, momentum=0.9, clipnorm=0.5),
    "clipvalue": lambda t: t.RMSprop(0.1, clipvalue=0.5),
    "constraint": lambda t: t.Adagrad(0.1),
    "decay": lambda t: t.Adam(0.1, decay=0.5),
    "exclude_from_weight_decay": lambda t: t.AdamW(0.1, exclude_from_weight_decay=["b"]),
    "flush": lambda t: t.Adam(0.1, gradient_accumulation_steps=4),
    "global_clipnorm": lambda t: t.AdamW(0.1, global_clipnorm=0.5),
    "gradient_accumulation_steps": lambda t: t.Nadam(0.1, gradient_accumulation_steps=2),
    "gradient_transformers": lambda t: t.SGD(0.1, gradient_transformers=[_doubled]),
    "groups": lambda t: t.Nadam(0.1, groups={"b": {"learning_rate_factor": 0.5, "beta_1": 0.5}}),
    "lazy": lambda t: t.Adam(0.1, lazy=True, use_ema=True),
    "learning rate schedule": lambda t: t.Adam(lambda step: 0.1 * 0.5 ** _float(step)),
    "loss_scale_factor": lambda t: t.Lion(0.1, loss_scale_factor=8.0),
    "LossScaleOptimizer": lambda t: t.LossScaleOptimizer(t.Nadam(0.1), dynamic_growth_steps=2),
    "LossScaleOptimizer of a window": lambda t: t.LossScaleOptimizer(
        t.Nadam(0.1, gradient_accumulation_steps=2), dynamic_growth_steps=2
    ),
    "MultiOptimizer": lambda t: t.MultiOptimizer(
        {"b": t.parts.Nadam(0.1)}, t.parts.AdamW(0.1, lazy=True)
    ),
    "skip_nonfinite": lambda t: t.Nadam(0.1, skip_nonfinite=True),
    "skip_nonfinite of a window": lambda t: t.Adam(
        0.1, skip_nonfinite=True, gradient_accumulation_steps=2
    ),
    "use_ema": lambda t: t.Adam(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
}
POLICY_STEPS = 6
TIMEOUT = 800  # seconds for a strategy; a hang must fail


# --- the processes --------------------------------------------------------------------------------


def once(function):
    """Remembers results, and failures: what took minutes to fail is not tried again."""

    @functools.cache
    def tried(*args):
        try:
            return function(*args), None
        except Exception as error:
            return None, error

    def call(*args):
        result, error = tried(*args)
        if error is not None:
            raise error
        return result

    return call


def results_of(names):
    """Trains everything under strategies that share a process.

    Returns:
        {strategy: {cell: what came of it}}, with the digests of all processes' copies.
    """
    workers = 2 if "MultiWorkerMirrored" in names else 1
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.json" for i in range(workers)]
        run_side_by_side(
            *([__file__, file, *names] for file in files),
            timeout=TIMEOUT,
            environments=cluster_environments(2) if workers == 2 else None,
        )
        first, *others = [json.loads(file.read_text()) for file in files]
    for other in others:
        for name, column in first.items():
            for cell, result in column.items():
                result["copies"] += other[name][cell]["copies"]
    return first


def table(columns):
    """The table of the docs: a row for each optimizer and kind of gradient."""
    rows = list(dict.fromkeys(cell for column in columns.values() for cell in column))
    rows.sort(key=lambda cell: list(columns["Mirrored2"]).index(cell))
    lines = [
        "| optimizer | gradient | " + " | ".join(columns) + " |",
        "| --- | --- |" + " --- |" * len(columns),
    ]
    for cell in rows:
        found = [column.get(cell) for column in columns.values()]
        numbers = ["" if result is None else f"{result['difference']:.0g}" for result in found]
        lines.append(f"| {' | '.join([*cell.split('/'), *numbers])} |")
    return "\n".join(lines)


def write_docs(columns):
    """Puts the table into the docs, between its two comments."""
    before, rest = DOCS.read_text().split("<!-- table: python tests/strategies.py -->\n")
    after = rest.split("<!-- end of table -->")[1]
    marked = f"<!-- table: python tests/strategies.py -->\n{table(columns)}\n<!-- end of table -->"
    DOCS.write_text(before + marked + after)


# --- in the process of a strategy -----------------------------------------------------------------


@functools.cache
def make_strategy(name):
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    if name != "ParameterServer":
        count = {"Mirrored4": 4, "MultiWorkerMirrored": 1}.get(name, 2)
        devices = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, devices)
    if name == "Mirrored2NoMergeCall":
        # A second strategy on these devices would reuse the collective keys.
        strategy = make_strategy("Mirrored2")
        strategy.extended._use_merge_call = lambda: False  # as TensorFlow's own tests do
        return strategy
    if name == "OneDevice":
        return tf.distribute.OneDeviceStrategy("CPU:1")
    if name.startswith("Mirrored"):
        return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(STRATEGIES[name])])
    if name == "CentralStorage":
        return tf.distribute.experimental.CentralStorageStrategy(["CPU:0", "CPU:1"], "CPU:0")
    if name == "MultiWorkerMirrored":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return parameter_server()


def parameter_server():
    """Two workers and two parameter servers in this process; variables in two shards."""
    import tensorflow as tf

    found = ports(4)
    cluster = tf.train.ClusterSpec(
        {
            "worker": [f"localhost:{port}" for port in found[:2]],
            "ps": [f"localhost:{port}" for port in found[2:]],
        }
    )
    # With fewer threads than workers they wait for each other.
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=8)
    parameter_server.servers = [
        tf.distribute.Server(cluster, job_name=job, task_index=i, protocol="grpc", config=config)
        for job in cluster.jobs
        for i in range(2)
    ]
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc")
    return tf.distribute.ParameterServerStrategy(resolver, variable_partitioner=halves)


def halves(shape, dtype, **_):
    """A partitioner: two shards along the first axis, unless told otherwise."""
    return [halves.shards] + [1] * (shape.rank - 1)


class Problem:
    """A loss that is linear in the variables, so that its gradients are what they are here."""

    def __init__(self, replicas):
        import numpy as np
        import tensorflow as tf

        random = np.random.default_rng(5)
        size = (STEPS, replicas)
        self.replicas = replicas
        self.values = [random.normal(size=shape) for shape in SHAPES]
        self.dense = [tf.constant(random.normal(size=(*size, *shape))) for shape in SHAPES[1:]]
        self.rows = tf.constant(random.normal(size=(*size, 4, *SHAPES[0][1:])))
        self.indices = tf.constant(random.integers(0, 4, size=(*size, 4)))  # some repeated
        self._alone = {}

    def variables(self):
        import tensorflow as tf

        return [tf.Variable(value) for value in self.values]

    def minimize(self, optimizer, variables, step, replica):
        """A step of one replica."""
        import tensorflow as tf

        count = 3 + replica % 2  # not as many rows on each
        indices, rows = self.indices[step, replica], self.rows[step, replica]
        with tf.GradientTape() as tape:
            found = tf.nn.embedding_lookup(variables[0], indices[:count])
            losses = [tf.reduce_sum(found * rows[:count])]
            for variable, factor in zip(variables[1:], self.dense, strict=True):
                losses.append(tf.reduce_sum(variable * factor[step, replica]))
            loss = tf.add_n(losses)
        optimizer.minimize(loss, variables, tape=tape)

    def summed(self, step):
        """The gradients of all replicas."""
        import tensorflow as tf

        counts = [3 + replica % 2 for replica in range(self.replicas)]
        rows, indices = (
            tf.concat([own[step, i, :count] for i, count in enumerate(counts)], axis=0)
            for own in (self.rows, self.indices)
        )
        dense = [tf.reduce_sum(factor[step], axis=0) for factor in self.dense]
        return [tf.IndexedSlices(rows, indices), *dense]

    def alone(self, case, arguments):
        """An optimizer and its variables after all steps without a strategy."""
        from training import train

        key = case, *arguments
        if key not in self._alone:
            optimizer, variables = case.make(**arguments), self.variables()
            train(optimizer, variables, map(self.summed, range(STEPS)))
            self._alone[key] = optimizer, variables
        return self._alone[key]


def kinds(name, case):
    """The rows of the table that one optimizer has under a strategy."""
    yield from ("dense", "sparse")
    if case.sparse not in ("rows", "whole") and name in ("Mirrored2", "ParameterServer"):
        yield "lazy"  # where that is not the default: once with copies, once with shards
    if name in FIT and not case.note:
        yield "fit"


def cases_of(name):
    """Every optimizer, in every variant where it costs least; or less, as `training` says."""
    from training import ALL, CASES, PLAIN, of_each_kind, of_one_kind, of_some_kinds

    if name != "Mirrored2":
        return of_one_kind(PLAIN)
    return of_each_kind(CASES, True) if ALL else of_some_kinds(PLAIN)


def policies():
    """The policies that are trained without `merge_call`."""
    from training import ALL

    return list(POLICIES) if ALL else list(POLICIES)[1::3]


def _doubled(pairs):
    return [(scaled(gradient, 2), variable) for gradient, variable in pairs]


def _float(step):
    import tensorflow as tf

    return tf.cast(step, tf.float32)


def scaled(gradient, factor):
    """A gradient, of rows or not, times a factor."""
    import tensorflow as tf

    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(scaled(gradient.values, factor), gradient.indices)
    return gradient * tf.cast(factor, gradient.dtype)


def plain(tfopt):
    """The optimizers of tfopt, without XLA, which would compile for each copy."""
    made = {
        name: functools.partial(cls, jit_compile=False)
        for name, cls in vars(tfopt).items()
        if isinstance(cls, type) and issubclass(cls, tfopt.Optimizer)
    }
    more = {"LossScaleOptimizer": tfopt.LossScaleOptimizer, "parts": tfopt}
    return types.SimpleNamespace(**made, **more)


def run_strategies(file, *names):
    """Trains the columns of some strategies."""
    make_problem = functools.cache(Problem)
    results = {}
    for name in names:
        strategy = make_strategy(name)
        call = caller(strategy, name)
        problem = make_problem(STRATEGIES[name])
        column = results[name] = {}
        for number, case in enumerate(cases_of(name)):
            halves.shards = 1 if case.sparse == "whole" else 2
            found, train = list(kinds(name, case)), functools.partial(train_cells, strategy, call)
            train = functools.partial(
                train, inner=name == "Mirrored2NoMergeCall" and number % 4 < 2
            )
            cells = train(problem, case, in_scope=number % 2 == 0)
            if "lazy" in found:
                cells["lazy"] = train(problem, case, in_scope=True, lazy=True)["sparse"]
            if "fit" in found:
                cells["fit"] = fit(strategy, FIT[name], case)
            column |= {f"{case.name}/{kind}": cell for kind, cell in cells.items()}
        if name == "ParameterServer":
            halves.shards = 2
            results["outside of the scope"] = outside_of_scope(strategy, call)
        if name == "MultiWorkerMirrored":
            results["state that all workers read"] = {"window": read_by_all_workers(strategy)}
        if name == "Mirrored2NoMergeCall":
            results["Policies"] = {
                policy: train_policy(strategy, problem, policy, in_scope=number % 2 == 0)
                for number, policy in enumerate(policies())
            }
    Path(file).write_text(json.dumps(results))


def caller(strategy, name):
    """How a function is called once under the strategy, and waited for."""
    import tensorflow as tf

    if name != "ParameterServer":
        return lambda function, *args: function(*args)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)

    def call(function, *args):
        coordinator.schedule(function, args=args)
        coordinator.join()

    return call


def train_cells(strategy, call, problem, case, in_scope, inner=False, **arguments):
    """Trains with one optimizer, and compares it with the same without a strategy.

    Args:
        strategy: the strategy.
        call: calls a function under it.
        problem: the loss.
        case: the optimizer.
        in_scope: whether it is made in the strategy's scope.
        inner: whether each replica calls a `tf.function`, as with `fit(jit_compile=True)`.
        **arguments: more arguments of the optimizer.

    Returns:
        What came of the variables that have dense gradients, and of the one with sparse ones.
    """
    import tensorflow as tf
    from training import slots_of

    alone, expected = problem.alone(case, arguments)
    with strategy.scope():
        variables = problem.variables()
    with strategy.scope() if in_scope else contextlib.nullcontext():
        optimizer = case.make(**arguments)

    @tf.function(autograph=False)
    def all_replicas(step):
        def replica():
            context = tf.distribute.get_replica_context()
            number = tf.convert_to_tensor(context.replica_id_in_sync_group)
            problem.minimize(optimizer, variables, step, number)

        # Passed directly, a `tf.function` would be called once for all replicas.
        function = tf.function(replica, autograph=False)
        strategy.run((lambda: function()) if inner else replica)

    for step in range(STEPS):
        call(all_replicas, tf.constant(step))
    counted = collectives(all_replicas, strategy)
    pairs = list(zip(problem.values, variables, expected, strict=True))
    cells = {}
    for kind, own in (("dense", pairs[1:]), ("sparse", pairs[:1])):
        compared = [(optimizer.iterations, alone.iterations)]
        for _, variable, other in own:
            compared.append((variable, other))
            for name, slot in slots_of(alone, other).items():
                compared.append((optimizer.get_slot(variable, name), slot))
        found = [(copies(strategy, ours), theirs.numpy()) for ours, theirs in compared]
        cells[kind] = {
            "moved": min(difference(other.numpy(), x) for x, _, other in own),
            "shards": len(getattr(own[0][1], "variables", [0])),
            "difference": max(difference(ours[0], theirs) for ours, theirs in found),
            "copies": [digest(ours) for ours in zip(*(ours for ours, _ in found), strict=True)],
            "collectives": counted,
        }
    return cells


def outside_of_scope(strategy, call):
    """What works outside of the scope in which variables and optimizer were made."""
    import copy

    import numpy as np
    import tensorflow as tf

    import tfopt

    def make():
        with strategy.scope():
            variables = [tf.Variable(np.ones([4, 2])), tf.Variable(np.ones([]))]
            return variables, tfopt.Adam(0.5, use_ema=True)

    def train(variables, optimizer):
        def replica():
            with tf.GradientTape() as tape:
                rows = tf.nn.embedding_lookup(variables[0], [0, 1, 2])
                loss = tf.reduce_sum(rows**2) + variables[1] ** 2
            optimizer.minimize(loss, variables, tape=tape)

        call(tf.function(lambda: strategy.run(replica), autograph=False))

    def alike(one, other):
        return all(map(np.array_equal, one.get_weights(), other.get_weights()))

    def trains(variables, optimizer):
        before = int(optimizer.iterations)
        train(variables, optimizer)
        return int(optimizer.iterations) == before + 1

    variables, giver = make()
    train(variables, giver)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = tf.train.Checkpoint(variables=variables, optimizer=giver).save(f"{folder}/ckpt")
        for name, built in (("restore", True), ("deferred restore", False)):
            others, taker = make()
            if built:
                taker.build(others)
            tf.train.Checkpoint(variables=others, optimizer=taker).restore(path)
            taker.build(others)
            results[name] = alike(taker, giver) and trains(others, taker)
            shards = [*others[0].variables, others[1]]
            beside = [taker.get_slot(v, "m").device == v.device for v in shards]
            results[f"slots after {name}"] = all(beside)
    others, taker = make()
    taker.build(others)
    taker.set_weights(giver.get_weights())
    results["set_weights"] = alike(taker, giver) and trains(others, taker)
    twin = copy.deepcopy(giver)
    results["deepcopy"] = alike(twin, giver) and trains(variables, twin)
    return results


def read_by_all_workers(strategy):
    """Reads the state in the middle of a window; then the chief reads another one alone."""
    import tensorflow as tf

    import tfopt

    with strategy.scope():
        variable = tf.Variable([1.0, 1.0])
        optimizer, other = tfopt.SGD(1.0, gradient_accumulation_steps=2), tfopt.Adam()
        other.build([variable])

    @tf.function(autograph=False)
    def step():
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            gradient = tf.fill([2], tf.cast(number + 1, tf.float32))
            optimizer.apply_gradients([(gradient, variable)])

        strategy.run(replica)

    step()
    weights = optimizer.get_weights()  # a collective: it is called by all workers
    if strategy.cluster_resolver.task_id == 0:
        other.get_weights()
    step()
    return {
        "summed": [value.tolist() for value in weights if value.shape == (2,)],
        "trained": variable.numpy().tolist(),
        "copies": [digest(weights)],
    }


def train_policy(strategy, problem, policy, in_scope):
    """Trains with a policy, each replica in a `tf.function`; compares it with one replica."""
    import numpy as np
    import tensorflow as tf

    import tfopt

    infinite = [3] if "skip" in policy or "LossScale" in policy else [-1]
    limit = (lambda x: tf.minimum(x, 0.5)) if policy == "constraint" else None

    def made(scope):
        with scope:
            variables = [
                tf.Variable(value, name=name, constraint=limit if name != "table" else None)
                for name, value in zip(("table", "a", "b"), problem.values, strict=True)
            ]
        return variables

    def one_step(optimizer, variables, gradients, step):
        factor = optimizer.scale_loss(tf.where(tf.reduce_any(step == infinite), np.inf, 1.0))
        pairs = [(scaled(g, factor), v) for g, v in zip(gradients, variables, strict=True)]
        optimizer.apply_gradients(pairs[1 if limit is not None else 0 :])

    ours, theirs = made(strategy.scope()), made(contextlib.nullcontext())
    with strategy.scope() if in_scope else contextlib.nullcontext():
        optimizer = POLICIES[policy](plain(tfopt))
    alone = POLICIES[policy](plain(tfopt))

    @tf.function(autograph=False)
    def on_replicas(step):
        def replica():
            number = tf.convert_to_tensor(
                tf.distribute.get_replica_context().replica_id_in_sync_group
            )
            count = 3 + number % 2
            rows = problem.rows[step, number, :count], problem.indices[step, number, :count]
            dense = [factor[step, number] for factor in problem.dense]
            one_step(optimizer, ours, [tf.IndexedSlices(*rows), *dense], step)

        function = tf.function(replica, autograph=False)
        strategy.run(lambda: function())

    on_one = tf.function(functools.partial(one_step, alone, theirs), autograph=False)
    for step in range(POLICY_STEPS):
        on_replicas(tf.constant(step))
        on_one(problem.summed(step), tf.constant(step))
    if policy == "flush":
        tf.function(lambda: strategy.run(lambda: optimizer.flush()), autograph=False)()
        tf.function(lambda: alone.flush(), autograph=False)()
    weights = [v for v in optimizer.weights if "accumulated" not in v.name]  # one for each replica
    pairs = [
        (x.numpy(), y.numpy())
        for x, y in zip([*ours, *optimizer.weights], [*theirs, *alone.weights], strict=True)
    ]
    found = [copies(strategy, v) for v in (*ours, *weights)]
    found = [each * STRATEGIES["Mirrored2"] if len(each) == 1 else each for each in found]
    return {
        "moved": difference(ours[1].numpy(), problem.values[1]),
        "difference": max(difference(x, y) for x, y in pairs),
        "copies": [digest(each) for each in zip(*found, strict=True)],
        "steps": int(optimizer.iterations.numpy()),
    }


def fit(strategy, library, case):
    """The same by `fit`, of a model with an embedding; every step sees the same batch."""
    import importlib

    import numpy as np
    import tensorflow as tf

    keras = importlib.import_module(library)
    getattr(keras, "config", keras.backend).set_floatx("float64")
    random = np.random.default_rng(3)
    words, targets = random.integers(0, 4, size=(4, 2)), random.normal(size=(4, 2))
    start = [random.normal(size=shape) for shape in FIT_SHAPES]
    data = tf.data.Dataset.from_tensor_slices((words, targets)).batch(4).repeat()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    with strategy.scope():
        layers = [keras.layers.Embedding(5, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
        model = keras.Sequential([keras.Input((2,), dtype="int64"), *layers])
        optimizer = case.make()
        model.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError())
    variables = [layers[0].embeddings, layers[2].kernel, layers[2].bias]
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    # Within an epoch workers of parameter servers would take steps at the same time.
    model.fit(data.with_options(options), epochs=FIT_STEPS, steps_per_epoch=1, verbose=0)
    assert model.optimizer is optimizer
    variables = [getattr(v, "value", v) if library == "keras" else v for v in variables]
    ours = [copies(strategy, v) for v in (*variables, optimizer.iterations)]
    theirs = fitted_alone(case, start, words, targets)
    return {
        "moved": min(difference(y, x) for x, y in zip(start, theirs, strict=False)),
        "difference": max(difference(x[0], y) for x, y in zip(ours, theirs, strict=True)),
        "copies": [digest(each) for each in zip(*ours, strict=True)],
    }


def fitted_alone(case, start, words, targets):
    """The weights of that model, and the number of steps, without Keras and a strategy."""
    import tensorflow as tf

    optimizer = case.make()
    embeddings = tf.Variable(start[0], name="embeddings")  # the name gives its role in Muon
    kernel, bias = (tf.Variable(value) for value in start[1:])
    variables = [embeddings, kernel, bias]
    for _ in range(FIT_STEPS):
        with tf.GradientTape() as tape:
            found = tf.nn.embedding_lookup(embeddings, words)
            outputs = tf.reshape(found, (4, 6)) @ kernel + bias
            loss = tf.reduce_mean((outputs - targets) ** 2)
        optimizer.minimize(loss, variables, tape=tape)
    optimizer.finalize_variable_values(variables)  # as `fit` does
    return [variable.numpy() for variable in (*variables, optimizer.iterations)]


def copies(strategy, variable):
    """The values of a variable, one array for each copy in this process."""
    return [copy.numpy() for copy in strategy.experimental_local_results(variable)]


def difference(ours, theirs):
    """The largest difference, relative to the largest number."""
    import numpy as np

    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.max(np.abs(ours - theirs)) / max(np.max(np.abs(theirs)), 1e-30))


def digest(arrays):
    """What is equal if and only if all bits are."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def collectives(function, strategy):
    """The collective ops of a traced function, by name, for each local replica."""
    import tensorflow as tf

    graph = function.get_concrete_function(tf.constant(0)).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    names = [node.op for node in nodes if node.op.startswith("Collective")]
    local = max(len(strategy.extended.worker_devices), 1)
    return {op: names.count(op) / local for op in sorted(set(names))}


if __name__ == "__main__":
    if len(sys.argv) == 1:
        os.environ["TFOPT_TESTS"] = "all"
        columns = {}
        for names in PROCESSES:
            columns |= results_of(names)
        write_docs({name: columns[name] for name in STRATEGIES})
        sys.exit()
    run_strategies(*sys.argv[1:])
    os._exit(0)  # servers in this process would wait for each other
