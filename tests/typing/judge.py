"""Judges `uses.py` by mypy and pyright: each line that says it is wrong must be refused, no other.

python tests/typing/judge.py
"""

import json
import re
import subprocess
import sys
from pathlib import Path

USES = Path(__file__).with_name("uses.py")
ROOT = USES.parents[2]
BIN = Path(sys.executable).parent
# mypy keeps what it knows of the stubs apart from what it knows of the sources, which it checks.
MYPY = ["mypy", "--strict", "--follow-imports=silent", "--cache-dir=.mypy_cache/uses", str(USES)]
PYRIGHT = ["basedpyright", "--outputjson", "--pythonpath", sys.executable, str(USES)]


def output(command, *args):
    """What a checker prints; it fails if it finds an error."""
    done = subprocess.run([BIN / command, *args], cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{command} did not run:\n{done.stdout}{done.stderr}")
    return done.stdout


def refused():
    """The lines that each checker refuses."""
    by_mypy = re.findall(
        rf"^{re.escape(str(USES.relative_to(ROOT)))}:(\d+): error", output(*MYPY), flags=re.M
    )
    found = json.loads(output(*PYRIGHT))["generalDiagnostics"]
    errors = [each for each in found if each["severity"] == "error"]
    return {
        "mypy": {int(line) for line in by_mypy},
        "pyright": {each["range"]["start"]["line"] + 1 for each in errors},
    }


def main():
    lines = USES.read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, start=1) if "  # wrong: " in line}
    faults = []
    for checker, found in refused().items():
        for number in sorted(found ^ wrong):
            what = "refuses" if number in found else "accepts"
            faults.append(f"{USES.name}:{number}: {checker} {what} {lines[number - 1].strip()}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"mypy and pyright refuse {len(wrong)} wrong lines of {USES.name}, and no other.")


if __name__ == "__main__":
    main()
