"""Switches of TensorFlow and Keras, in a process of their own: optimizers train as without.

A debugger of TensorFlow adds ops that XLA does not have, so plain ops run then.
"""

from pathlib import Path

import pytest
from processes import run_python
from switches import SWITCHES


@pytest.fixture(scope="module")
def output():
    """What the process said that held, and why something did not."""
    done = run_python(Path(__file__).with_name("switches.py"), timeout=400)
    return done.stdout + done.stderr[-4000:]


@pytest.mark.timeout(420)
@pytest.mark.parametrize("switch", SWITCHES)
def test_optimizers_train_as_without(switch, output):
    assert f"held: {switch}" in output.splitlines(), output
