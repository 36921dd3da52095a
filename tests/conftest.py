"""Two logical devices, one mirrored strategy a process, and the same randomness each time."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "agg")

import keras
import pytest
import tensorflow as tf

collect_ignore = ["benchmarks"]  # nothing there is a test

CPUS = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(CPUS[0], [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(scope="session")
def mirrored():
    """Two replicas. A second strategy in the process would reuse collective keys and abort."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
