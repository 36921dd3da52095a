"""Bytes and time of a step of two processes, by `all_reduce_dtype`.

    python tests/benchmarks/wire.py

Two workers of MultiWorkerMirroredStrategy on this machine sum a gradient of four million numbers
over the loopback device, whose counter of bytes counts each byte once. It is Linux's.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from processes import cluster_environments, run_side_by_side

NUMBERS, STEPS, ROUNDS = 4_000_000, 5, 5
DTYPES = (None, "bfloat16", "float16")


def received():
    """The bytes that the loopback device has received so far."""
    [line] = [x for x in Path("/proc/net/dev").read_text().splitlines() if x.strip()[:3] == "lo:"]
    return int(line.split(":")[1].split()[0])


def step_of(strategy, dtype):
    import tensorflow as tf

    import tfopt

    with strategy.scope():
        x = tf.Variable(tf.zeros([NUMBERS]))
    optimizer = tfopt.SGD(0.5, all_reduce_dtype=dtype)

    @tf.function(autograph=False)
    def step():
        strategy.run(lambda: optimizer.apply_gradients([(tf.cos(x), x)]))

    step()
    return step


def work(file):
    """One worker: every step is taken by both, in turn."""
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    steps = {str(dtype): step_of(strategy, dtype) for dtype in DTYPES}
    found = {name: {"milliseconds": [], "megabytes": []} for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            bytes_before, begin = received(), time.perf_counter()
            for _ in range(STEPS):
                step()
            found[name]["milliseconds"].append((time.perf_counter() - begin) / STEPS * 1e3)
            found[name]["megabytes"].append((received() - bytes_before) / STEPS / 1e6)
    if strategy.cluster_resolver.task_id == 0:
        Path(file).write_text(json.dumps(found))


def main():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        arguments = [[__file__, file]] * 2
        run_side_by_side(*arguments, timeout=300, environments=cluster_environments(2))
        found = json.loads(file.read_text())
    print("| `all_reduce_dtype` | MB a step, of both | ms a step |\n| --- | --- | --- |")
    for name, row in found.items():
        megabytes = statistics.median(row["megabytes"])
        times = sorted(row["milliseconds"])
        middle = statistics.median(times)
        print(f"| {name} | {megabytes:.1f} | {middle:.0f} ({times[0]:.0f} to {times[-1]:.0f}) |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1])
    else:
        main()
