"""`tfopt compare`, as a command and as a function."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tf_keras
from processes import environment_of

import tfopt
from tfopt import compare
from tfopt.__main__ import main
from tfopt.compare.results_table import headings_and_rows

PROBLEM = """
import keras
import numpy as np
import tensorflow as tf

def line(optimizer):
    x = np.random.default_rng(0).normal(size=[24, 2]).astype("float32")
    y = x @ np.array([[1.0], [-2.0]], "float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError())
    return model, tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
"""


def line(optimizer, library=keras, test=True):
    x = np.random.default_rng(0).normal(size=[24, 2]).astype("float32")
    y = x @ np.array([[1.0], [-2.0]], "float32")
    model = library.Sequential([library.layers.Dense(1)])
    model.compile(optimizer=optimizer, loss=library.losses.MeanSquaredError())
    return (model, (x, y), (x, y)) if test else (model, (x, y))


def test_the_command_writes_one_page_that_needs_nothing_else(tmp_path):
    (tmp_path / "mine.py").write_text(PROBLEM)
    words = ["--problem", "mine:line", "--epochs", "2", "--out", "out.html"]
    done = subprocess.run(
        [sys.executable, "-m", "tfopt", "compare", "sgd,learning_rate=0.25", "keras.adam", *words],
        cwd=tmp_path,
        env=environment_of(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "keras.adam" in done.stdout and "first step" in done.stdout
    page = (tmp_path / "out.html").read_text()
    assert page.count("<tr>") == 3 and page.count("<svg") == 1
    assert "sgd,learning_rate=0.25" in page and "seconds after the first step" in page
    # Names of XML namespaces are no addresses that a browser would visit.
    linked = re.findall(r"""(?:src|href)=["']([^"'#]+)|url\(([^#)]+)\)|<script|<link""", page)
    assert linked == []


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_runs_start_from_one_seed_and_note_each_batch(library):
    seen = []
    runs = compare.compare(
        ["sgd,learning_rate=0.0", "sgd,learning_rate=0.0,momentum=0.5", "sgd,learning_rate=0.25"],
        lambda optimizer: line(optimizer, library),
        epochs=2,
        batch_size=8,
        watch=lambda run, total, loss: seen.append((run.label, total, loss)),
    )
    assert [len(run.losses) for run in runs] == [6, 6, 6]
    assert runs[0].losses == runs[1].losses  # the same weights and batches
    assert len(set(runs[0].losses[:3])) == 3  # each of its own batch, and no running mean
    np.testing.assert_allclose(runs[0].loss, runs[0].test["loss"], rtol=1e-5)
    assert runs[2].loss < runs[0].loss
    assert [entry[1] for entry in seen] == [6] * 18 and seen[0][2] == runs[0].losses[0]
    for run in runs:
        assert run.seconds[0] == 0 and run.seconds == sorted(run.seconds) and run.first > 0


def test_the_table_is_in_order_of_the_loss():
    runs = [compare.Run(str(loss), [loss], [0.0], 1.0) for loss in (2.0, float("nan"), 1.0)]
    headings, rows = headings_and_rows(runs)
    assert headings == ["optimizer", "loss", "ms a step", "first step"]
    assert [row[0] for row in rows] == ["1.0", "2.0", "nan"]
    assert "<svg" in compare.page(runs, "<title>") and "<h1>&lt;title&gt;" in compare.page(
        runs, "<title>"
    )


def test_digits_are_learned():
    [run] = compare.compare(["adam,learning_rate=3e-3"], epochs=5)
    assert len(run.losses) == 5 * 45
    assert run.test["accuracy"] > 0.9


def test_words_stand_for_optimizers():
    sgd = compare.optimizer("sgd,learning_rate=0.5,nesterov=True,momentum=0.25")
    assert type(sgd) is tfopt.SGD and sgd.nesterov is True
    assert (sgd.get_config()["learning_rate"], sgd.get_config()["momentum"]) == (0.5, 0.25)
    assert type(compare.optimizer("keras.adam,learning_rate=0.5")) is keras.optimizers.Adam
    assert type(compare.optimizer("tfopt.lamb")) is tfopt.LAMB


@pytest.mark.parametrize(
    "words, message",
    [
        (["nope"], "`optimizers` must name optimizers; got 'nope'"),
        (["torch.adam"], "neither tfopt nor keras"),
        (["sgd,rate=1"], "SGD has no keyword `rate`"),
        (["sgd,learning_rate=-1"], "`learning_rate` must be"),
        (["sgd,momentum"], "got 'momentum' in 'sgd,momentum'"),
        (["sgd,momentum=open()"], "must be like sgd,learning_rate=0.1"),
        (["--problem", "nowhere"], "`problem` must be module:function; got 'nowhere'"),
        (["--problem", "nowhere:f"], "got 'nowhere:f': No module named 'nowhere'"),
        (["--problem", "math:pi"], "`problem` must be module:function; got 'math:pi'"),
    ],
)
def test_a_wrong_word_ends_the_command_with_a_line(words, message):
    with pytest.raises(SystemExit, match="^tfopt compare: ") as error:
        main(["compare", *words])
    assert message in str(error.value)


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match="`epochs` must be at least 1; got 0"):
        compare.compare(["sgd"], line, epochs=0)
    with pytest.raises(ValueError, match="`optimizers` must hold one at least"):
        compare.compare([], line)
    with pytest.raises(ValueError, match="`problem` must return a compiled model, data"):
        compare.compare(["sgd"], lambda optimizer: None)
