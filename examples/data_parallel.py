"""One model trained on several devices, or by several processes, with plain `fit`.

    python -m examples.data_parallel                    # one device
    python -m examples.data_parallel --devices 2        # two of one machine
    KERAS_BACKEND=jax python -m examples.data_parallel --processes 2

All of them print the same losses: every batch is split among the devices, and their
gradients are averaged. Where there are no GPUs, `--devices` makes so many of the CPU.

A backup of weights, optimizer and epoch is written after each epoch. Processes that are
started again go on from it: `--processes` starts all of them again when one has died.
On several machines a scheduler does that: see docs/distributed.md.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import nengo
import numpy as np

import keras_spiking_nengo as ksn
from examples import data

JAX = keras.backend.backend() == "jax"
N_STEPS = 30
NUMBER = "KERAS_DISTRIBUTION_NUM_PROCESSES"


class Shares(keras.utils.PyDataset):
    """What one process sees of each batch; together they see what one alone would.

    The order of the samples depends on the epoch, which the optimizer knows, so that
    training goes on after an interruption as if there had been none.
    """

    def __init__(self, x, y, batch, optimizer, rank=0, n=1):
        super().__init__()
        self.x, self.y, self.batch = x, y, batch
        self.optimizer, self.rank, self.n = optimizer, rank, n
        self.on_epoch_begin()

    def __len__(self):
        return len(self.x) // self.batch

    def on_epoch_begin(self):
        epoch = int(self.optimizer.iterations) // len(self)
        self.order = np.random.default_rng((0, epoch)).permutation(len(self.x))

    def __getitem__(self, i):
        chosen = self.order[i * self.batch : (i + 1) * self.batch][self.rank :: self.n]
        return self.x[chosen], self.y[chosen]


def network(shape) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(128, bias_initializer="ones"),
            ksn.layers.Repeat(N_STEPS),
            ksn.layers.Neurons(
                nengo.LIF(amplitude=0.01), return_sequences=True, seed=0
            ),
            ksn.layers.Synapse(0.02),
            keras.layers.Dense(10),
        ]
    )


def batches(x, y, options: argparse.Namespace, optimizer):
    """What `fit` is given. TensorFlow splits a dataset of its own among devices."""
    if JAX:
        return Shares(x, y, options.batch, optimizer, *position())
    import tensorflow as tf

    # Shuffled once, so that all runs are alike; otherwise add `.shuffle(len(x))`.
    order = np.random.default_rng(0).permutation(len(x))
    samples = tf.data.Dataset.from_tensor_slices((x[order], y[order]))
    return samples.batch(options.batch, drop_remainder=True)


def spread(devices: int) -> AbstractContextManager:
    """What a model is made in, to be trained on so many devices, and those of peers."""
    if JAX:
        import jax

        jax.config.update("jax_num_cpu_devices", devices)
        if NUMBER in os.environ:
            keras.distribution.initialize()  # reads the other variables, too
        parallel = keras.distribution.DataParallel(
            devices=jax.devices()[: devices * jax.process_count()],
            auto_shard_dataset=False,  # `Shares` are shares already
        )
        return parallel.scope()
    if devices == 1:
        return nullcontext()
    import tensorflow as tf

    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if kind == "CPU":
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
        tf.config.set_logical_device_configuration(cpu, parts)
    names = [f"{kind}:{i}" for i in range(devices)]
    return tf.distribute.MirroredStrategy(names).scope()


def position() -> tuple[int, int]:
    """Number of this process, and how many there are."""
    if not JAX:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def train(options: argparse.Namespace) -> None:
    keras.utils.set_random_seed(1)  # the same weights everywhere
    (x, y), (x_test, y_test) = data.load(options.data)
    with spread(options.devices):
        rank, _ = position()
        model = network(x.shape[1:])
        model.compile(
            keras.optimizers.Adam(0.003),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=JAX,  # XLA does not compile TensorFlow's strategies
        )
        model.optimizer.build(model.trainable_variables)
        callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=report(rank))]
        if options.backup:
            folder = own_backup(options.backup, rank)
            backup = keras.callbacks.BackupAndRestore(folder, double_checkpoint=True)
            callbacks.insert(0, backup)
        model.fit(
            batches(x, y, options, model.optimizer),
            epochs=options.epochs,
            shuffle=False,  # they are; Keras would forget its order when interrupted
            verbose=0,
            callbacks=callbacks,
        )
        test = batches(x_test, y_test, options, model.optimizer)
        found = model.evaluate(test, verbose=0, return_dict=True)
        if rank == 0:
            print(f"test accuracy {found['accuracy']:.4f}")
        if options.save:
            with tempfile.TemporaryDirectory() as unused:
                # All have to fetch what one saves.
                model.save(options.save if rank == 0 else f"{unused}/model.keras")


def own_backup(folder: Path, rank: int) -> Path:
    """Where a process keeps its backups, with the last one of the first process.

    Each of them saves, as all have to fetch what one saves; but they go on from one.
    """
    mine, first = folder / str(rank), folder / "0"
    if rank and first.exists():
        shutil.rmtree(mine, ignore_errors=True)
        shutil.copytree(first, mine)
    return mine


def report(rank: int):
    """Prints an epoch, in the first process."""

    def show(epoch, logs):
        if rank == 0:
            print(json.dumps({"epoch": epoch, **logs}), flush=True)

    return show


def supervise(options: argparse.Namespace) -> None:
    """Runs processes on this machine, all of them anew when one has died."""
    if not JAX:
        raise SystemExit("--processes needs KERAS_BACKEND=jax; --devices does not")
    for _ in range(1 + options.restarts):
        workers = start(options.processes)
        while all(worker.poll() is None for worker in workers):
            time.sleep(0.2)
        ends = [finish(worker) for worker in workers]
        if not any(ends):
            return
        print(f"a process died (exits {ends}); all start again", flush=True)
    raise SystemExit(f"gave up after {options.restarts} restarts")


def start(n: int) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address, NUMBER: str(n)}
    command = [sys.executable, "-m", "examples.data_parallel", *sys.argv[1:]]
    return [
        subprocess.Popen(
            command,
            env=os.environ | common | {"KERAS_DISTRIBUTION_PROCESS_ID": str(rank)},
        )
        for rank in range(n)
    ]


def finish(worker: subprocess.Popen, patience: float = 20.0) -> int:
    """Exit code of a process whose peers have ended: it ends soon, or is made to."""
    try:
        return worker.wait(patience)
    except subprocess.TimeoutExpired:
        worker.kill()
        return worker.wait()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data.add_argument(parser)
    parser.add_argument("--devices", type=int, default=1, help="of each process")
    parser.add_argument("--processes", type=int, default=1, help="on this machine")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64, help="of all devices together")
    parser.add_argument("--backup", type=Path, help="folder of weights and epoch")
    parser.add_argument("--restarts", type=int, default=3, help="with --processes")
    parser.add_argument("--save", type=Path, help="the trained model, a .keras file")
    options = parser.parse_args()
    parts = options.devices * options.processes
    if parts < 1 or options.batch % parts:
        parser.error(f"--batch {options.batch} is not a multiple of {parts} devices")
    return options


if __name__ == "__main__":
    chosen = parsed()
    if chosen.processes > 1 and NUMBER not in os.environ:
        supervise(chosen)
    else:
        train(chosen)
