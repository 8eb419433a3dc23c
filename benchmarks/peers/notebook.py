"""The classifier of NengoDL's notebook, by plain Keras, by us and by NengoDL.

`python notebook.py <work> <who>`, with `who` one of `keras`, `ours` and `nengodl`; the
last in NengoDL's environment. `ours` trains the native network in two ways, behind
`ksn.Simulator` and as the layers that `ksn.from_nengo` makes of it, and Keras's own
layers beside them. The ways of a worker take turns, an epoch each, so that a machine
which is busy for a while is so for all of them. All begin from Glorot's uniform weights
and take Adam's steps of 0.001, with the same loss, metric and order of images.
"""

import gzip
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
PIXELS, HIDDEN, CLASSES = 784, 128, 10
# Logits may differ by so much of their range; float32 makes a ten-thousandth of it.
SAME = 1e-3

IMPORTS = {
    "keras": ("keras",),
    "ours": ("keras", "nengo", "keras_spiking_nengo"),
    "nengodl": ("tensorflow", "nengo", "nengo_dl"),
}
PACKAGES = ("keras", "tensorflow", "jax", "nengo", "nengo-dl", "numpy")


@dataclass(frozen=True)
class Work:
    """What is done with how many images.

    Attributes:
        train, test: number of images.
        epochs: of training.
        batches: sizes of minibatches; each begins anew.
        only_import: stop after the imports.
        seed: of weights and of the order of images.
    """

    train: int = 60_000
    test: int = 10_000
    epochs: int = 5
    batches: tuple[int, ...] = (20, 32)
    only_import: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Trainer:
    """Something with Keras's `fit`, `evaluate` and `predict`.

    Attributes:
        model: the thing itself.
        settings: of its three methods.
        shaped: images `(items, 784)` and labels `(items,)`, as it takes them.
    """

    model: Any
    settings: dict
    shaped: Callable[[np.ndarray, np.ndarray], tuple] = lambda x, y: (x, y)

    def fit(self, x, y, **options):
        return self.model.fit(*self.shaped(x, y), verbose=0, **self.settings, **options)

    def evaluate(self, x, y):
        return self.model.evaluate(*self.shaped(x, y), verbose=0, **self.settings)

    def scores(self, x) -> np.ndarray:
        """Logits, `(items, 10)`."""
        given, _ = self.shaped(x, np.zeros(len(x)))
        found = self.model.predict(given, verbose=0, **self.settings)
        if isinstance(found, dict):
            (found,) = found.values()
        return np.reshape(found, (-1, CLASSES))

    def close(self) -> None:
        """Close a simulator."""
        if hasattr(self.model, "close"):
            self.model.close()


# --- data -----------------------------------------------------------------------------


def images(work: Work) -> tuple[str, list[np.ndarray]]:
    """Where they are from; images in [0, 1] and labels to train with, and to test."""
    if DEBIAN.is_dir():
        parts = product(("train", "t10k"), ("images-idx3", "labels-idx1"))
        arrays = [read_idx(DEBIAN / f"{'-'.join(part)}-ubyte.gz") for part in parts]
        source = "Fashion-MNIST"
    else:
        arrays, source = synthetic(work), "synthetic: Fashion-MNIST is not installed"
    x, y, x_test, y_test = arrays
    x, x_test = (a.reshape(len(a), PIXELS).astype("float32") / 255 for a in (x, x_test))
    y, y_test = (a.astype("int32") for a in (y, y_test))
    train, test = slice(work.train), slice(work.test)
    return source, [x[train], y[train], x_test[test], y_test[test]]


def read_idx(file: Path) -> np.ndarray:
    """An array of bytes: two zeros, type, rank, big-endian sizes, then the values."""
    with gzip.open(file) as stream:
        content = stream.read()
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def synthetic(work: Work) -> list[np.ndarray]:
    """Ten prototypes in much noise."""
    rng = np.random.RandomState(0)
    prototypes = rng.randint(0, 256, (CLASSES, PIXELS))
    arrays: list[np.ndarray] = []
    for items in (work.train, work.test):
        y = rng.randint(CLASSES, size=items)
        noise = rng.randint(0, 256, (items, PIXELS))
        arrays += [(0.1 * prototypes[y] + 0.9 * noise).astype(np.uint8), y]
    return arrays


# --- the network ----------------------------------------------------------------------


def native() -> tuple:
    """The network of Nengo's objects, its input and its output."""
    import nengo

    def glorot(rows: int, columns: int) -> np.ndarray:
        limit = (6 / (rows + columns)) ** 0.5
        return nengo.Dense((rows, columns), nengo.dists.Uniform(-limit, limit))

    with nengo.Network(seed=0) as net:
        net.config[nengo.Ensemble].gain = nengo.dists.Choice([1])
        net.config[nengo.Ensemble].bias = nengo.dists.Choice([0])
        net.config[nengo.Connection].synapse = None
        image = nengo.Node(np.zeros(PIXELS), label="image")
        relu = nengo.RectifiedLinear()
        hidden = nengo.Ensemble(HIDDEN, 1, neuron_type=relu, label="hidden")
        out = nengo.Node(size_in=CLASSES, label="out")
        nengo.Connection(image, hidden.neurons, transform=glorot(HIDDEN, PIXELS))
        nengo.Connection(hidden.neurons, out, transform=glorot(CLASSES, HIDDEN))
        probe = nengo.Probe(out, label="scores")
    return net, image, probe


def classifier(keras):
    """The same in Keras, with a bias on its output."""
    return keras.Sequential(
        [
            keras.Input((PIXELS,)),
            keras.layers.Dense(HIDDEN, activation="relu"),
            keras.layers.Dense(CLASSES),
        ]
    )


def compiled(keras, model, **settings):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        optimizer=keras.optimizers.Adam(0.001),
        loss=loss,
        metrics=["accuracy"],
        **settings,
    )
    return model


def keras_trainers(keras, batch: int) -> dict[str, Callable[[], Trainer]]:
    settings = {"batch_size": batch}

    def plain():
        model = compiled(keras, classifier(keras), jit_compile=True)
        return Trainer(model, settings)

    return {"Keras": plain}


def our_trainers(keras, batch: int) -> dict[str, Callable[[], Trainer]]:
    import keras_spiking_nengo as ksn

    settings = {"batch_size": batch}

    def simulator():
        net, _, _ = native()
        sim = ksn.Simulator(net, minibatch_size=batch, progress_bar=False)
        return Trainer(compiled(keras, sim, jit_compile=True), settings, one_step)

    def layers():
        net, _, _ = native()
        model = compiled(keras, ksn.from_nengo(net), jit_compile=True)
        return Trainer(model, settings, one_step)

    ours = {"Simulator": simulator, "from_nengo": layers}
    return keras_trainers(keras, batch) | ours


def nengodl_trainers(keras, batch: int) -> dict[str, Callable[[], Trainer]]:
    """With the notebook's settings, and with those for networks of one step."""
    import nengo_dl

    def simulator(**how):
        net, _, _ = native()
        with net:
            nengo_dl.configure_settings(stateful=False, **how)
        sim = nengo_dl.Simulator(net, minibatch_size=batch, progress_bar=False)
        return Trainer(compiled(keras, sim), {}, one_step_labelled)

    return {
        "NengoDL": simulator,
        "NengoDL, no loop": lambda: simulator(use_loop=False),
    }


def one_step(x: np.ndarray, y: np.ndarray) -> tuple:
    """Images as sequences of one step."""
    return x[:, None], y[:, None]


def one_step_labelled(x: np.ndarray, y: np.ndarray) -> tuple:
    """The same for NengoDL, whose labels have an axis more."""
    return x[:, None], y[:, None, None]


TRAINERS = {"keras": keras_trainers, "ours": our_trainers, "nengodl": nengodl_trainers}


# --- stages ---------------------------------------------------------------------------


def now() -> np.ndarray:
    """Wall and CPU seconds, the latter of all threads."""
    return np.array([time.perf_counter(), time.process_time()])


def cost(seconds: np.ndarray) -> dict[str, float]:
    wall, cpu = np.round(seconds, 5).tolist()
    return {"wall": wall, "cpu": cpu}


def timed(call: Callable) -> tuple[Any, dict[str, float]]:
    start = now()
    result = call()
    return result, cost(now() - start)


def run_ways(keras, work: Work, ways: dict, batch: int, data) -> list[dict]:
    """Seconds of each stage of each way to train, and the accuracy at the end."""
    x, y, x_test, y_test = data
    trainers, builds = {}, {}
    for way, make in ways.items():
        keras.utils.set_random_seed(work.seed)
        trainers[way], builds[way] = timed(make)

    epochs: dict[str, list[dict]] = {way: [] for way in ways}
    for i, (way, trainer) in product(range(work.epochs), trainers.items()):
        keras.utils.set_random_seed(work.seed + i)
        turn = partial(trainer.fit, x, y, initial_epoch=i, epochs=i + 1)
        epochs[way].append(timed(turn)[1])

    rows = []
    for way, trainer in trainers.items():
        _, evaluate = timed(partial(trainer.evaluate, x_test, y_test))
        right = np.argmax(trainer.scores(x_test), axis=-1) == y_test
        trainer.close()
        stages = {"build": builds[way], **fitted(epochs[way]), "evaluate": evaluate}
        row = {"way": way, "batch": batch, "accuracy": float(np.mean(right))}
        rows.append(row | {"stages": stages, "epochs": epochs[way]})
    return rows


def fitted(epochs: list[dict]) -> dict[str, dict]:
    """All epochs, the first, and the median of the later ones."""
    costs = np.array([list(epoch.values()) for epoch in epochs])
    found = {"fit": cost(costs.sum(axis=0)), "first epoch": epochs[0]}
    if len(epochs) > 1:
        found["later epoch"] = cost(np.median(costs[1:], axis=0))
    return found


def warm_up(keras, x: np.ndarray, y: np.ndarray) -> None:
    """Let the libraries start: a step of training of another size."""
    Trainer(compiled(keras, classifier(keras)), {}).fit(x[:7], y[:7], epochs=1)


def same_steps(keras, work: Work, data) -> list[dict]:
    """Our ways beside Keras's own layers: equal weights, 2,000 images in order."""
    x, y, x_test, _ = data
    trainers = {
        way: make() for way, make in our_trainers(keras, work.batches[0]).items()
    }
    layers = [
        keras.layers.Dense(HIDDEN, activation="relu"),
        keras.layers.Dense(CLASSES, use_bias=False),
    ]
    twin = compiled(
        keras, keras.Sequential([keras.Input((PIXELS,)), *layers]), jit_compile=True
    )
    twin.set_weights(trainers["from_nengo"].model.get_weights())
    trainers["Keras"] = Trainer(twin, {"batch_size": work.batches[0]})
    scores = {}
    for way, trainer in trainers.items():
        trainer.fit(x[:2000], y[:2000], epochs=1, shuffle=False)
        scores[way] = trainer.scores(x_test)
        trainer.close()
    wanted = scores.pop("Keras")
    return [
        agreement(f"{way}, trained as Keras", found, wanted, SAME)
        for way, found in scores.items()
    ]


def agreement(name: str, found, wanted, allowed: float) -> dict:
    """Logits compared, relative to their range."""
    off = float(np.max(np.abs(found - wanted)) / np.ptp(wanted))
    return {
        "name": f"{name}: logits of {len(wanted):,} images",
        "wanted": f"difference / range <= {allowed:g}",
        "found": f"{off:.1e}",
        "ok": off <= allowed,
    }


def convert(keras, work: Work, who: str, data) -> tuple[dict, list[dict]]:
    """Seconds to convert a Keras model, and to build and run what it became."""
    x, y, x_test, _ = data
    batch = work.batches[0]
    trainer = Trainer(compiled(keras, classifier(keras)), {"batch_size": batch})
    trainer.fit(x[:2000], y[:2000], epochs=1)
    wanted = trainer.scores(x_test)
    converted, (found, stages) = CONVERSIONS[who](trainer.model, x_test, batch)
    stages["convert"] = converted
    return stages, [agreement("converted", found, wanted, SAME)]


def our_conversion(model, x: np.ndarray, batch: int):
    import keras_spiking_nengo as ksn

    export, convert = timed(lambda: ksn.to_nengo(model))
    (node,) = export.inputs.values()

    def simulator():
        sim = ksn.Simulator(export.net, minibatch_size=batch, progress_bar=False)
        sim.compile(inputs=[node])  # biases are nodes, too
        return sim

    return convert, predicted(simulator, node, x, {"batch_size": batch})


def nengodl_conversion(model, x: np.ndarray, batch: int):
    import nengo_dl

    converter, convert = timed(lambda: nengo_dl.Converter(model))
    (node,) = converter.inputs.values()

    def simulator():
        net = converter.net
        return nengo_dl.Simulator(net, minibatch_size=batch, progress_bar=False)

    return convert, predicted(simulator, node, x, {})


def predicted(simulator: Callable, node, x: np.ndarray, settings: dict) -> tuple:
    """Logits by the simulator of a converted network, and seconds of both."""
    sim, build = timed(simulator)
    with sim:
        trainer = Trainer(sim, settings, lambda x, y: ({node: x[:, None]}, y))
        scores, run = timed(lambda: trainer.scores(x))
    return scores, {"build": build, "run": run}


CONVERSIONS = {"ours": our_conversion, "nengodl": nengodl_conversion}


# --- floor ----------------------------------------------------------------------------


def floor(work: Work, batch: int, x: np.ndarray) -> dict[str, float]:
    """Seconds of an epoch of products and Adam's updates alone, in NumPy."""
    rng = np.random.default_rng(0)
    shapes = ((PIXELS, HIDDEN), (HIDDEN, CLASSES))
    weights = [rng.uniform(-0.1, 0.1, s).astype(np.float32) for s in shapes]
    moments = [np.zeros((3, *shape), np.float32) for shape in shapes]

    def step(x: np.ndarray) -> None:
        hidden = np.maximum(x @ weights[0], 0)
        error = hidden @ weights[1]  # as if it were the gradient
        back = (error @ weights[1].T) * (hidden > 0)
        for w, moment, gradient in zip(
            weights, moments, (x.T @ back, hidden.T @ error), strict=True
        ):
            adam(w, moment, gradient)

    batches = [x[i : i + batch] for i in range(0, min(len(x), 200 * batch), batch)]
    step(batches[0])
    _, seconds = timed(lambda: list(map(step, batches)))
    epoch = work.train / batch / len(batches)
    return {kind: epoch * value for kind, value in seconds.items()}


def adam(weight: np.ndarray, moments: np.ndarray, gradient: np.ndarray) -> None:
    """Adam's step of 0.001 in place; the third of `moments` is room to compute in."""
    mean, square, change = moments
    np.subtract(gradient, mean, out=change)
    change *= 0.1
    mean += change
    gradient *= gradient
    gradient -= square
    gradient *= 0.001
    square += gradient
    np.sqrt(square, out=change)
    change += 1e-7
    np.divide(mean, change, out=change)
    change *= 0.001
    weight -= change


# --- worker ---------------------------------------------------------------------------


def main(work: Work, who: str) -> dict:
    _, imported = timed(lambda: [import_module(name) for name in IMPORTS[who]])
    if work.only_import:
        return {"import": imported}
    # Keras 2, as NengoDL's TensorFlow knows it, or Keras 3.
    keras = import_module("tensorflow.keras" if who == "nengodl" else "keras")
    source, data = images(work)
    warm_up(keras, *data[:2])
    report: dict = {"import": imported, "data": source, "rows": [], "checks": []}
    for batch in work.batches:
        ways = TRAINERS[who](keras, batch)
        report["rows"] += run_ways(keras, work, ways, batch, data)
    if who == "ours":
        report["floor"] = {b: floor(work, b, data[0]) for b in work.batches}
        report["checks"] += same_steps(keras, work, data)
    if who in CONVERSIONS:
        report["conversion"], found = convert(keras, work, who, data)
        report["checks"] += found
    load = round(os.getloadavg()[0], 2)
    return report | {"versions": installed(), "load": load}


def installed() -> dict[str, str]:
    """The versions of those packages that this process has loaded."""
    loaded = [p for p in PACKAGES if p.replace("-", "_") in sys.modules]
    return {package: version(package) for package in loaded}


if __name__ == "__main__":
    print(json.dumps(main(Work(**json.loads(sys.argv[1])), sys.argv[2])), flush=True)
