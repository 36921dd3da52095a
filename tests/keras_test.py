"""What users of `model.compile` do, in Keras 3 and tf-keras."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt

LIBRARIES = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
ALL = pytest.mark.parametrize("name", tfopt.optimizers.__all__)

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")
TOKENS = np.random.default_rng(0).integers(0, 20, size=(32, 5))


def classifier(library, embedding=False, optimizer=None, **compile_arguments):
    layers = library.layers
    start = (
        [
            layers.Input((5,), dtype="int32"),
            layers.Embedding(20, 4),
            layers.GlobalAveragePooling1D(),
        ]
        if embedding
        else [layers.Input((6,)), layers.Dense(8, activation="relu")]
    )
    model = library.Sequential([*start, layers.Dense(2)])
    model.compile(
        optimizer=optimizer,
        loss=library.losses.SparseCategoricalCrossentropy(from_logits=True),
        **compile_arguments,
    )
    return model


def fit(model, x=X, epochs=2, **arguments):
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(x, Y, epochs=epochs, **arguments).history["loss"]


def python(code, **environment):
    """Runs code in a new process; gives what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def assert_same(arrays, others):
    for one, other in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(one, other)


@LIBRARIES
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


@LIBRARIES
@ALL
def test_every_optimizer_fits_dense_and_sparse(library, name):
    for embedding in (False, True):
        opt = getattr(tfopt, name)(0.01)
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


@LIBRARIES
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


SCHEDULE = {"initial_learning_rate": 0.05, "decay_steps": 10}


@LIBRARIES
@ALL
@pytest.mark.parametrize("extension", [".keras", ".h5"])
def test_save_load_and_continue(library, name, extension, tmp_path):
    opt = getattr(tfopt, name)(0.05, clipnorm=1.0)
    model = classifier(library, embedding=True, optimizer=opt, jit_compile=False)
    fit(model, TOKENS)
    opt.learning_rate = 0.025
    path = str(tmp_path / f"model{extension}")
    model.save(path)
    loaded = library.models.load_model(path)
    assert type(loaded.optimizer) is type(opt)
    assert loaded.optimizer.get_config() == opt.get_config()
    assert_same(fit(loaded, TOKENS), fit(model, TOKENS))
    assert_same(loaded.get_weights(), model.get_weights())
    assert_same(loaded.optimizer.get_weights(), opt.get_weights())


@LIBRARIES
def test_save_again_right_after_loading_keeps_the_state(library, tmp_path):
    model = classifier(library, optimizer=tfopt.Adam(0.05), jit_compile=False)
    fit(model)
    first, second = str(tmp_path / "first.h5"), str(tmp_path / "second.keras")
    model.save(first)
    library.models.load_model(first).save(second)
    loaded = library.models.load_model(second)
    assert_same(fit(loaded), fit(model))
    assert_same(loaded.optimizer.get_weights(), model.optimizer.get_weights())


@pytest.mark.parametrize("library_name", ["keras", "tf_keras"])
@pytest.mark.parametrize("extension", ["keras", "h5"])
def test_load_in_a_new_process_needs_only_the_import(library_name, extension, tmp_path):
    library = {"keras": keras, "tf_keras": tf_keras}[library_name]
    model = classifier(library, optimizer=tfopt.Adam(0.05), jit_compile=False)
    fit(model)
    path = str(tmp_path / f"model.{extension}")
    model.save(path)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    python(f"""
        import numpy as np, {library_name} as library, tfopt
        model = library.models.load_model({path!r})
        assert type(model.optimizer) is tfopt.Adam
        x, y = (np.load({str(tmp_path)!r} + name) for name in ("/x.npy", "/y.npy"))
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        assert model.optimizer.iterations.numpy() == 16
        np.savez({str(tmp_path / "out.npz")!r}, *model.get_weights())
    """)
    fit(model)
    with np.load(tmp_path / "out.npz") as saved:
        assert_same([saved[f"arr_{i}"] for i in range(len(saved.files))], model.get_weights())


@LIBRARIES
def test_weights_file_goes_into_a_model_with_other_names(library, tmp_path):
    model = classifier(library, optimizer=tfopt.Adam(0.05), jit_compile=False)
    fit(model)
    path = str(tmp_path / "model.weights.h5")
    model.save_weights(path)
    for built in (True, False):
        other = classifier(library, optimizer=tfopt.Adam(0.05), jit_compile=False)
        if built:
            other.optimizer.build(other.trainable_variables)
        other.load_weights(path)
        assert other.optimizer.iterations.numpy() == 8
        assert_same(other.optimizer.get_weights(), model.optimizer.get_weights())
        other.optimizer.build(other.trainable_variables)
        assert_same(other.optimizer.get_weights(), model.optimizer.get_weights())


@LIBRARIES
def test_weights_saved_with_another_optimizer_leave_this_one_alone(library, tmp_path):
    path = str(tmp_path / "model.weights.h5")
    for theirs in (tfopt.Adam(0.05), library.optimizers.Adam(0.05)):
        model = classifier(library, optimizer=theirs, jit_compile=False)
        fit(model)
        model.save_weights(path)
        other = classifier(library, optimizer=tfopt.SGD(0.05, momentum=0.5), jit_compile=False)
        fit(other, epochs=1)
        before = other.optimizer.get_weights()
        with pytest.warns(tfopt.TfoptWarning, match="not loaded"):
            other.load_weights(path)
        assert_same(other.optimizer.get_weights(), before)
        assert_same(other.get_weights(), model.get_weights())


@LIBRARIES
@pytest.mark.parametrize("extension", ["keras", "h5"])
def test_save_and_load_after_unfreezing(library, extension, tmp_path):
    """Blocks of slots in another order than the model's variables, of the same shapes."""
    layers = [library.layers.Dense(6, use_bias=False) for _ in range(3)]
    model = library.Sequential([library.layers.Input((6,)), *layers])
    opt, loss = tfopt.Adam(0.05), library.losses.MeanSquaredError()

    def train(model, trainable):
        for layer, flag in zip(model.layers[-3:], trainable, strict=True):
            layer.trainable = flag
        model.compile(optimizer=model.optimizer or opt, loss=loss, jit_compile=False)
        model.fit(X, X, verbose=0, shuffle=False)

    model.optimizer = opt
    train(model, [False, True, True])
    train(model, [True, True, True])
    path = str(tmp_path / f"model.{extension}")
    model.save(path)
    loaded = library.models.load_model(path)
    train(model, [True, True, True])
    train(loaded, [True, True, True])
    assert_same(loaded.get_weights(), model.get_weights())


@LIBRARIES
def test_state_of_frozen_layers_waits_for_them(library, tmp_path):
    opt = tfopt.Adam(0.05)
    model = classifier(library, optimizer=opt, jit_compile=False)
    fit(model)
    model.layers[0].trainable = False
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=opt, loss=loss, jit_compile=False)
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = library.models.load_model(path)
    fit(loaded)
    fit(model)
    loaded.save(path)  # what waits is not lost by saving again
    loaded = library.models.load_model(path)
    for one in (model, loaded):
        one.layers[0].trainable = True
        one.compile(optimizer=one.optimizer, loss=loss, jit_compile=False)
        fit(one)
    assert_same(loaded.get_weights(), model.get_weights())


@LIBRARIES
def test_two_layers_of_one_name_save_to_h5(library, tmp_path):
    inputs = library.Input((6,))
    inner = [library.Sequential([library.layers.Dense(6, name="same")], name=n) for n in "ab"]
    model = library.Model(inputs, inner[1](inner[0](inputs)))
    model.compile(optimizer=tfopt.Adam(), loss=library.losses.MeanSquaredError())
    model.fit(X, X, verbose=0)
    path = str(tmp_path / "model.h5")
    model.save(path)
    loaded = library.models.load_model(path)
    loaded.fit(X, X, verbose=0, shuffle=False)
    model.fit(X, X, verbose=0, shuffle=False)
    assert_same(loaded.optimizer.get_weights(), model.optimizer.get_weights())


@LIBRARIES
@pytest.mark.parametrize("scheduled", [False, True])
def test_learning_rate_callbacks(library, scheduled):
    """Keras 3 sets the attribute: a number takes the place of a schedule, with no retrace."""
    rate = tfopt.schedules.CosineDecay(**SCHEDULE) if scheduled else 0.05
    opt = tfopt.SGD(rate)
    model = classifier(library, optimizer=opt, jit_compile=False)
    rates = iter([0.5, 0.25, 0.0])
    if scheduled and library is tf_keras:
        pytest.skip("its callbacks assign to a variable, which a schedule has not")
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


@LIBRARIES
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


@LIBRARIES
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


@LIBRARIES
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


@LIBRARIES
def test_one_optimizer_over_two_models(library):
    opt = tfopt.Adam(0.05)
    for _ in range(2):
        losses = fit(classifier(library, optimizer=opt, jit_compile=False), epochs=4)
        assert losses[-1] < losses[0]
    assert opt.iterations.numpy() == 32
    assert len(opt.get_weights()) == 1 + 2 * 8


@LIBRARIES
@ALL
def test_fit_on_two_replicas_is_fit_on_one(library, name, mirrored):
    """The model has dense gradients and an embedding's."""
    opt = getattr(tfopt, name)(0.05)
    with mirrored.scope():
        model = classifier(library, True, opt, jit_compile=False)
    alone = classifier(library, True, getattr(tfopt, name)(0.05), jit_compile=False)
    alone.set_weights(model.get_weights())
    fit(model, TOKENS, batch_size=16)
    fit(alone, TOKENS, batch_size=16)
    assert model.optimizer is opt
    for one, other in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)
    for variable in model.trainable_variables:
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        copies = mirrored.experimental_local_results(variable)
        np.testing.assert_array_equal(copies[0], copies[1])


@LIBRARIES
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_files_go_from_one_replica_to_two_and_back(library, ending, scaled, mirrored, tmp_path):
    def make():
        optimizer = tfopt.Adam(0.05, use_ema=True, ema_momentum=0.5)
        return classifier(
            library, True, tfopt.LossScaleOptimizer(optimizer, 8.0, 3) if scaled else optimizer
        )

    def loaded(path):
        if ending == ".keras":
            return library.models.load_model(path)
        model = make()
        model.load_weights(path)
        model.optimizer.build(model.trainable_variables)
        return model

    def state(model):
        return [*model.get_weights(), *model.optimizer.get_weights()]

    def saved(model, name):
        path = str(tmp_path / f"{name}{ending}")
        model.save(path) if ending == ".keras" else model.save_weights(path)
        return path

    one = make()
    fit(one, TOKENS)
    with mirrored.scope():
        two = loaded(saved(one, "one"))
    assert_same(state(two), state(one))
    slot = two.optimizer.get_slot(two.trainable_variables[0], "ema_average")
    copies = mirrored.experimental_local_results(slot)
    assert len(copies) == 2
    assert_same(*copies)
    assert_same(state(loaded(saved(two, "two"))), state(one))
    fit(two, TOKENS, epochs=1, batch_size=16)


@LIBRARIES
def test_constraint_of_a_layer(library):
    layer = library.layers.Dense(2, kernel_constraint=library.constraints.NonNeg())
    model = library.Sequential([library.layers.Input((6,)), layer])
    model.compile(optimizer=tfopt.SGD(10.0), loss=library.losses.MeanSquaredError())
    model.fit(X, -np.abs(X[:, :2]), verbose=0)
    assert (layer.get_weights()[0] >= 0).all()


@LIBRARIES
def test_weight_decay_leaves_out_what_is_excluded(library):
    opt = tfopt.SGD(0.5, weight_decay=0.5, exclude_from_weight_decay=["bias"])
    model = classifier(library, optimizer=opt)
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    variables = model.trainable_variables
    opt.apply_gradients([(tf.zeros(v.shape), v) for v in variables])
    for variable, value in zip(variables, model.get_weights(), strict=True):
        np.testing.assert_allclose(value, 1.0 if "bias" in variable.name else 0.75)


def test_with_tf_use_legacy_keras():
    python(
        """
        import tensorflow as tf, numpy as np, tfopt
        assert tf.keras.Sequential.__module__.startswith("tf_keras")
        model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        opt = tfopt.Adam()
        model.compile(optimizer=opt, loss="mse")
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
        assert model.optimizer is opt and opt.iterations.numpy() == 1
    """,
        TF_USE_LEGACY_KERAS="1",
    )


def test_without_tf_keras(tmp_path):
    path = str(tmp_path / "model.keras")
    python(f"""
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "tf_keras":
                    raise ModuleNotFoundError(name)
        import importlib.util
        real = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *a: None if name == "tf_keras" else real(name, *a)
        sys.meta_path.insert(0, Missing())
        import keras, numpy as np, tfopt
        assert "tf_keras" not in sys.modules
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile(optimizer=tfopt.Adam(), loss="mse")
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
        assert tfopt.get("adam").iterations.numpy() == 0
        model.save({path!r})
        assert type(keras.models.load_model({path!r}).optimizer) is tfopt.Adam
    """)


def test_another_backend_is_refused_clearly(tmp_path):
    """The backend is faked: JAX and torch are not there to be asked."""
    out = python("""
        import keras
        keras.config.backend = lambda: "jax"
        try:
            import tfopt
        except ImportError as error:
            print(error)
    """)
    assert "jax" in out
    assert "KERAS_BACKEND=tensorflow" in out


def test_public_names_are_tfopts_own():
    """Nothing that a Keras base class offers shows through."""
    for name in dir(tfopt.Optimizer):
        if not name.startswith("_"):
            owner = next(c for c in tfopt.Optimizer.__mro__ if name in vars(c))
            assert owner is tf.Module or owner.__module__.startswith("tfopt"), (name, owner)


def test_nothing_of_tensorflows_is_overridden_by_a_keras_base():
    """Such as tf-keras' `_trackable_children`, which forgets what is created after a restore."""
    core = {name for cls in tf.Module.__mro__ for name in vars(cls)} - {"__doc__", "__module__"}
    for name in core:
        owner = next(c for c in tfopt.Optimizer.__mro__ if name in vars(c))
        assert owner.__module__.split(".")[0] not in ("keras", "tf_keras"), name


@pytest.mark.parametrize("name", ["stateless_apply", "update_step", "add_variable", "assign"])
def test_names_of_keras_that_mean_nothing_here(name):
    opt = tfopt.Adam()
    assert not hasattr(opt, name)
    with pytest.raises(AttributeError, match=name):
        getattr(opt, name)


def test_apply_takes_two_lists():
    variables, opt = [tf.Variable(1.0), tf.Variable(2.0)], tfopt.SGD(0.5)
    grads = [tf.constant(1.0), tf.constant(1.0)]
    opt.apply(grads, trainable_variables=variables)
    opt.apply(grads)
    np.testing.assert_array_equal(variables, [0.0, 1.0])
    with pytest.raises(ValueError, match="grads"):
        opt.apply(grads[:1])


def test_keras_variables_in_a_bare_loop():
    variable, opt = keras.Variable([1.0, 2.0]), tfopt.SGD(0.5, momentum=0.5)
    opt.apply_gradients([(tf.constant([1.0, 1.0]), variable)])
    np.testing.assert_array_equal(variable.numpy(), [0.5, 1.5])
    assert opt.get_slot(variable, "momentum") is opt.get_slot(variable.value, "momentum")
