"""What optimizers share of compiled functions, and what they must not."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

import tfopt

LARGE = [80, 64]  # which XLA updates, and not a kernel


def moved(optimizer, steps=1, shape=LARGE):
    """How far the optimizer moves ones by gradients of ones."""
    x = tf.Variable(tf.ones(shape))
    for _ in range(steps):
        optimizer.apply_gradients([(tf.ones(shape), x)])
    return float(x[0, 0]) - 1


def make_class(**keywords):
    class Mine(tfopt.Optimizer, **keywords):
        learning_rate = tfopt.Hyper(1.0)
        cfg = tfopt.Static(None)
        gamma = 1.0

        def update(self, g, x, s, h):
            traces.append(1)
            return x - h.learning_rate * self.gamma * g

    traces = []
    Mine.count = staticmethod(lambda: len(traces))
    return Mine


def test_a_second_optimizer_of_a_class_compiles_nothing(monkeypatch):
    traces, update = [], tfopt.Lion.update
    monkeypatch.setattr(
        tfopt.Lion, "update", lambda self, *args: traces.append(1) or update(self, *args)
    )
    for rate in (0.5, 0.25, 0.125):
        assert moved(tfopt.Lion(rate), 3, [80, 65]) == -3 * rate  # a shape of this test's own
    assert len(traces) == 1


def test_a_class_that_promises_it_shares():
    for keywords, count in (({"shared": True}, 1), ({}, 2)):
        cls = make_class(**keywords)
        assert moved(cls(0.5)) == -0.5 and moved(cls(0.25)) == -0.25
        assert cls.count() == count


def test_a_class_attribute_counts_for_each_new_optimizer():
    cls = make_class()
    assert moved(cls()) == -1
    cls.gamma = 0.5
    assert moved(cls()) == -0.5
    cls.update = lambda self, g, x, s, h: x + g
    assert moved(cls()) == 1


def test_a_promise_is_not_inherited():
    class Heir(make_class(shared=True)):
        def update(self, g, x, s, h):
            return x - factor * g

    factor = 3.0
    assert moved(Heir()) == -3
    factor = 5.0
    assert moved(Heir()) == -5


def test_statics_are_told_apart_by_type():
    class Typed(tfopt.Optimizer, shared=True):
        learning_rate = tfopt.Hyper(1.0)
        mode = tfopt.Static(None)

        def update(self, g, x, s, h):
            return x - {bool: 1.0, int: 2.0, float: 3.0}[type(self.mode)] * g

    assert [moved(Typed(mode=mode)) for mode in (True, 1, 1.0)] == [-1, -2, -3]


def test_reads_that_are_not_declared_break_no_promise_silently():
    class Reads(tfopt.Optimizer, shared=True):
        learning_rate = tfopt.Hyper(1.0)

        def update(self, g, x, s, h):
            try:
                rate = self.learning_rate  # the variable, and not `h`
            except Exception:
                rate = 0.0
            return x - rate * g

    assert moved(Reads(0.5)) == -0.5 and moved(Reads(0.25)) == -0.25


@pytest.mark.parametrize("cls", [tfopt.AdamW, tfopt.Nadam, make_class(shared=True), make_class()])
def test_an_optimizer_is_freed_with_its_variables(cls):
    optimizer = cls(0.5)
    moved(optimizer, 3)
    kept = [weakref.ref(optimizer), weakref.ref(optimizer.iterations)]
    del optimizer
    gc.collect()
    assert [ref() for ref in kept] == [None, None]


def test_begin_may_give_more_than_tensors():
    class Nested(tfopt.Optimizer):
        learning_rate = tfopt.Hyper(1.0)

        def begin(self, h, state):
            h.rates = (h.learning_rate * 2, {"three": h.learning_rate * 3})
            h.array = np.array([4.0], np.float32)
            h.function = lambda value: value * h.learning_rate

        def update(self, g, x, s, h):
            return x - h.function(h.rates[0] + h.rates[1]["three"] + h.array) * g

    for cls in (Nested, type("Shared", (Nested,), {}, shared=True)):
        assert moved(cls(), 3) == -27
        assert moved(cls(), 3, [2, 2]) == -27


def test_an_update_that_fails_leaves_nothing_half_done():
    class NoMatrices(tfopt.Optimizer):
        learning_rate = tfopt.Hyper(1.0)
        state = {"power": 1.0}

        def begin(self, h, state):
            state.power = state.power / 2

        def update(self, g, x, s, h):
            if x.shape.rank == 2:
                raise ValueError("no matrices")
            return x - g

    vector, matrix, optimizer = tf.Variable([1.0]), tf.Variable([[1.0]]), NoMatrices()
    with pytest.raises(ValueError, match="no matrices"):
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in (vector, matrix)])
    assert vector.numpy() == matrix.numpy() == 1
    assert optimizer.get_weights() == [0, 1]  # iterations and power


def test_constructors_of_users_are_not_called_behind_their_back():
    class Demanding(make_class()):
        def __new__(cls, rate, **keywords):
            return super().__new__(cls)

    assert moved(Demanding(0.5), 3) == -1.5
