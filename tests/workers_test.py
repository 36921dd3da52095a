"""`colab/workers.py`: two processes train and save, one goes on."""

import re
from pathlib import Path

import pytest
from processes import run_python
from training import ALL

PROGRAM = Path(__file__).resolve().parent.parent / "colab" / "workers.py"


@pytest.mark.skipif(not ALL, reason="starts three processes: `make test-all`")
@pytest.mark.timeout(280)
def test_two_workers_train_as_one_does_and_one_goes_on(tmp_path):
    def run(workers, steps, folder):
        arguments = ["--workers", workers, "--steps", steps, "--folder", tmp_path / folder]
        return run_python(PROGRAM, *arguments, timeout=120).stdout

    together = run(2, 20, "two")
    assert "2 replicas, from step 0" in together
    assert "copies that differ: []" in together
    on = run(1, 30, "two")
    assert "1 replicas, from step 20 to step 30" in on
    loss = re.search(r"step 30: loss (\S+)", on)[1]
    assert float(loss) == pytest.approx(
        float(re.search(r"step 30: loss (\S+)", run(1, 30, "one"))[1]), rel=1e-4
    )
