"""Weight decay: decoupled, by rows where the update is, and not of what is excluded."""

import copy

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import each_library
from training import rows

import tfopt

ALL = tfopt.optimizers.__all__
HAS_ROWS = [name for name in ALL if getattr(tfopt, name).sparse != "whole"]


@pytest.mark.parametrize("lazy", [None, True, False])
@pytest.mark.parametrize("name", [n for n in ALL if getattr(tfopt, n).decays == "base"])
def test_weight_decay_is_decoupled_and_by_the_rows_of_row_paths(name, lazy):
    if lazy and name not in HAS_ROWS:
        pytest.skip("it needs whole variables; it refuses to be lazy")
    opt = getattr(tfopt, name)(0.5, weight_decay=0.25, lazy=lazy)
    plain = getattr(tfopt, name)(0.5, weight_decay=None, lazy=lazy)
    values = np.arange(1.0, 9.0, dtype="float32").reshape(4, 2)
    decayed, variable = (tf.Variable(values, name="embeddings") for _ in range(2))
    gradient = rows([[1.0, -1.0]], [2])
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
    gradient = rows([[1.0]], [1]) if sparse else tf.constant([[0.0], [1.0]])
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


def stack(first, count=3):
    """Variables whose names were made up, counting from `first`."""
    return [tf.Variable([1.0], name=f"dense_{first + n}/kernel") for n in range(count)]


def decayed(optimizer, variables):
    optimizer.apply_gradients([(tf.zeros_like(v), v) for v in variables])
    return [v[0].numpy().tolist() for v in variables]


@pytest.mark.parametrize("shift", [0, 1, 5], ids=["same names", "names overlap", "other names"])
def test_an_excluded_variable_is_found_again_where_names_have_shifted(shift):
    variables = stack(0)
    optimizer = tfopt.SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=[variables[1]])
    assert decayed(optimizer, variables) == [0.5, 1.0, 0.5]
    again = tfopt.SGD.from_config(optimizer.get_config())
    once_more = tfopt.SGD.from_config(again.get_config())  # before it has seen variables
    for twin in (again, once_more, tfopt.SGD.from_config(optimizer.get_config())):
        assert decayed(twin, stack(shift)) == [0.5, 1.0, 0.5]


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("alone", [False, True], ids=["with its variables", "alone"])
def test_a_deep_copy_excludes_what_its_variables_are_copies_of(alone, built):
    variables = stack(0)
    layer = tf_keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    layer.build((None, 1))
    optimizer = tfopt.SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=[variables[1], layer])
    if built:
        optimizer.build([*variables, layer.kernel])
    if alone:
        twin = copy.deepcopy(optimizer)
    else:
        twin, variables, kernel = copy.deepcopy((optimizer, variables, layer.kernel))
        assert kernel is not layer.kernel
        assert decayed(twin, [kernel]) == [[1.0]]
    assert decayed(twin, variables) == [0.5, 1.0, 0.5]


def test_a_position_is_one_among_the_variables_seen_first():
    """Later ones may be as many by chance."""
    variables = stack(0)
    optimizer = tfopt.SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=[variables[1]])
    decayed(optimizer, variables)
    twin = tfopt.SGD.from_config(optimizer.get_config())
    with pytest.warns(tfopt.TfoptWarning, match="saved for dense_1/kernel"):
        twin.build(stack(5, 2))
    assert decayed(twin, stack(10)) == [0.5, 0.5, 0.5]
    assert decayed(twin, stack(1, 1)) == [1.0]  # it has the path


def test_an_excluded_variable_that_is_gone_is_named():
    variables = stack(0)
    optimizer = tfopt.SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=variables[1:])
    decayed(optimizer, variables)
    twin = tfopt.SGD.from_config(optimizer.get_config())
    with pytest.warns(tfopt.TfoptWarning, match="saved for dense_2/kernel, which.*not among"):
        assert decayed(twin, stack(0, 2)) == [0.5, 1.0]


@each_library
def test_a_layer_is_excluded_also_before_it_is_built(library):
    layers = [library.layers.Dense(1, use_bias=False, kernel_initializer="ones") for _ in "ab"]
    optimizer = tfopt.SGD(1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(layers[1])
    for layer in layers:
        layer.build((None, 1))
    kernels = [layer.kernel for layer in layers]
    optimizer.apply_gradients([(tf.zeros([1, 1]), kernel) for kernel in kernels])
    np.testing.assert_array_equal([k.numpy().item() for k in kernels], [0.5, 1.0])
    alone = tfopt.SGD(1.0, weight_decay=0.5, exclude_from_weight_decay=[layers[0]])
    alone.apply_gradients([(tf.zeros([1, 1]), kernel) for kernel in kernels])
    np.testing.assert_array_equal([k.numpy().item() for k in kernels], [0.5, 0.5])


def test_each_replica_may_exclude_the_same(mirrored):
    """What is excluded already may be excluded again at any time, something else may not."""
    with mirrored.scope():
        kept, decayed = tf.Variable(2.0, name="norm"), tf.Variable(2.0)
    optimizer = tfopt.SGD(1.0, weight_decay=0.25)

    def replica_step():
        optimizer.exclude_from_weight_decay(var_list=[kept], var_names=["bias"])
        zero = tf.constant(0.0)
        optimizer.apply_gradients([(zero, kept), (zero, decayed)])

    mirrored.run(replica_step)
    assert kept.numpy() == 2.0 and decayed.numpy() == 1.5
    pattern, record = optimizer.get_config()["exclude_from_weight_decay"]
    assert pattern == "bias" and record["path"] == "norm"
    for other in ({"var_list": [decayed]}, {"var_names": ["kernel"]}):
        with pytest.raises(ValueError, match="before the optimizer sees variables.*got"):
            optimizer.exclude_from_weight_decay(**other)
