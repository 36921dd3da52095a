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
import {}
print(time.perf_counter() - start)
"""


def cases():
    yield Case(("import",), _imports)


def _imports(settings):
    del settings
    modules = {"tfopt": "tfopt", "Keras 3": "keras", "tf-keras": "tf_keras"}
    times = {name: [] for name in modules}
    for _ in range(REPEATS):
        for name, module in modules.items():
            command = [sys.executable, "-c", CODE.format(module)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            times[name].append(float(done.stdout.splitlines()[-1]))
    return [row("import", "import", times)]
