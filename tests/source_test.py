"""The sources keep the rules that no other check sees."""

import ast
import inspect
import re
from pathlib import Path

import check_texts
import pytest

import tfopt

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path for name in ("tfopt", "tfopt_command") for path in (ROOT / name).rglob("*.py")
)
OPTIMIZERS = [getattr(tfopt, name) for name in tfopt.optimizers.__all__]


def code_lines(path):
    """The lines of a file without blank lines, comments, docstrings and imports."""
    source = path.read_text()
    skipped = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            skipped |= set(range(node.lineno, node.end_lineno + 1))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            skipped |= set(range(text.lineno, text.end_lineno + 1))
    return [
        line
        for number, line in enumerate(source.splitlines(), start=1)
        if number not in skipped and line.strip() and not line.strip().startswith("#")
    ]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("MODULE.bazel", '    version = "{}",'),
        ("CITATION.cff", "version: {}"),
        ("CHANGELOG.md", "## {}"),
    ],
)
def test_every_file_names_the_version(file, line):
    lines = (ROOT / file).read_text().splitlines()
    assert any(found.startswith(line.format(tfopt.__version__)) for found in lines)


def test_the_texts_have_no_word_that_may_not_come_back_and_no_foreign_address():
    assert "\n".join(check_texts.faults_of_checkout()) == ""


HOME = "https://github.com/owner/tfopt"
AT_HOME = [
    f"git clone {HOME}",
    f"pip install git+{HOME}.git",
    f"{HOME}/blob/main/README.md",
    "https://colab.research.google.com/github/owner/tfopt/blob/main/colab/quickstart.ipynb",
]


@pytest.mark.parametrize(
    ("text", "absent", "published"),
    [
        *[(text, 1, 0) for text in [*AT_HOME, "pip install -q 'tfopt[inspect]'", "uv add tfopt"]],
        *[(text.replace("owner", "another"), 1, 1) for text in AT_HOME],
        (f"{HOME}-fork/issues", 1, 1),
        ("https://tfopt.readthedocs.io/en/latest", 1, 1),
        ("pip install -e '.[inspect]'; pip install ./tfopt; python -m tfopt", 0, 0),
        ("pip install 'tfopt-0.1.0-py3-none-any.whl[inspect]' adds `tfopt[inspect]`", 0, 0),
        (f"%pip install -q 'tfopt[inspect] @ git+{HOME}'", 1, 0),
        ("git+{address}", 0, 0),
        ("https://github.com/google-deepmind/optax", 0, 0),
        ("the two Kerases, for ever", 2, 2),
        ("## Averages", 1, 1),
        ("Averages of the weights, next to them", 0, 0),
    ],
)
def test_an_address_must_be_the_one_in_pyproject(text, absent, published):
    """And while there is none, no text may promise a name on a package index either."""
    table = f'[project.urls]\nDocumentation = "https://x.org"\nRepository = "{HOME}"\n\n[tool]\n'
    assert len(check_texts.faults(text, None)) == absent
    assert len(check_texts.faults(text, check_texts.repository(table))) == published


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_public_apis_are_imported(path):
    """`tensorflow_private.py` holds what has no public name, each with its reason."""
    allowed = {"tensorflow_private.py": ["tensorflow.python.framework"]}.get(path.name, [])
    imported = re.findall(r"^\s*(?:from|import) (\S+)", path.read_text(), flags=re.M)
    private = [m for m in imported if re.match(r"tensorflow\.|keras\.src|tf_keras\.src", m)]
    assert private == allowed


@pytest.mark.parametrize("cls", OPTIMIZERS, ids=lambda cls: cls.__name__)
def test_an_optimizer_is_one_short_file(cls):
    """One that treats parts of a model differently is an optimizer for each part."""
    assert len(code_lines(Path(inspect.getfile(cls)))) <= 45 * max(1, len(cls.roles))


@pytest.mark.parametrize("cls", OPTIMIZERS, ids=lambda cls: cls.__name__)
def test_a_docstring_says_everything(cls):
    text = inspect.getdoc(cls)
    for part in ("$$", "Args:", "Slots:", "Sparse gradients:", "Raises:", ">>> ", "Source"):
        assert part in text, part
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            assert f"    {parameter.name}: " in text, parameter.name
    assert cls.__doc__ is not cls.__mro__[1].__doc__


@pytest.mark.parametrize("cls", OPTIMIZERS, ids=lambda cls: cls.__name__)
def test_every_optimizer_is_in_the_docs(cls):
    assert f"`{cls.__name__}`" in (ROOT / "docs" / "optimizers.md").read_text()


def test_the_docs_quote_the_order_of_a_step():
    text = " ".join(inspect.getdoc(tfopt.Optimizer).split())
    [stages] = re.findall(r"The order of a step: ([^.]*)\.", text)
    paragraphs = (ROOT / "docs" / "policies.md").read_text().split("\n\n")
    [arrows] = [" ".join(paragraph.split()) for paragraph in paragraphs if "→" in paragraph]
    assert arrows.split(" → ") == stages.split(", ")


def test_every_public_name_is_documented():
    for name in tfopt.__all__:
        assert inspect.getdoc(getattr(tfopt, name)), name
    for name in dir(tfopt.Optimizer):
        if not name.startswith("_"):
            attribute = inspect.getattr_static(tfopt.Optimizer, name)
            if inspect.isfunction(attribute) or isinstance(attribute, property):
                assert inspect.getdoc(attribute), name


PAGES = [
    "README.md",
    "docs/index.md",
    "docs/install.md",
    "docs/first_steps.md",
    "docs/writing_an_optimizer.md",
    "docs/state.md",
    "docs/migration.md",
    "docs/distribution.md",
    "docs/groups.md",
    "docs/functional.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs/recipes").glob("[!i]*.md")),
]
ONE_PROGRAM = {"docs/first_steps.md"}  # its blocks go on where the one before has ended


@pytest.mark.parametrize("page", PAGES)
def test_the_code_in_the_docs_runs(page, tmp_path, monkeypatch, mirrored):
    import keras
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: mirrored)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), flags=re.M | re.S)
    assert blocks
    names: dict = {}
    try:
        for block in blocks:
            names = names if page in ONE_PROGRAM else {}
            exec(compile(block, page, "exec"), names)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_the_tests_that_the_docs_name_exist():
    named = re.findall(r"`(\w+_test)\.(test_\w+)`", (ROOT / "docs" / "state.md").read_text())
    assert named
    for file, test in named:
        text = (ROOT / "tests" / f"{file}.py").read_text()
        assert f"def {test}(" in text, f"{file}.{test}"
