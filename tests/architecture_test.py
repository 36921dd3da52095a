"""The sources keep to their places: sizes, DTensor, replicas, private names of others."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tfopt"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PRIVATE_PACKAGES = sorted(p for p in PACKAGE.iterdir() if re.match(r"_[a-z]", p.name))


def name_of(path):
    return str(path.relative_to(PACKAGE))


def code(path):
    """A file without its docstrings and comments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def test_private_packages_hold_all_that_users_do_not_meet():
    files = [path.name for path in PACKAGE.glob("_*.py")]
    assert sorted(files) == ["__init__.py", "__main__.py"]
    assert len(PRIVATE_PACKAGES) == 8


@pytest.mark.parametrize("package", PRIVATE_PACKAGES, ids=lambda path: path.name)
def test_no_file_of_a_private_package_is_long(package):
    for path in [*package.rglob("*.py"), PACKAGE / "optimizer.py"]:
        assert len(path.read_text().splitlines()) <= 350, name_of(path)


def test_one_file_knows_of_meshes_and_layouts():
    pattern = r"experimental\.dtensor|\bDVariable\b|\bLayout\b|\.mesh\b|\.layout\b(?! *=)"
    naming = {name_of(path) for path in SOURCES if re.search(pattern, code(path))}
    # Scalars lie where `dtensor.layout_of_scalars` says: the state only passes that on.
    assert naming == {"_libraries/dtensor.py", "_engine/building.py", "_state/state.py"}


def test_replicas_are_known_in_few_places():
    """Files that name the machinery of tf.distribute."""
    naming = {
        name_of(path)
        for path in SOURCES
        if re.search(r"merge_call|all_reduce(?!_dtype)|extended\.", code(path))
    }
    assert naming == {"_libraries/replicas.py", "_libraries/tf_variables.py"}


def private_names_of_others(path, ours):
    """Private attributes that a file reads or calls, and that nobody in tfopt defines."""
    names = {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
    return {n for n in names if re.match(r"_[a-z]", n) and n not in ours}


@functools.cache
def defined_names():
    """All names that tfopt defines: functions, classes, attributes, and names in dicts of them."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_private_names_of_other_libraries_are_in_two_files(path):
    """TensorFlow's in one, and those by which Keras' optimizers are converted in another."""
    names = private_names_of_others(path, defined_names())
    allowed = {
        "_libraries/tensorflow_private.py": names,
        "conversion.py": names,
        # `NamedTuple` has no public name for it.
        "": {"_replace"},
    }
    assert names <= allowed.get(name_of(path), set()) | allowed[""]


def test_each_private_name_of_tensorflow_has_its_reason():
    """The table in docs/design.md names every one that is used."""
    names = private_names_of_others(
        PACKAGE / "_libraries" / "tensorflow_private.py", defined_names()
    )
    text = (ROOT / "docs" / "design.md").read_text()
    assert {name for name in names if f"`{name}`" not in text} == set()
