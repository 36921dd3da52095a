"""Two logical GPUs on the first one. Without a GPU, the tests in this folder are skipped."""

import os
from pathlib import Path

import pytest
import tensorflow as tf

GPUS = tf.config.list_physical_devices("GPU")
if GPUS:
    half = tf.config.LogicalDeviceConfiguration(memory_limit=4096)
    tf.config.set_logical_device_configuration(GPUS[0], [half, half])


def pytest_collection_modifyitems(items):
    """Skips these tests where TensorFlow sees no GPU."""
    if GPUS or "TFOPT_DEVICES" in os.environ:
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="TensorFlow sees no GPU: see `make test-gpu`"))
