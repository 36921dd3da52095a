"""What a step takes for gradients, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from training import rows, value_of

import tfopt


@pytest.mark.parametrize("in_a_function", [False, True], ids=["eager", "traced"])
def test_a_warning_points_at_the_line_that_called(in_a_function):
    """Not at one of tfopt's, nor at TensorFlow's wrapper of methods."""
    x, y = tf.Variable(1.0), tf.Variable(1.0)
    optimizer = tfopt.SGD()

    def step():
        optimizer.apply_gradients([(tf.constant(1.0), x), (None, y)])

    with pytest.warns(tfopt.TfoptWarning, match="No gradients") as caught:
        (tf.function(step, autograph=False) if in_a_function else step)()
    assert caught[0].filename == __file__


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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_repeated_rows_are_summed_in_float32(dtype):
    table, opt = tf.Variable(tf.zeros([2, 1], dtype)), tfopt.SGD(2.0**-10)
    gradient = tf.IndexedSlices(tf.ones([1024, 1], dtype), tf.zeros([1024], tf.int32))
    opt.apply_gradients([(gradient, table)])
    np.testing.assert_array_equal(tf.cast(table, tf.float32), [[-1.0], [0.0]])


@pytest.mark.parametrize("index_dtype", [tf.int32, tf.int64])
def test_no_rows_at_all(index_dtype):
    variable = tf.Variable(tf.ones([3, 2]))
    opt = tfopt.Adagrad(0.5)
    none = tf.IndexedSlices(tf.zeros([0, 2]), tf.zeros([0], index_dtype))
    opt.apply_gradients([(none, variable)])
    np.testing.assert_array_equal(variable, np.ones([3, 2]))


def test_a_float32_gradient_for_a_half_variable():
    variable = tf.Variable(tf.ones([2], tf.bfloat16))
    tfopt.SGD(0.5).apply_gradients([(tf.constant([1.0, 2.0]), variable)])
    np.testing.assert_array_equal(tf.cast(variable, tf.float32), [0.5, 0.0])


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
        (ValueError, [(tf.ones([2, 2], tf.complex64), X)]),
        (ValueError, [([[1.0, 2.0]], X)]),
        (TypeError, [([["a", "b"], ["c", "d"]], X)]),
        (ValueError, [(rows([["a", "b"]], [0]), X)]),
        (TypeError, [(tf.IndexedSlices([[1.0, 2.0]], [0.5]), X)]),
        (ValueError, [(tf.ones([2, 2], tf.int32), X)]),
        (ValueError, [(rows([[1.0]], [0]), X)]),
        (ValueError, [(rows([[1.0, 2.0]], [0, 1]), X)]),
        (ValueError, [(tf.constant(1), tf.Variable(1))]),
        (ValueError, [(tf.constant(1 + 1j), tf.Variable(1 + 1j))]),
        (ValueError, [(rows([1.0], [0]), tf.Variable(1.0))]),
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


@pytest.mark.parametrize("base", [tfopt, tfopt.legacy], ids=["tfopt", "legacy"])
def test_gradients_may_be_lists_and_arrays(base):
    x, y, z, opt = tf.Variable([1.0, 2.0]), tf.Variable(1.0), tf.Variable([1.0]), base.SGD(0.5)
    for gradients in (
        ([2.0, 4.0], 2.0, [tf.constant(2.0)]),
        (np.array([2, 4]), np.float64(2), (2,)),
        (keras.Variable([2.0, 4.0]), tf.Variable(2.0), keras.ops.convert_to_tensor([2.0])),
    ):
        opt.apply_gradients(zip(gradients, [x, y, z], strict=True))
    np.testing.assert_array_equal(x, [-2.0, -4.0])
    assert (y.numpy(), z.numpy()) == (-2.0, [-2.0])


@pytest.mark.parametrize("base", [tfopt, tfopt.legacy], ids=["tfopt", "legacy"])
@pytest.mark.parametrize(
    ("of_variable", "of_gradient"),
    [
        ("float32", "float64"),
        ("float64", "float32"),
        ("float32", "float16"),
        ("float16", "bfloat16"),
        ("bfloat16", "float64"),
    ],
)
def test_gradients_of_another_float_dtype_are_cast(base, of_variable, of_gradient):
    for name in ("SGD", "Adam"):
        x, expected = (tf.Variable(tf.ones([3, 2], of_variable)) for _ in range(2))
        opt, other = (getattr(base, name)(0.5) for _ in range(2))
        for _ in range(4):
            g = tf.constant([[0.5, 1.0], [2.0, -1.0], [0.25, 1.0]], of_gradient)
            opt.apply_gradients([(g, x)])
            other.apply_gradients([(tf.cast(g, of_variable), expected)])
            sliced = tf.IndexedSlices(g[:2], tf.constant([2, 0]))
            opt.apply_gradients([(sliced, x)])
            sliced = tf.IndexedSlices(tf.cast(g[:2], of_variable), tf.constant([2, 0]))
            other.apply_gradients([(sliced, expected)])
        np.testing.assert_array_equal(tf.cast(x, tf.float64), tf.cast(expected, tf.float64))


@pytest.mark.parametrize("base", [tfopt, tfopt.legacy], ids=["tfopt", "legacy"])
def test_rows_may_be_lists_and_arrays(base):
    table, opt = tf.Variable(tf.zeros([3, 1])), base.SGD(1.0)
    for values, indices in (
        (np.array([[1.0], [2.0]]), np.array([0, 2])),
        ([[1.0], [2.0]], [0, 2]),
        (tf.constant([[1.0], [2.0]]), np.array([0, 2], np.int32)),
    ):
        opt.apply_gradients([(tf.IndexedSlices(values, indices, (3, 1)), table)])
    np.testing.assert_array_equal(table, [[-3.0], [0.0], [-6.0]])


# --- gradients that are new values, as in Keras' float8 training ----------------------------------


def overwritten(value, **kwargs):
    variable = keras.Variable(value, **kwargs)
    variable.overwrite_with_gradient = True
    return variable


@pytest.mark.parametrize("wrap", [lambda step: step, tf.function], ids=["eager", "traced"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_variables_are_overwritten_with_their_gradients(name, wrap):
    """Neither a loss scale, clipping, decay, averages nor the optimizer's update changes these."""
    a, b = overwritten([1.0, 2.0]), keras.Variable([1.0, 2.0])
    alone = keras.Variable([1.0, 2.0])
    options = {
        "clipnorm": 0.5,
        "loss_scale_factor": 4.0,
        "weight_decay": 0.1,
        "use_ema": True,
        "skip_nonfinite": True,
    }
    opt, other = (getattr(tfopt, name)(0.5, **options) for _ in range(2))

    @wrap
    def step(g):
        opt.apply([3 * g, g], [a, b])
        other.apply([g], [alone])

    for number in (1.0, 2.0, 3.0):
        step(tf.constant([number, 1.0]))
    np.testing.assert_array_equal(a.numpy(), [9.0, 3.0])
    np.testing.assert_array_equal(b.numpy(), alone.numpy())
    assert int(opt.iterations) == 3
    assert [w.shape for w in opt.weights] == [w.shape for w in other.weights]
    step(tf.constant([np.inf, 1.0]))
    np.testing.assert_array_equal(a.numpy(), [9.0, 3.0])
    opt.finalize_variable_values([a, b])
    np.testing.assert_array_equal(a.numpy(), [9.0, 3.0])


def test_only_variables_that_are_overwritten():
    a, opt = overwritten(1.0), tfopt.Adam(clipnorm=1.0, gradient_accumulation_steps=2)
    opt.apply([tf.constant(3.0)], [a])
    assert (float(a.numpy()), int(opt.iterations)) == (1.0, 0)
    opt.apply([tf.constant(2.0)], [a])
    assert (float(a.numpy()), int(opt.iterations)) == (3.0, 1)


def test_a_window_overwrites_with_the_largest_values():
    a, b = overwritten([1.0, 2.0]), keras.Variable([1.0, 2.0])
    opt = tfopt.SGD(1.0, gradient_accumulation_steps=2)
    for ours, theirs in ((1.0, 1.0), (2.0, 2.0), (1.0, 1.0)):
        opt.apply([tf.fill([2], ours), tf.fill([2], theirs)], [a, b])
    np.testing.assert_array_equal(a.numpy(), [2.0, 2.0])
    np.testing.assert_array_equal(b.numpy(), [-0.5, 0.5])
    opt.flush()
    np.testing.assert_array_equal(a.numpy(), [1.0, 1.0])
    np.testing.assert_array_equal(b.numpy(), [-1.5, -0.5])


@pytest.mark.parametrize("wrapper", [tfopt.LossScaleOptimizer, keras.optimizers.LossScaleOptimizer])
def test_a_loss_scale_does_not_change_what_overwrites(wrapper):
    a, b = overwritten([1.0, 2.0]), keras.Variable(1.0)
    opt = wrapper(tfopt.SGD(0.5), initial_scale=4.0)
    opt.apply([tf.constant([6.0, 7.0]), tf.constant(4.0)], [a, b])
    np.testing.assert_array_equal(a.numpy(), [6.0, 7.0])
    assert float(b.numpy()) == 0.5


def test_float8_training_is_that_of_keras():
    values = []
    for optimizer in (keras.optimizers.SGD(0.1), tfopt.SGD(0.1)):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input([16]), keras.layers.Dense(16), keras.layers.Dense(1)])
        for layer in model.layers:
            layer.quantize("float8")
        model.compile(optimizer, "mse")
        x = np.random.default_rng(0).normal(size=[16, 16]).astype("float32")
        model.fit(x, x[:, :1], epochs=4, batch_size=4, verbose=0)
        values.append(model.get_weights())
    for theirs, ours in zip(*values, strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-5, 1e-6)


def test_optimizers_for_optimizer_v2_refuse_variables_to_be_overwritten():
    with pytest.raises(NotImplementedError, match="float8"):
        tfopt.legacy.SGD().apply_gradients([(tf.constant(1.0), overwritten(1.0))])


@pytest.mark.parametrize("window", [None, 2])
def test_replicas_overwrite_with_the_largest_values(window, mirrored):
    with mirrored.scope():
        a = overwritten([1.0, 2.0])
    optimizer = tfopt.SGD(gradient_accumulation_steps=window)

    def replica():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        number = tf.cast(number, tf.float32)
        optimizer.apply_gradients([(tf.stack([number, 5 - number]), a)])

    step = tf.function(lambda: mirrored.run(replica))
    for _ in range(window or 1):
        step()
    np.testing.assert_array_equal(value_of(a.value), [1.0, 5.0])
