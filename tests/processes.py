"""Python in a process of its own."""

import subprocess
import sys
import textwrap

from strategies import environment_of


def run(*arguments, timeout=200, check=True, **environment):
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
    return run("-c", textwrap.dedent(code), **environment).stdout
