"""The notebooks give the outputs that they hold, each in a folder of its own."""

import importlib.util
import re
from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest
from training import ALL, EVERY_ONE

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "colab"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TUTORIALS = ROOT / "docs" / "tutorials" / "index.md"
ADDRESS = "https://github.com/someone/tfopt"
TOLERANCE = 0.05  # between machines, whose sums of floats differ, and so do trainings
LARGEST_OF_ALL = 2_500_000


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record = load(FOLDER / "record.py")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


# --- the first cell -------------------------------------------------------------------------------


@each
def test_the_first_cell_is_the_one_of_the_setting(path):
    """If this fails: `python colab/record.py --first-cells`."""
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    written = record.with_first_cells(nbformat.read(path, 4), path.stem, record.published_at())
    assert notebook.cells == written.cells
    installs = [cell for cell in code_cells(notebook) if "skip-execution" in tags(cell)]
    assert installs == code_cells(notebook)[:1]


def test_the_setting_is_read_from_the_project_file(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "tfopt"\n')
    assert record.published_at(file) is None
    file.write_text(f'[project]\nname = "tfopt"\n[project.urls]\nRepository = "{ADDRESS}"\n')
    assert record.published_at(file) == ADDRESS


@pytest.mark.parametrize("address", [None, ADDRESS])
@pytest.mark.parametrize("place", ["colab", ".", "elsewhere"])
def test_the_first_cell_finds_its_checkout(address, place, tmp_path, monkeypatch):
    """It runs here with the magic command as a call that notes what pip would get."""
    checkout = tmp_path / "a checkout"
    (checkout / "tfopt").mkdir(parents=True)
    (checkout / "tfopt" / "__init__.py").touch()
    (checkout / "colab").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / place if place == "elsewhere" else checkout / place)
    cell = record.install_cell("quickstart", address)
    assert cell.endswith('%pip install -q "{source}" scikit-learn')
    cell = cell.replace("%pip", "# %pip")
    names = {}
    if place == "elsewhere" and address is None:
        with pytest.raises(RuntimeError, match="tfopt is not published yet"):
            exec(cell, names)
    else:
        exec(cell, names)
        of_address = f"tfopt[inspect] @ git+{ADDRESS}"
        assert names["source"] == (of_address if place == "elsewhere" else f"{checkout}[inspect]")


def test_a_link_to_colab_is_there_while_the_address_is_at_github():
    notebook = nbformat.read(FOLDER / "quickstart.ipynb", 4)
    before = notebook.cells[0].source
    for _ in range(2):
        record.with_first_cells(notebook, "quickstart", f"{ADDRESS}.git")
    link = "https://colab.research.google.com/github/someone/tfopt/blob/main/colab/quickstart.ipynb"
    assert notebook.cells[0].source.count(f"({link})") == 1
    for address in (None, "https://example.org/tfopt"):
        assert record.with_first_cells(notebook, "quickstart", address).cells[0].source == before


# --- the kept outputs -----------------------------------------------------------------------------


@each
def test_outputs_are_kept_and_end_in_a_picture(path):
    notebook = nbformat.read(path, 4)
    install, *code = code_cells(notebook)
    assert install.execution_count is None and not install.outputs
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    types = {output.output_type for output in outputs}
    assert types <= {"stream", "display_data", "execute_result"}
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")


@each
def test_outputs_name_nothing_of_a_machine(path):
    notebook = nbformat.read(path, 4)
    assert set(notebook.metadata.language_info) == {"name"}  # not the version of Python
    for cell in code_cells(notebook):
        assert not set(cell.metadata) - {"tags"}, "timings, or what an editor has left"
        for output in cell.outputs:
            data = output.get("data", {"text/plain": output.get("text")})
            text = "".join(data[kind] for kind in data if kind.startswith("text/"))
            assert not re.search(r"/(tmp|home|root|usr|opt|Users)/|site-packages|[A-Z]:\\\\", text)
            assert not re.search(r"\b[IWE]\d{4} \d\d:\d\d:\d\d|(INFO|WARNING):tensorflow", text)
            assert " at 0x" not in text, "the repr of an object: end the line with a semicolon"


def test_notebooks_are_small():
    assert sum(path.stat().st_size for path in NOTEBOOKS) < LARGEST_OF_ALL


@each
def test_every_notebook_is_among_the_tutorials(path):
    page = TUTORIALS.read_text()
    assert f"](../../colab/{path.name})" in page
    assert path.stem in page.split("{toctree}")[1].split()


def numbers_and_words(text):
    """Returns the numbers in a text, and the text with a mark in the place of each."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    number = r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\w)"
    numbers = [float(found.replace(",", "")) for found in re.findall(number, text)]
    return numbers, re.sub(r"[\s─━-]+", " ", re.sub(number, "#", text))


def assert_same_output(kept, made):
    """An exact cell prints the same; others the same words, with numbers within the tolerance.

    A cell tagged `numbers-vary` shows the end of a training that no two machines repeat, or what
    depends on the version of Python.
    """
    pictures = [
        sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in (kept, made)
    ]
    assert pictures[0] == pictures[1]
    texts = [record.text_of(cell) for cell in (kept, made)]
    if "exact" in tags(kept):
        assert texts[0] == texts[1]
        return
    (old, old_words), (new, new_words) = map(numbers_and_words, texts)
    assert old_words == new_words
    if "numbers-vary" not in tags(kept):
        np.testing.assert_allclose(new, old, TOLERANCE, TOLERANCE, err_msg=texts[1])


def test_outputs_are_compared():
    def printed(text, *tags):
        cell = nbformat.v4.new_code_cell(metadata={"tags": list(tags)})
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
        return cell

    assert_same_output(printed("loss 0.512, 1 trace"), printed("loss 0.500, 1 trace"))
    assert_same_output(printed("loss 3.0", "numbers-vary"), printed("loss 9.0"))
    for kept, made in (
        (printed("loss 0.5"), printed("loss 0.7")),
        (printed("loss 0.5"), printed("gain 0.5")),
        (printed("loss 0.500", "exact"), printed("loss 0.501")),
        (printed("loss 3.0", "numbers-vary"), printed("loss 3.0 4.0")),
        (printed("loss 0.5"), nbformat.v4.new_code_cell()),
    ):
        with pytest.raises(AssertionError):
            assert_same_output(kept, made)


SAMPLE = {"quickstart"}
ONLY_IN_TEST_ALL = {"compare_fairly", "embeddings_at_scale"}  # they use nothing that others do not


def is_run(path):
    return path.stem in SAMPLE or EVERY_ONE or (ALL and path.stem not in ONLY_IN_TEST_ALL)


@pytest.mark.parametrize("path", filter(is_run, NOTEBOOKS), ids=lambda path: path.stem)
@pytest.mark.timeout(240)
def test_it_gives_the_outputs_that_it_holds(path, tmp_path):
    """If what it prints has changed as you want: `python colab/record.py` and look at it."""
    kept = nbformat.read(path, 4)
    made = record.run(nbformat.read(path, 4), tmp_path)
    assert not record.machine_paths(made, tmp_path)
    assert code_cells(made)[0].execution_count is None  # nothing is installed by a test
    if keras.__version__.startswith("3.0."):
        return  # names of variables and texts of the oldest Keras are others
    for old, new in zip(code_cells(kept), code_cells(made), strict=True):
        assert_same_output(old, new)
