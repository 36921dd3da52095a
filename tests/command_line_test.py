"""The command `tfopt`: what needs no TensorFlow, `tfopt inspect` and `tfopt convert`."""

import importlib
import pickle
import re
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from checkpoints import make
from processes import run_code

import tfopt
from tfopt._state import keras_files
from tfopt_command import log_lines
from tfopt_command.inspect_file.config import POLICIES
from tfopt_command.main import main
from tfopt_command.optimizer_text import expand, parse, with_sweeps

HERE = Path(__file__).resolve().parent
CHECKPOINTS, RECORDED = HERE / "checkpoints", HERE / "recorded"


def run(capsys, *words):
    """What a command prints."""
    main([str(word) for word in words])
    return capsys.readouterr().out


def refused(capsys, *words):
    """What a command says that ends with an error."""
    with pytest.raises(SystemExit) as error:
        main([str(word) for word in words])
    return capsys.readouterr().err if error.value.code == 2 else str(error.value)


# --- without TensorFlow ---------------------------------------------------------------------------


def test_help_version_wrong_arguments_and_files_need_no_tensorflow():
    out = run_code(f"""
        import contextlib, io, sys
        from tfopt_command.main import main
        for words in [
            ["--help"], ["--version"], ["compare", "--help"], ["inspect", "--help"],
            ["convert", "--help"], [], ["compare", "--epochs", "0"], ["nope"],
            ["convert", "no.keras", "out.keras"],
            ["inspect", {str(RECORDED / "keras-adam.keras")!r}],
        ]:
            with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
                main(words)
        print("imported:", sorted({{"tensorflow", "keras", "tfopt"}} & sys.modules.keys()))
    """)
    assert "imported: []" in out
    assert re.search(rf"^tfopt {re.escape(tfopt.__version__)} \(TensorFlow \S+, Keras ", out, re.M)
    assert "PAGE with .json" in " ".join(out.split())


def test_import_tfopt_alone_registers_all_classes_with_both_libraries():
    out = run_code(f"""
        import tfopt
        import keras, tf_keras
        one = keras.saving.load_model({str(RECORDED / "keras-rows.keras")!r})
        other = tf_keras.saving.load_model({str(RECORDED / "tf_keras-windows.keras")!r})
        print(type(one.optimizer), type(other.optimizer))
    """)
    assert "tfopt.optimizers.sgd.SGD" in out and "tfopt.optimizers.adam.Adam" in out


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "the following arguments are required: COMMAND"),
        (["compare", "--epochs", "0"], "--epochs: must be a whole number of at least 1; got '0'"),
        (["compare", "--seeds", "x"], "--seeds: must be a whole number of at least 1; got 'x'"),
        (["compare", "sgd,momentum"], "must be like sgd,learning_rate=0.1 with numbers"),
        (["compare", "sgd,momentum=open()"], "got 'momentum=open()' in 'sgd,momentum=open()'"),
        (["compare", "sgd,a=1) or _(b=2"], "must be like sgd,learning_rate=0.1"),
        (["compare", "sgd,a=1,a=2"], "each once; got 'a=2'"),
        (["compare", "--sweep", "learning_rate"], "a sweep must be like learning_rate=1e-4,3e-4"),
        (["compare", "--sweep", "rate=1,1"], "with different numbers; got 'rate=1,1'"),
        (["compare", "--problem", "nowhere"], "must be module:function"),
        (["compare", "--problem", "nowhere:f"], "--problem: there is no module 'nowhere', neither"),
        (["convert", "a.h5", "b.keras"], "must be a .keras file; got 'a.h5'"),
        (["convert", "no.keras", "b.keras"], "there is no file 'no.keras'"),
    ],
)
def test_wrong_arguments_are_explained(words, message, capsys):
    assert message in " ".join(refused(capsys, *words).split())


def test_a_list_of_numbers_is_a_sweep_and_other_lists_are_not():
    texts = [s.text for s in expand("adam,learning_rate=[1e-4,3e-4],amsgrad=True")]
    assert texts == [
        "adam,learning_rate=0.0001,amsgrad=True",
        "adam,learning_rate=0.0003,amsgrad=True",
    ]
    assert [s.text for s in expand("adamw,exclude_from_weight_decay=['a', 'b']")] == [
        "adamw,exclude_from_weight_decay=['a', 'b']"
    ]
    assert len(expand("sgd,learning_rate=[0.1,0.2],momentum=[0.5,0.9,0.99]")) == 6
    swept = with_sweeps(["adam", "sgd,learning_rate=0.1"], {"learning_rate": [0.5, 1.0]})
    assert swept == ["adam,learning_rate=[0.5, 1.0]", "sgd,learning_rate=0.1"]
    assert parse(swept[0]).arguments == {"learning_rate": [0.5, 1.0]}


def test_only_log_lines_are_dropped():
    lines = [
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "I0000 00:00:1764547200.123456   28189 cudart_stub.cc:31] Could not find cuda drivers",
        "E0000 00:00:1764547200.123456   28189 cuda_platform.cc:51] failed call to cuInit",
        "2026-11-30 23:44:30.123456: I tensorflow/core/util/port.cc:153] oneDNN",
    ]
    assert all(log_lines._LOG_LINE.match(line) for line in lines)
    for line in ("Traceback (most recent call last):", "UserWarning: x", "E501 too long"):
        assert not log_lines._LOG_LINE.match(line)


# --- inspect --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, said",
    [
        (
            "checkpoints/keras-adam.keras",
            [".keras file of Keras 3, version", "Adam of Keras 3", "amsgrad=True", "no name"],
        ),
        ("checkpoints/tf_keras-adam.keras", [".keras file of tf-keras", "Adam of tf-keras"]),
        ("checkpoints/keras-adam.weights.h5", ["the format does not say", "6 arrays, 96 B"]),
        ("checkpoints/tf_keras-adam.weights.h5", ["the format does not say", "6 arrays, 96 B"]),
        ("checkpoints/tf_keras-adam.h5", ["Adam of tf-keras", "vhat  float32       2        8"]),
        ("checkpoints/legacy-adam.h5", ["Adam of tf-keras", "vhat  float32       2        8"]),
        ("checkpoints/keras-adam.ckpt", ["Keras 3 or tf-keras wrote", "velocity_hats  float32"]),
        ("checkpoints/tf_keras-adam.ckpt.index", ["momentums      float32       2        8"]),
        ("checkpoints/legacy-adam.ckpt", ["tfopt or OptimizerV2", "vhat  float32       2"]),
        ("recorded/keras-adam.h5", ["tfopt.Adam", "policies         clipnorm=1.5", "vhat"]),
        ("recorded/keras-rows.keras", ["tfopt.SGD", "lazy=True, use_ema=True", "ema_average"]),
        ("recorded/keras-scaled.weights.h5", ["tfopt.Adam", "loss_scale=8.0", "inner_optimizer"]),
        ("recorded/keras-scaled.ckpt", ["loss_scale=8.0", "4 arrays, 80 B"]),
        ("recorded/tf_keras-counted.keras", ["recorded.Counted", "warmth=0.96875, updates=4.0"]),
        (
            "recorded/keras-windows.ckpt",
            ["decay=0.25, exponential moving average, gradient accumulation", "micro_steps"],
        ),
    ],
)
def test_inspect_says_what_a_file_holds(file, said, capsys):
    text = run(capsys, "inspect", HERE / file)
    steps = {"checkpoints": "3", "recorded": "1" if "windows" in file else "4"}
    for words in [*said, f"step             {steps[file.split('/')[0]]}\n"]:
        assert words in text, (words, text)
    if "tf_keras-adam.weights" not in file:  # which has no learning rate
        assert re.search(r"learning rate    0\.\d+", text)


def test_inspect_shows_a_schedule_and_what_a_saved_model_holds(tmp_path, capsys):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
    model = make.make_model("keras", tfopt.Adam(schedule, clipnorm=1.0))
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    text = run(capsys, "inspect", tmp_path / "model.keras", tmp_path / "model.weights.h5")
    assert "learning rate    ExponentialDecay(initial_learning_rate=0.5, decay_steps=10" in text
    assert "learning rate    a schedule" in text and "clipnorm=1.0" in text
    module = tf.Module()
    module.optimizer, module.x = tfopt.Adam(), tf.Variable([1.0, 2.0])
    module.optimizer.build([module.x])
    checkpoint = tf.train.Checkpoint(module=module)
    checkpoint.save(str(tmp_path / "folder" / "ckpt"))
    text = run(capsys, "inspect", tmp_path / "folder")
    assert "ckpt-1" in text and "2 arrays, 16 B" in text


def test_inspect_refuses_what_it_cannot_read(tmp_path, capsys):
    def written(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
        archive.writestr("config.json", "{")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1.0]
    (tmp_path / "empty").mkdir()
    whole = (CHECKPOINTS / "keras-adam.weights.h5").read_bytes()
    for path, message in [
        (tmp_path / "none", "there is no file, checkpoint or folder"),
        (written("text.keras", b"hello"), "must be a .keras file, an .h5 file"),
        (written("p.pickle", pickle.dumps(1)), "a pickle, which runs code when it is read"),
        (written("cut.h5", whole[:3000]), "is damaged"),
        (written("ckpt.index", b"nothing"), "is damaged, or no checkpoint"),
        (tmp_path / "other.zip", "not a model of Keras"),
        (tmp_path / "bad.keras", "its config.json is not JSON"),
        (tmp_path / "other.h5", "not one of Keras 3 or tf-keras"),
        (tmp_path / "empty", "holds no checkpoint"),
    ]:
        text = refused(capsys, "inspect", path)
        assert text.startswith("tfopt inspect: ") and message in text, text


def test_inspect_follows_no_link_out_of_the_file(tmp_path, capsys):
    path = tmp_path / "linked.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("layers")
        other = str(CHECKPOINTS / "keras-adam.weights.h5")
        file["optimizer"] = h5py.ExternalLink(other, "optimizer")
    assert "none: the file has neither" in run(capsys, "inspect", path)


def test_inspect_knows_the_format_and_the_options_of_tfopt():
    assert keras_files.PREFIXES[:3] == ("hyper.", "weight.", "state.")
    numbers = {"learning_rate", "lr", "name", "jit_compile"}
    assert tfopt.SGD._declared.common - numbers <= POLICIES


# --- convert --------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["keras", "tf_keras"])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_converted_model_continues_as_the_first_one_would(origin, name, tmp_path, capsys):
    out = tmp_path / "out.keras"
    text = run(capsys, "convert", CHECKPOINTS / f"{origin}-{name}.keras", out)
    cls = make.OPTIMIZERS[name][0]
    assert f"optimizer        tfopt.{cls}\n" in text and "step             3\n" in text
    model = make.LIBRARIES[origin].saving.load_model(out)
    assert type(model.optimizer) is getattr(tfopt, cls)
    make.fit(model)
    expected = np.load(CHECKPOINTS / "expected.npz")
    for number, value in enumerate(model.get_weights()):
        np.testing.assert_allclose(value, expected[f"{origin}-{name}-{number}"], rtol=1e-5)


def test_the_state_of_adam_goes_over_to_adamw(tmp_path, capsys):
    source, out = CHECKPOINTS / "keras-adam.keras", tmp_path / "out.keras"
    text = run(capsys, "convert", source, out, "--to", "adamw")
    assert "AdamW instead of Adam: the state is carried over." in text
    assert "New is weight_decay=0.004, the default of AdamW." in text
    for words in (["--to", "adamw,weight_decay=0.5"], ["--to", "adamw,learning_rate=0.25"]):
        text = run(capsys, "convert", source, out, "--overwrite", *words)
        assert words[1].split(",")[1].split("=")[1] in text and "step             3\n" in text
    theirs, ours = (keras.saving.load_model(path).optimizer for path in (source, out))
    np.testing.assert_array_equal(ours.get_weights()[1], theirs.variables[2])
    assert float(ours.learning_rate) == 0.25


def test_convert_refuses_what_would_go_wrong(tmp_path, capsys):
    source, out = CHECKPOINTS / "keras-adam.keras", tmp_path / "out.keras"
    words = ["convert", source, out]
    assert "slots mean something else" in refused(capsys, *words, "--to", "lion")
    assert "must name an optimizer of tfopt; got 'x'" in refused(capsys, *words, "--to", "x")
    text = refused(capsys, *words, "--to", "adam,amsgrad=False")
    assert "must leave the slots as they are" in text
    rmsprop = make.make_model("keras", keras.optimizers.RMSprop(0.5))
    rmsprop.save(tmp_path / "rmsprop.keras")
    text = refused(capsys, "convert", tmp_path / "rmsprop.keras", out)
    assert "Pass --allow-different-formula" in text
    plain = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    plain.save(tmp_path / "plain.keras")
    text = refused(capsys, "convert", tmp_path / "plain.keras", out)
    assert "`IN` must hold a compiled model" in text
    (tmp_path / "no.keras").write_text("no")
    assert "must be a model in a .keras" in refused(capsys, "convert", tmp_path / "no.keras", out)
    assert not out.exists()
    text = run(capsys, *words, "--to", "lion,learning_rate=0.5", "--without-state")
    assert "tfopt.Lion" in text and "step             0\n" in text and "0.5" in text
    assert "exists. Name another file" in refused(capsys, *words)


def test_convert_runs_no_code_from_the_file(tmp_path, capsys):
    layers = [keras.Input((1,)), keras.layers.Lambda(lambda x: x + 1.0), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(optimizer="adam", loss=keras.losses.MeanSquaredError())
    model.save(tmp_path / "lambda.keras")
    assert "lambda" in refused(capsys, "convert", tmp_path / "lambda.keras", tmp_path / "out.keras")
    assert "Adam of Keras 3" in run(capsys, "inspect", tmp_path / "lambda.keras")


def test_classes_of_yours_come_from_a_module_that_you_name(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_layers.py").write_text("""
import keras

@keras.saving.register_keras_serializable()
class Mine(keras.layers.Dense):
    pass
""")
    words = ["convert", tmp_path / "mine.keras", tmp_path / "out.keras"]
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        layer = importlib.import_module("my_layers").Mine(2)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(optimizer="adam", loss=keras.losses.MeanSquaredError())
    model.save(words[1])
    del sys.modules["my_layers"], keras.saving.get_custom_objects()["Custom>Mine"]
    assert "name its module by --import" in refused(capsys, *words)
    assert "tfopt.Adam" in run(capsys, *words, "--import", "my_layers")
