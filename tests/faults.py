"""Training that is interrupted: the programs that `faults_test.py` runs and kills."""

import os
import signal
import sys
from pathlib import Path

STEPS = 12  # of training
SAVE_EVERY = 3


def train_as_worker(folder, kill_at, kill_worker):
    """Trains as one of two workers; at a step, one of them ends by SIGKILL.

    Resumes from the last checkpoint, if there is one, and leaves its weights and its
    optimizer's in `folder`.
    """
    import numpy as np
    import tensorflow as tf

    import tfopt

    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(1)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=tf.distribute.experimental.CommunicationOptions(timeout_seconds=60)
    )
    index = strategy.cluster_resolver.task_id
    random = np.random.default_rng(2)
    batches = tf.constant(random.normal(size=(STEPS, 2, 8, 5)), tf.float32)
    with strategy.scope():
        variables = [tf.Variable(random.normal(size=s), dtype="float32") for s in [(5, 3), (3,)]]
        table = tf.Variable(random.normal(size=(7, 3)), dtype="float32")
        optimizer = tfopt.Adam(0.1, clipnorm=1.0)
    checkpoint = tf.train.Checkpoint(variables=variables, table=table, optimizer=optimizer)
    own = Path(folder) / f"worker_{index}"  # each worker saves; only the chief's is for keeps
    manager = tf.train.CheckpointManager(checkpoint, str(own), max_to_keep=2)
    latest = tf.train.latest_checkpoint(str(Path(folder) / "worker_0"))
    checkpoint.restore(latest)

    @tf.function
    def step(number):
        def replica():
            context = tf.distribute.get_replica_context()
            batch = batches[number, context.replica_id_in_sync_group]
            with tf.GradientTape() as tape:
                rows = tf.nn.embedding_lookup(table, tf.range(8) * (number + 1) % 7)
                outputs = tf.tanh(batch @ variables[0] + variables[1]) * rows
                loss = tf.reduce_mean(tf.square(outputs - 0.5))
            everything = [*variables, table]
            optimizer.apply_gradients(zip(tape.gradient(loss, everything), everything, strict=True))

        strategy.run(replica)

    for number in range(int(optimizer.iterations.numpy()), STEPS):
        if number == kill_at and index == kill_worker:
            os.kill(os.getpid(), signal.SIGKILL)
        step(tf.constant(number))
        if (number + 1) % SAVE_EVERY == 0:
            manager.save()
    arrays = [v.numpy() for v in (*variables, table)] + optimizer.get_weights()
    np.savez(Path(folder) / f"result_{index}.npz", *arrays)


def save(folder):
    """Saves checkpoint after checkpoint, until it is killed."""
    import tensorflow as tf

    import tfopt

    variable = tf.Variable(tf.zeros([1 << 20]))
    optimizer = tfopt.Adam(0.1)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(variable=variable, optimizer=optimizer), folder, max_to_keep=3
    )
    while True:
        optimizer.apply_gradients([(tf.ones([1 << 20]), variable)])
        print(manager.save(), flush=True)


def serve(address_lists, job, index):
    """A worker or parameter server, until it is killed."""
    import json

    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=8)
    server = tf.distribute.Server(
        tf.train.ClusterSpec(json.loads(address_lists)),
        job_name=job,
        task_index=int(index),
        protocol="grpc",
        config=config,
    )
    print("ready", flush=True)
    server.join()


def coordinate(address_lists, pids):
    """Trains with parameter servers; half-way a worker is killed and started again."""
    import json
    import subprocess

    import numpy as np
    import strategies
    import tensorflow as tf

    import tfopt

    cluster = tf.train.ClusterSpec(json.loads(address_lists))
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc")
    strategy = tf.distribute.ParameterServerStrategy(
        resolver, variable_partitioner=strategies.halves
    )
    strategies.halves.shards = 2
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        variable = tf.Variable(np.zeros([4, 2]))
        optimizer = tfopt.SGD(0.25, momentum=0.5)

    @tf.function
    def step():
        def replica():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.convert_to_tensor(variable))
            return optimizer.minimize(loss, [variable], tape=tape)

        return strategy.run(replica)

    def schedule(count):
        results = [coordinator.schedule(step) for _ in range(count)]
        coordinator.join()
        return [int(result.fetch()) for result in results]

    schedule(10)
    before = variable.numpy(), optimizer.get_slot(variable, "momentum").numpy()
    os.kill(json.loads(pids)["worker1"], signal.SIGKILL)
    after = variable.numpy(), optimizer.get_slot(variable, "momentum").numpy()
    restarted = subprocess.Popen([sys.executable, __file__, "serve", address_lists, "worker", "1"])
    seen = schedule(10)
    restarted.kill()
    print(
        json.dumps(
            {
                "kept": all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)),
                "before": before[0].tolist(),
                "iterations": int(optimizer.iterations.numpy()),
                "last": max(seen),
                "value": variable.numpy().tolist(),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    program, *arguments = sys.argv[1:]
    if program == "train":
        train_as_worker(arguments[0], int(arguments[1]), int(arguments[2]))
    else:
        {"save": save, "serve": serve, "coordinate": coordinate}[program](*arguments)
    sys.stdout.flush()
    os._exit(0)
