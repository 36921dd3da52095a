"""Every optimizer on a DTensor mesh, against one device; on_mesh.py trains them."""

import json
import tempfile
from pathlib import Path

import pytest
import strategies
from cases import CASES

pytestmark = pytest.mark.timeout(strategies.TIMEOUT + 60)
VARIANTS = [case.name for case in CASES if case.note]
VARIANTS += ["SGD-clip", "Adam-averages", "Adam-accumulation"]
KINDS = ("batch-graph", "columns-graph", "columns-eager", "rows-graph")
CELLS = [f"{case.name}/{kind}" for case in CASES if not case.note for kind in KINDS]
CELLS += [f"{name}/columns-graph" for name in VARIANTS]


@strategies.once
def results():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        program = Path(__file__).with_name("on_mesh.py")
        strategies.run_python([program, file], timeout=strategies.TIMEOUT)
        return json.loads(file.read_text())


@pytest.mark.parametrize("cell", CELLS)
def test_a_mesh_of_four_equals_one_device(cell):
    """Batches split in two, variables whole or split in two; norms are of whole variables."""
    result = results()[cell]
    assert result["moved"] > 0.1
    assert result["difference"] < 1e-12
    assert result["slots are laid out as their variable"]


def test_state_comes_back():
    assert set(results()["state"].values()) == {True}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sparse", "one_hot"),
        ("read before", "on no DTensor mesh already"),
        ("on two meshes", "on a DTensor mesh of 4 already"),
    ],
)
def test_what_cannot_be_is_refused(name, message):
    assert message in results()["refused"][name]
