"""The life of a step: which variables and gradients it takes, in which order it treats them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt._engine import function
from tfopt._libraries import tensorflow_private

ALL = tfopt.optimizers.__all__
HAS_ROWS = [name for name in ALL if getattr(tfopt, name).sparse != "whole"]


def slices(values, indices):
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices))


# --- the order of a step --------------------------------------------------------------------------


def test_replicas_are_summed_before_clipping(mirrored):
    """[3, 0] and [0, 4] with clipnorm 1 give a step of [.6, .8], not of [1, 1]."""
    with mirrored.scope():
        variable = tf.Variable([0.0, 0.0])
        opt = tfopt.SGD(1.0, clipnorm=1.0)

    @tf.function
    def step():
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            gradient = tf.where(tf.equal(number, 0), [3.0, 0.0], [0.0, 4.0])
            opt.apply_gradients([(gradient, variable)])

        mirrored.run(replica)

    step()
    for copy in mirrored.experimental_local_results(variable):
        np.testing.assert_allclose(copy, [-0.6, -0.8], rtol=1e-6)


CLIPS = [
    {"clipnorm": 1.0},
    {"clipvalue": 0.5},
    {"global_clipnorm": 1.0},
    {"clipvalue": 2.0, "clipnorm": 1.0},
    {"clipvalue": 2.0, "global_clipnorm": 1.0},
]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: "-".join(clip))
@pytest.mark.parametrize("sparse", [False, True])
def test_clipping_is_that_of_the_dense_gradient(clip, sparse):
    dense, other = np.zeros([4, 2], "float32"), np.array([3.0, -4.0], "float32")
    dense[1], dense[3] = [2.0, 4.0], [1.0, 1.0]
    gradient = slices([[1.0, 1.0], [1.0, 1.0], [1.0, 3.0]], [1, 3, 1]) if sparse else dense
    variables = [tf.Variable(np.zeros([4, 2], "float32")), tf.Variable(np.zeros(2, "float32"))]
    tfopt.SGD(1.0, **clip).apply_gradients(
        [(gradient, variables[0]), (tf.constant(other), variables[1])]
    )
    expected = [dense, other]
    if "clipvalue" in clip:
        expected = [np.clip(g, -clip["clipvalue"], clip["clipvalue"]) for g in expected]
    if "clipnorm" in clip:
        expected = [g / max(np.linalg.norm(g), clip["clipnorm"]) for g in expected]
    if "global_clipnorm" in clip:
        norm = np.sqrt(sum((g**2).sum() for g in expected))
        expected = [g / max(norm, clip["global_clipnorm"]) for g in expected]
    for variable, g in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, -g, rtol=1e-6)


def test_clipping_in_half_precision_does_not_overflow():
    variable = tf.Variable(tf.zeros([4], tf.float16))
    tfopt.SGD(1.0, clipnorm=2.0).apply_gradients(
        [(tf.fill([4], tf.cast(3e4, tf.float16)), variable)]
    )
    np.testing.assert_allclose(variable, -np.ones(4), rtol=1e-3)


def test_clipping_to_zero_stops_even_a_zero_gradient():
    variable = tf.Variable([1.0, 2.0])
    opt = tfopt.SGD(1.0, clipnorm=0.0)
    for gradient in ([3.0, 4.0], [0.0, 0.0]):
        opt.apply_gradients([(tf.constant(gradient), variable)])
    np.testing.assert_array_equal(variable, [1.0, 2.0])


def test_a_clip_limit_changes_without_a_retrace():
    variable, opt = tf.Variable(0.0), tfopt.SGD(1.0, clipvalue=1.0)
    step = tf.function(lambda: opt.apply_gradients([(tf.constant(5.0), variable)]))
    step()
    opt.clipvalue = 2.0
    step()
    assert variable.numpy() == -3.0


def test_transformers_come_after_clipping_and_aggregators_first():
    seen = []

    def aggregate(pairs):
        seen.append("aggregate")
        return [(10.0 * g, v) for g, v in pairs]

    def halve(pairs):
        seen.append("transform")
        return [(g / 2.0, v) for g, v in pairs]

    variable = tf.Variable(0.0)
    opt = tfopt.SGD(
        1.0, clipvalue=4.0, gradient_aggregator=aggregate, gradient_transformers=[halve, halve]
    )
    opt.apply_gradients([(tf.constant(1.0), variable)])
    assert variable.numpy() == -1.0
    assert seen == ["aggregate", "transform", "transform"]
    opt.apply_gradients([(tf.constant(1.0), variable)])
    assert len(seen) == 6
    with pytest.warns(tfopt.TfoptWarning, match="pass it again"):
        opt.get_config()
    bad = tfopt.SGD(gradient_transformers=[lambda pairs: pairs[:0]])
    with pytest.raises(ValueError, match="gradient_transformers"):
        bad.apply_gradients([(tf.constant(1.0), variable)])


@pytest.mark.parametrize("lazy", [None, True, False])
@pytest.mark.parametrize("name", [name for name in ALL if getattr(tfopt, name).decays == "base"])
def test_weight_decay_is_decoupled_and_by_the_rows_of_row_paths(name, lazy):
    if lazy and name not in HAS_ROWS:
        pytest.skip("it needs whole variables; it refuses to be lazy")
    opt = getattr(tfopt, name)(0.5, weight_decay=0.25, lazy=lazy)
    plain = getattr(tfopt, name)(
        0.5, lazy=lazy, **({"weight_decay": None} if name == "AdamW" else {})
    )
    values = np.arange(1.0, 9.0, dtype="float32").reshape(4, 2)
    decayed, variable = tf.Variable(values), tf.Variable(values)
    gradient = slices([[1.0, -1.0]], [2])
    by_rows = lazy is True or (lazy is None and opt.sparse in ("rows", "rows_move"))
    start = values.copy()
    start[[2] if by_rows else slice(None)] *= 1 - 0.5 * 0.25
    variable.assign(start)
    opt.apply_gradients([(gradient, decayed)])
    plain.apply_gradients([(gradient, variable)])
    np.testing.assert_allclose(decayed, variable.numpy(), rtol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_weight_decay_with_hooks(sparse):
    class Plain(tfopt.Optimizer):
        def __init__(self, learning_rate, **kwargs):
            super().__init__("Plain", **kwargs)
            self._set_hyper("learning_rate", learning_rate)

        def resource_apply_dense(self, grad, var):
            return var.assign_sub(self._get_hyper("learning_rate", var.dtype) * grad)

    variable = tf.Variable([[1.0], [2.0]])
    gradient = slices([[1.0]], [1]) if sparse else tf.constant([[0.0], [1.0]])
    Plain(0.5, weight_decay=0.5).apply_gradients([(gradient, variable)])
    np.testing.assert_allclose(variable, [[0.75], [1.0]])


def test_exclusion_by_variable_and_by_pattern_survives_the_config():
    kept, excluded, named = (tf.Variable(1.0, name=n) for n in ("kernel", "other", "norm_scale"))
    opt = tfopt.SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=[excluded, "norm|bias"])
    again = tfopt.SGD.from_config(opt.get_config())
    by_method = tfopt.SGD(1.0, weight_decay=0.5)
    by_method.exclude_from_weight_decay(var_list=[excluded], var_names=["norm"])
    for optimizer in (opt, again, by_method):
        variables = [kept, excluded, named]
        for variable in variables:
            variable.assign(1.0)
        optimizer.apply_gradients([(tf.constant(0.0), v) for v in variables])
        np.testing.assert_array_equal(variables, [0.5, 1.0, 1.0])
    with pytest.raises(ValueError, match="exclude_from_weight_decay"):
        opt.exclude_from_weight_decay(var_names=["x"])
    with pytest.raises(ValueError, match="exclude_from_weight_decay"):
        tfopt.SGD(exclude_from_weight_decay=["("])
    with pytest.raises(TypeError, match="exclude_from_weight_decay"):
        tfopt.SGD(exclude_from_weight_decay=[3])


@pytest.mark.parametrize("names", ["bias", ["bias"], None])
def test_one_name_or_one_variable_may_be_excluded(names):
    kernel, bias = tf.Variable(1.0, name="kernel_abs"), tf.Variable(1.0, name="bias")
    opt = tfopt.SGD(1.0, weight_decay=0.5)
    opt.exclude_from_weight_decay(var_list=bias if names is None else None, var_names=names)
    opt.apply_gradients([(0.0, kernel), (0.0, bias)])
    np.testing.assert_array_equal([kernel, bias], [0.5, 1.0])
    alone = tfopt.SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=bias)
    alone.apply_gradients([(0.0, kernel), (0.0, bias)])
    np.testing.assert_array_equal([kernel, bias], [0.25, 1.0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_repeated_rows_are_summed_in_float32(dtype):
    table, opt = tf.Variable(tf.zeros([2, 1], dtype)), tfopt.SGD(2.0**-10)
    gradient = tf.IndexedSlices(tf.ones([1024, 1], dtype), tf.zeros([1024], tf.int32))
    opt.apply_gradients([(gradient, table)])
    np.testing.assert_array_equal(tf.cast(table, tf.float32), [[-1.0], [0.0]])


@pytest.mark.parametrize("clip", [{}, {"clipnorm": 1.0}])
@pytest.mark.parametrize("sparse", [False, True])
def test_hooks_get_gradients_of_the_variables_dtype(clip, sparse):
    seen = []

    class Hooked(tfopt.Optimizer):
        def resource_apply_dense(self, grad, var):
            seen.append(grad.dtype)

    gradient = tf.ones([2, 1], tf.float16)
    if sparse:
        gradient = tf.IndexedSlices(gradient, tf.constant([0, 0]))
    Hooked(**clip).apply_gradients([(gradient, tf.Variable(tf.ones([2, 1], tf.float16)))])
    assert seen == [tf.float16]


# --- variables that turn up late ------------------------------------------------------------------


def test_a_second_function_brings_a_new_variable():
    a, b, opt = tf.Variable(1.0), tf.Variable(1.0), tfopt.Adam(0.5)

    @tf.function
    def first():
        opt.minimize(lambda: a * a, [a])

    @tf.function
    def second():
        opt.minimize(lambda: a * b, [a, b])

    first()
    kept = opt.get_slot(a, "v").numpy()
    second()
    first()
    assert opt.get_slot(b, "m").numpy() != 0
    assert opt.get_slot(a, "v").numpy() != kept
    assert opt.iterations.numpy() == 3
    expected = [opt.get_slot(variable, name) for variable in (a, b) for name in ("m", "v")]
    assert all(w is e for w, e in zip(opt.weights[1:], expected, strict=True))


def test_one_function_brings_a_new_variable_when_it_is_traced_again():
    a, b, opt, traces = tf.Variable(1.0), tf.Variable(1.0), tfopt.Adam(0.5), []

    @tf.function
    def step(both):
        traces.append(both)
        opt.minimize(lambda: a * b, [a, b] if both else [a])

    for both in (False, False, True, True, False):
        step(both)
    assert traces == [False, True]
    assert opt.iterations.numpy() == 5


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_alternating_partial_lists_are_two_optimizers_by_turns(mode):
    variables = [tf.Variable(1.0), tf.Variable(2.0), tf.Variable(3.0)]
    opt = tfopt.SGD(0.5, momentum=0.5)
    turns = [[0, 1], [2], [1, 2], [0, 1], [2, 1, 0]]
    expected, momentum = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    for turn in turns:
        chosen = [variables[i] for i in turn]

        def step(chosen=chosen):
            opt.apply_gradients([(tf.constant(1.0), v) for v in chosen])

        (step if mode == "eager" else tf.function(step))()
        momentum[turn] = 0.5 * momentum[turn] - 0.5
        expected[turn] += momentum[turn]
    np.testing.assert_allclose(variables, expected, rtol=1e-6)
    assert opt.iterations.numpy() == len(turns)


def test_a_gan_with_two_optimizers_in_one_function():
    generator, critic = tf.Variable(1.0), tf.Variable(-1.0)
    first, second = tfopt.Adam(0.1), tfopt.RMSprop(0.1)

    @tf.function
    def step():
        with tf.GradientTape(persistent=True) as tape:
            loss = generator * critic
        first.apply_gradients([(tape.gradient(loss, generator), generator)])
        second.apply_gradients([(-tape.gradient(loss, critic), critic)])

    for _ in range(3):
        step()
    assert first.iterations.numpy() == second.iterations.numpy() == 3
    assert generator.numpy() > 1.0
    assert critic.numpy() > -1.0


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_first_used_inside_a_function(name, jit_compile):
    variable = tf.Variable([1.0, 2.0])
    opt = getattr(tfopt, name)(0.5)

    @tf.function(jit_compile=jit_compile)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((variable * x) ** 2)
        return opt.apply_gradients([(tape.gradient(loss, variable), variable)])

    assert [int(step(tf.constant(1.0))) for _ in range(3)] == [1, 2, 3]
    other, eager = tf.Variable([1.0, 2.0]), getattr(tfopt, name)(0.5)
    for _ in range(3):
        eager.minimize(lambda: tf.reduce_sum(other**2), [other])
    np.testing.assert_allclose(variable, other.numpy(), rtol=1e-5)


def test_one_optimizer_in_a_loop_inside_a_function():
    variable, opt = tf.Variable(1.0), tfopt.SGD(0.5)

    @tf.function
    def train(steps):
        for _ in tf.range(steps):
            opt.minimize(lambda: variable * variable / 2.0, [variable])

    train(tf.constant(3))
    assert variable.numpy() == 0.125
    assert opt.iterations.numpy() == 3


def test_inside_a_cond():
    variable, opt = tf.Variable(1.0), tfopt.Adam(0.5)

    @tf.function
    def step(go):
        if go:
            opt.minimize(lambda: variable * variable, [variable])

    step(tf.constant(False))
    assert opt.iterations.numpy() == 0
    step(tf.constant(True))
    assert opt.iterations.numpy() == 1


def test_made_outside_the_scope(mirrored):
    opt = tfopt.Nadam(0.5)
    with mirrored.scope():
        variable, late = tf.Variable(1.0), tf.Variable(1.0)

    @tf.function
    def step(both):
        mirrored.run(
            lambda: opt.minimize(
                lambda: variable * variable + late, [variable, late] if both else [variable]
            )
        )

    step(False)
    step(True)
    assert opt.iterations.numpy() == 2
    slot = opt.get_slot(late, "m")
    assert len(mirrored.experimental_local_results(slot)) == 2


def test_eager_replicas(mirrored):
    """Without a function around `strategy.run`."""
    with mirrored.scope():
        variable, opt = tf.Variable([1.0, 2.0]), tfopt.Adam(0.5, clipnorm=1.0)
    for _ in range(2):
        mirrored.run(lambda: opt.apply_gradients([(tf.constant([1.0, 0.0]), variable)]))
    assert opt.iterations.numpy() == 2
    copies = mirrored.experimental_local_results(variable)
    np.testing.assert_array_equal(copies[0], copies[1])
    np.testing.assert_allclose(copies[0], [0.0, 2.0], atol=1e-5)


def test_a_mirrored_variable_outside_its_strategy_is_refused(mirrored):
    with mirrored.scope():
        variable = tf.Variable([1.0, 2.0])
    with pytest.raises(RuntimeError, match="strategy.run"):
        tfopt.SGD().apply_gradients([(tf.ones(2), variable)])
    for copy in mirrored.experimental_local_results(variable):
        np.testing.assert_array_equal(copy, [1.0, 2.0])


def test_a_build_that_fails_leaves_nothing(mirrored):
    plain = tf.Variable(1.0)
    with mirrored.scope():
        opt, variables = tfopt.Adam(), [tf.Variable(1.0), plain]
        with pytest.raises(ValueError, match="scope"):
            opt.build(variables)
        assert len(opt.weights) == 1
        assert not opt.built
        opt.build(variables[:1])
        assert len(opt.weights) == 3


def test_a_plain_variable_under_a_strategy_is_refused(mirrored):
    variable, opt = tf.Variable(1.0), tfopt.Adam()

    @tf.function
    def step():
        mirrored.run(lambda: opt.apply_gradients([(tf.constant(1.0), variable)]))

    with pytest.raises(ValueError, match="scope"):
        step()


# --- gradients that are missing or malformed ------------------------------------------------------


def test_none_gradients_warn_once():
    a, b, opt = tf.Variable(1.0, name="a"), tf.Variable(1.0, name="b"), tfopt.SGD(0.5)
    with pytest.warns(tfopt.TfoptWarning, match="b") as caught:
        for _ in range(3):
            opt.apply_gradients([(tf.constant(1.0), a), (None, b)])
    assert len(caught) == 1
    assert (a.numpy(), b.numpy()) == (-0.5, 1.0)
    with pytest.raises(ValueError, match="a, b"):
        opt.apply_gradients([(None, a), (None, b)])


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_an_empty_list_does_nothing(jit_compile):
    opt = tfopt.Adam()

    def step():
        return opt.apply_gradients([])

    if jit_compile is not None:
        step = tf.function(step, jit_compile=jit_compile)
    assert int(step()) == 0
    assert opt.iterations.numpy() == 0


def test_variables_to_be_overwritten_are_refused():
    variable, opt = keras.Variable(1.0), tfopt.Adam()
    variable.overwrite_with_gradient = True
    with pytest.raises(NotImplementedError, match="float8"):
        opt.apply_gradients([(tf.constant(1.0), variable)])


X = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="x")


@pytest.mark.parametrize(
    ("error", "pairs"),
    [
        (TypeError, 3),
        (TypeError, [3]),
        (TypeError, [(X,)]),
        (TypeError, [(X, X, X)]),
        (TypeError, [(tf.constant(1.0), 3)]),
        (TypeError, [(tf.constant(1.0), tf.constant(1.0))]),
        (TypeError, [("gradient", X)]),
        (ValueError, [(tf.constant([1.0, 2.0]), X)]),
        (ValueError, [(tf.ones([2, 2], tf.float64), X)]),
        (ValueError, [(tf.ones([2, 2], tf.int32), X)]),
        (ValueError, [(slices([[1.0]], [0]), X)]),
        (ValueError, [(slices([[1.0, 2.0]], [0, 1]), X)]),
        (ValueError, [(tf.constant(1), tf.Variable(1))]),
        (ValueError, [(tf.constant(1 + 1j), tf.Variable(1 + 1j))]),
        (ValueError, [(slices([1.0], [0]), tf.Variable(1.0))]),
    ],
)
def test_malformed_pairs_raise_and_change_nothing(error, pairs):
    opt, good = tfopt.Adam(), tf.Variable(1.0)
    if isinstance(pairs, list):
        pairs = [(tf.constant(1.0), good), *pairs]
    before = X.numpy()
    with pytest.raises(error, match="`"):
        opt.apply_gradients(pairs)
    assert good.numpy() == 1.0
    np.testing.assert_array_equal(X, before)
    assert opt.iterations.numpy() == 0


# --- kinds of variables ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_partly_known_shapes(name):
    variable = tf.Variable(np.ones([2, 3], "float32"), shape=[None, 3])
    whole = tf.Variable(np.ones([2, 3], "float32"))
    for v in (variable, whole):
        opt = getattr(tfopt, name)(0.5)
        for gradient in (tf.ones([2, 3]), slices([[1.0, 2.0, 3.0]], [1])):
            opt.apply_gradients([(gradient, v)])
    np.testing.assert_allclose(variable, whole.numpy(), rtol=1e-5)


def test_complex_variables_with_sgd():
    variable = tf.Variable([1 + 1j, 2 - 1j])
    opt = tfopt.SGD(0.5, momentum=0.5, clipnorm=1.0)
    gradient = np.array([3 + 0j, 0 + 4j])
    expected, momentum = variable.numpy(), 0
    for _ in range(3):
        opt.apply_gradients([(tf.constant(gradient), variable)])
        momentum = 0.5 * momentum - 0.5 * gradient / 5
        expected = expected + momentum
    np.testing.assert_allclose(variable, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="floating"):
        tfopt.Adam().apply_gradients([(tf.constant(gradient), variable)])


@pytest.mark.parametrize("name", ALL)
def test_dtypes_mix_in_one_step(name):
    dtypes = ("float16", "bfloat16", "float32", "float64")
    variables = [tf.Variable(np.ones(3), dtype=d) for d in dtypes]
    opt = getattr(tfopt, name)(0.25)
    for _ in range(3):
        opt.apply_gradients([(tf.ones([3], v.dtype), v) for v in variables])
    for variable, tolerance in zip(variables, (1e-2, 5e-2, 1e-5, 0), strict=True):
        np.testing.assert_allclose(
            tf.cast(variable, tf.float64), variables[-1].numpy(), rtol=tolerance
        )


def test_a_float32_gradient_for_a_half_variable():
    variable = tf.Variable(tf.ones([2], tf.bfloat16))
    tfopt.SGD(0.5).apply_gradients([(tf.constant([1.0, 2.0]), variable)])
    np.testing.assert_array_equal(tf.cast(variable, tf.float32), [0.5, 0.0])


def test_a_bfloat16_weight_moves():
    """Where scalars are cast to bfloat16, beta_2 is 1 and Adam stands still."""
    variable, opt = tf.Variable(1.0, dtype=tf.bfloat16), tfopt.Adam(0.125)
    for _ in range(3):
        opt.apply_gradients([(tf.constant(1.0, tf.bfloat16), variable)])
    np.testing.assert_allclose(float(variable), 1 - 3 * 0.125, rtol=1e-2)


def test_scalars_and_empty_variables():
    scalar, empty, opt = tf.Variable(1.0), tf.Variable(tf.zeros([0, 3])), tfopt.Nadam(0.5)
    opt.apply_gradients([(1.0, scalar), (np.zeros([0, 3], "float32"), empty)])
    assert scalar.numpy() < 1.0
    opt.apply_gradients([(tf.IndexedSlices(tf.zeros([0, 3]), tf.zeros([0], tf.int64)), empty)])


@pytest.mark.parametrize("index_dtype", [tf.int32, tf.int64])
def test_no_rows_at_all(index_dtype):
    variable = tf.Variable(tf.ones([3, 2]))
    opt = tfopt.Adagrad(0.5)
    none = tf.IndexedSlices(tf.zeros([0, 2]), tf.zeros([0], index_dtype))
    opt.apply_gradients([(none, variable)])
    np.testing.assert_array_equal(variable, np.ones([3, 2]))


# --- compute paths --------------------------------------------------------------------------------


def operations(function):
    """The types of all ops of a concrete function, nested ones included."""
    graph = function.graph.as_graph_def()
    nested = [node.op for f in graph.library.function for node in f.node_def]
    return [node.op for node in graph.node] + nested


def step_function(opt, variables, gradients):
    opt.build(variables)
    function = tf.function(lambda g: opt.apply_gradients(zip(g, variables, strict=True)))
    return function.get_concrete_function(gradients)


@pytest.mark.parametrize("name", ALL)
def test_variables_of_one_shape_share_a_compiled_update(name, shared):
    variables = [tf.Variable(tf.ones([3, 2])) for _ in range(4)] + [tf.Variable(tf.ones([3]))]
    opt = getattr(tfopt, name)(jit_compile=True)
    opt.apply_gradients([(tf.ones(v.shape), v) for v in variables])
    assert len(shared) == 2
    assert all(f.experimental_get_tracing_count() == 1 for f in shared.values())


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adadelta", "Adagrad", "Adamax", "Ftrl"])
def test_a_fused_kernel_is_all_there_is_to_an_update(name):
    variables = [tf.Variable(tf.ones([3, 2])) for _ in range(3)]
    ops = operations(step_function(getattr(tfopt, name)(), variables, [tf.ones([3, 2])] * 3))
    assert sum("ResourceApply" in op for op in ops) == 3
    assert not {"AssignVariableOp", "PartitionedCall"} & set(ops)


def test_jit_compile_false_calls_no_function():
    variables = [tf.Variable(tf.ones([3, 2]))]
    ops = operations(step_function(tfopt.Nadam(jit_compile=False), variables, [tf.ones([3, 2])]))
    assert not [op for op in ops if "PartitionedCall" in op]


def test_inside_xla_is_known():
    seen = []

    @tf.function(jit_compile=True)
    def compiled():
        seen.append(tensorflow_private.inside_xla())

    @tf.function
    def outer():
        seen.append(tensorflow_private.inside_xla())
        compiled()

    outer()
    assert seen == [False, True]
    assert not tensorflow_private.inside_xla()


@pytest.mark.parametrize("name", HAS_ROWS)
def test_lazy_makes_nothing_of_the_size_of_the_table(name):
    table = tf.Variable(tf.zeros([1000, 4]))
    decay = {"weight_decay": 0.1} if getattr(tfopt, name).decays else {}
    opt = getattr(tfopt, name)(lazy=True, global_clipnorm=1.0, **decay)
    gradient = tf.IndexedSlices(tf.ones([3, 4]), tf.constant([1, 5, 1]))
    opt.build([table])
    function = tf.function(lambda g: opt.apply_gradients([(g, table)]))
    graph = function.get_concrete_function(gradient).graph
    for op in graph.get_operations():
        for output in op.outputs:
            if output.dtype != tf.resource and output.shape.rank:
                assert output.shape[0] != 1000, op
        assert op.type not in ("ReadVariableOp", "AssignVariableOp") or not op.inputs[0].shape.rank


@pytest.mark.parametrize("method", ["update", "begin", "slots"])
def test_a_subclass_that_replaces_the_mathematics_is_run(method):
    class Mine(tfopt.Adam):
        if method == "update":

            def update(self, g, x, s, h):
                return x - 100.0

        if method == "begin":

            def begin(self, h, state):
                super().begin(h, state)
                h.alpha = 100.0 * h.alpha

        if method == "slots":

            def slots(self, x):
                return {"m": tfopt.full(x, 100.0), "v": tfopt.zeros(x)}

    variable = tf.Variable(0.0)
    Mine(1.0).apply_gradients([(tf.constant(1.0), variable)])
    assert variable.numpy() < -99


def test_functions_of_the_eager_step_are_not_kept_for_ever():
    opt = tfopt.SGD(0.25)
    for _ in range(function.MAX_STEPS + 3):
        variable = tf.Variable(1.0)
        for _ in range(3):
            opt.apply_gradients([(1.0, variable)])
        assert variable.numpy() == 0.25
    assert len(opt._engine.functions) == function.MAX_STEPS


# --- writing an optimizer -------------------------------------------------------------------------


class Lookback(tfopt.Optimizer):
    """Everything an author may declare: slots of any shape, state, begin, a copy of x."""

    learning_rate = tfopt.Hyper(0.5, low=0)
    pull = tfopt.Hyper(0.0, low=0, off=0)

    sparse = "whole"
    state = {"weight": 0.0}

    def slots(self, x):
        slots = {"sum": tf.zeros([]), "first": tfopt.copy(x)}
        return {**slots, "twos": tfopt.full(x, 2.0)} if self.uses("pull") else slots

    def begin(self, h, state):
        state.weight = state.weight + h.learning_rate
        h.weight = state.weight

    def update(self, g, x, s, h):
        s.sum = s.sum + tf.reduce_sum(g)
        x = x - h.weight * g
        return x + h.pull * s.twos * (s.first - x) if self.uses("pull") else x


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_an_optimizer_of_ones_own(mode):
    variable, opt = tf.Variable([1.0, 2.0]), Lookback(pull=0.125)

    def step(gradient):
        opt.apply_gradients([(gradient, variable)])

    step = step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")
    expected, weight = np.array([1.0, 2.0]), 0.0
    for gradient in ([1.0, 0.0], [2.0, 1.0]):
        step(tf.constant(gradient))
        weight += 0.5
        expected = expected - weight * np.array(gradient)
        expected = expected + 0.25 * (np.array([1.0, 2.0]) - expected)
    np.testing.assert_allclose(variable, expected, rtol=1e-6)
    assert opt.get_slot(variable, "sum").numpy() == 4.0
    np.testing.assert_array_equal(opt.get_slot(variable, "first"), [1.0, 2.0])
    assert [w.shape for w in opt.get_weights()] == [(), (), (), (2,), (2,)]
    assert opt.weights[1].numpy() == 1.0


def test_whole_optimizers_densify_and_refuse_lazy():
    table, opt = tf.Variable(tf.ones([3, 1])), Lookback()
    opt.apply_gradients([(slices([[1.0], [1.0]], [1, 1]), table)])
    np.testing.assert_array_equal(table, [[1.0], [0.0], [1.0]])
    with pytest.raises(ValueError, match="lazy"):
        Lookback(lazy=True)
    late = Lookback()
    late.lazy = True
    with pytest.raises(ValueError, match="lazy"):
        late.build([table])


def test_own_decay_reaches_update_and_respects_exclusion():
    class Own(tfopt.Optimizer):
        learning_rate = tfopt.Hyper(1.0)
        decays = "own"

        def update(self, g, x, s, h):
            return x - h.weight_decay * x

    a, b = tf.Variable(1.0, name="a"), tf.Variable(1.0, name="b")
    opt = Own(weight_decay=0.5, exclude_from_weight_decay=["b"])
    opt.apply_gradients([(0.0, a), (0.0, b)])
    np.testing.assert_array_equal([a, b], [0.5, 1.0])


def test_an_author_is_told_of_mistakes():
    class NoUpdate(tfopt.Optimizer):
        pass

    class Undeclared(tfopt.Optimizer):
        def update(self, g, x, s, h):
            s.m = g
            return x

    class WrongWord(tfopt.Optimizer):
        sparse = "some"

    class UndeclaredState(tfopt.Optimizer):
        def begin(self, h, state):
            state.count = 1.0

        def update(self, g, x, s, h):
            return x

    with pytest.raises(ValueError, match="'count'"):
        UndeclaredState().apply_gradients([(1.0, tf.Variable(1.0))])
    with pytest.raises(ValueError, match="learning rate"):
        Undeclared(weight_decay=0.1).apply_gradients([(1.0, tf.Variable(1.0))])
    with pytest.raises(NotImplementedError, match="update"):
        NoUpdate().apply_gradients([(1.0, tf.Variable(1.0))])
    with pytest.raises(ValueError, match="'m'"):
        Undeclared().apply_gradients([(1.0, tf.Variable(1.0))])
    with pytest.raises(ValueError, match="sparse"):
        WrongWord()


def test_a_variable_over_a_class_attribute_is_tracked(tmp_path):
    class Counting(tfopt.SGD):
        counter = None

    opt = Counting()
    opt.counter = tf.Variable(3)
    path = tf.train.Checkpoint(opt=opt).save(str(tmp_path / "ckpt"))
    assert any("opt/counter" in name for name, _ in tf.train.list_variables(path))


def test_a_module_that_holds_an_optimizer():
    class Trainer(tf.Module):
        def __init__(self):
            super().__init__()
            self.weight = tf.Variable(1.0)
            self.opt = tfopt.Adam(0.5)

    trainer = Trainer()
    trainer.opt.minimize(lambda: trainer.weight**2, [trainer.weight])
    assert [v.name for v in trainer.trainable_variables] == [trainer.weight.name]
    assert {v.ref() for v in trainer.opt.weights} <= {v.ref() for v in trainer.variables}
    assert trainer.opt in trainer.submodules


def test_user_optimizers_are_found_once_registered():
    @tfopt.register
    class Mine(tfopt.Optimizer):
        learning_rate = tfopt.Hyper(0.5, low=0)

        def update(self, g, x, s, h):
            return x - h.learning_rate * g

    assert type(tfopt.get("mine")) is Mine
    assert keras.saving.get_registered_object("tfopt>Mine") is Mine
    config = tfopt.serialize(Mine(0.25))
    assert tfopt.deserialize(config).get_config() == Mine(0.25).get_config()
    with pytest.raises(ValueError, match="taken"):
        tfopt.register(type("Mine", (tfopt.Optimizer,), {}))
    with pytest.raises(TypeError, match="cls"):
        tfopt.register(3)
