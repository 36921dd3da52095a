"""Switches of TensorFlow and Keras, each in a process of its own: all optimizers train as without.

A debugger of TensorFlow adds ops that XLA does not have, so plain ops run then.
"""

from pathlib import Path

import pytest
from processes import run_python
from switches import SWITCHES


@pytest.mark.parametrize("switch", SWITCHES)
def test_optimizers_train_as_without(switch):
    run_python(Path(__file__).with_name("switches.py"), switch, timeout=280)
