"""A Keras classifier and Nengo, in seven degrees of integration.

Nengo goes into Keras (a to e), and Keras into Nengo (f, g), as in NengoDL's notebook
"Integrating a Keras model into a Nengo network".

(a) an input that is a function of time
(b) a whole Keras model within a model that runs over time
(c) layer by layer, Keras's and ours side by side
(d) a native Nengo network as one layer, trained by `fit` and run by Nengo
(e) automatic conversion of a Keras model to a Nengo network
(f) a whole Keras model as a node of a Nengo network
(g) Keras's layers as nodes around Nengo's neurons, trained by the simulator

Run it with `uv run examples/fashion_mnist.py`; `--data digits` needs no data set.
"""

import keras_spiking_nengo as ksn  # first: TensorFlow then starts quietly

# isort: split
import argparse
import math

import data
import keras
import nengo
import numpy as np
from rich.console import Console
from rich.table import Table

PRESENT = 0.01  # seconds that an image is shown for
DT = 0.001
IN_NENGO = 360  # images for nengo.Simulator, which runs them one by one


def classifier(shape) -> keras.Model:
    """The model that all stages are about: plain Keras."""
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10),
        ]
    )


def fit(model, x, y, epochs: int) -> keras.Model:
    batches = epochs * math.ceil(len(x) / 64)
    rate = keras.optimizers.schedules.CosineDecay(0.003, batches, alpha=0.02)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.jit_compile = True
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=2)
    model.jit_compile = False
    return model


def accuracy(scores, y) -> float:
    return float(np.mean(np.argmax(scores, axis=-1) == y[: len(scores)]))


def function_of_time(model, x, y) -> float:
    """(a) The images as a function of time, in Nengo and, sampled, in Keras."""

    def image(t):
        return x[int((t - DT / 2) / PRESENT) % len(x)].ravel()

    with nengo.Network() as net:
        node = nengo.Node(image)
        probe = nengo.Probe(node)
    with nengo.Simulator(net, dt=DT, progress_bar=False) as sim:
        sim.run(PRESENT * IN_NENGO)
    # What the node did is an input like any other: (batch, time, features).
    stream = sim.data[probe].astype("float32").reshape(1, -1, *x.shape[1:])
    over_time = keras.Sequential(
        [keras.Input((None, *x.shape[1:])), keras.layers.TimeDistributed(model)]
    )
    steps = round(PRESENT / DT)
    return accuracy(over_time.predict(stream, verbose=0)[0, steps - 1 :: steps], y)


def whole_model(model, x, y) -> float:
    """(b) The trained classifier as one layer, its scores filtered over time."""
    over_time = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            ksn.layers.Repeat(30),
            keras.layers.TimeDistributed(model),
            ksn.layers.Synapse(0.005),
        ]
    )
    return accuracy(over_time.predict(x, batch_size=500, verbose=0), y)


def layer_by_layer(x, y, x_test, y_test, epochs) -> float:
    """(c) Keras's Dense and our spiking neurons, trained through their spikes."""
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(128, bias_initializer="ones"),
            ksn.layers.Repeat(30),
            ksn.layers.Neurons(nengo.LIF(amplitude=0.01), return_sequences=True),
            ksn.layers.Synapse(0.02),
            keras.layers.Dense(10),
        ]
    )
    fit(model, x, y, epochs)
    return accuracy(model.predict(x_test, batch_size=500, verbose=0), y_test)


def native_network(x, y, x_test, y_test, epochs) -> float:
    """(d) A nengo.Network that Keras trains, and Nengo runs afterwards."""
    n_in, n_out = math.prod(x.shape[1:]), 10

    def glorot(rows, columns):
        limit = math.sqrt(6 / (rows + columns))
        return nengo.Dense((rows, columns), nengo.dists.Uniform(-limit, limit))

    with nengo.Network(seed=0) as net:
        image = nengo.Node(np.zeros(n_in))
        ens = nengo.Ensemble(
            128,
            1,
            neuron_type=nengo.RectifiedLinear(),
            gain=nengo.dists.Choice([1]),
            bias=nengo.dists.Choice([0]),
        )
        out = nengo.Node(size_in=n_out)
        nengo.Connection(image, ens.neurons, transform=glorot(128, n_in), synapse=None)
        nengo.Connection(ens.neurons, out, transform=glorot(n_out, 128), synapse=None)
        nengo.Probe(out)

    # The network is a layer, ...
    network = ksn.layers.Network(net)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Flatten(),
            ksn.layers.Repeat(1),
            network,
        ]
    )
    fit(model, x, y, epochs)
    # ... and, trained, a network again.
    trained = network.network()
    (image,) = (node for node in trained.all_nodes if not node.size_in)
    image.output = lambda t: x_test[round(t / DT) - 1].ravel()
    with nengo.Simulator(trained, dt=DT, progress_bar=False) as sim:
        sim.run_steps(IN_NENGO)
    in_nengo = sim.data[trained.all_probes[0]]
    in_keras = model.predict(x_test[:IN_NENGO], batch_size=500, verbose=0)
    same = np.mean(np.argmax(in_nengo, 1) == np.argmax(in_keras, 1))
    print(f"(d) Nengo gives the same class as Keras for {same:.1%} of the images.")
    return accuracy(model.predict(x_test, batch_size=500, verbose=0), y_test)


def conversion(model, x, y) -> tuple[float, str]:
    """(e) The trained classifier as a Nengo network, checked by Nengo."""
    export = ksn.to_nengo(model)
    report = export.verify(x[:20])
    return accuracy(export.run(x[:IN_NENGO]), y), str(report)


def node_of_model(model, x, y) -> float:
    """(f) The trained classifier as a node, its scores filtered by a synapse."""
    with nengo.Network() as net:
        image = nengo.Node(np.zeros(math.prod(x.shape[1:])))
        scores = ksn.keras_node(model)
        nengo.Connection(image, scores, synapse=None)
        probe = nengo.Probe(scores, synapse=0.005)
    with ksn.Simulator(net, minibatch_size=IN_NENGO, progress_bar=False) as sim:
        frames = np.repeat(x[:IN_NENGO].reshape(IN_NENGO, 1, -1), 30, axis=1)
        sim.run_steps(30, data={image: frames})
        return accuracy(sim.data[probe][:, -1], y)


def nodes_of_layers(x, y, x_test, y_test, epochs) -> float:
    """(g) Keras's layers and Nengo's neurons, trained as rates, and run as spikes."""
    convolution = keras.Sequential(
        [
            keras.Input((*x.shape[1:], 1)[:3]),
            keras.layers.Conv2D(16, 3, strides=2),
            keras.layers.Flatten(),
        ],
        name="convolution",
    )
    with nengo.Network(seed=0) as net:
        image = nengo.Node(np.zeros(math.prod(x.shape[1:])))
        current = ksn.keras_node(convolution)
        hidden = nengo.Ensemble(
            current.size_out,
            1,
            # A rate of 250 spikes per second is an activity of 1.
            neuron_type=nengo.SpikingRectifiedLinear(amplitude=0.004),
            gain=nengo.dists.Choice([250]),
            bias=nengo.dists.Choice([0]),
        )
        scores = ksn.keras_node(keras.layers.Dense(10), current.size_out)
        nengo.Connection(image, current, synapse=None)
        nengo.Connection(current, hidden.neurons, synapse=None)
        nengo.Connection(hidden.neurons, scores, synapse=None)
        probe = nengo.Probe(scores)
    frames, frames_test = (a.reshape(len(a), 1, -1) for a in (x, x_test))
    with ksn.Simulator(net, progress_bar=False) as sim:
        batches = epochs * math.ceil(len(x) / 64)
        rate = keras.optimizers.schedules.CosineDecay(0.003, batches, alpha=0.02)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        sim.compile(keras.optimizers.Adam(rate), {probe: loss}, forward="rate")
        sim.fit(
            {image: frames},
            {probe: y[:, None, None]},
            batch_size=64,
            epochs=epochs,
            verbose=2,
        )
        spikes = {image: np.repeat(frames_test, 50, axis=1)}
        outputs = sim.predict(spikes, batch_size=100, verbose=0)[probe]
    return accuracy(outputs[:, 10:].mean(axis=1), y_test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data.add_argument(parser, "fashion-mnist")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    (x, y), (x_test, y_test) = data.load(options.data)
    keras.utils.set_random_seed(1)

    model = fit(classifier(x.shape[1:]), x, y, options.epochs)
    plain = accuracy(model.predict(x_test, batch_size=500, verbose=0), y_test)
    stages = {
        "Keras alone": plain,
        "(a) input as a function of time": function_of_time(model, x_test, y_test),
        "(b) whole Keras model over time": whole_model(model, x_test, y_test),
        "(c) layer by layer, spiking": layer_by_layer(
            x, y, x_test, y_test, options.epochs
        ),
        "(d) native Nengo network": native_network(
            x, y, x_test, y_test, options.epochs
        ),
    }
    stages["(e) automatic conversion"], report = conversion(model, x_test, y_test)
    stages["(f) Keras model as a node"] = node_of_model(model, x_test, y_test)
    stages["(g) Keras layers as nodes, spiking"] = nodes_of_layers(
        x, y, x_test, y_test, options.epochs
    )
    table = Table("stage", "test accuracy")
    for name, value in stages.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)
    print(f"(a), (e) and (f) on the first {IN_NENGO} images.\n{report}")


if __name__ == "__main__":
    main()
