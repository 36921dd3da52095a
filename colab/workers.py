"""Trains one model in several processes on this machine, as several machines would train it.

    python colab/workers.py --workers 2             # two processes; the output is the chief's
    python colab/workers.py --workers 1 --steps 60  # one goes on from their checkpoint

Without the environment variable TF_CONFIG, this program starts itself once for each worker, with a
TF_CONFIG that names all of them. On a cluster whatever starts your programs sets TF_CONFIG, and you
need `train` alone.
"""

import argparse
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
logging.getLogger("tensorflow").setLevel("ERROR")  # it warns of each sum outside of a function
GLOBAL_BATCH = 64  # of all workers together: the training does not depend on their number


def train(folder, steps):
    """Trains up to a number of steps; goes on from the checkpoint in `folder` if there is one."""
    import numpy as np
    import tensorflow as tf

    import tfopt

    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else of TensorFlow
    is_chief = strategy.cluster_resolver.task_id == 0
    random = np.random.default_rng(0)
    x = random.normal(size=[1024, 8]).astype("float32")
    y = (x @ random.normal(size=[8, 1])).astype("float32")
    with strategy.scope():
        w = tf.Variable(tf.zeros([8, 1]), name="w")
        optimizer = tfopt.Adam(0.05, global_clipnorm=1.0)
    checkpoint = tf.train.Checkpoint(w=w, optimizer=optimizer)
    latest = tf.train.latest_checkpoint(str(folder / "chief"))
    checkpoint.restore(latest)
    optimizer.build([w])
    done = int(optimizer.iterations.numpy())
    print(f"{strategy.num_replicas_in_sync} replicas, from step {done} to step {max(done, steps)}")

    dataset = tf.data.Dataset.from_tensor_slices((x, y)).repeat().batch(GLOBAL_BATCH).skip(done)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = iter(strategy.experimental_distribute_dataset(dataset.with_options(options)))

    @tf.function
    def step(batch):
        def replica(x, y):
            def loss():  # the mean over the batch of all replicas: their gradients are summed
                return tf.reduce_sum((x @ w - y) ** 2) / GLOBAL_BATCH

            optimizer.minimize(loss, [w])
            return loss()

        losses = strategy.run(replica, args=batch)
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    for number in range(done + 1, steps + 1):
        loss = step(next(batches))
        if number == steps:
            print(f"step {steps}: loss {float(loss):.6f}")
    print("copies that differ:", tfopt.inspect.replicas(optimizer))  # every worker calls it
    own = folder / ("chief" if is_chief else f"worker{strategy.cluster_resolver.task_id}")
    print("saved", checkpoint.save(str(own / "ckpt")))  # so does it save; the chief's is for keeps


def start(workers, arguments):
    """Starts this program once for each worker; returns the first exit status that is not zero."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(workers)]
    addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, *arguments],
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
                stdout=None if index == 0 else subprocess.DEVNULL,
            )
        )
    return next(filter(None, [process.wait() for process in processes]), 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="how many processes (%(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="where to stop (%(default)s)")
    folder = Path(tempfile.gettempdir()) / "tfopt_workers"
    parser.add_argument(
        "--folder", type=Path, default=folder, help="checkpoints, to go on from (%(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error(f"--workers must be at least 1; got {arguments.workers}")
    if "TF_CONFIG" not in os.environ:
        sys.exit(start(arguments.workers, sys.argv[1:]))
    train(arguments.folder, arguments.steps)


if __name__ == "__main__":
    main()
