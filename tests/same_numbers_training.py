"""What all sections of same_numbers.py train with, and what comes of it.

Only what is public is used.
"""

import contextlib
from functools import partial
from itertools import product

import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

import tfopt

STEPS = 8
BAD_STEP = 3  # the one with an infinite gradient, where that is wanted
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
WITH_POLICIES = ("SGD", "Adam", "AdamW", "Nadam")
EMA = dict(use_ema=True, ema_momentum=0.7)
POLICIES = {  # by name: arguments of the optimizer, and of `take_steps`
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


def refuses_to_be_lazy(name):
    return getattr(tfopt, name.partition("-")[0]).sparse == "whole"


def with_policies(names=WITH_POLICIES):
    """Names and makers of some optimizers with each policy, and what `take_steps` takes for it."""
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


def take_steps(
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
    take_steps(optimizer, variables, strategy=strategy, **options)
    return results_of(optimizer, variables, strategy)


def cells(name, maker, modes=("eager", "graph"), kinds=tuple(KINDS), **options):
    """Configurations, to be called when their turn comes."""
    for mode, kind in product(modes, kinds):
        options = {**options, "mode": mode, "sparse": KINDS[kind]}
        yield f"{name}/{kind}-{mode}", partial(trained, maker, **options)
