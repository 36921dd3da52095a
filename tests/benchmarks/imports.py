"""How long an import takes after TensorFlow's."""

import subprocess
import sys

from measure import row
from suite import Case

REPEATS = 5
CODE = """
import time
import tensorflow
start = time.perf_counter()
import tfopt
print(time.perf_counter() - start)
"""


def cases():
    yield Case(("import tfopt",), _imports)


def _imports(settings):
    del settings
    command = [sys.executable, "-c", CODE]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(REPEATS)
    ]
    times = {"tfopt": [float(run.stdout.splitlines()[-1]) for run in runs]}
    return [row("import", "import tfopt", times)]
