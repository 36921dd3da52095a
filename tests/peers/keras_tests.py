"""Runs Keras' own tests, which its wheel holds, on tfopt: `make test-peers`.

    python tests/peers/keras_tests.py [group ...]

Nothing of Keras is copied: its files run where they are installed. Each group runs twice, in
processes of their own: with Keras' classes, and with tfopt's in their place (`tfopt_for_keras.py`).
What fails with Keras' classes does not count. What else fails must be in the table of
`left_out.py`, and what is in the table must fail, or the run fails.
"""

from __future__ import annotations

import collections
import concurrent.futures
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from left_out import FILES, TESTS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GROUPS = {  # first those that take longest
    "trainers": ["trainers"],
    "callbacks": ["callbacks"],
    "saving": ["saving", "legacy/saving"],
    "optimizers": ["optimizers"],
    "tensorflow": ["backend/tensorflow"],
    "initializers": ["initializers"],
}
SECONDS_A_TEST, SECONDS_A_GROUP = 300, 1800


def sources() -> Path:
    """Returns where Keras is installed; Keras is not imported here."""
    import importlib.util

    found = Path(importlib.util.find_spec("keras").origin).parent / "src"
    if not (found / "optimizers" / "adam_test.py").exists():
        sys.exit("The Keras that is installed brings no tests: install the extra `peers`.")
    return found


def run(group: str, on_tfopt: bool, folder: Path) -> dict[str, Any]:
    """Runs the tests of a group; returns outcomes and counts, and under "log" what was printed."""
    keras, report = sources(), folder / f"{group}-{on_tfopt}.json"
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": str(folder / "keras"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--tb=short", "-W", "ignore", "-c", os.devnull),
        *("--rootdir", str(keras), "--noconftest", "-p", "no:cacheprovider"),
        *("--continue-on-collection-errors", "--timeout", str(SECONDS_A_TEST)),
        *("-p", "tfopt_for_keras", "--report", str(report), *(["--tfopt"] if on_tfopt else [])),
        *(str(keras / part) for part in GROUPS[group]),
        *(f"--ignore={keras / file}" for file in FILES if on_tfopt),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_A_GROUP,
        )
        log = done.stdout
    except subprocess.TimeoutExpired as error:
        log = f"{error.stdout}\nThe group took longer than {SECONDS_A_GROUP} seconds."
    found = json.loads(report.read_text()) if report.exists() else {"outcomes": {}, "made": {}}
    return found | {"log": log, "ended": report.exists()}


def listed(test: str) -> bool:
    """Returns whether the table has a test."""
    return any(fnmatch.fnmatchcase(test, pattern) for left in TESTS for pattern in left.tests)


def check(group: str, theirs: dict[str, Any], ours: dict[str, Any]) -> tuple[list[str], Any]:
    """Returns what is wrong with a group, and how many tests there are of each kind."""
    wrong = [
        f"{group}: the process with {name} classes did not end: {result['log'][-3000:]}"
        for name, result in (("Keras'", theirs), ("tfopt's", ours))
        if not result["ended"]
    ]
    counts: collections.Counter[str] = collections.Counter()
    for test, outcome in theirs["outcomes"].items():
        if outcome != "passed":
            counts[f"{outcome} with Keras' own classes"] += 1
        elif test.split("::")[0] in FILES:
            counts["left out"] += 1
        elif ours["outcomes"].get(test) == "passed":
            counts["passed"] += 1
            if listed(test):
                wrong.append(f"{test} is listed in left_out.py, but passes.")
        else:
            counts["left out"] += 1
            if not listed(test):
                wrong.append(f"{test} {ours['outcomes'].get(test, 'was not run')}.")
    for file, made in theirs["made"].items():
        if made.get("optimizers of Keras") and file not in FILES:
            if not ours["made"].get(file, {}).get("optimizers of tfopt"):
                wrong.append(f"{file} makes optimizers, but none of tfopt.")
    return wrong, counts


def unused(tests: set[str]) -> list[str]:
    """Returns what the table lists and no test is."""
    return [
        f"{pattern} is listed in left_out.py, but there is no such test."
        for left in TESTS
        for pattern in left.tests
        if not fnmatch.filter(tests, pattern)
    ]


def undocumented() -> list[str]:
    """Returns what a user could notice, and docs/migration.md does not say."""
    page = " ".join((ROOT / "docs" / "migration.md").read_text().split())
    return [
        f"docs/migration.md does not say {left.said!r}: {left.reason}"
        for left in TESTS
        if left.said is not None and left.said not in page
    ]


def main() -> int:
    """Runs the groups that are named, or all; returns 1 if something is wrong."""
    groups = sys.argv[1:] or list(GROUPS)
    with (
        tempfile.TemporaryDirectory() as folder,
        concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", 2))) as pool,
    ):
        runs = {
            (group, on_tfopt): pool.submit(run, group, on_tfopt, Path(folder))
            for group in groups
            for on_tfopt in (True, False)
        }
        results = {key: future.result() for key, future in runs.items()}
    wrong, total, tests, made = undocumented(), collections.Counter(), set(), 0
    for group in groups:
        theirs, ours = results[group, False], results[group, True]
        found, counts = check(group, theirs, ours)
        made_here = sum(m.get("optimizers of tfopt", 0) for m in ours["made"].values())
        print(f"{group}: {dict(counts)}, {made_here} optimizers of tfopt")
        if found:
            print(ours["log"])
        wrong, total, made = [*wrong, *found], total + counts, made + made_here
        tests |= set(theirs["outcomes"])
    if set(groups) == set(GROUPS):
        wrong += unused(tests)
    print(f"Keras' own tests: {dict(total)}, {made} optimizers of tfopt", *wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
