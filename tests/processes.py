"""Python in processes of their own."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path


def environment_of(**changes):
    """The environment of a process that finds tfopt, and these files."""
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here), str(here.parent), *filter(None, sys.path)])
    base = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    return {**base, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1", **changes}


def run_python(*arguments, timeout=200, check=True, **environment):
    """Runs Python on arguments; gives what it printed, and fails if the process did."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment_of(**environment),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert not check or done.returncode == 0, done.stderr[-4000:]
    return done


def run_code(code, **environment):
    """Runs code, which may be indented; gives its standard output."""
    return run_python("-c", textwrap.dedent(code), **environment).stdout


def run_side_by_side(*argument_lists, timeout, environments=None):
    """Runs Python processes side by side, and kills them all when the time is over."""
    environments = environments or [{}] * len(argument_lists)
    outputs = [tempfile.TemporaryFile("w+") for _ in argument_lists]
    processes = [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=environment_of(**environment),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        for arguments, environment, output in zip(
            argument_lists, environments, outputs, strict=True
        )
    ]
    try:
        deadline = time.monotonic() + timeout
        for process in processes:
            process.wait(deadline - time.monotonic())
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, output in zip(processes, outputs, strict=True):
        output.seek(0)
        assert process.returncode == 0, output.read()[-4000:]


# --- clusters -------------------------------------------------------------------------------------


def ports(count):
    """Ports of this machine that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("localhost", 0))
    found = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return found


def cluster_environments(workers):
    """TF_CONFIG for each process of a cluster of workers on this machine."""
    cluster = {"worker": [f"localhost:{port}" for port in ports(workers)]}
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})}
        for i in range(workers)
    ]
