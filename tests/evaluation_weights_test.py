"""Evaluation weights: averages of every kind, put in for evaluation, and back again."""

import files_matrix
import keras
import numpy as np
import pytest
import tensorflow as tf
from models import X, Y
from training import (
    assert_same,
    gradients,
    rows,
    start,
    train,
    train_on_cosines,
    train_on_replicas,
    value_of,
    values_of,
)

import tfopt

each_library = pytest.mark.parametrize("library", list(files_matrix.LIBRARIES))


class Mean(tfopt.SGD):
    """SGD that is evaluated with the mean of all its iterates."""

    def slots(self, x):
        return {**super().slots(x), "mean": tfopt.zeros(x)}

    def update(self, g, x, s, h):
        x = super().update(g, x, s, h)
        s.mean = s.mean + (x - s.mean) / h.t
        return x

    def evaluated(self, x, s, h):
        return s.mean


class MeanOf(tfopt.Wrapper):
    """The same around any optimizer."""

    sparse = tfopt.Wrapper.sparse

    def slots(self, x):
        return {**super().slots(x), "mean": tfopt.zeros(x)}

    def update(self, g, x, s, h):
        x = super().update(g, x, s, h)
        s.mean = s.mean + (x - s.mean) / h.t
        return x

    def evaluated(self, x, s, h):
        return s.mean


tfopt.register(MeanOf, "evaluation_weights_test")
MAKERS = {
    "a formula": lambda: Mean(0.125, momentum=0.5),
    "a wrapper": lambda: MeanOf(tfopt.SGD(0.125, momentum=0.5)),
    "a part": lambda: tfopt.MultiOptimizer({"": MeanOf(tfopt.SGD(0.125, momentum=0.5))}),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_a_formula_may_average_by_itself(kind, mode):
    optimizer, variables = MAKERS[kind](), start()
    trajectory = train(optimizer, variables, gradients(8), mode)
    with optimizer.evaluation_weights():
        inside = values_of(variables)
    flat = np.concatenate([value.ravel() for value in inside])
    assert_same(flat, trajectory.mean(0), 1e-12)
    assert_same(np.concatenate([v.ravel() for v in values_of(variables)]), trajectory[-1])
    optimizer.finalize_variable_values(variables)
    assert_same(values_of(variables), inside)


@pytest.mark.parametrize("kind", MAKERS)
def test_on_replicas(kind, mirrored):
    steps = [[np.stack([g, 2 * g]) for g in grads] for grads in gradients(4)]
    with mirrored.scope():
        variables = start()
    alone, optimizer, other = start(), MAKERS[kind](), MAKERS[kind]()
    train_on_replicas(mirrored, optimizer, variables, steps)
    train(other, alone, [[g.sum(0) for g in grads] for grads in steps])
    with optimizer.evaluation_weights(), other.evaluation_weights():
        assert_same(variables, alone, 1e-12)  # all copies
    assert_same(variables, alone, 1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits(dtype):
    optimizer, variables = Mean(0.125), start(dtype)
    train(optimizer, variables, gradients(2), convert=lambda g: tf.cast(g, dtype))
    means = [optimizer.get_slot(v, "mean") for v in variables]
    assert means[0].dtype == tf.float32
    with optimizer.evaluation_weights():
        assert_same(values_of(variables), [tf.cast(m, dtype).numpy() for m in means])


@pytest.mark.parametrize("make", [Mean, lambda rate: tfopt.SGD(rate, use_ema=True)])
def test_in_a_function(make):
    optimizer, variables = make(0.125), start()
    train_on_cosines(optimizer, variables)
    with optimizer.evaluation_weights():
        expected = values_of(variables)

    @tf.function
    def evaluate():
        with optimizer.averaged_weights():
            inside = [v.read_value() for v in variables]
        return inside, [v.read_value() for v in variables]

    before = values_of(variables)
    for _ in range(2):
        inside, after = evaluate()
        assert_same([x.numpy() for x in inside], expected)
        assert_same([x.numpy() for x in after], before)
    assert_same(values_of(variables), before)


def test_an_exception_puts_the_training_weights_back():
    optimizer, variables = Mean(0.125), start()
    train_on_cosines(optimizer, variables)
    before = values_of(variables)
    with pytest.raises(ZeroDivisionError), optimizer.evaluation_weights():
        raise ZeroDivisionError
    assert_same(values_of(variables), before)
    with optimizer.evaluation_weights(variables[:1]):
        assert not np.array_equal(variables[0], before[0])
        assert_same(value_of(variables[1]), before[1])
        with pytest.raises(RuntimeError, match="must not be entered twice"):
            with optimizer.evaluation_weights():
                pass
    assert_same(values_of(variables), before)


def test_no_step_is_made_inside():
    """It would be lost when the training weights come back."""
    optimizer, variables = tfopt.Adam(0.125, use_ema=True), start()
    train_on_cosines(optimizer, variables)
    before = values_of(variables, optimizer)
    with optimizer.evaluation_weights():
        with pytest.raises(RuntimeError, match="must not make a step while variables have their"):
            train_on_cosines(optimizer, variables)
        with pytest.raises(RuntimeError, match="must not make a step while variables have their"):
            optimizer.flush()
    assert_same(values_of(variables, optimizer), before)


@pytest.mark.parametrize("kind", ["alone", "a part"])
def test_numbers_of_a_group_are_seen(kind):
    class Between(tfopt.SGD):
        part = tfopt.Hyper(0.5, low=0)

        def slots(self, x):
            return {"first": tfopt.copy(x)}

        def update(self, g, x, s, h):
            return x - h.learning_rate * g

        def evaluated(self, x, s, h):
            return x + h.part * (s.first - x)

    x, y = (tf.Variable([1.0], name=name) for name in "xy")
    if kind == "alone":
        optimizer = Between(1.0, groups={"y": {"part": 1.0}})
    else:
        optimizer = tfopt.MultiOptimizer({"y": Between(1.0, part=1.0)}, Between(1.0))
    optimizer.apply_gradients([([1.0], x), ([1.0], y)])
    with optimizer.evaluation_weights():
        assert (x.numpy(), y.numpy()) == (0.5, 1.0)


def test_without_any_it_raises():
    for optimizer in (tfopt.Adam(), tfopt.MultiOptimizer({"": tfopt.Adam()})):
        with pytest.raises(ValueError, match="needs `use_ema`"), optimizer.evaluation_weights():
            pass
    with pytest.raises(ValueError, match="`use_ema` must be False: Mean has evaluation weights"):
        Mean(use_ema=True)


# --- averages that start late, or forget the first values soon ------------------------------------


def momentum_at(step, momentum, dynamic, first):
    n = step - first
    if n <= 0:
        return 0.0
    momentum = float(np.float32(momentum))  # as every number of an optimizer
    return min(momentum, (1 + n) / (10 + n)) if dynamic else momentum


@pytest.mark.parametrize("momentum", [0.5, 0.9])
@pytest.mark.parametrize("dynamic, first", [(True, 0), (False, 3), (True, 3)])
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_averages_with_a_start_and_a_dynamic_decay(mode, dynamic, first, momentum):
    options = {"ema_dynamic_decay": dynamic, "ema_start_step": first, "ema_momentum": momentum}
    optimizer, variables = tfopt.Adam(0.125, use_ema=True, **options), start()
    trajectory = train(optimizer, variables, gradients(12), mode)
    average = np.concatenate([value.ravel() for value in values_of(start())])
    for step, values in enumerate(trajectory, start=1):
        kept = momentum_at(step, momentum, dynamic, first)
        average = kept * average + (1 - kept) * values
    with optimizer.evaluation_weights():
        assert_same(np.concatenate([v.ravel() for v in values_of(variables)]), average, 1e-10)


@pytest.mark.parametrize("momentum", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("dynamic, first", [(True, 0), (False, 4), (True, 4), (False, 0)])
def test_rows_that_were_not_in_the_batch_are_brought_up_to_date(dynamic, first, momentum):
    options = {"ema_dynamic_decay": dynamic, "ema_start_step": first, "ema_momentum": momentum}
    lazy = tfopt.Adam(0.125, lazy=True, use_ema=True, **options)
    variable, random = tf.Variable(np.arange(12.0).reshape(6, 2)), np.random.default_rng(0)
    x, average = value_of(variable).copy(), value_of(variable).copy()
    for step in range(1, 15):
        index = [int(random.integers(5))]
        lazy.apply_gradients([(rows(random.normal(size=(1, 2)), index, [6, 2]), variable)])
        x = value_of(variable)
        kept = momentum_at(step, momentum, dynamic, first)
        average = kept * average + (1 - kept) * x
        if step in (2, 9, 14):
            with lazy.evaluation_weights():
                assert_same(value_of(variable), average, 1e-6)


# --- in Keras -------------------------------------------------------------------------------------


def compiled(library, optimizer, **arguments):
    model = files_matrix.make(library, "functional")
    loss = files_matrix.LIBRARIES[library].losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, **arguments)
    return model


OPTIMIZERS = {
    "Keras' loss scale": lambda: keras.optimizers.LossScaleOptimizer(tfopt.Adam(0.1, use_ema=True)),
    "use_ema": lambda: tfopt.Adam(0.1, use_ema=True, ema_momentum=0.5),
    "a wrapper": lambda: MeanOf(tfopt.Adam(0.1)),
    "a loss scale": lambda: tfopt.LossScaleOptimizer(tfopt.Adam(0.1, use_ema=True)),
}


@each_library
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_callback_evaluates_with_them(library, kind):
    if kind.startswith("Keras") and library == "tf_keras":
        pytest.skip("that is of Keras 3")
    optimizer = OPTIMIZERS[kind]()
    model = compiled(library, optimizer)
    seen = {}

    class Watch(files_matrix.LIBRARIES[library].callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen["after"] = values_of(model.trainable_variables)

        def on_test_batch_end(self, batch, logs=None):
            seen["in"] = values_of(model.trainable_variables)

        def on_train_batch_end(self, batch, logs=None):
            seen["trained"] = values_of(model.trainable_variables)

    callback = tfopt.evaluation.EvaluationWeights()
    options = {"validation_data": (X, Y), "callbacks": [callback, Watch()], "verbose": 0}
    history = model.fit(X, Y, batch_size=8, shuffle=False, **options).history
    assert_same(seen["after"], seen["trained"])
    assert not np.array_equal(seen["in"][0], seen["trained"][0])
    for variable, value in zip(model.trainable_variables, seen["in"], strict=True):
        variable.assign(value)
    expected = model.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(history["val_loss"][0], expected, rtol=1e-5)


@each_library
def test_predict_and_evaluate_alone(library):
    model = compiled(library, MeanOf(tfopt.Adam(0.1)))
    callback = tfopt.evaluation.EvaluationWeights()
    before = values_of(model.trainable_variables)
    train_on_cosines(model.optimizer, model.trainable_variables)
    trained = values_of(model.trainable_variables)
    plain = model.predict(X, verbose=0)
    averaged = model.predict(X, verbose=0, callbacks=[callback])
    assert not np.array_equal(plain, averaged)
    with model.optimizer.evaluation_weights():
        assert_same(model.predict(X, verbose=0), averaged)
        losses = model.evaluate(X, Y, verbose=0)
    assert model.evaluate(X, Y, verbose=0, callbacks=[callback]) == losses
    assert_same(values_of(model.trainable_variables), trained)
    assert not np.array_equal(trained[0], before[0])


@each_library
def test_an_interrupted_evaluation_is_undone(library):
    model = compiled(library, OPTIMIZERS["use_ema"]())

    class Stop(files_matrix.LIBRARIES[library].callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    callback = tfopt.evaluation.EvaluationWeights()
    train_on_cosines(model.optimizer, model.trainable_variables)
    trained = values_of(model.trainable_variables)
    with pytest.raises(KeyboardInterrupt):
        model.evaluate(X, Y, verbose=0, callbacks=[callback, Stop()])
    assert not np.array_equal(values_of(model.trainable_variables)[0], trained[0])
    callback.restore()
    assert_same(values_of(model.trainable_variables), trained)
    other = compiled(library, "adam")
    with pytest.raises(ValueError, match="`EvaluationWeights` needs a model with an optimizer"):
        other.evaluate(X, Y, verbose=0, callbacks=[callback])


@each_library
@pytest.mark.parametrize("ending", ["model.keras", "model.weights.h5"])
def test_files_say_that_they_hold_evaluation_weights(library, ending, tmp_path):
    model = compiled(library, OPTIMIZERS["use_ema"]())
    model.fit(X, Y, verbose=0)
    path = tmp_path / ending

    def save():
        model.save(path) if ending == "model.keras" else model.save_weights(path)

    def load():
        if ending == "model.keras":
            return files_matrix.LIBRARIES[library].models.load_model(path)
        again = compiled(library, OPTIMIZERS["use_ema"]())
        again.optimizer.build(again.trainable_variables)
        again.load_weights(path)
        return again

    train_on_cosines(model.optimizer, model.trainable_variables)
    save()
    load()  # says nothing
    with model.optimizer.evaluation_weights():
        expected = values_of(model.trainable_variables)
        save()
    with pytest.warns(tfopt.TfoptWarning, match="inside of `evaluation_weights`"):
        again = load()
    assert_same(values_of(again.trainable_variables), expected)


@each_library
def test_batch_normalization_is_computed_anew(library):
    layers = files_matrix.LIBRARIES[library].layers
    model = files_matrix.LIBRARIES[library].Sequential(
        [layers.Input((3,)), layers.Dense(2), layers.BatchNormalization(momentum=0.9)]
    )
    random = np.random.default_rng(0)
    batches = [random.normal(size=(8, 3)).astype("float32") for _ in range(4)]
    dense, norm = model.layers[-2:]
    tfopt.evaluation.update_batch_norm(model, [(batch, None) for batch in batches])
    outputs = [dense(batch).numpy() for batch in batches]
    expected = np.mean([o.mean(0) for o in outputs], 0), np.mean([o.var(0) for o in outputs], 0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), expected[0], 1e-4, 1e-5)
    np.testing.assert_allclose(norm.moving_variance.numpy(), expected[1], 1e-4)
    assert norm.momentum == 0.9
    with pytest.raises(ValueError, match="`batches` must have a batch"):
        tfopt.evaluation.update_batch_norm(model, [])
