"""Random steps on replicas, beside one replica; `replicas_fuzz.py` makes the cases.

A few cases run with the other tests. For many, from any first seed on:

    TFOPT_REPLICAS_FUZZ=300 python -m pytest tests/replicas_fuzz_test.py
"""

import json
import os

import pytest
import replicas_fuzz
from processes import run_side_by_side
from training import ALL

CASES = int(os.environ.get("TFOPT_REPLICAS_FUZZ", 4 if ALL else 2))
SEED = int(os.environ.get("TFOPT_REPLICAS_FUZZ_SEED", 0))
REPLICAS = (2, 3, 4) if CASES > 4 else (3,)  # each number is a process
SECONDS = 60  # for a case, on a machine that has other work


@pytest.mark.timeout(SECONDS * (CASES + 2))
@pytest.mark.parametrize("replicas", REPLICAS)
def test_replicas_are_one_in_random_cases(tmp_path, replicas):
    first = SEED + REPLICAS.index(replicas)
    seeds = range(first, SEED + CASES, len(REPLICAS))
    file = tmp_path / "results.json"
    arguments = [replicas_fuzz.__file__, file, replicas, *seeds]
    run_side_by_side(arguments, timeout=SECONDS * (len(seeds) + 1))
    results = json.loads(file.read_text())
    assert len(results) == len(seeds) > 0
    failed = {seed: what for seed, what in results.items() if what is not None}
    assert not failed, "\n\n".join(f"seed {seed}: {what}" for seed, what in failed.items())
