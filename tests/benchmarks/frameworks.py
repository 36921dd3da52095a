"""Other frameworks' optimizers, each framework in a process of its own.

One process holds a framework; each contender asks it over a pipe for its steps when it is its
turn, so that its rounds are interleaved with the others although it is not loaded next to
TensorFlow. A framework's script passes the steps that it can make to `serve`.
"""

import contextlib
import gc
import importlib.util
import time
from pathlib import Path

import child
from measure import Contender

FRAMEWORKS = {"torch": "torch_reference.py", "optax": "optax_reference.py"}


def start():
    """The processes of those that are installed."""
    here = Path(__file__).parent
    return [Framework(str(here / FRAMEWORKS[name])) for name in installed()]


def installed():
    return [name for name in FRAMEWORKS if importlib.util.find_spec(name)]


class Framework(child.Child):
    """The process, seen from outside."""

    def contenders(self, optimizer, arguments, problem):
        """Those that the framework has; they replace the ones before."""
        if not self.alive():
            return {}  # it crashed, which must not cost the others their figures
        found = self.ask("make", optimizer, arguments, problem)
        return {name: Remote(self, name) for name in found}


class Remote(Contender):
    """A contender in that process."""

    def __init__(self, framework, name):
        self.framework, self.name = framework, name

    def clock(self, count):
        return self.framework.ask("clock", self.name, count)


def serve(steps):
    """In the script: answers questions until there are no more.

    Args:
        steps: by the contender's name, a function of (optimizer, arguments, problem) that gives
            a `Contender`, or raises where the framework has no such optimizer.
    """
    made = {}

    def make(*question):
        made.clear()
        gc.collect()
        for name, step in steps.items():
            # Raised for arguments that it lacks, and for what it has no such kernel for.
            with contextlib.suppress(AttributeError, KeyError, RuntimeError, TypeError, ValueError):
                contender = step(*question)
                contender.step()
                made[name] = contender
        return list(made)

    def clock(name, count):
        seconds = made[name].clock(count)
        time.sleep(0.005)  # its idle threads spin, but not into the next one's turn
        return seconds

    child.serve(lambda question, *rest: {"make": make, "clock": clock}[question](*rest))
