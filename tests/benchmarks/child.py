"""Measurements that need a process of their own: the file that asks is also the one that runs."""

import json
import os
import subprocess
import sys


def ask(script, *arguments, environment=None):
    """What `script` answers to these arguments."""
    command = [sys.executable, script, json.dumps(arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        raise RuntimeError(f"{os.path.basename(script)}{arguments}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def answer(function):
    """In the script: the arguments it was given, through `function`."""
    print(json.dumps(function(*json.loads(sys.argv[1]))))
