"""Which ops and functions a step is made of."""

import pytest
import tensorflow as tf
from extensions import Noting
from training import rows

import tfopt


def operations(function):
    """The types of all ops of a concrete function, nested ones included."""
    graph = function.graph.as_graph_def()
    nested = [node.op for f in graph.library.function for node in f.node_def]
    return [node.op for node in graph.node] + nested


def step_function(opt, variables, gradients):
    opt.build(variables)
    function = tf.function(lambda g: opt.apply_gradients(zip(g, variables, strict=True)))
    return function.get_concrete_function(gradients)


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
    """It lacks one kernel, and is slow where it cannot know how many rows there are."""
    opt, matrix, table = tfopt.Adam(amsgrad=True), *(tf.Variable(tf.ones([3, 2])) for _ in "ab")
    opt.build([matrix, table])

    def step():
        gradients = tf.ones([3, 2]), rows([[1.0, 1.0]] * 2, [1, 1])
        opt.apply_gradients(zip(gradients, (matrix, table), strict=True))

    within = tf.function(tf.function(step), jit_compile=True)
    around = tf.function(lambda: within())
    foreign = {"ResourceApplyAdamWithAmsgrad", "Unique"}
    assert foreign <= set(operations(tf.function(step).get_concrete_function()))
    assert not foreign & set(operations(around.get_concrete_function()))


@pytest.mark.parametrize(
    "name", [n for n in tfopt.optimizers.__all__ if getattr(tfopt, n).sparse != "whole"]
)
def test_lazy_makes_nothing_of_the_size_of_the_table(name):
    table = tf.Variable(tf.zeros([1000, 4]), name="embeddings")
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


def test_functions_of_eager_steps_are_kept_up_to_a_number():
    class Noted(tfopt.SGD, policies=[Noting], shared=True):
        pass

    opt, variables, taken = Noted(0.25), [tf.Variable(0.0) for _ in range(80)], [0] * 80

    def runs_in_python(number):
        """Takes a step of one variable."""
        before = Noting.steps
        opt.apply_gradients([(-1.0, variables[number])])
        taken[number] += 1
        return Noting.steps > before

    for number in range(80):
        assert runs_in_python(number)
        while runs_in_python(number):
            assert taken[number] < 9
    assert 0 < sum(map(runs_in_python, reversed(range(80)))) < 80  # those that were kept first
    assert [variable.numpy() for variable in variables] == [0.25 * count for count in taken]
