"""What runs a step: kernels, compiled updates, rows alone; read off its graph, or by its result."""

import collections
import functools
import math
import warnings

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels  # which kernels exist is known nowhere else
from training import (
    ALL,
    BY_ROWS,
    PLAIN,
    assert_same,
    counted,
    each,
    each_kind,
    each_of_some_kinds,
    gradients,
    of_each_kind,
    slots_of,
    start,
    train,
    values_of,
)

import tfopt

LARGE = [128, 64]
TABLE = [1000, 8]  # large, too: small variables on a CPU go their own way
SMALL = 2**12  # elements of the largest variable that shares its launch
TOGETHER = 8  # how many do
FEW = 16  # how many of them run as plain ops


# --- graphs of steps ------------------------------------------------------------------------------


def dense_spec(shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype)


def rows_spec(shape, dtype=tf.float32, indices=tf.int64):
    """Any number of rows."""
    return tf.IndexedSlicesSpec(shape, dtype, indices, None, indices_shape=[None])


def traced(optimizer, specs, **options):
    """The concrete function of a step with such gradients, and its variables."""
    variables = [tf.Variable(tf.ones(*shape_and_dtype(spec))) for spec in specs]
    optimizer.build(variables)
    step = tf.function(
        lambda grads: optimizer.apply_gradients(zip(grads, variables, strict=True)), **options
    )
    return step.get_concrete_function(specs), variables


def shape_and_dtype(spec):
    if isinstance(spec, tf.IndexedSlicesSpec):
        return spec._shape, spec._values_dtype
    return spec.shape, spec.dtype


def called(node):
    """The names of the functions that a node calls."""
    for value in node.attr.values():
        for function in [value.func, *value.list.func]:
            if function.name:
                yield function.name


def compiled_functions(definition):
    """The names of the functions that XLA compiles, those that they call included."""
    library = {f.signature.name: f for f in definition.library.function}
    found = {name for name, f in library.items() if f.attr["_XlaMustCompile"].b}
    waiting = list(found)
    while waiting:
        inner = {name for node in library[waiting.pop()].node_def for name in called(node)}
        waiting += inner - found
        found |= inner
    return found


def launches(function):
    """The ops of a step, outside of what it calls, that update variables of any size."""
    definition = function.graph.as_graph_def()
    compiled = compiled_functions(definition)
    fused = [node for node in definition.node if node.op.startswith("ResourceApply")]
    return fused + [node for node in definition.node if compiled & set(called(node))]


def times_called(function):
    """How often a step calls each compiled function, the most often called one first."""
    names = collections.Counter(name for node in launches(function) for name in called(node))
    return [count for _, count in names.most_common()]


# --- every step can run on an accelerator ---------------------------------------------------------

HOST_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}  # registered for GPUs, and run on the host
REGISTERED = {}


def has_kernel(node, devices):
    """Whether a kernel of one of these devices takes the types of this node."""
    if node.op not in REGISTERED:
        REGISTERED[node.op] = kernels.get_registered_kernels_for_op(node.op).kernel
    for kernel in REGISTERED[node.op]:
        if kernel.device_type in devices and all(
            c.name in node.attr
            and set(types_of(node.attr[c.name])) <= set(c.allowed_values.list.type)
            for c in kernel.constraint
        ):
            return True
    return False


def types_of(attribute):
    return [attribute.type] if attribute.type else list(attribute.list.type)


def unready(function, all_compiled=False, placed=False):
    """The nodes of a step that keep it off a GPU, each with the reason.

    Args:
        function: the step.
        all_compiled: whether XLA compiles the whole step.
        placed: whether the step's devices are those of replicas.
    """
    definition = function.graph.as_graph_def()
    compiled = compiled_functions(definition)
    bodies = [(definition.node, all_compiled)]
    for inner in definition.library.function:
        name = inner.signature.name
        bodies.append((inner.node_def, all_compiled or name in compiled))
    found = set()
    for nodes, by_xla in bodies:
        for node in nodes:
            types = {t for attribute in node.attr.values() for t in types_of(attribute)}
            if node.op in HOST_OPS:
                found.add((node.op, "runs Python"))
            if tf.string.as_datatype_enum in types:
                found.add((node.op, "strings"))
            if "CPU" in node.device and not placed:
                found.add((node.op, "placed on the host"))
            if node.op == "Placeholder":
                continue  # an argument
            # What is registered for the default device runs on any.
            if not by_xla and not has_kernel(node, {"GPU", "DEFAULT"}):
                found.add((node.op, f"no GPU kernel for {sorted(types)}"))
            for device in ("XLA_GPU_JIT", "XLA_CPU_JIT"):
                if by_xla and not has_kernel(node, {device}):
                    found.add((node.op, f"no {device} kernel for {sorted(types)}"))
    return found


@pytest.fixture(scope="module")
def registry():
    """The registry of kernels, complete: XLA's are registered when it first compiles."""
    if not tf.test.is_built_with_gpu_support():
        pytest.skip("this TensorFlow knows of no GPU kernels")
    tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(1.0))
    REGISTERED.clear()


def decay(case):
    return {"weight_decay": 0.125} if case.cls.decays else {}


def laziest(case):
    return {"lazy": None if case.sparse == "whole" else True}


MIXED = [
    dense_spec(LARGE),
    dense_spec(LARGE, tf.float16),
    dense_spec(LARGE, tf.float64),
    rows_spec(TABLE),
    rows_spec(TABLE, tf.float16, tf.int32),
]


@each(PLAIN if ALL else of_each_kind(PLAIN))
def test_every_op_of_an_update_has_a_kernel_for_gpus(case, registry):
    assert not unready(traced(case.make(), MIXED)[0])
    assert not unready(traced(case.make(jit_compile=False, clipnorm=1.0), MIXED)[0])
    compiled, _ = traced(case.make(), MIXED, jit_compile=True)  # inside of a user's function
    assert not unready(compiled, all_compiled=True)


@each_of_some_kinds
def test_every_op_of_a_policy_has_a_kernel_for_gpus(case, registry):
    averages = {} if case.averages_itself else {"use_ema": True, "ema_overwrite_frequency": 2}
    options = {**averages, "skip_nonfinite": True}
    options |= {"gradient_accumulation_steps": 2, "loss_scale_factor": 8.0, "master_weights": True}
    options |= {"clipvalue": 1.0, "global_clipnorm": 1.0, **laziest(case), **decay(case)}
    assert not unready(traced(case.make(**options), MIXED)[0])
    compiled, _ = traced(case.make(**options), MIXED, jit_compile=True)
    assert not unready(compiled, all_compiled=True)


@each_of_some_kinds
def test_every_op_of_a_mirrored_step_has_a_kernel_for_gpus(case, registry, mirrored):
    with mirrored.scope():
        matrix, table = tf.Variable(tf.ones(LARGE)), tf.Variable(tf.ones(TABLE))
        optimizer = case.make(clipnorm=1.0)
        optimizer.build([matrix, table])

    def replica():
        slices = tf.IndexedSlices(tf.ones([3, 8]), tf.constant([1, 2, 1]))
        optimizer.apply_gradients([(tf.ones(LARGE), matrix), (slices, table)])

    function = tf.function(lambda: mirrored.run(replica)).get_concrete_function()
    assert not unready(function, placed=True)


def test_ops_that_keep_a_step_off_a_gpu_are_seen(registry):
    @tf.function
    def bad(x):
        tf.raw_ops.UniqueV2(x=x, axis=[0])
        tf.py_function(lambda: None, [], [])
        tf.strings.as_string(x)
        with tf.device("CPU:0"):
            tf.raw_ops.Neg(x=x)

    reasons = dict(sorted(unready(bad.get_concrete_function(dense_spec([3])))))
    assert "GPU kernel" in reasons["UniqueV2"]
    assert reasons["EagerPyFunc"] == "runs Python"
    assert reasons["Neg"] == "placed on the host"
    assert "AsString" in reasons

    table, vhat = tf.Variable(tf.ones([3])), tf.Variable(tf.ones([3]))

    @tf.function(jit_compile=True)
    def worse(g):
        scalars = dict.fromkeys(["lr", "beta1", "beta2", "epsilon"], 0.5)
        powers = {"beta1_power": 0.5, "beta2_power": 0.5}
        handles = dict.fromkeys(["var", "m", "v"], table.handle)
        tf.raw_ops.ResourceApplyAdamWithAmsgrad(
            **handles, vhat=vhat.handle, **scalars, **powers, grad=g
        )

    function = tf.function(lambda g: worse(g)).get_concrete_function(dense_spec([3]))
    assert {op for op, _ in unready(function)} == {"ResourceApplyAdamWithAmsgrad"}


# --- launches -------------------------------------------------------------------------------------

CLIPS = {
    "plain": {},
    "clipnorm": {"clipnorm": 1.0},
    "global_clipnorm": {"global_clipnorm": 1.0},
}


def made_of_shape(function, shape):
    """The types of the ops outside nested functions that make tensors of a shape."""
    return {
        op.type
        for op in function.graph.get_operations()
        for output in op.outputs
        if output.shape.rank is not None and output.shape.as_list() == shape
    } - {"Placeholder"}


@each_kind
@pytest.mark.parametrize("clip", CLIPS)
def test_a_large_variable_costs_one_launch_and_no_copy_of_its_gradient(case, clip):
    """Clipping's factor and weight decay are parts of the update."""
    options = {**CLIPS[clip], **(decay(case) if clip == "clipnorm" else {})}
    optimizer = case.make(**options)
    function, _ = traced(optimizer, [dense_spec(LARGE)] * 3)
    assert len(launches(function)) == 3
    assert not made_of_shape(function, LARGE)
    assert times_called(function) in ([], [3])  # a kernel, or one compiled function


def test_what_is_made_of_a_gradients_shape_is_seen():
    function, _ = traced(tfopt.SGD(jit_compile=False, clipnorm=1.0), [dense_spec(LARGE)])
    assert "Mul" in made_of_shape(function, LARGE)


def test_a_kernel_takes_small_variables_too():
    function, _ = traced(tfopt.Adam(), [dense_spec([3, 2])] * 20)
    assert [node.op for node in launches(function)] == ["ResourceApplyAdam"] * 20


@pytest.mark.parametrize("count", [1, 8, 17, 20])
def test_compiled_functions_are_as_many_as_shapes_and_not_as_variables(count):
    """Variables of a shape share launches; small ones that are left share theirs with others."""
    shapes = [[2], [3, 2], LARGE]
    specs = [dense_spec(shape) for shape in shapes for _ in range(count)]
    together, left = divmod(count, TOGETHER)
    small = [together, together, math.ceil(2 * left / TOGETHER)]
    expected = [count, *(small if 2 * count > FEW else [])]  # a few small ones are plain ops
    called = times_called(traced(tfopt.Nadam(), specs)[0])
    assert called == sorted(filter(None, expected), reverse=True)


@each_kind
@pytest.mark.parametrize(
    ("count", "dtype", "calls"),
    [(FEW, "float32", False), (FEW + 1, "float32", True), (1, "float16", True)],
)
def test_a_few_small_variables_call_no_function(case, count, dtype, calls):
    """Plain ops cost less there; in 16 bits their graphs may round otherwise than eager steps."""
    function, _ = traced(case.make(), [dense_spec([3, 2], dtype)] * count)
    kernels = [node for node in launches(function) if node.op.startswith("ResourceApply")]
    assert kernels or bool(times_called(function)) == calls


def test_a_variable_is_small_up_to_a_number_of_elements():
    for size, calls in [(SMALL, 1), (SMALL + 1, TOGETHER)]:
        function, _ = traced(tfopt.Nadam(jit_compile=True), [dense_spec([size])] * TOGETHER)
        assert len(launches(function)) == calls


# --- launches that are shared give the same bits --------------------------------------------------

SHAPES = [(3, 2)] * 6 + [(4,)] + [(3, 2)] * 5 + [(4,)]  # 11 of a shape, and others between
EVERY_SHAPE = tuple(range(len(SHAPES)))
# The first eight of a shape share a launch; their twins, behind them, share one with a vector.
FIRST, TWINS = (0, 1, 2, 3, 4, 5, 7, 8), (0, 1, 2, 3, 4, 5, 7)
WITH_TWINS = (*FIRST[:4], 6, *FIRST[4:], *TWINS)


def variables_of(which, dtype):
    """Number i always begins with the same values."""
    values = values_of(start(dtype, SHAPES))
    return [tf.Variable(values[i]) for i in which]


def trained(optimizer, which=EVERY_SHAPE, dtype="float32", clip=list):
    """Variables after a few steps; number i always gets the same gradients."""
    variables = variables_of(which, dtype)
    steps = [[tf.constant(grads[i], dtype) for i in which] for grads in gradients(3, shapes=SHAPES)]
    train(optimizer, variables, map(clip, steps))
    return values_of(variables)


@each_kind
def test_sharing_a_launch_does_not_change_a_bit(case):
    """In float32, of which vectors hold more numbers."""
    specs = [dense_spec(SHAPES[i], "float32") for i in WITH_TWINS]
    function, _ = traced(case.make(jit_compile=True), specs)
    calls = times_called(function)  # sums over a variable share no launch with other shapes
    assert calls in ([1, 1], [1, 1, 1]) or (case.sparse == "whole" and calls == [7, 1, 1])
    values = trained(case.make(jit_compile=True), WITH_TWINS)
    vector = values.pop(4)
    assert_same(values[8:], values[:7])
    for number, value in (0, values[0]), (6, vector):
        assert_same(trained(case.make(jit_compile=True), [number]), [value])


def test_each_variable_of_a_launch_is_as_with_an_optimizer_of_its_own():
    make = functools.partial(tfopt.Nadam, 0.125, jit_compile=True)
    function, _ = traced(make(), [dense_spec(shape) for shape in SHAPES])
    assert times_called(function) == [1, 1]  # eight of a shape; the vectors, and the rest of it
    together = trained(make())
    assert_same([trained(make(), [i])[0] for i in EVERY_SHAPE], together)


def test_sharing_a_launch_does_not_change_a_bit_under_two_replicas(mirrored):
    with mirrored.scope():
        variables, optimizer = (
            variables_of(WITH_TWINS, "float32"),
            tfopt.Nadam(0.125, jit_compile=True),
        )

    @tf.function
    def step(grads):
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            factor = tf.cast(number + 1, tf.float32)
            scaled = [gradient * factor for gradient in grads]
            optimizer.apply_gradients(zip(scaled, variables, strict=True))

        mirrored.run(replica)

    optimizer.build(variables)
    for grads in gradients(3, shapes=SHAPES):
        grads = [tf.constant(grads[i], tf.float32) for i in WITH_TWINS]
        step(grads)
    assert times_called(step.get_concrete_function(grads)) == [2, 2]
    values = values_of(variables)
    del values[4]
    assert_same(values[8:], values[:7])


# --- gradients of rows ----------------------------------------------------------------------------

DENSIFYING = ("ScatterNd", "TensorScatter")


BY_ROW = {"ResourceGather", "ResourceScatterUpdate", "ResourceScatterNdAdd", "VariableShape"}


def uses(graph, handles, functions):
    """The types of the ops that take these tensors, in the branches of conditions, too."""
    for op in graph.get_operations():
        taken = [i for i, tensor in enumerate(op.inputs) if tensor.ref() in handles]
        if taken and op.type in ("If", "StatelessIf"):
            for name in ("then_branch", "else_branch"):
                inner = functions[op.get_attr(name).name]
                arguments = {inner.inputs[i - 1].ref() for i in taken}
                yield from uses(inner, arguments, functions)
        elif taken:
            yield op.type


def densified(function, variables, flags=()):
    """What a step of rows does with whole variables: pairs of an op and what is wrong with it.

    A policy may look at `flags`, of which each row has one.
    """
    handles = {v.handle.ref() for v in variables}
    inner = {i.ref() for outer, i in function.graph.captures if outer.ref() in handles}
    assert len(inner) == len(variables)
    functions = {name: f.graph for name, f in function.graph._functions.items()}
    for graph in list(functions.values()):
        functions |= {name: f.graph for name, f in graph._functions.items()}
    types = set(uses(function.graph, inner, functions))
    found = {(type_, "takes the variable") for type_ in types - BY_ROW}
    for graph in [function.graph, *functions.values()]:
        for op in graph.get_operations():
            if op.type.startswith(DENSIFYING):
                found.add((op.type, "densifies"))
            for output in op.outputs:
                shape = output.shape.as_list() if output.dtype != tf.resource else []
                if TABLE[0] in (shape or []) and not (flags and len(shape) == 1):
                    found.add((op.type, "is as large as the table"))
    return found


def whole_ops(case, **options):
    optimizer = case.make(**options)
    function, variables = traced(optimizer, [rows_spec(TABLE)])
    slots = slots_of(optimizer, variables[0])
    slots.pop("micro_steps", None)
    flags = [slots.pop("accumulated_rows")] if "accumulated_rows" in slots else []
    return densified(function, [*variables, *slots.values()], flags)


ROW_POLICIES = {
    "averaged": {"clipnorm": 1.0, "clipvalue": 0.5, "use_ema": True, "loss_scale_factor": 8.0},
    "accumulated": {"global_clipnorm": 1.0, "gradient_accumulation_steps": 2},
}


@each(of_each_kind(BY_ROWS))
@pytest.mark.parametrize("policies", ROW_POLICIES)
def test_a_lazy_step_makes_nothing_of_the_size_of_the_table(case, policies):
    options = {**ROW_POLICIES[policies], "skip_nonfinite": True, **decay(case)}
    assert not whole_ops(case, lazy=True, **options)
    if case.sparse == "rows":
        assert not whole_ops(case, **options)


@each_kind
def test_what_has_the_size_of_the_table_is_seen(case):
    reasons = {reason for _, reason in whole_ops(case, lazy=False)}
    assert "takes the variable" in reasons
    assert "is as large as the table" in reasons


@each(of_each_kind(BY_ROWS))
def test_a_lazy_step_leaves_other_rows_as_they_are(case):
    random = np.random.default_rng(1)
    start = random.normal(size=[7, 4]).astype("float32")
    table = tf.Variable(start)
    optimizer = case.make(lazy=True, clipvalue=0.5, global_clipnorm=1.0, **decay(case))
    optimizer.build([table])
    slots = [optimizer.get_slot(table, name) for name in case.slots]
    before = [slot.numpy() for slot in slots]
    for _ in range(2):
        values = tf.constant(random.normal(size=[3, 4]), tf.float32)
        optimizer.apply_gradients([(tf.IndexedSlices(values, tf.constant([5, 2, 5])), table)])
    others = [0, 1, 3, 4, 6]
    moved = []
    for variable, old in zip([table, *slots], [start, *before], strict=True):
        np.testing.assert_array_equal(variable.numpy()[others], old[others])
        moved.append((variable.numpy()[[2, 5]] != old[[2, 5]]).all())
    assert moved[0] and (not slots or any(moved[1:]))


def scatters(function):
    definition = function.graph.as_graph_def()
    bodies = [definition.node, *(inner.node_def for inner in definition.library.function)]
    return [node.op for body in bodies for node in body if node.op.startswith(DENSIFYING)]


@each_kind
def test_exact_rows_make_no_dense_gradient(case):
    for lazy in (None, False):
        function, _ = traced(case.make(lazy=lazy), [rows_spec(TABLE)])
        assert bool(scatters(function)) == (case.sparse == "whole")


class Centered(tfopt.Adam):
    """Not row by row: it takes the mean of the whole gradient away from it."""

    def update(self, g, x, s, h):
        return super().update(g - tf.reduce_mean(g), x, s, h)


class Undeclared(tfopt.Optimizer):
    """Says nothing of rows."""

    learning_rate = tfopt.Hyper(0.25, low=0)

    def update(self, g, x, s, h):
        return x - h.learning_rate * (g - tf.reduce_mean(g))


class Misdeclared(Centered):
    sparse = "exact"

    def update(self, g, x, s, h):
        return super().update(g, x, s, h)


def of_rows_and_dense(make):
    """The table after steps with gradients of rows, and with the same gradients, dense."""
    results = []
    for by_rows in (True, False):
        table, optimizer = tf.Variable(np.arange(8.0).reshape(4, 2)), make()
        for first in (1, 2):
            values = tf.constant([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]], tf.float64)
            indices = tf.constant([first, 3, first])
            if by_rows:
                gradient = tf.IndexedSlices(values, indices)
            else:
                gradient = tf.math.unsorted_segment_sum(values, indices, 4)
            optimizer.apply_gradients([(gradient, table)])
        results.append(table.numpy())
    return results


@pytest.mark.parametrize("make", [Centered, Undeclared])
def test_a_parents_word_does_not_make_an_update_row_by_row(make):
    by_rows, by_dense = of_rows_and_dense(make)
    np.testing.assert_allclose(by_rows, by_dense, rtol=1e-12)
    assert scatters(traced(make(), [rows_spec(TABLE)])[0])


def test_a_word_of_its_own_is_taken():
    by_rows, by_dense = of_rows_and_dense(Misdeclared)
    assert not np.allclose(by_rows, by_dense, rtol=1e-6)
    assert not scatters(traced(Misdeclared(), [rows_spec(TABLE)])[0])


def test_no_word_is_no_leave_to_be_lazy():
    with pytest.raises(ValueError, match="lazy"):
        Undeclared(lazy=True)


def test_repeated_rows_are_added_in_one_order():
    """Rounding depends on the order, and copies on replicas must not come to differ."""
    random = np.random.default_rng(1)
    values = tf.constant(random.normal(size=[2**16, 64]), tf.float32)
    gradient = tf.IndexedSlices(values, tf.constant(random.integers(0, 1000, 2**16)))
    for steps in None, 2:
        tables = [tf.Variable(tf.zeros([1000, 64])) for _ in range(8)]
        for table in tables:
            optimizer = tfopt.SGD(0.1, gradient_accumulation_steps=steps)
            for _ in range(steps or 1):
                optimizer.apply_gradients([(gradient, table)])
        for table in tables:
            np.testing.assert_array_equal(table, tables[0])
        assert np.abs(tables[0]).max() > 0


# --- the factor of clipping -----------------------------------------------------------------------

LIMIT = 0.5
SCALED = {
    "clipnorm": lambda grads: [tf.clip_by_norm(g, LIMIT) for g in grads],
    "global_clipnorm": lambda grads: tf.clip_by_global_norm(grads, LIMIT)[0],
}


@each_kind
def test_clipping_inside_the_update_is_clipping_before_it(case):
    for clip, before in SCALED.items():
        inside = trained(case.make(**{clip: LIMIT}), [0, 1], "float64")
        expected = trained(case.make(), [0, 1], "float64", before)
        np.testing.assert_allclose(inside, expected, rtol=1e-12, atol=1e-12)


class Hooked(tfopt.Optimizer):
    def resource_apply_dense(self, grad, var):
        return var.assign_sub(grad)


@pytest.mark.parametrize("clip", SCALED)
def test_hooks_and_transformers_see_the_scaled_gradient(clip):
    grads = [tf.constant([3.0, 4.0]), tf.constant([[0.5], [12.0]])]
    expected = SCALED[clip](grads)
    assert np.abs(expected[1] - grads[1]).max() > 1
    seen = []

    def look(pairs):
        seen.extend(gradient.numpy() for gradient, _ in pairs)
        return pairs

    transformed = tfopt.SGD(1.0, gradient_transformers=[look], **{clip: LIMIT})
    for optimizer in (Hooked(**{clip: LIMIT}), transformed):
        variables = [tf.Variable(tf.zeros_like(g)) for g in grads]
        optimizer.apply_gradients(zip(grads, variables, strict=True))
        for variable, g in zip(variables, expected, strict=True):
            np.testing.assert_allclose(variable, -g, rtol=1e-6)
    for gradient, g in zip(seen, expected, strict=True):
        np.testing.assert_allclose(gradient, g, rtol=1e-6)


# --- without XLA ----------------------------------------------------------------------------------


@pytest.fixture
def without_xla(monkeypatch):
    monkeypatch.setattr(tf.test, "is_built_with_xla", lambda: False)


def after_two_steps(optimizer, shape):
    """The variables, and the warnings on the way."""
    variables = [tf.Variable(tf.ones(shape), name=name) for name in ("first", "second")]
    grads = [tf.fill(shape, 0.5), tf.fill(shape, -2.0)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            optimizer.apply_gradients(zip(grads, variables, strict=True))
        late = tf.Variable(tf.ones(shape))
        optimizer.apply_gradients([(grads[0], late)])  # another function
    messages = [str(w.message) for w in caught if issubclass(w.category, tfopt.TfoptWarning)]
    return [variable.numpy() for variable in [*variables, late]], messages


@pytest.mark.parametrize("shape", [[3], LARGE])
def test_plain_ops_take_the_place_of_xla_with_one_warning(shape, without_xla):
    values, (message,) = after_two_steps(tfopt.Nadam(0.25), shape)
    assert "CPU:0" in message
    assert "first" in message
    assert "Nadam" in message
    expected, none = after_two_steps(tfopt.Nadam(0.25, jit_compile=False), shape)
    assert not none
    assert_same(values, expected)


@pytest.mark.parametrize("shape", [[3], LARGE], ids=["small", "large"])
def test_a_fused_kernel_does_not_miss_xla(shape, without_xla):
    """It runs whether or not XLA is there, so there is nothing to warn of."""
    values, messages = after_two_steps(tfopt.Adam(0.25), shape)
    assert not messages
    assert_same(values, after_two_steps(tfopt.Adam(0.25, jit_compile=False), shape)[0])


# --- eager mode -----------------------------------------------------------------------------------


@each_kind
def test_an_eager_step_is_traced_once_for_any_number_of_rows(case):
    cls, steps = counted(case.cls)
    table, optimizer = tf.Variable(tf.ones([6, 2])), cls(**case.arguments)
    for count in (2, 5, 1, 0):
        slices = tf.IndexedSlices(tf.ones([count, 2]), tf.range(count))
        optimizer.apply_gradients([(slices, table)])
    assert len(steps) == 1
    assert optimizer.iterations.numpy() == 4


def test_a_gradient_may_be_an_array_a_number_or_a_variable():
    def after(*grads):
        variables = [tf.Variable([1.0, 2.0]), tf.Variable([1.0, 2.0]), tf.Variable(3.0)]
        cls, steps = counted(tfopt.Adam)
        optimizer = cls(0.25)
        for _ in range(3):
            optimizer.apply_gradients(zip(grads, variables, strict=True))
        assert len(steps) == 1
        return values_of(variables)

    expected = after(tf.constant([0.5, -1.0]), tf.constant([2.0, 0.0]), tf.constant(-2.0))
    values = np.array([0.5, -1.0], "float32")
    assert_same(after(values, tf.Variable([2.0, 0.0]), -2.0), expected)
    assert_same(after(values.astype("float64"), tf.Variable([2.0, 0.0]), -2), expected)
    assert_same(after(values, np.array([2.0, 0.0], "float32"), np.float32(-2)), expected)


def test_a_variable_as_gradient_is_read_at_each_step():
    variable, gradient, optimizer = tf.Variable(0.0), tf.Variable(1.0), tfopt.SGD(1.0)
    optimizer.apply_gradients([(gradient, variable)])
    gradient.assign(10.0)
    optimizer.apply_gradients([(gradient, variable)])
    assert variable.numpy() == -11.0


@pytest.mark.parametrize("name", ["Adam", "Nadam"])
@pytest.mark.parametrize("shape", [[2], LARGE], ids=["small", "large"])
def test_an_outer_tape_goes_on_with_the_new_value(name, shape):
    variable, alone = tf.Variable(tf.fill(shape, 3.0)), tf.Variable(tf.fill(shape, 3.0))
    optimizer, other = getattr(tfopt, name)(0.25), getattr(tfopt, name)(0.25)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            loss = variable * variable
        optimizer.apply_gradients([(inner.gradient(loss, variable), variable)])
        after = variable**2
    other.apply_gradients([(tf.fill(shape, 6.0), alone)])
    np.testing.assert_array_equal(variable, alone.numpy())
    np.testing.assert_allclose(outer.gradient(after, variable), 2 * alone.numpy(), rtol=1e-6)


MANY = [(5, 3), (7,), (1,), (16,), (33,), (64, 10), (128,), ()]


@each_kind
def test_launches_of_many_shapes_are_those_of_eager_steps_bit_for_bit(case):
    """A traced step mixes shapes in a launch, an eager one does not."""
    steps = [[tf.constant(g, tf.float32) for g in grads] for grads in gradients(4, shapes=MANY)]
    found = []
    for wrap in (lambda function: function, functools.partial(tf.function, autograph=False)):
        optimizer, variables = case.make(), start("float32", MANY)

        def step(grads, optimizer=optimizer, variables=variables):
            optimizer.apply_gradients(zip(grads, variables, strict=True))

        step = wrap(step)
        for grads in steps:
            step(grads)
        found.append(values_of(variables, optimizer))
    assert_same(*found)
