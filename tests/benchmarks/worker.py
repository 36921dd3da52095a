"""Runs cases, in a process that bench.py replaces when it has grown.

TensorFlow, Keras 3 and tf-keras keep parts of the functions that were traced, with the variables in
them, until the process ends. Run as a script, this file is that process.
"""

import functools
import os
from pathlib import Path

import child
import first
import fit
import frameworks
import groups
import imports
import memory
import mirrored
import steps
from measure import Copy
from suite import Settings, clean_up

CASES = [
    case
    for section in (imports, first, steps, groups, fit, mirrored, memory)
    for case in section.cases()
]
LIMIT = 6 * 2**30  # bytes that a process may hold when it starts with a case


class Workers:
    """One after the other, each started when it is needed."""

    def __init__(self, seconds, threads):
        self.settings = (seconds, threads)
        self.child = None

    def run(self, case):
        """The rows of this case; an error if it raised one or its process died."""
        self.child = self.child or child.Child(__file__)
        try:
            return self.child.ask(case.titles[0], *self.settings)
        finally:
            if not self.child.alive() or _resident(self.child.process.pid) > LIMIT:
                self.stop()

    def stop(self):
        if self.child is not None:
            self.child.stop()
            self.child = None


def _resident(pid):
    """Bytes of memory; where the system does not tell, no process is small enough to go on."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return float("inf")
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _settings(seconds, threads):
    return Settings(seconds, Copy(threads), frameworks.start())


def _run(title, *settings):
    (case,) = (case for case in CASES if case.titles[0] == title)
    try:
        return case.run(_settings(*settings))
    finally:
        clean_up()


if __name__ == "__main__":
    child.serve(_run)
