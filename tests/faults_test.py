"""Processes are killed in the middle of training; nothing that was saved or applied is lost."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import processes
import pytest
import tensorflow as tf
from training import ALL

import tfopt

PROGRAMS = Path(__file__).with_name("faults.py")
TIMEOUT = 200
in_the_long_run = pytest.mark.skipif(not ALL, reason="starts a dozen processes: `make test-all`")


def start(*arguments, environment=None):
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS), *map(str, arguments)],
        env=processes.environment_of(**(environment or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def supervise(folder, kill_at, kill_worker):
    """Runs two workers, and both again when one has died; gives how often they were started."""
    for attempt in range(1, 4):
        environments = processes.cluster_environments(2)
        workers = [
            start("train", folder, kill_at, kill_worker, environment=e) for e in environments
        ]
        try:
            deadline = time.monotonic() + TIMEOUT
            while all(process.poll() is None for process in workers):
                assert time.monotonic() < deadline, "the workers hang"
                time.sleep(0.1)
            if any(process.returncode for process in workers):
                assert -signal.SIGKILL in [process.returncode for process in workers]
                kill_at = -1
                continue
            outputs = [process.communicate(timeout=TIMEOUT)[0] for process in workers]
        finally:
            for process in workers:
                process.kill()
                process.wait()
        assert [process.returncode for process in workers] == [0, 0], outputs
        return attempt
    raise AssertionError("the workers died again and again")


def results(folder):
    files = [np.load(Path(folder) / f"result_{index}.npz") for index in range(2)]
    return [[file[name] for name in file.files] for file in files]


@in_the_long_run
@pytest.mark.timeout(4 * TIMEOUT)
def test_killed_workers_end_where_undisturbed_ones_do(tmp_path):
    """MultiWorkerMirroredStrategy, one of the two killed between two checkpoints."""
    calm, disturbed = tmp_path / "calm", tmp_path / "disturbed"
    for folder in (calm, disturbed):
        folder.mkdir()
    assert supervise(calm, kill_at=-1, kill_worker=1) == 1
    assert supervise(disturbed, kill_at=7, kill_worker=1) == 2
    expected = results(calm)[0]
    for found in (results(calm)[1], *results(disturbed)):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.timeout(TIMEOUT)
def test_a_save_cut_short_leaves_the_older_checkpoint(tmp_path):
    process = start("save", tmp_path)
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        while not lines[-1].strip().endswith("ckpt-3"):
            lines.append(process.stdout.readline())
        while not list(tmp_path.glob("ckpt-4*")):  # it is being written
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    variable, optimizer = tf.Variable(tf.zeros([1 << 20])), tfopt.Adam(0.1)
    checkpoint = tf.train.Checkpoint(variable=variable, optimizer=optimizer)
    latest = tf.train.latest_checkpoint(tmp_path)
    status = checkpoint.restore(latest)
    optimizer.build([variable])
    status.assert_existing_objects_matched()
    steps = int(latest.rsplit("-", 1)[1])
    assert optimizer.iterations.numpy() == steps >= 3
    expected, alone = tf.Variable(tf.zeros([2])), tfopt.Adam(0.1)
    for _ in range(steps):
        alone.apply_gradients([(tf.ones([2]), expected)])
    np.testing.assert_array_equal(variable[:2], expected)
    for name in ("m", "v"):
        slot = optimizer.get_slot(variable, name)
        np.testing.assert_array_equal(slot[:2], alone.get_slot(expected, name))


@in_the_long_run
@pytest.mark.timeout(TIMEOUT)
def test_a_killed_worker_of_parameter_servers_loses_nothing_applied():
    found = processes.ports(4)
    cluster = {
        "worker": [f"localhost:{port}" for port in found[:2]],
        "ps": [f"localhost:{port}" for port in found[2:]],
    }
    text = json.dumps(cluster)
    servers = {f"{job}{i}": start("serve", text, job, i) for job in cluster for i in range(2)}
    coordinator = None
    try:
        for server in servers.values():
            while server.stdout.readline() != "ready\n":
                assert server.poll() is None
        pids = {name: server.pid for name, server in servers.items()}
        coordinator = start("coordinate", text, json.dumps(pids))
        output = coordinator.communicate(timeout=TIMEOUT)[0]
    finally:
        for process in (*servers.values(), *filter(None, [coordinator])):
            process.kill()
            process.wait()
    assert coordinator.returncode == 0, output[-4000:]
    result = json.loads(output.strip().splitlines()[-1])
    assert servers["worker1"].returncode == -signal.SIGKILL
    assert result["kept"]
    assert np.all(np.array(result["before"]) < 0)
    assert result["iterations"] >= 20
    assert np.all(np.array(result["value"]) < np.array(result["before"]))
