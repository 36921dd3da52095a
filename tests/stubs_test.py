"""The stubs say what the declarations say, and editors find it there without running tfopt."""

import inspect

import jedi
import pytest
import stubs

import tfopt

PROJECT = jedi.Project(stubs.PACKAGE.parent)
CLASSES = [*tfopt.optimizers.__all__, "Lamb", "RAdam"]


def complete(code):
    """What jedi offers after the code, which it reads and does not run."""
    return {c.name for c in jedi.Script(code, project=PROJECT).complete()}


def test_stubs_agree_with_the_declarations():
    assert stubs.stale() == [], f"run `{stubs.COMMAND}`"


def test_a_stub_is_stale_if_a_declaration_changes(monkeypatch):
    monkeypatch.setattr(tfopt.Adam.__dict__["beta_1"], "default", 0.8)
    assert stubs.stale() == ["tfopt/optimizers/adam.pyi", "tfopt/optimizers/adamw.pyi"]


def test_an_editor_completes_optimizers_and_no_internal_names():
    offered = complete("import tfopt\ntfopt.")
    assert {*CLASSES, *tfopt.__all__, "__version__"} <= offered
    assert offered.isdisjoint({"annotations", "TYPE_CHECKING"})
    assert set(CLASSES) <= complete("import tfopt\ntfopt.optimizers.")


@pytest.mark.parametrize("name", ["Adam", "RAdam", "Lookahead", "MultiOptimizer"])
def test_an_editor_completes_the_keywords_of_an_optimizer(name):
    declared = inspect.signature(getattr(tfopt, name)).parameters.values()
    named = {f"{p.name}=" for p in declared if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    offered = complete(f"import tfopt\ntfopt.{name}(")
    assert named | {"weight_decay=", "clipnorm=", "lr="} <= offered


def test_an_editor_shows_the_first_line_of_a_docstring():
    script = jedi.Script("import tfopt\ntfopt.Adam", project=PROJECT)
    [found] = script.infer(2, 8, only_stubs=True)
    assert found.docstring(raw=True) == inspect.getdoc(tfopt.Adam).split("\n")[0]


def test_names_of_the_package_are_the_public_ones():
    assert sorted(tfopt.__all__ + ["__version__"]) == dir(tfopt)


def test_a_signature_has_types():
    parameters = inspect.signature(tfopt.Adam).parameters
    assert parameters["learning_rate"].annotation == "ScalarOrSchedule"
    assert parameters["weight_decay"].annotation == "ScalarOrSchedule | None"
    assert parameters["amsgrad"].annotation == "bool"
    assert parameters["jit_compile"].annotation == 'Literal["auto"] | bool'
    assert parameters["gradient_accumulation_steps"].annotation == "int | None"
