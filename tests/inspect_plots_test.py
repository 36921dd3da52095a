"""Pictures of optimizers and schedules show what these compute."""

import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib import pyplot

import tfopt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def bowl(x, y):
    return x * x + 4 * y * y


def test_trajectories_are_the_optimizers_own():
    path = tfopt.inspect.trajectory(tfopt.SGD(0.125), bowl, (2, 1), 3)
    np.testing.assert_array_equal(path, [(2 * 0.75**t, 1.0 if t == 0 else 0.0) for t in range(4)])


def test_optimizers_are_left_as_they_are_and_drawn():
    ours, theirs = tfopt.Adam(0.1), keras.optimizers.Adam(0.1)
    optimizers = {"ours": ours, "theirs": theirs}
    axes = tfopt.inspect.plot_trajectories(optimizers, bowl, (2, 1), steps=5)
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert lines["ours"].shape == (6, 2)
    np.testing.assert_allclose(lines["ours"], lines["theirs"], rtol=1e-5)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ours", "theirs"]
    left, right = axes.get_xlim()
    assert left < lines["ours"][:, 0].min() and right > 2
    assert not ours.built and int(np.array(theirs.iterations)) == 0


def labels_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_optimizers_are_labelled_so_that_none_is_lost():
    given = [tfopt.SGD(0.1, name="a"), tfopt.Adam(0.1), tfopt.Adam(0.5), tfopt.Adam(0.1), "sgd"]
    axes = tfopt.inspect.plot_trajectories(given, bowl, (2, 1), steps=0)
    ours = ["Adam, learning_rate=0.1", "Adam, learning_rate=0.5", "Adam, learning_rate=0.1 (2)"]
    assert labels_of(axes) == ["a", *ours, "SGD"]
    assert labels_of(tfopt.inspect.plot_trajectories(tfopt.Adam(), bowl, (2, 1), steps=0)) == [
        "Adam"
    ]
    assert labels_of(tfopt.inspect.plot_trajectories({"k": "adam"}, bowl, (2, 1), steps=0)) == ["k"]


@pytest.mark.parametrize("rate", [0.3, 3.0, 1e30], ids=["slowly", "at_once", "to_infinity"])
def test_one_that_diverges_is_drawn_until_it_leaves(rate):
    good, bad = tfopt.SGD(0.01), tfopt.SGD(rate)  # bowl diverges above 0.25 along y
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes = tfopt.inspect.plot_trajectories({"good": good, "bad": bad}, bowl, (2, 1), steps=90)
        axes.figure.canvas.draw()
    assert labels_of(axes) == ["good", "bad (diverges)"]
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    assert -10 < left < 0.5 and 2 < right < 10 and -10 < bottom < 0.2 and 1 < top < 10
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert len(lines["good"]) == 91 and np.isfinite(lines["bad (diverges)"]).all()
    inside = (np.abs(lines["bad (diverges)"][:, 1]) < max(top, -bottom)).sum()
    assert inside + 1 >= len(lines["bad (diverges)"]) >= (1 if rate > 1e9 else 2)
    alone = tfopt.inspect.plot_trajectories(bad, bowl, (2, 1), steps=90)
    assert alone.get_xlim()[0] < 2 < alone.get_xlim()[1] < 10


def test_wrong_arguments_raise(monkeypatch):
    with pytest.raises(ValueError, match="`optimizers` must hold one at least"):
        tfopt.inspect.plot_trajectories([], bowl, (2, 1))
    with pytest.raises(ValueError, match="identifier: 1"):
        tfopt.inspect.plot_trajectories({"one": 1}, bowl, (2, 1))
    with pytest.raises(ValueError, match="`start` must be two numbers; got 2"):
        tfopt.inspect.trajectory(tfopt.SGD(), bowl, 2, 1)
    with pytest.raises(ValueError, match="`steps` must be an integer >= 0; got -1"):
        tfopt.inspect.trajectory(tfopt.SGD(), bowl, (2, 1), -1)
    schedule = tfopt.schedules.CosineDecay(0.1, 9)
    with pytest.raises(ValueError, match="`steps` must be an integer >= 2; got 1"):
        tfopt.inspect.plot_schedule(schedule, 1)
    with pytest.raises(ValueError, match="`schedule` must hold one at least"):
        tfopt.inspect.plot_schedule({}, 9)
    for wrong in (0.1, tfopt.schedules.CosineDecay):
        with pytest.raises(TypeError, match="`schedule` must be a schedule, a function of the"):
            tfopt.inspect.plot_schedule({"wrong": wrong}, 9)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"needs matplotlib, .*: pip install matplotlib\."):
        tfopt.inspect.plot_schedule(schedule, 9)


@pytest.mark.parametrize("library", [tfopt.schedules, keras.optimizers.schedules, "a function"])
def test_a_schedule_is_drawn_as_it_is(library):
    def halving(step):
        return 0.5 ** tf.cast(step, tf.float32)

    schedule = halving
    if library != "a function":
        schedule = library.ExponentialDecay(1.0, decay_steps=1, decay_rate=0.5)
    axes = tfopt.inspect.plot_schedule(schedule, 5)
    [line] = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [(t, 0.5**t) for t in range(5)], rtol=1e-6)
    title = axes.get_title(loc="left").split("(")[0]
    assert title == ("halving" if library == "a function" else "ExponentialDecay")
    assert " at 0x" not in axes.get_title(loc="left")


def test_schedules_are_drawn_by_label():
    rising = tfopt.schedules.CosineDecay(0.1, 10)
    axes = tfopt.inspect.plot_schedule({"a": rising, "b": lambda step: 0.05}, 100_000)
    assert labels_of(axes) == ["a", "b"] and not axes.get_title(loc="left")
    assert [len(line.get_xdata()) for line in axes.lines] == [500, 500]
    assert axes.lines[0].get_xdata()[-1] == 99_999
