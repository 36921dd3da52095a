"""`tfopt compare`, as a command and as a function."""

import json
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
from tfopt.compare import command_line, progress
from tfopt.compare.curves import curves
from tfopt.compare.remarks import remarks
from tfopt.compare.results_file import ResultsFile
from tfopt.compare.results_table import headings_and_rows, plain_text

PROBLEM = """
import keras
import numpy as np
import tensorflow as tf

def line(optimizer):
    x = np.random.default_rng(0).normal(size=[24, 2]).astype("float32")
    y = x @ np.array([[1.0], [-2.0]], "float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="straight")
    model.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError())
    return model, tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
"""
COMMAND = "from tfopt_command.main import main; main()"


def line(optimizer, library=keras, test=True):
    x = np.random.default_rng(0).normal(size=[24, 2]).astype("float32")
    y = x @ np.array([[1.0], [-2.0]], "float32")
    model = library.Sequential([library.layers.Dense(1)])
    model.compile(optimizer=optimizer, loss=library.losses.MeanSquaredError())
    return (model, (x, y), (x, y)) if test else (model, (x, y))


def run_of(label, *losses, seed=0, test=None, **swept):
    seconds = [float(n) for n in range(len(losses))]
    group = label if swept else ""
    text = ",".join([label, *(f"{name}={value}" for name, value in swept.items())])
    run = compare.Run(text, list(losses), seconds, 1.0, seed=seed, group=group, swept=swept)
    run.test = {} if test is None else {"accuracy": 0.5, "loss": test}
    return run


# --- training -------------------------------------------------------------------------------------


def test_the_command_writes_one_page_and_no_log_line(tmp_path):
    (tmp_path / "mine.py").write_text(PROBLEM)
    words = ["--problem", "mine:line", "--epochs", "2", "--out", "out.html"]
    environment = environment_of()
    del environment["TF_CPP_MIN_LOG_LEVEL"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "compare", "sgd,learning_rate=0.25", "keras.adam", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "[1/2] sgd,learning_rate=0.25, seed 0: loss" in done.stdout and "left" in done.stdout
    assert "keras.adam" in done.stdout and "first step" in done.stdout
    assert json.loads((tmp_path / "out.json").read_text())["complete"]
    page = (tmp_path / "out.html").read_text()
    assert page.count("<tr>") == 3 and page.count("<svg") == 2
    assert "seconds after the first step" in page
    for said in (
        "tfopt compare sgd,learning_rate=0.25 keras.adam --problem mine:line --epochs 2",
        "straight, 3 parameters",
        f"tfopt {tfopt.__version__} (TensorFlow",
    ):
        assert said in page
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


def test_a_sweep_is_trained_with_each_value_and_seed():
    texts = ["sgd,learning_rate=[0.0,0.25],momentum=0.0"]
    runs = compare.compare(texts, line, epochs=1, batch_size=8, seed=3, seeds=2)
    assert [(run.swept["learning_rate"], run.seed) for run in runs] == [
        (0.0, 3),
        (0.25, 3),
        (0.0, 4),
        (0.25, 4),
    ]
    assert {run.group for run in runs} == {"sgd,momentum=0.0"}
    assert runs[0].losses[0] == runs[1].losses[0] != runs[2].losses[0]


def test_digits_are_learned():
    [run] = compare.compare(["adam,learning_rate=3e-3"], epochs=5)
    assert len(run.losses) == 5 * 45
    assert run.test["accuracy"] > 0.9


# --- an interrupted comparison --------------------------------------------------------------------


def test_an_interrupted_comparison_continues(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "continued.py").write_text(PROBLEM)
    words = ["compare", "sgd,learning_rate=[0.1,0.2]", "--seeds", "2", "--epochs", "1"]
    words += ["--problem", "continued:line", "--out", "page.html"]
    trained, stop_at = [], 3

    def train(setting, problem, *, seed, **others):
        if len(trained) == stop_at:
            raise KeyboardInterrupt
        trained.append((setting.text, seed))
        return run_of(setting.text, 3.0 - seed, float("nan") if seed else 1.0, seed=seed)

    monkeypatch.setattr(command_line, "train", train)
    with pytest.raises(SystemExit, match=r"interrupted\. 3 of 4 trainings are kept in page\.json"):
        main(words)
    assert not (tmp_path / "page.html").exists() and len(trained) == 3
    stop_at = None
    main(words)
    assert "Continuing: 3 of 4 trainings are in page.json." in capsys.readouterr().out
    assert len(trained) == len(set(trained)) == 4
    assert (tmp_path / "page.html").exists()
    main(words)  # it was complete, so this is a new one
    assert len(trained) == 8


def test_results_are_used_again_only_if_nothing_else_has_changed(tmp_path):
    path = tmp_path / "results.json"
    file = ResultsFile(path, {"epochs": 1})
    assert file.finished() == []
    runs = [run_of("sgd", 1.0, float("inf"), float("nan"), momentum=0.5), run_of("adam", 2.0)]
    runs[1].test = {"accuracy": float("nan")}
    file.write(runs)
    np.testing.assert_equal([vars(run) for run in file.finished()], [vars(run) for run in runs])
    assert ResultsFile(path, {"epochs": 2}).finished() == []
    file.write(runs, complete=True)
    assert file.finished() == []
    path.write_text("{")
    assert file.finished() == []


# --- what is shown --------------------------------------------------------------------------------


def test_the_table_is_in_order_of_the_loss():
    runs = [run_of(str(loss), loss) for loss in (2.0, float("nan"), 1.0)]
    headings, rows = headings_and_rows(runs)
    assert headings == ["optimizer", "loss", "ms a step", "first step"]
    assert [row[0] for row in rows] == ["1.0", "2.0", "nan"]
    assert plain_text(headings, rows).splitlines()[:3] == [
        "optimizer  loss  ms a step  first step",
        "---------  ----  ---------  ----------",
        "1.0           1        nan      1.00 s",
    ]


SWEPT = [
    run_of("sgd", 4.0, 2.0, learning_rate=0.1),
    run_of("sgd", 4.0, 4.0, learning_rate=0.1, seed=1),
    run_of("sgd", 4.0, 9.0, learning_rate=1.0),
    run_of("sgd", 4.0, 9.0, learning_rate=1.0, seed=1),
    run_of("lion", 4.0, float("nan"), learning_rate=1.0),
    run_of("lion", 4.0, float("nan"), learning_rate=1.0, seed=1),
]


def test_the_table_has_the_spread_over_seeds_and_marks_the_best_of_a_sweep():
    _, rows = headings_and_rows(SWEPT)
    assert [row[:2] for row in rows] == [
        ["sgd,learning_rate=0.1 *", "3 ± 1.4"],
        ["sgd,learning_rate=1.0", "9 ± 0"],
        ["lion,learning_rate=1.0 *", "nan"],
    ]


# The one that trains best is the worst on the test data.
TESTED = [
    run_of("adam", 4.0, 1.0, test=0.75, learning_rate=0.1),
    run_of("adam", 4.0, 0.5, test=0.25, learning_rate=0.2),
    run_of("adam", 4.0, 0.1, test=2.0, learning_rate=0.4),
    run_of("sgd", 4.0, 0.2, test=0.5, learning_rate=0.4),
    run_of("lion", 4.0, 0.1, test=float("nan"), learning_rate=0.4),
]


def test_with_test_data_the_test_loss_decides_which_is_best_everywhere(monkeypatch, capsys):
    _, rows = headings_and_rows(TESTED)
    assert [row[0] for row in rows] == [
        "adam,learning_rate=0.2 *",
        "sgd,learning_rate=0.4 *",
        "adam,learning_rate=0.1",
        "adam,learning_rate=0.4",
        "lion,learning_rate=0.4 *",
    ]
    said = " ".join(remarks(TESTED))
    assert "did best" not in said and "diverged with lion,learning_rate=0.4." in said
    by_test = "The lowest test loss comes first. * marks the lowest test loss of a sweep."
    page = compare.page(TESTED, "title")
    assert by_test in page and "Final test loss against learning_rate" in page
    assert "adam,learning_rate=0.2" in page[page.index("<svg") :]  # the curve of the best
    monkeypatch.setattr(command_line, "HAS_RICH", False)
    command_line._print_table(TESTED)
    assert by_test in capsys.readouterr().out
    by_training = "The lowest loss comes first. * marks the lowest loss of a sweep."
    assert by_training in compare.page(SWEPT, "title")


def test_remarks_say_what_the_comparison_cannot_show():
    same = [run_of("adam", 2.0, 1.0), run_of("keras.adam", 2.0, 1.0001), run_of("sgd", 2.0, 0.5)]
    said = " ".join(remarks(same))
    assert "The losses of adam and keras.adam agree" in said and "sgd" not in said
    assert "--sweep learning_rate" in said and "--seeds 3" in said
    said = " ".join(remarks(SWEPT))
    assert "The loss diverged with lion,learning_rate=1.0." in said
    assert "diverged with rmsprop." in " ".join(remarks([run_of("rmsprop", 1.0, 11.0)]))
    assert "sgd did best with the lowest learning_rate of the sweep, 0.1. Sweep lower" in said
    assert "--sweep" not in said and "--seeds" not in said


def test_the_page_has_a_plot_of_the_sweep_and_works_on_a_telephone_and_in_the_dark():
    page = compare.page(SWEPT, "<title>", {"command": "tfopt <>"})
    assert "<h1>&lt;title&gt;" in page and "<dd>tfopt &lt;&gt;</dd>" in page
    assert page.count("<svg") == 3 and "Final loss against learning_rate" in page
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page
    assert "overflow-x: auto" in page and "currentColor" in page
    ids = re.findall(r' id="([^"]+)"', "".join(re.findall(r"<g [^>]*>", page)))
    assert len(ids) == len(set(ids))


def test_the_page_names_a_model_once_if_only_the_number_of_its_name_differs():
    runs = [run_of("a", 1.0), run_of("b", 1.0), run_of("c", 1.0), run_of("d", 1.0)]
    names = ["sequential_3, 8", "sequential_4, 8", "sequential_5, 9", "net, 8"]
    for run, name in zip(runs, names, strict=True):
        run.model = f"{name} parameters"
    said = command_line._models(runs)
    assert said == "sequential_3, 8 parameters; sequential_5, 9 parameters; net, 8 parameters"


def test_equal_curves_stay_visible():
    steps, *_ = curves([run_of("a", 2.0, 1.0, 0.5), run_of("b", 2.0, 1.0, 0.5)])
    widths = re.findall(r"stroke-width: ([\d.]+)", steps)
    assert "3.4" in widths and "2.8" in widths and "stroke-dasharray: 1" in steps


def test_what_diverges_does_not_hide_the_others():
    losses = [2.0, 1.0, 0.5]
    drawn = curves([run_of("a", *losses), run_of("b", 2.0, 1e9, 1e18)])[0]
    exponents = [int(text) for text in re.findall(r"10\^\{(-?\d+)\}", drawn)]  # of the ticks
    assert exponents and max(exponents) <= 2


def test_without_matplotlib_and_rich_there_is_a_table(monkeypatch, capsys):
    for name in list(sys.modules):
        if name.split(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(command_line, "HAS_RICH", False)
    page = compare.page(SWEPT, "title")
    assert "The curves need Matplotlib" in page and page.count("<tr>") == 4
    command_line._print_table(SWEPT)
    assert "\nsgd,learning_rate=0.1 *" in capsys.readouterr().out


def test_no_argument_is_cut_where_the_screen_is_narrow(monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "55")
    command_line._print_table([run_of("adam,learning_rate=0.0003,weight_decay=0.01", 0.5)])
    printed = capsys.readouterr().out
    assert "learning_rate=0.0003," in printed and "weight_decay=0.01" in printed
    assert "…" not in printed


def test_the_progress_has_an_estimate_of_the_time_left(capsys, monkeypatch):
    moments = iter([0.0, 60.0, 120.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(moments))
    shown = progress.PlainProgress(total=4, finished=1, epochs=1)
    shown.done(run_of("adam", 0.5))
    shown.done(run_of("sgd", 0.25))
    assert capsys.readouterr().out.splitlines() == [
        "[2/4] adam, seed 0: loss 0.5, 60 s; about 2 min left",
        "[3/4] sgd, seed 0: loss 0.25, 60 s; about 60 s left",
    ]
    assert progress.duration(2 * 3600 + 5 * 60) == "2 h 5 min"


def test_the_bar_moves_with_the_batches():
    bar = progress.RichProgress(total=4, finished=1, epochs=2)
    run = run_of("adam", 0.5)
    for batches, completed in [(2, 1.5), (0, 1.0)]:  # 0: the number of batches is not known yet
        bar.batch(run, batches, 0.5)
        assert bar._bar.tasks[0].completed == completed
        assert bar._bar.tasks[0].fields["loss"] == "loss 0.5"
    bar.done(run)
    assert bar._bar.tasks[0].completed == 2


# --- optimizers and problems ----------------------------------------------------------------------


def test_words_stand_for_optimizers():
    sgd = compare.optimizer("sgd,learning_rate=0.5,nesterov=True,momentum=0.25")
    assert type(sgd) is tfopt.SGD and sgd.nesterov is True
    assert (sgd.get_config()["learning_rate"], sgd.get_config()["momentum"]) == (0.5, 0.25)
    assert type(compare.optimizer("keras.adam,learning_rate=0.5")) is keras.optimizers.Adam
    assert type(compare.optimizer("tfopt.lamb")) is tfopt.LAMB
    adamw = compare.optimizer("adamw,exclude_from_weight_decay=['bias','gamma']")
    assert adamw.get_config()["exclude_from_weight_decay"] == ["bias", "gamma"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["nope"], "`optimizers` must name optimizers; got 'nope'"),
        (["torch.adam"], "neither tfopt nor keras"),
        (["sgd,rate=1"], "SGD has no keyword `rate`"),
        (["sgd,learning_rate=-1"], "`learning_rate` must be"),
        (["sgd", "--sweep", "rate=1,2"], "SGD has no keyword `rate`"),
        (["--problem", "os.nowhere:f"], "there is no module 'os.nowhere'"),
        (["--problem", "math:sqr"], "the module 'math' has no 'sqr'. Did you mean math:sqrt?"),
        (["--problem", "math:pi"], "must name a function; got 'math:pi', which is of type float"),
    ],
)
def test_a_wrong_word_ends_the_command_with_a_line(words, message):
    with pytest.raises(SystemExit, match="^tfopt compare: ") as error:
        main(["compare", *words])
    assert message in str(error.value)


def test_a_problem_that_imports_what_is_missing_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "needy.py").write_text("import nowhere_at_all")
    with pytest.raises(SystemExit, match="it imports 'nowhere_at_all', which is not installed"):
        main(["compare", "--problem", "needy:line"])


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match="`epochs` must be at least 1; got 0"):
        compare.compare(["sgd"], line, epochs=0)
    with pytest.raises(ValueError, match="`seeds` must be at least 1; got 0"):
        compare.compare(["sgd"], line, seeds=0)
    with pytest.raises(ValueError, match="`optimizers` must hold one at least"):
        compare.compare([], line)
    with pytest.raises(ValueError, match="`problem` must return a compiled model, data"):
        compare.compare(["sgd"], lambda optimizer: None)
