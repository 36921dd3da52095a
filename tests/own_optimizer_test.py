"""Optimizers of users: what an author may declare, what is refused, what is found and tracked."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from training import rows
from training_modes import LARGE, assert_close, first_values, sums

import tfopt


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
    opt.apply_gradients([(rows([[1.0], [1.0]], [1, 1]), table)])
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


def test_a_variable_over_a_class_attribute_is_tracked(tmp_path):
    class Counting(tfopt.SGD):
        counter = None

    opt = Counting()
    opt.counter = tf.Variable(3)
    path = tf.train.Checkpoint(opt=opt).save(str(tmp_path / "ckpt"))
    assert any("opt/counter" in name for name, _ in tf.train.list_variables(path))


@pytest.mark.parametrize("wrap", [lambda opt: opt, tfopt.LossScaleOptimizer], ids=["", "scaled"])
def test_a_module_that_holds_an_optimizer(wrap):
    class Trainer(tf.Module):
        def __init__(self):
            super().__init__()
            self.weight = tf.Variable(1.0)
            self.opt = wrap(tfopt.Adam(0.5))

    trainer = Trainer()
    trainer.opt.minimize(lambda: trainer.weight**2, [trainer.weight])
    assert [v.name for v in trainer.trainable_variables] == [trainer.weight.name]
    assert {v.ref() for v in trainer.opt.weights} <= {v.ref() for v in trainer.variables}
    assert trainer.opt in trainer.submodules


# --- what compiled functions know -----------------------------------------------------------------


def with_a_factor():
    """A class, and a list that grows with each trace of its `update`.

    What that reads of the instance is no part of what the class declares.
    """

    class OwnFactor(tfopt.Optimizer, shared=True):
        learning_rate = tfopt.Hyper(1.0)
        factor = 1.0

        def update(self, g, x, s, h):
            traces.append(self.factor)
            return x - self.factor * h.learning_rate * g

    traces = []
    return OwnFactor, traces


def test_an_attribute_of_an_instance_is_its_own(mode):
    cls, traces = with_a_factor()
    steps = mode.gradients(2, [LARGE])
    [[first]], [gradients] = [list(first_values([LARGE]).values())], sums(steps)
    for factor in (2.0, 3.0):
        opt = cls(0.5)
        opt.factor = factor
        assert_close(mode.train(opt, steps, [LARGE]), [first - factor * 0.5 * sum(gradients)])
    assert traces.count(2.0) == traces.count(3.0) > 0  # each has compiled a function for itself


def test_numbers_are_no_part_of_compiled_functions(mode):
    cls, traces = with_a_factor()
    steps = mode.gradients(2, [LARGE])
    [[first]], [gradients] = [list(first_values([LARGE]).values())], sums(steps)
    for rate in (0.5, 0.25):
        assert_close(mode.train(cls(rate), steps, [LARGE]), [first - rate * sum(gradients)])
    assert len(traces) == 1
