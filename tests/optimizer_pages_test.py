"""What the pages of `docs` are made of: docstrings, declarations, and recorded curves."""

import inspect
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tf_keras
from training import EVERY_ONE

import tfopt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from pages import arguments, curves, digits_training, docstrings, examples, reference_pages  # noqa: E402

each_optimizer = pytest.mark.parametrize("cls", examples.CLASSES, ids=lambda cls: cls.__name__)


@each_optimizer
def test_a_docstring_says_when_to_use_it_and_how_other_libraries_differ(cls):
    says = docstrings.split(cls)
    assert says["When to use"]
    assert re.search(r"Begin (at|between) |learning rate|`learning_rate`", says["When to use"])
    elsewhere = docstrings.entries(says["Other libraries"])
    assert list(elsewhere) == ["Keras 3", "tf-keras", "PyTorch", "Optax"]
    theirs = {"LAMB": "Lamb"}.get(cls.__name__, cls.__name__)
    for name, library in (("Keras 3", keras), ("tf-keras", tf_keras)):
        has_none = elsewhere[name].startswith("has none")
        assert has_none != hasattr(library.optimizers, theirs), elsewhere[name]


@each_optimizer
def test_the_tables_of_a_page_have_every_argument(cls):
    own, shared = arguments.own(cls), arguments.shared(cls)
    parameters = inspect.signature(cls).parameters
    aliases = cls._declared.aliases
    missing = {name for name in parameters if name not in aliases} - {*own, *shared}
    assert missing <= {"roles", "args", "kwargs"}
    assert not set(own) & set(shared)
    for names, documented in ((own, cls), (shared, tfopt.Optimizer)):
        rows = arguments.table(cls, names, arguments.documented(documented), {}).splitlines()
        assert len([row for row in rows if row.startswith("| `")]) == len(names)


@each_optimizer
def test_the_call_on_a_page_makes_the_optimizer(cls):
    run = curves.record()[cls.__name__]
    call = examples.shown(cls, learning_rate=run["learning_rate"], **curves.arguments(cls))
    made = eval(call, {"tfopt": tfopt})
    again = examples.make(cls, learning_rate=run["learning_rate"], **curves.arguments(cls))
    assert made.get_config() == again.get_config()


@pytest.mark.parametrize("name", list(curves.record()) if EVERY_ONE else ["Lion"])
def test_a_recorded_curve_begins_as_it_does_today(name):
    run = curves.record()[name]
    points, _ = digits_training.Training(getattr(tfopt, name)).run(run["learning_rate"], epochs=1)
    np.testing.assert_allclose(points, run["losses"][: len(points)], rtol=0.02)


def test_every_optimizer_has_a_curve_whose_rate_is_between_worse_ones():
    assert sorted(curves.record()) == sorted(cls.__name__ for cls in examples.CLASSES)
    for name, run in curves.record().items():
        assert len(run["losses"]) == digits_training.EPOCHS * 5
        if name != "COCOB":
            assert min(run["tried"]) < run["learning_rate"] < max(run["tried"]), name


def test_the_reference_has_every_method_of_an_optimizer():
    pages = "".join(path.read_text() for path in (ROOT / "docs/reference").glob("*.md"))
    listed = re.findall(r"auto(?:method|property):: tfopt\.Optimizer\.(\w+)", pages)
    methods = {
        name
        for base in tfopt.Optimizer.__mro__
        if base.__module__.startswith("tfopt.")
        for name, value in vars(base).items()
        if isinstance(value, property | classmethod) or inspect.isfunction(value)
        if not name.startswith("_")
    }
    assert sorted(listed) == sorted(methods)


def test_what_is_returned_is_a_sentence_and_not_a_type():
    """Sphinx takes what stands before a colon there for a type."""
    found = dict(reference_pages.PUBLIC)
    for cls in [value for value in found.values() if inspect.isclass(value)]:
        found |= {f"{cls.__name__}.{n}": v for n, v in inspect.getmembers(cls) if callable(v)}
    for name, value in found.items():
        if (getattr(value, "__module__", "") or "").startswith("tfopt"):
            returns = re.search(r"^Returns:\n(.*)", inspect.getdoc(value) or "", flags=re.M)
            assert not returns or ": " not in re.sub("`[^`]*`", "", returns[1]), name
