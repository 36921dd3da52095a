"""The main jobs, briefly: what must work on the oldest versions too."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf
from training import EVERY_ONE, PLAIN, of_each_kind

import tfopt

KINDS = [case.cls.__name__ for case in of_each_kind(PLAIN)]
NAMES = tfopt.optimizers.__all__ if EVERY_ONE else KINDS
X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")


def classifier(library, optimizer, jit_compile=False):
    model = library.Sequential([library.layers.Input((6,)), library.layers.Dense(2)])
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=jit_compile)
    return model


def libraries():
    return [keras, pytest.importorskip("tf_keras")]


@pytest.mark.parametrize("name", NAMES)
def test_fit_save_load_and_continue(name, tmp_path):
    for library in libraries():
        opt = getattr(tfopt, name)(0.05)
        model = classifier(library, opt)
        assert model.optimizer is opt
        model.fit(X, Y, verbose=0, shuffle=False)
        path = str(tmp_path / f"{library.__name__}.keras")
        model.save(path)
        loaded = library.models.load_model(path)
        assert type(loaded.optimizer) is type(opt)
        for one in (model, loaded):
            one.fit(X, Y, verbose=0, shuffle=False)
        for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_bare_loop_dense_and_sparse(name, mode):
    opt, table = getattr(tfopt, name)(0.5), tf.Variable(tf.ones([4, 2]))

    def step():
        opt.minimize(lambda: tf.reduce_sum(table**2), [table])
        opt.minimize(lambda: tf.reduce_sum(tf.gather(table, [1, 1]) ** 2), [table])

    step = step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")
    before = table.numpy()
    for _ in range(3):
        step()
    assert opt.iterations.numpy() == 6
    assert (np.abs(table.numpy()) != before).all()


def test_equals_optimizer_v2():
    legacy = pytest.importorskip("tf_keras").optimizers.legacy
    for name in ("SGD", "RMSprop", "Adam", "Adadelta", "Adagrad", "Adamax", "Nadam", "Ftrl"):
        runs = []
        for library in (tfopt, legacy):
            opt, x = getattr(library, name)(0.125), tf.Variable([1.0, -2.0], dtype=tf.float64)
            for step in range(10):
                opt.apply_gradients([(tf.cos(x * step), x)])
            runs.append(x.numpy())
        np.testing.assert_allclose(*runs, rtol=1e-6)


def test_fit_under_xla():
    for library in libraries():
        opt = tfopt.Adam(0.05)
        classifier(library, opt, jit_compile=True).fit(X, Y, verbose=0)
        assert opt.iterations.numpy() == 1


def test_checkpoint(tmp_path):
    opt, x = tfopt.Adam(0.5), tf.Variable(1.0)
    opt.minimize(lambda: x * x, [x])
    path = tf.train.Checkpoint(opt=opt, x=x).save(str(tmp_path / "ckpt"))
    again, y = tfopt.Adam(0.5), tf.Variable(0.0)
    status = tf.train.Checkpoint(opt=again, x=y).restore(path)
    again.minimize(lambda: y * y, [y])
    status.assert_existing_objects_matched()
    opt.minimize(lambda: x * x, [x])
    assert x.numpy() == y.numpy()
