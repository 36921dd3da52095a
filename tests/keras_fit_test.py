"""`compile` and `fit` of Keras 3 and tf-keras: every optimizer, frozen layers, callbacks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import TOKENS, X, classifier, each_library, fit
from training import assert_same, each_of_some_kinds, each_plain_kind

import tfopt


@each_library
@pytest.mark.parametrize("embedding", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "how",
    [{"jit_compile": False}, {"jit_compile": True}, {"run_eagerly": True}, {}],
    ids=["graph", "xla", "eager", "default"],
)
def test_fit_trains_and_keeps_the_optimizer(library, embedding, how):
    opt = tfopt.Adam(0.05)
    model = classifier(library, embedding, opt, **how)
    losses = fit(model, TOKENS if embedding else X, epochs=4)
    assert losses[-1] < losses[0]
    assert model.optimizer is opt
    assert opt.iterations.numpy() == 16


@each_library
@each_plain_kind
def test_every_optimizer_fits_dense_and_sparse(library, case):
    for embedding in (False, True):
        opt = case.cls(0.01)
        model = classifier(library, embedding, opt)
        before = model.get_weights()
        # An odd number of steps: those of a sign cannot cancel.
        fit(model, TOKENS if embedding else X, epochs=1, batch_size=11)
        assert all(
            not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)
        )


def test_fit_is_the_same_in_both_kerases():
    runs = []
    for library in (keras, tf_keras):
        model = classifier(library, optimizer=tfopt.Adam(0.05), jit_compile=False)
        random = np.random.default_rng(0)
        model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
        fit(model)
        runs.append(model.get_weights())
    for one, other in zip(*runs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@each_of_some_kinds
def test_fit_on_two_replicas_is_fit_on_one(case, mirrored):
    """In tf-keras; `strategies_test` has Keras 3. The gradients are dense, and an embedding's."""
    opt = case.cls(0.05)
    with mirrored.scope():
        model = classifier(tf_keras, True, opt, jit_compile=False)
    alone = classifier(tf_keras, True, case.cls(0.05), jit_compile=False)
    alone.set_weights(model.get_weights())
    fit(model, TOKENS, batch_size=16)
    fit(alone, TOKENS, batch_size=16)
    assert model.optimizer is opt
    for one, other in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)
    for variable in model.trainable_variables:
        copies = mirrored.experimental_local_results(variable)
        np.testing.assert_array_equal(copies[0], copies[1])


@each_library
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(library, policy):
    """Under mixed_float16 each Keras puts its own loss scaling around the optimizer."""
    library.mixed_precision.set_global_policy(policy)
    try:
        opt = tfopt.Adam(0.05)
        model = classifier(library, optimizer=opt, jit_compile=False)
        losses = fit(model, epochs=4)
    finally:
        library.mixed_precision.set_global_policy("float32")
    inner = model.optimizer
    if policy == "mixed_float16":
        inner = model.optimizer.inner_optimizer
    assert inner is opt
    assert losses[-1] < losses[0]
    assert opt.iterations.numpy() > 0
    assert opt.get_slot(model.trainable_variables[0], "m").dtype == tf.float32


@each_library
def test_one_optimizer_over_two_models(library):
    opt = tfopt.Adam(0.05)
    for _ in range(2):
        losses = fit(classifier(library, optimizer=opt, jit_compile=False), epochs=4)
        assert losses[-1] < losses[0]
    assert opt.iterations.numpy() == 32
    assert len(opt.get_weights()) == 1 + 2 * 8


@each_library
def test_unfreeze_and_compile_again_with_the_same_optimizer(library):
    opt = tfopt.Adam(0.05)
    model = classifier(library, optimizer=opt, jit_compile=False)
    model.layers[0].trainable = False
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=opt, loss=loss)
    frozen = model.layers[0].get_weights()
    fit(model)
    assert_same(model.layers[0].get_weights(), frozen)
    slots = [opt.get_slot(v, "v").numpy() for v in model.layers[1].trainable_variables]
    model.layers[0].trainable = True
    model.compile(optimizer=opt, loss=loss)
    kept = [opt.get_slot(v, "v").numpy() for v in model.layers[1].trainable_variables]
    assert_same(kept, slots)
    fit(model)
    assert opt.iterations.numpy() == 16
    assert not np.array_equal(model.layers[0].get_weights()[0], frozen[0])
    assert [w.shape for w in opt.get_weights()] == [
        (),
        (8, 2),
        (2,),
        (8, 2),
        (2,),
        (6, 8),
        (8,),
        (6, 8),
        (8,),
    ]


@each_library
def test_constraint_of_a_layer(library):
    layer = library.layers.Dense(2, kernel_constraint=library.constraints.NonNeg())
    model = library.Sequential([library.layers.Input((6,)), layer])
    model.compile(optimizer=tfopt.SGD(10.0), loss=library.losses.MeanSquaredError())
    model.fit(X, -np.abs(X[:, :2]), verbose=0)
    assert (layer.get_weights()[0] >= 0).all()


@each_library
def test_weight_decay_leaves_out_what_is_excluded(library):
    opt = tfopt.SGD(0.5, weight_decay=0.5, exclude_from_weight_decay=["bias"])
    model = classifier(library, optimizer=opt)
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    variables = model.trainable_variables
    opt.apply_gradients([(tf.zeros(v.shape), v) for v in variables])
    for variable, value in zip(variables, model.get_weights(), strict=True):
        np.testing.assert_allclose(value, 1.0 if "bias" in variable.name else 0.75)


# --- callbacks ------------------------------------------------------------------------------------


SCHEDULE = {"initial_learning_rate": 0.05, "decay_steps": 10}


@pytest.mark.filterwarnings("ignore:.*the number replaces the schedule")
@each_library
@pytest.mark.parametrize("scheduled", [False, True])
def test_learning_rate_callbacks(library, scheduled):
    """A number takes the place of a schedule, with no retrace."""
    rate = tfopt.schedules.CosineDecay(**SCHEDULE) if scheduled else 0.05
    opt = tfopt.SGD(rate)
    model = classifier(library, optimizer=opt, jit_compile=False)
    rates = iter([0.5, 0.25, 0.0])
    fit(model, epochs=1)
    fit(model, epochs=2, callbacks=[library.callbacks.LearningRateScheduler(lambda _: next(rates))])
    assert float(opt.learning_rate) == 0.25
    before = model.get_weights()
    fit(model, epochs=1, callbacks=[library.callbacks.LearningRateScheduler(lambda _: next(rates))])
    assert_same(model.get_weights(), before)
    opt.learning_rate = 0.5
    plateau = library.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=100)
    fit(model, epochs=3, callbacks=[plateau])
    assert float(opt.learning_rate) == 0.125


@each_library
def test_tensorboard_checkpoints_and_backup(library, tmp_path):
    opt = tfopt.Adam(tfopt.schedules.ExponentialDecay(0.01, 10, 0.5))
    model = classifier(library, optimizer=opt, jit_compile=False)
    best = str(tmp_path / "best.keras")
    fit(
        model,
        callbacks=[
            library.callbacks.TensorBoard(str(tmp_path / "logs")),
            library.callbacks.ModelCheckpoint(best, monitor="loss"),
            library.callbacks.BackupAndRestore(str(tmp_path / "backup"), delete_checkpoint=False),
        ],
    )
    assert list((tmp_path / "logs").rglob("*tfevents*"))
    loaded = library.models.load_model(best)
    assert_same(loaded.optimizer.get_weights(), opt.get_weights())


@each_library
def test_training_resumes_from_a_backup(library, tmp_path):
    class Interrupt(library.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise InterruptedError

    def run(folder, interrupted):
        library.utils.set_random_seed(1)
        model = classifier(library, optimizer=tfopt.Adam(0.05), jit_compile=False)
        backup = library.callbacks.BackupAndRestore(str(tmp_path / folder))
        try:
            fit(model, epochs=4, callbacks=[backup, *([Interrupt()] if interrupted else [])])
        except InterruptedError:
            return run(folder, False)
        return model

    undisturbed, resumed = run("one", False), run("two", True)
    assert resumed.optimizer.iterations.numpy() == 16
    assert_same(resumed.get_weights(), undisturbed.get_weights())
    assert_same(resumed.optimizer.get_weights(), undisturbed.optimizer.get_weights())
