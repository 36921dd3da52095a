"""Files of Keras 3 and tf-keras: a model is saved with its optimizer, loaded, and goes on."""

import numpy as np
import pytest
from models import TOKENS, X, classifier, each_library, fit
from training import assert_same

import tfopt


@each_library
@pytest.mark.parametrize("name", ["SGD", "Nadam", "Adafactor"])  # resume_test has all
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


@each_library
def test_save_again_right_after_loading_keeps_the_state(library, tmp_path):
    model = classifier(library, optimizer=tfopt.Adam(0.05), jit_compile=False)
    fit(model)
    first, second = str(tmp_path / "first.h5"), str(tmp_path / "second.keras")
    model.save(first)
    library.models.load_model(first).save(second)
    loaded = library.models.load_model(second)
    assert_same(fit(loaded), fit(model))
    assert_same(loaded.optimizer.get_weights(), model.optimizer.get_weights())


@each_library
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


@each_library
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


@each_library
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


@each_library
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


# --- frozen layers --------------------------------------------------------------------------------


@each_library
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


@each_library
def test_a_head_on_a_frozen_base_and_then_all_of_it_at_another_rate(library, tmp_path):
    """The usual way to fine-tune: the head keeps its slots, the base begins afresh."""
    path = str(tmp_path / "best.weights.h5")
    inputs = library.layers.Input((6,))
    base = library.Sequential([library.layers.Dense(6, activation="tanh")], name="base")
    model = library.Model(inputs, library.layers.Dense(6, name="head")(base(inputs)))
    loss = library.losses.MeanSquaredError()
    base.trainable = False
    model.compile(optimizer=tfopt.Adam(0.05), loss=loss, jit_compile=False)
    saves = library.callbacks.ModelCheckpoint(path, save_weights_only=True)
    model.fit(X, X, verbose=0, callbacks=[saves])
    moment = model.optimizer.get_slot(model.trainable_variables[0], "m").numpy()

    base.trainable = True
    model.compile(optimizer=tfopt.Adam(1e-5), loss=loss, jit_compile=False)
    with pytest.warns(tfopt.TfoptWarning, match="1e-05 .in the file: 0.05"):
        model.load_weights(path)
    with pytest.warns(tfopt.TfoptWarning, match="4 of 8 slots .*begin afresh"):
        model.optimizer.build(model.trainable_variables)
    head = next(
        v for v in model.trainable_variables if "head" in (getattr(v, "path", "") or v.name)
    )
    assert_same(model.optimizer.get_slot(head, "m"), moment)
    model.fit(X, X, verbose=0)
    assert model.optimizer.learning_rate.numpy() == np.float32(1e-5)
    assert model.optimizer.iterations.numpy() == 2


@each_library
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
