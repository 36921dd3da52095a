"""Subclasses that override methods of a step and call `super`, as wrappers of optimizers do."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from training import value_of

import tfopt

BASES = {"tfopt": tfopt, "legacy": tfopt.legacy}
each_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)
each_class = pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])


def doubled(pairs):
    return [(None if g is None else 2.0 * g, variable) for g, variable in pairs]


def of_gradients(pairs):
    return [gradient for gradient, _ in pairs]


# A wrapper of the time: it makes a subclass of any optimizer's class at run time. Which of the
# methods it overrides depends on the version of Keras.


def overriding(methods):
    """The body of a wrapper's class, which calls the wrapped class by `super(self.__class__)`."""

    class Body(keras.optimizers.Optimizer):
        _HAS_AGGREGATE_GRAD = True

        def __init__(self, **kwargs):
            super(self.__class__, self).__init__(**kwargs)
            self.calls = []

        def _compute_gradients(self, loss, var_list, grad_loss=None, tape=None):
            self.calls.append("_compute_gradients")
            parent = super(self.__class__, self)
            return doubled(parent._compute_gradients(loss, var_list, grad_loss, tape=tape))

        def compute_gradients(self, loss, var_list, tape=None):
            self.calls.append("compute_gradients")
            return doubled(super(self.__class__, self).compute_gradients(loss, var_list, tape))

        def get_gradients(self, loss, params):
            self.calls.append("get_gradients")
            return [2.0 * g for g in super(self.__class__, self).get_gradients(loss, params)]

        def _aggregate_gradients(self, grads_and_vars):
            self.calls.append("_aggregate_gradients")
            return doubled(super(self.__class__, self)._aggregate_gradients(grads_and_vars))

        def aggregate_gradients(self, grads_and_vars):
            self.calls.append("aggregate_gradients")
            return doubled(super(self.__class__, self).aggregate_gradients(grads_and_vars))

        def _clip_gradients(self, grads):
            self.calls.append("_clip_gradients")
            return [2.0 * g for g in super(self.__class__, self)._clip_gradients(grads)]

        def apply_gradients(self, grads_and_vars, *args, **kwargs):
            self.calls.append("apply_gradients")
            parent = super(self.__class__, self)
            return parent.apply_gradients(doubled(grads_and_vars), *args, **kwargs)

    body = dict(Body.__dict__)
    all_methods = {n for n, value in body.items() if callable(value) and n != "__init__"}
    for name in all_methods - set(methods):
        del body[name]
    return body


def wrapped(optimizer, *methods):
    cls = type(optimizer)
    return type(cls.__name__, (cls,), overriding(methods)).from_config(optimizer.get_config())


OF_A_STEP = ("_aggregate_gradients", "aggregate_gradients", "_clip_gradients", "apply_gradients")
OF_MINIMIZE = ("_compute_gradients", "compute_gradients")


def trained(optimizer, steps, minimize=True, wrap=lambda step: step):
    x, y = tf.Variable([1.0, -2.0]), tf.Variable(3.0)

    def loss():
        return tf.reduce_sum(x * x) + y * y

    def step():
        if minimize:
            optimizer.minimize(loss, [x, y])
        else:
            with tf.GradientTape() as tape:
                value = loss()
            optimizer.apply_gradients(zip(tape.gradient(value, [x, y]), [x, y], strict=True))

    step = wrap(step)
    for _ in range(steps):
        step()
    return x.numpy(), y.numpy()


@each_base
@pytest.mark.parametrize("wrap", [lambda step: step, tf.function], ids=["eager", "traced"])
@pytest.mark.parametrize("method", [*OF_A_STEP, *OF_MINIMIZE])
def test_an_overridden_method_takes_part_in_a_step(base, method, wrap):
    if base is tfopt.legacy and method == "aggregate_gradients":
        pytest.skip("OptimizerV2 has no such method")
    optimizer = wrapped(base.SGD(0.1), method)
    assert type(optimizer).__name__ == "SGD"
    for value, expected in zip(
        trained(optimizer, 3, wrap=wrap), trained(base.SGD(0.2), 3), strict=True
    ):
        np.testing.assert_allclose(value, expected, 1e-6)
    assert set(optimizer.calls) == {method}
    assert len(optimizer.calls) in (1, 2, 3)


@each_base
def test_one_that_is_aggregated_already_is_not_aggregated_again(base):
    optimizer, x = wrapped(base.SGD(0.5), "_aggregate_gradients"), tf.Variable(1.0)
    optimizer.apply_gradients([(tf.constant(1.0), x)], experimental_aggregate_gradients=False)
    assert x.numpy() == 0.5 and not optimizer.calls


@each_base
def test_gradients_pass_all_methods_of_a_wrapper(base):
    """The forms of a wrapper that averages gradients over processes, in both versions."""
    for methods in (
        ("_compute_gradients", "get_gradients", "_aggregate_gradients", "apply_gradients"),
        ("compute_gradients", "get_gradients", "_aggregate_gradients", "apply_gradients"),
    ):
        optimizer = wrapped(base.SGD(0.125), *methods)
        for value, expected in zip(trained(optimizer, 2), trained(base.SGD(1.0), 2), strict=True):
            np.testing.assert_allclose(value, expected, 1e-6)
        assert optimizer.calls == ["_compute_gradients" if "_compute_gradients" in methods
                                   else "compute_gradients",
                                   "apply_gradients", "_aggregate_gradients"] * 2  # fmt: skip


@each_base
@each_class
@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_fit_goes_through_a_wrapper(base, name, library):
    weights = []
    for methods in ((), ("_compute_gradients", "_aggregate_gradients", "apply_gradients")):
        library.utils.set_random_seed(1)
        model = library.Sequential([library.layers.Dense(1)])
        optimizer = getattr(base, name)(0.01)
        if methods:
            optimizer = wrapped(optimizer, *methods)
        model.compile(optimizer, "mse")
        x = np.ones([8, 2], np.float32)
        model.fit(x, x[:, :1], epochs=2, batch_size=4, verbose=0)
        weights.append(model.get_weights())
    assert "apply_gradients" in optimizer.calls
    assert not any(np.array_equal(a, b) for a, b in zip(*weights, strict=True)) or name != "SGD"


@each_base
def test_get_updates_calls_get_gradients(base):
    optimizer = wrapped(base.SGD(0.25), "get_gradients")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.Variable(1.0)
        updates = optimizer.get_updates(x * x, [x])
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(updates)
        assert session.run(x) == 0.0
    assert optimizer.calls == ["get_gradients"]


def test_the_third_argument_of_compute_gradients_is_the_tape():
    x, optimizer = tf.Variable(3.0), tfopt.SGD(0.5)
    for each in (optimizer, tfopt.legacy.SGD(0.5)):
        with tf.GradientTape() as tape:
            loss = x * x
        ((gradient, variable),) = each.compute_gradients(loss, [x], tape)
        assert gradient.numpy() == 6.0 and variable is x
    ((gradient, _),) = optimizer.compute_gradients(lambda: x * x, [x], grad_loss=tf.constant(2.0))
    assert gradient.numpy() == 12.0


def test_clipping_that_is_overridden_gets_the_limits_of_super():
    class Mine(tfopt.SGD):
        def _clip_gradients(self, grads):
            return [-g for g in super()._clip_gradients(grads)]

    x = tf.Variable([0.0, 0.0])
    Mine(1.0, clipnorm=1.0).apply_gradients([(tf.constant([3.0, 4.0]), x)])
    np.testing.assert_allclose(x, [0.6, 0.8], 1e-6)
    assert tfopt.SGD(clipvalue=1.0)._clip_gradients([None, tf.constant(3.0)])[1].numpy() == 1.0


@pytest.mark.parametrize("grads", [lambda g: [None for _ in g], lambda g: g[1:]])
def test_clipping_must_return_a_gradient_for_each(grads):
    cls = type("Mine", (tfopt.SGD,), {"_clip_gradients": lambda self, g: grads(g)})
    x = tf.Variable(1.0)
    with pytest.raises((TypeError, ValueError), match="_clip_gradients"):
        cls(1.0).apply_gradients([(tf.constant(1.0), x)])


@each_base
def test_a_loss_scale_goes_through_an_overridden_apply_gradients(base):
    inner = wrapped(base.SGD(0.25), "apply_gradients")
    optimizer, x = tfopt.LossScaleOptimizer(inner), tf.Variable(1.0)
    for _ in range(2):
        optimizer.minimize(lambda: x, [x])
    assert x.numpy() == 0.0
    assert inner.calls == ["apply_gradients"] * 2
    optimizer.apply_gradients([(tf.constant(np.inf), x)])
    assert x.numpy() == 0.0 and int(optimizer.skipped_steps) == 1


def test_a_wrapper_s_class_made_of_tfopt_s_own_keeps_what_the_wrapped_class_declares():
    class Body(tfopt.Optimizer):
        def apply_gradients(self, *args, **kwargs):
            return super(self.__class__, self).apply_gradients(*args, **kwargs)

    cls = type("AdamW", (tfopt.AdamW,), dict(Body.__dict__))
    optimizer = cls(0.5, 0.25)
    assert optimizer.get_config() == tfopt.AdamW(0.5, 0.25).get_config()
    x = tf.Variable(1.0)
    optimizer.apply_gradients([(tf.constant(1.0), x)])
    np.testing.assert_allclose(x.numpy(), 1 - 0.125 - 0.5, 1e-5)


# --- `apply`, through which each step of Keras 3 goes ---------------------------------------------


class Doubling(tfopt.SGD):
    """Overrides `apply`, as a subclass of Keras 3's optimizers does."""

    applied = 0

    def apply(self, grads, trainable_variables=None):
        self.applied += 1
        return super().apply([None if g is None else 2.0 * g for g in grads], trainable_variables)


class DoublingTwice(Doubling):
    """Overrides `apply_gradients`, too."""

    def apply_gradients(self, grads_and_vars, *args, **kwargs):
        return super().apply_gradients(doubled(grads_and_vars), *args, **kwargs)


STEPS = {
    "apply": lambda opt, x: opt.apply([tf.ones([2])], [x]),
    "apply_gradients": lambda opt, x: opt.apply_gradients([(tf.ones([2]), x)]),
    "minimize": lambda opt, x: opt.minimize(lambda: tf.reduce_sum(x), [x]),
}


@pytest.mark.parametrize("wrap", [lambda step: step, tf.function], ids=["eager", "traced"])
@pytest.mark.parametrize(("cls", "factor"), [(Doubling, 2), (DoublingTwice, 4)])
@pytest.mark.parametrize("entry", STEPS)
def test_an_overridden_apply_takes_part_once_in_each_step(entry, cls, factor, wrap):
    opt, x = cls(0.5), tf.Variable([0.0, 0.0])
    opt.build([x])
    step = wrap(lambda: STEPS[entry](opt, x))
    for _ in range(3):
        step()
    np.testing.assert_array_equal(x, [-1.5 * factor] * 2)
    assert opt.iterations.numpy() == 3
    assert opt.applied in (1, 3)


def test_an_overridden_apply_takes_part_under_a_loss_scale():
    x = tf.Variable([0.0, 0.0])
    opt = tfopt.LossScaleOptimizer(Doubling(0.5), dynamic=False, initial_scale=4.0)
    opt.apply_gradients([(tf.constant([4.0, 8.0]), x)])
    np.testing.assert_array_equal(x, [-1.0, -2.0])
    assert opt.inner_optimizer.applied == 1


def test_an_overridden_apply_takes_part_under_replicas(mirrored):
    with mirrored.scope():
        opt, x = DoublingTwice(0.5), tf.Variable([0.0, 0.0])
        opt.build([x])
    for entry in ("apply", "apply_gradients"):
        mirrored.run(lambda step=STEPS[entry]: step(opt, x))
    np.testing.assert_array_equal(value_of(x), [-8.0, -8.0])


def test_an_overridden_apply_that_raises_takes_part_again():
    class Failing(tfopt.SGD):
        fails = True

        def apply(self, grads, trainable_variables=None):
            if self.fails:
                raise ArithmeticError("as the user wants it")
            return super().apply(grads, trainable_variables)

    opt, x = Failing(0.5), tf.Variable([0.0])
    for entry in (opt.apply_gradients, lambda pairs: opt.apply(*zip(*pairs, strict=True))):
        opt.fails = True
        with pytest.raises(ArithmeticError):
            entry([(tf.ones([1]), x)])
        opt.fails = False
        entry([(tf.ones([1]), x)])
    assert opt.iterations.numpy() == 2
    np.testing.assert_array_equal(x, [-1.0])


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_fit_goes_through_an_overridden_apply(library):
    weights = []
    for optimizer in (Doubling(0.25), tfopt.SGD(0.5)):
        library.utils.set_random_seed(1)
        model = library.Sequential([library.layers.Dense(1)])
        model.compile(optimizer, "mse")
        x = np.ones([8, 2], np.float32)
        model.fit(x, x[:, :1], epochs=2, batch_size=4, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, 1e-6)


def test_an_apply_of_an_optimizer_written_for_optimizer_v2_is_its_own():
    class Own(tfopt.legacy.SGD):
        def apply(self):
            raise NotImplementedError("not called by a step")

    opt, x = Own(0.5), tf.Variable(0.0)
    opt.apply_gradients([(tf.ones([]), x)])
    assert x.numpy() == -0.5


@pytest.mark.parametrize(
    ("hook", "instead"),
    [
        ("update_step", "update"),
        ("_backend_apply_gradients", "apply_gradients"),
        ("_backend_update_step", "update"),
        ("_get_current_learning_rate", "begin"),
    ],
)
def test_a_hook_of_keras_that_nothing_would_call_is_refused(hook, instead):
    with pytest.raises(RuntimeError, match=f"Mine overrides `{hook}`.* override `{instead}`"):
        type("Mine", (tfopt.SGD,), {hook: lambda self, *args: None})
