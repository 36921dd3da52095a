"""Whether two versions of tfopt compute the same numbers, bit for bit, on this machine.

    python tests/same_numbers.py --against ../another_checkout
    python tests/same_numbers.py --against ../another_checkout --only "replicas|mesh"
    python tests/same_numbers.py --against ../another_checkout --only "policies/Adam-.*-graph"

Each section trains many small configurations, in a process for each of the two trees, and writes
all that came of it. Only what is public is used, since the trees may differ in everything else.
Which numbers are right is not asked here: that is what the tests are for.

`--only` is searched for in the names of sections; where none has it, in `section/configuration`.
"""

import argparse
import contextlib
import copy
import os
import pickle
import re
import sys
import tempfile
import time
import traceback
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from strategies import run_python

if "--child" in sys.argv:  # whoever compares needs neither
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    import tfopt

STEPS = 8
BAD_STEP = 3  # the one with an infinite gradient, where that is wanted
TIMEOUT = 900  # seconds for a section; a hang must fail
SMALL = [(5, 3), (4,), (4,)]  # two of one shape
SHAPES = [*SMALL, (), (80, 64)]  # and one that is not small
MANY = [(4,)] * 9 + [(2, 3)] * 2  # more of one shape than share a compiled update
# Few of the numbers are exact in binary: where one is rounded must show.
VARIANTS = {  # beside the defaults, by the name of the class
    "SGD": [dict(momentum=0.7), dict(momentum=0.7, nesterov=True)],
    "RMSprop": [dict(momentum=0.7), dict(centered=True), dict(momentum=0.7, centered=True)],
    "Adam": [dict(amsgrad=True)],
    "AdamW": [dict(amsgrad=True, weight_decay=0.3)],
    "Ftrl": [
        dict(l1_regularization_strength=0.2, l2_regularization_strength=0.1, beta=0.1),
        dict(l2_shrinkage_regularization_strength=0.1, learning_rate_power=-0.7),
    ],
    "LAMB": [dict(weight_decay=0.3)],
    "Adafactor": [dict(relative_step=False)],
}
WHOLE = ("LAMB", "Adafactor")  # refuse `lazy=True`
WITH_POLICIES = ("SGD", "Adam", "AdamW", "Nadam")
EMA = dict(use_ema=True, ema_momentum=0.7)
POLICIES = {  # by name: arguments of the optimizer, and of `train`
    "clipvalue": (dict(clipvalue=0.3), {}),
    "clipnorm": (dict(clipnorm=1.1), {}),
    "global_clipnorm": (dict(global_clipnorm=1.1), {}),
    "decays": (dict(weight_decay=0.1, exclude_from_weight_decay=["bias"]), {}),
    "averages": (EMA, {}),
    "overwrites": (dict(EMA, ema_overwrite_frequency=3), {}),
    "accumulates": (dict(gradient_accumulation_steps=3), {}),
    "scaled": (dict(loss_scale_factor=7.0), {}),
    "skips": (dict(skip_nonfinite=True), dict(bad=True)),
    "transforms": (dict(gradient_transformers="two"), {}),
    "decay": (dict(decay=0.1), {}),
    "schedule": (dict(learning_rate="schedule"), {}),
    "changes": ({}, dict(change=True)),
    "constrained": (dict(lazy=False), dict(constrained=True)),
    "turns": (dict(weight_decay=0.1, clipnorm=2.1), dict(turns=True)),
    "several": (
        dict(EMA, global_clipnorm=1.1, weight_decay=0.1, skip_nonfinite=True)
        | dict(gradient_accumulation_steps=2, loss_scale_factor=7.0),
        dict(bad=True, change=True),
    ),
    "others": (
        dict(EMA, ema_overwrite_frequency=2, clipvalue=0.7, clipnorm=1.1, decay=0.1, lazy=True)
        | dict(learning_rate="schedule", gradient_transformers="two"),
        {},
    ),
}
KINDS = {"dense": False, "rows": True}


# --- what all sections train with -----------------------------------------------------------------


def times(factor, pairs):
    """A gradient transformer."""
    scaled = []
    for gradient, variable in pairs:
        if isinstance(gradient, tf.IndexedSlices):
            values = gradient.values * factor
            gradient = tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
        else:
            gradient = gradient * factor
        scaled.append((gradient, variable))
    return scaled


def make(name, arguments, module=None):
    """An optimizer by name; words among its arguments stand for what a table cannot hold."""
    arguments = {"learning_rate": 0.07, **arguments}
    if arguments["learning_rate"] == "schedule":
        arguments["learning_rate"] = tfopt.schedules.ExponentialDecay(0.1, 2, 0.7)
    if "gradient_transformers" in arguments:
        arguments["gradient_transformers"] = [partial(times, 0.3), partial(times, -1.7)]
    return getattr(module or tfopt, name)(**arguments)


def optimizers(plain=False, **common):
    """Names and makers of all optimizers, in all variants or without any."""
    for name in tfopt.optimizers.__all__:
        for number, variant in enumerate([{}, *([] if plain else VARIANTS.get(name, []))]):
            yield f"{name}-{number}", partial(make, name, {**variant, **common})


def with_policies(names=WITH_POLICIES):
    """Names and makers of some optimizers with each policy, and what `train` takes for it."""
    for name, (policy, (arguments, options)) in product(names, POLICIES.items()):
        yield f"{name}-{policy}", partial(make, name, arguments), options
    for name, dynamic in product(names[:2], (True, False)):
        maker = partial(loss_scale, name, *(6.0, 2) if dynamic else (6.0,), dynamic=dynamic)
        yield f"{name}-LossScaleOptimizer-{dynamic}", maker, {"bad": True}


def loss_scale(name, *scale, **keywords):
    return tfopt.LossScaleOptimizer(make(name, {"clipnorm": 1.1}), *scale, **keywords)


def new_variables(shapes=SMALL, dtype="float32", constrained=False):
    constraint = {"constraint": lambda x: tf.maximum(x, 0)} if constrained else {}
    starts = [np.random.default_rng(number).normal(size=s) for number, s in enumerate(shapes)]
    names = [f"{'kernel' if len(s) > 1 else 'bias'}_{number}" for number, s in enumerate(shapes)]
    return [
        tf.Variable(start.astype(numpy_dtype(dtype)), name=name, **constraint)
        for start, name in zip(map(np.asarray, starts), names, strict=True)
    ]


def numpy_dtype(dtype):
    return tf.as_dtype(dtype).as_numpy_dtype


def arrays_of(step, shapes, dtype="float32", sparse=False, bad=False, replica=0):
    """The gradients of a step: an array for each variable, two for a gradient of rows."""
    arrays = []
    for number, shape in enumerate(shapes):
        random = np.random.default_rng([step, replica, number])
        rows = sparse and len(shape) > 1
        values = random.normal(size=(5, *shape[1:]) if rows else shape)
        values = np.asarray(values * (random.random(size=values.shape) > 0.2))
        if bad and step == BAD_STEP and number == replica == 0:
            values.flat[0] = np.inf
        arrays.append(values.astype(numpy_dtype(dtype)))
        if rows:
            arrays.append(random.integers(0, 4, size=5))  # so that one at least is repeated
    return arrays


def gradients_of(tensors, variables, sparse):
    tensors = iter(tensors)
    for variable in variables:
        values = next(tensors)
        if sparse and len(variable.shape) > 1:
            values = tf.IndexedSlices(values, next(tensors), tf.constant(list(variable.shape)))
        yield values


def loss_of(tensors, variables, sparse):
    """A loss that is linear in the variables, and has these gradients."""
    terms = []
    for gradient, variable in zip(gradients_of(tensors, variables, sparse), variables, strict=True):
        if isinstance(gradient, tf.IndexedSlices):
            rows = tf.nn.embedding_lookup(variable, gradient.indices)
            terms.append(tf.reduce_sum(rows * gradient.values))
        else:
            terms.append(tf.reduce_sum(variable * gradient))
    return tf.add_n(terms)


def train(
    optimizer, variables, steps=range(STEPS), *, mode="eager", strategy=None, sparse=False, **flags
):
    """Takes some steps, and ends the window of gradients that are still accumulated."""

    def apply(first, *tensors):
        chosen = variables[first:]
        if mode.startswith("minimize"):
            optimizer.minimize(partial(loss_of, tensors, chosen, sparse), chosen)
        else:
            gradients = gradients_of(tensors, chosen, sparse)
            optimizer.apply_gradients(zip(gradients, chosen, strict=True))

    def everywhere(function):
        if strategy is not None:
            return tf.function(lambda *args: strategy.run(function, args), autograph=False)
        if mode.endswith("eager"):
            return function
        return tf.function(function, autograph=False, jit_compile=mode == "xla" or None)

    one = {first: everywhere(partial(apply, first)) for first in (0, 1)}
    shapes, dtype = [tuple(v.shape) for v in variables], variables[0].dtype.name
    for step in steps:
        if flags.get("change") and step == STEPS // 2:
            optimizer.learning_rate = 0.03
        # In turns: all variables, and all but the first, which is then not updated at all.
        first = step % 2 if flags.get("turns") else 0
        given = partial(arrays_of, step, shapes[first:], dtype, sparse, flags.get("bad"))
        one[first](*on_replicas(strategy, given))
    if getattr(optimizer, "gradient_accumulation_steps", None):
        everywhere(lambda: optimizer.flush())()


def on_replicas(strategy, given):
    """Tensors, or values for each replica; all replicas have other gradients."""
    if strategy is None:
        return list(map(tf.constant, given()))
    arrays = [given(replica=replica) for replica in range(strategy.num_replicas_in_sync)]

    def value(number, context):
        return tf.constant(arrays[context.replica_id_in_sync_group][number])

    distribute = strategy.experimental_distribute_values_from_function
    return [distribute(partial(value, number)) for number in range(len(arrays[0]))]


def copies(variable, strategy=None):
    """What each device has of a variable."""
    if hasattr(variable, "layout"):
        return [part.numpy() for part in dtensor.unpack(variable.read_value())]
    if strategy is not None:
        return [each.numpy() for each in strategy.experimental_local_results(variable)]
    return [variable.numpy()]


def results_of(optimizer, variables, strategy=None):
    """All that training leaves, by name."""

    def values(prefix, variables):
        for number, variable in enumerate(variables):
            for place, value in enumerate(copies(variable, strategy)):
                found[f"{prefix}{number}/{place}"] = value

    found = {}
    values("variable", variables)
    values("weight", optimizer.weights)
    values("iterations", [optimizer.iterations])
    found.update({f"get_weights{i}": w for i, w in enumerate(optimizer.get_weights())})
    for name in optimizer.get_slot_names():
        for number, variable in enumerate(variables):
            with contextlib.suppress(KeyError):  # not all variables have all slots
                values(f"slot/{name}/{number}/", [optimizer.get_slot(variable, name)])
    if getattr(optimizer, "use_ema", False):
        with optimizer.averaged_weights():
            values("averaged", variables)
    return found


def trained(maker, shapes=SMALL, dtype="float32", constrained=False, strategy=None, **options):
    with strategy.scope() if strategy else contextlib.nullcontext():
        optimizer, variables = maker(), new_variables(shapes, dtype, constrained)
    train(optimizer, variables, strategy=strategy, **options)
    return results_of(optimizer, variables, strategy)


def cells(name, maker, modes=("eager", "graph"), kinds=tuple(KINDS), **options):
    """Configurations, to be called when their turn comes."""
    for mode, kind in product(modes, kinds):
        options = {**options, "mode": mode, "sparse": KINDS[kind]}
        yield f"{name}/{kind}-{mode}", partial(trained, maker, **options)


# --- the sections: each gives names of configurations, and what trains them -----------------------


def dense():
    for (name, maker), dtype in product(optimizers(), ("float32", "float64")):
        options = {"kinds": ["dense"], "shapes": SHAPES, "dtype": dtype}
        yield from cells(f"{name}/{dtype}", maker, ("eager", "graph", "xla"), **options)
    for compiled in (True, False):
        for name, maker in optimizers(plain=True, jit_compile=compiled):
            yield from cells(f"{name}/many-{compiled}", maker, ["eager"], ["dense"], shapes=MANY)


def rows():
    shapes = [(5, 3), (4,), (80, 64)]
    for lazy in (None, True, False):
        for name, maker in optimizers(lazy=lazy):
            if not (lazy and name.startswith(WHOLE)):
                yield from cells(f"{name}/{lazy}", maker, kinds=["rows"], shapes=shapes)
    for name, maker in optimizers(plain=True):
        yield from cells(name, maker, ["xla"], ["rows"])
        yield from cells(f"{name}/float64", maker, ["eager"], ["rows"], dtype="float64")


def half():
    for masters, dtype in product((False, True), ("float16", "bfloat16")):
        for name, maker in optimizers(plain=True, master_weights=masters):
            name = f"{name}/{dtype}-{masters}"
            yield from cells(name, maker, ["eager"], ["dense"], dtype=dtype)
            yield from cells(name, maker, ["graph"], ["rows"], dtype=dtype)


def policies():
    for name, maker, options in with_policies():
        yield from cells(name, maker, **options)
    for name, scale in product(WITH_POLICIES, ({}, {"loss_scale_factor": 7.0})):
        maker, modes = partial(make, name, scale), ("minimize-eager", "minimize-graph")
        yield from cells(f"{name}-{len(scale)}", maker, modes)
    yield from cells("LossScaleOptimizer", partial(loss_scale, "Adam", 6.0, 2), modes)


def replicas():
    two_cpus()
    strategy = {"strategy": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])}
    for name, maker in optimizers():
        yield from cells(name, maker, ["graph"], **strategy)
    for name, maker, options in with_policies():
        kinds = list(KINDS) if name.startswith(("SGD", "Adam-")) else ["rows"]
        yield from cells(name, maker, ["graph"], kinds, **strategy, **options)


def two_cpus():
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)


def mesh():
    two_cpus()
    line = dtensor.create_mesh([("model", 2)], devices=["CPU:0", "CPU:1"])
    for name, maker in optimizers():
        yield f"{name}/columns", partial(on_mesh, maker, line)
    for name, maker in optimizers(plain=True, shard_slots="model"):
        yield f"{name}/sharded", partial(on_mesh, maker, line)
    for policy in ("clipnorm", "global_clipnorm", "decays", "overwrites", "accumulates", "skips"):
        yield f"Adam-{policy}", partial(on_mesh, partial(make, "Adam", POLICIES[policy][0]), line)


def on_mesh(maker, line):
    """Trains a matrix that is split by columns, and a vector that is not."""
    shapes = [(4, 6), (6,)]
    columns = dtensor.Layout([dtensor.UNSHARDED, "model"], line)
    layouts = [columns, dtensor.Layout.replicated(line, 1)]

    def laid_out(arrays):
        for array, layout in zip(arrays, layouts, strict=True):
            whole = dtensor.copy_to_mesh(array, dtensor.Layout.replicated(line, array.ndim))
            yield dtensor.relayout(whole, layout)

    starts = laid_out([variable.numpy() for variable in new_variables(shapes)])
    names = ("kernel", "bias")
    variables = [dtensor.DVariable(v, name=n) for v, n in zip(starts, names, strict=True)]
    optimizer = maker()

    @partial(tf.function, autograph=False)
    def step(*gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for number in range(4):
        with dtensor.default_mesh(line):
            step(*laid_out(arrays_of(number, shapes)))
    return results_of(optimizer, variables)


def legacy():
    for name in [n for n in tfopt.legacy.__all__ if n != "Optimizer"]:
        variants = [{}, *VARIANTS.get(name, []), {"clipnorm": 1.1}, {"learning_rate": "schedule"}]
        for number, arguments in enumerate(variants):
            yield from cells(f"{name}-{number}", partial(make, name, arguments, tfopt.legacy))
    yield from cells("subclass", of_hooks_of_v2)


def of_hooks_of_v2():
    class Momentum(tfopt.legacy.Optimizer):
        def __init__(self, learning_rate=0.1, name="Momentum", **kwargs):
            super().__init__(name, **kwargs)
            self._set_hyper("learning_rate", learning_rate)
            self._set_hyper("decay", self._initial_decay)

        def _create_slots(self, var_list):
            for var in var_list:
                self.add_slot(var, "mean")

        def _resource_apply_dense(self, grad, var, apply_state=None):
            rate = apply_state[var.device, var.dtype.base_dtype]["lr_t"]
            mean = self.get_slot(var, "mean")
            mean.assign(0.7 * mean + grad)
            return var.assign_sub(rate * mean)

        def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
            whole = tf.scatter_nd(indices[:, None], grad, var.shape)
            return self._resource_apply_dense(whole, var, apply_state)

    return Momentum(clipvalue=1.0, decay=0.1)


def hooks():
    choices = [{}, {"clipnorm": 1.1}, {"weight_decay": 0.1}, {"clipnorm": 1.1, **EMA}]
    choices.append({"gradient_accumulation_steps": 3, "weight_decay": 0.1})
    for number, arguments in enumerate(choices):
        yield from cells(str(number), partial(of_hooks, **arguments))


def of_hooks(**arguments):
    class Momentum(tfopt.Optimizer):
        learning_rate = tfopt.Hyper(0.1, low=0)

        def create_slots(self, var_list):
            for var in var_list:
                self.add_slot(var, "mean")

        def resource_apply_dense(self, grad, var):
            mean = self.get_slot(var, "mean")
            mean.assign(0.7 * mean + grad)
            var.assign_sub(self._get_hyper("learning_rate", var.dtype) * mean)

        def resource_apply_sparse(self, grad, var, indices):
            self.resource_apply_dense(tf.scatter_nd(indices[:, None], grad, var.shape), var)

    return Momentum(**arguments)


def v1():
    few = ("decays", "overwrites", "accumulates", "scaled", "skips", "several")
    makers = [(f"Adam-{policy}", partial(make, "Adam", POLICIES[policy][0])) for policy in few]
    for (name, maker), kind in product([*optimizers(plain=True), *makers], KINDS):
        # Ftrl compares tensors by `==`, which a plain graph takes for Python's own.
        if (name, kind) != ("Ftrl-0", "rows"):
            yield f"{name}/{kind}", partial(in_a_session, maker, KINDS[kind])


def in_a_session(maker, sparse):
    of_v1 = tf.compat.v1
    with tf.Graph().as_default(), of_v1.Session() as session:
        optimizer, variables = maker(), new_variables()
        first = arrays_of(0, SMALL, sparse=sparse)
        fed = [of_v1.placeholder(array.dtype, array.shape) for array in first]
        gradients = gradients_of(fed, variables, sparse)
        update = optimizer.apply_gradients(zip(gradients, variables, strict=True))
        flush = optimizer.flush() if optimizer.gradient_accumulation_steps else []
        session.run(of_v1.global_variables_initializer())
        for step in range(STEPS):
            arrays = arrays_of(step, SMALL, sparse=sparse, bad=optimizer.skip_nonfinite)
            session.run(update, dict(zip(fed, arrays, strict=True)))
        session.run(flush)
        weights = [*session.run(variables), *optimizer.get_weights()]
        return {str(number): value for number, value in enumerate(weights)}


def resume():
    few = [(name, partial(make, "Adam", POLICIES[name][0])) for name in ("several", "accumulates")]
    few.append(("LossScaleOptimizer", partial(loss_scale, "Adam", 6.0, 2)))
    ways = ("pickle", "deepcopy", "checkpoint", "deferred", "weights")
    for (name, maker), way in product([*optimizers(), *few], ways):
        yield f"{name}/{way}", partial(gone_on, maker, way)


def gone_on(maker, way):
    """Trains, carries the state over to another optimizer, and trains that."""
    giver, variables = maker(), new_variables()
    # Without a flush: a window of accumulation may be open when the state is taken.
    for step in range(STEPS // 2):
        gradients = gradients_of(map(tf.constant, arrays_of(step, SMALL)), variables, False)
        giver.apply_gradients(zip(gradients, variables, strict=True))
    others = [tf.Variable(variable.numpy(), name=variable.name[:-2]) for variable in variables]
    if way == "pickle":
        taker = pickle.loads(pickle.dumps(giver))
    elif way == "deepcopy":
        taker, others = copy.deepcopy((giver, variables))
    else:
        taker = type(giver).from_config(giver.get_config())
        if way != "deferred":
            taker.build(others)
    if way == "weights":
        taker.set_weights(giver.get_weights())
    elif way in ("checkpoint", "deferred"):
        with tempfile.TemporaryDirectory() as folder:
            given = tf.train.Checkpoint(optimizer=giver, variables=variables)
            path = given.save(f"{folder}/state")
            tf.train.Checkpoint(optimizer=taker, variables=others).restore(path)
            taker.build(others)
    train(taker, others, sparse=True, steps=range(STEPS // 2, STEPS))
    return results_of(taker, others)


SECTIONS = {
    **{section.__name__: section for section in (dense, rows, policies, replicas, mesh)},
    **{section.__name__: section for section in (legacy, hooks, v1, resume, half)},
}


# --- the processes --------------------------------------------------------------------------------


def run_section(section, file, only):
    """In a child: trains a section's configurations; what one raises is a result, too."""
    tree = Path(os.environ["PYTHONPATH"])
    assert Path(tfopt.__file__).resolve().is_relative_to(tree), tfopt.__file__
    found = {}
    for name, configuration in SECTIONS[section]():
        if re.search(only, f"{section}/{name}"):
            try:
                values = configuration()
            except Exception:
                values = {"raised": np.array(traceback.format_exc(limit=-3))}
            found.update({f"{name}/{key}": value for key, value in values.items()})
    np.savez(file, **found)


def results_of_trees(section, trees, only):
    """What a section gives with each tree, by processes side by side."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{number}.npz" for number in range(len(trees))]
        run_python(
            *([__file__, "--child", section, file, "--only", only] for file in files),
            timeout=TIMEOUT,
            environments=[{"PYTHONPATH": str(tree)} for tree in trees],
        )
        return [dict(np.load(file)) for file in files]


def is_same(one, other):
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def compare(section, trees, only):
    """Prints a line, and the names of what is wrong; gives how much was compared, and is wrong."""
    begun = time.monotonic()
    ours, theirs = results_of_trees(section, trees, only)
    raised = {name: one for one in (theirs, ours) for name in one if name.endswith("/raised")}
    common = [name for name in ours if name in theirs and name not in raised]
    wrong = {
        "differ": [name for name in common if not is_same(ours[name], theirs[name])],
        "are of one tree only": [*(ours.keys() ^ theirs.keys())],
        "could not be trained": [*raised],
    }
    count = f"{len(common)} arrays, {len(wrong['differ'])} differ"
    print(f"{section:10} {count}  ({time.monotonic() - begun:.0f} s)", flush=True)
    for word, names in wrong.items():
        if names:
            print(f"  {len(names)} {word}: {', '.join(sorted(names)[:5])}", flush=True)
    for name, tree in list(raised.items())[:3]:
        print(f"{name}: {tree[name]}", flush=True)
    return len(common), sum(map(len, wrong.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="the other checkout")
    parser.add_argument("--only", default="", help="a regular expression for names")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_section(*arguments.child, arguments.only)
        os._exit(0)  # a strategy's threads may wait for each other
    if arguments.against is None or not (arguments.against / "tfopt" / "__init__.py").exists():
        parser.error("--against must be a folder with another tfopt in it")
    trees = [Path(__file__).resolve().parent.parent, arguments.against.resolve()]
    sections, only = [name for name in SECTIONS if re.search(arguments.only, name)], ""
    if not sections:
        sections, only = list(SECTIONS), arguments.only
    compared, wrong = zip(*(compare(section, trees, only) for section in sections), strict=True)
    sys.exit(any(wrong) or not any(compared))


if __name__ == "__main__":
    main()
