"""Every optimizer on a DTensor mesh, against one device; on_mesh.py trains them."""

import json
import tempfile
from pathlib import Path

import pytest
import strategies
from on_mesh import DATA_PARALLEL, REFUSES_AVERAGES, STATES, WITH_OPTIONS, cells
from processes import run_side_by_side

pytestmark = pytest.mark.timeout(strategies.TIMEOUT + 60)
CELLS = [f"{case.name}/{kind}" for case, kind in cells()]
CELLS += [f"{cls.__name__}-{note}/columns-graph" for note, (cls, _) in WITH_OPTIONS.items()]


@strategies.once
def results():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        program = Path(__file__).with_name("on_mesh.py")
        run_side_by_side([program, file], timeout=strategies.TIMEOUT)
        return json.loads(file.read_text())


@pytest.mark.parametrize("cell", CELLS)
def test_a_mesh_of_four_equals_one_device(cell):
    """Batches split in two, variables and slots whole or split; norms are of whole variables."""
    result = results()[cell]
    assert result["moved"] > 0.05
    assert result["difference"] < 1e-12
    assert result["slots are laid out as they should be"]


@pytest.mark.parametrize("name", DATA_PARALLEL)
def test_a_function_passes_on_what_a_step_has_written(name):
    """DTensor combines the all-reduces of four variables, and moves updates behind later reads."""
    result = results()[f"data parallel: {name}"]
    assert result["moved"] > 0.05
    assert result["difference"] < 1e-12
    assert result["steps are counted"]


@pytest.mark.parametrize("name", STATES)
def test_state_comes_back(name):
    assert set(results()[name].values()) == {True}


def test_sharded_slots_take_a_part_of_the_memory_on_each_device():
    """Adam's two slots of 4 x 6 numbers of 8 bytes; the mesh is 2 x 2."""
    whole = 2 * 4 * 6 * 8
    expected = {"whole": [whole] * 4, "batch": [whole // 2] * 4, "model": [whole // 2] * 4}
    assert results()["bytes"] == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sparse", "one_hot"),
        ("read before", "on no DTensor mesh already"),
        ("scaled before", "call `build` with its variables before you read it, load into it or"),
        ("on two meshes", "on a DTensor mesh of 4 already"),
        ("no such dimension", "a DTensor mesh of 4 of batch, model; got 'data'"),
        ("no mesh", "on no DTensor mesh; got 'batch'"),
    ],
)
def test_what_cannot_be_is_refused(name, message):
    assert message in results()["refused"][name]


@pytest.mark.skipif(not REFUSES_AVERAGES, reason="DTensor splits averages since TensorFlow 2.18")
def test_averages_are_not_split_where_they_would_be_wrong():
    assert "`shard_slots` must be None together with `use_ema`" in results()["refused"]["averages"]
