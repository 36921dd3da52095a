"""The notebooks run from top to bottom, each in a folder of its own, and hold no outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from training import ALL

FOLDER = Path(__file__).resolve().parent.parent / "colab"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUICKSTART = [path for path in NOTEBOOKS if path.stem == "quickstart"]

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_they_are_all_here():
    assert {path.stem for path in NOTEBOOKS} >= {
        "quickstart",
        "sparse_embeddings",
        "custom_loops",
        "distribution",
        "write_an_optimizer",
        "migrate",
        "watch_your_optimizer",
        "fine_tuning",
        "learn_a_learning_rate",
    }


@each
def test_the_first_code_installs_and_nothing_was_run(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].source.startswith("%pip install -q") and "tfopt" in code[0].source
    assert [cell for cell in code if "skip-execution" in cell.metadata.get("tags", [])] == code[:1]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS if ALL else QUICKSTART, ids=lambda path: path.stem)
@pytest.mark.timeout(240)
def test_it_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{FOLDER.parent}{os.pathsep}{os.getenv('PYTHONPATH', '')}")
    notebook = nbformat.read(path, 4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=180, resources=resources).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].execution_count is None  # nothing is installed by a test
    assert all(cell.execution_count for cell in code[1:])
