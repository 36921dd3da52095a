"""The sections of same_numbers.py: each gives names of configurations, and what trains them."""

import copy
import pickle
import tempfile
from functools import partial
from itertools import product

import tensorflow as tf
from same_numbers_training import (
    EMA,
    KINDS,
    MANY,
    POLICIES,
    SHAPES,
    SMALL,
    STEPS,
    VARIANTS,
    WITH_POLICIES,
    arrays_of,
    cells,
    gradients_of,
    loss_scale,
    make,
    new_variables,
    optimizers,
    refuses_to_be_lazy,
    results_of,
    take_steps,
    with_policies,
)
from tensorflow.experimental import dtensor

import tfopt


def dense():
    for (name, maker), dtype in product(optimizers(), ("float32", "float64")):
        options = {"kinds": ["dense"], "shapes": SHAPES, "dtype": dtype}
        yield from cells(f"{name}/{dtype}", maker, ("eager", "graph", "xla"), **options)
    for compiled in (True, False):
        for name, maker in optimizers(plain=True, jit_compile=compiled):
            yield from cells(f"{name}/many-{compiled}", maker, ["eager"], ["dense"], shapes=MANY)


def sparse():
    shapes = [(5, 3), (4,), (80, 64)]
    for lazy in (None, True, False):
        for name, maker in optimizers(lazy=lazy):
            if not (lazy and refuses_to_be_lazy(name)):
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
    take_steps(taker, others, sparse=True, steps=range(STEPS // 2, STEPS))
    return results_of(taker, others)
