"""Spiking models that are exported, each with the data it is run on."""

import keras
import nengo
from keras import layers

import keras_spiking_nengo as ksn
from tests.builders import (
    LINEAR,
    QUICK,
    STEPS,
    batch,
    cell,
    ensemble,
    memory,
    neurons,
    per_step,
    presented,
    randomise,
    sequence,
    synapse,
    temporal,
)
from tests.catalogue.keras_layers import IMAGE, SIGNAL


def _joined():
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 4), name="b")
    x = layers.Concatenate()([layers.Dense(4)(a), b])
    y = layers.Add()([layers.Dense(8)(a), x])
    spikes = neurons(name="spikes")(y)
    slow = synapse(0.02, return_sequences=False)(spikes)
    return keras.Model([a, b], [spikes, layers.Dense(2, name="slow")(slow)])


def _keyed():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    both = layers.Concatenate()([b, a])
    x = neurons()(layers.Dense(6)(ksn.layers.Repeat(STEPS)(both)))
    outputs = {"z": synapse()(x), "last": synapse(return_sequences=False)(x)}
    return keras.Model({"a": a, "b": b}, outputs)


def _residual():
    x = keras.Input((None, 5))
    h = neurons(LINEAR)(layers.Dense(5)(x))
    h = synapse(nengo.Alpha(0.01))(h)
    y = layers.Add()([x, h, h])
    return keras.Model(x, neurons()(y))


def _shared():
    x = keras.Input((None, 4))
    dense, spikes = layers.Dense(4, name="dense"), neurons(name="spikes")
    y = spikes(dense(x))
    return keras.Model(x, spikes(dense(synapse()(y))))


def _nested():
    encoder = keras.Sequential(
        [keras.Input((None, 4)), layers.Dense(6, name="in"), neurons(name="spikes")],
        name="encoder",
    )
    inner = keras.Input((None, 6))
    filtered = synapse(name="filter")(inner)
    decoder = keras.Model(
        inner, [layers.Dense(2, name="one")(filtered), filtered], name="decoder"
    )
    x = keras.Input((None, 4))
    return keras.Model(x, decoder(encoder(x)))


def _images():
    convolutional = keras.Sequential(
        [
            keras.Input(IMAGE),
            layers.Conv2D(3, 3, padding="same", activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
        ],
        name="convolutional",
    )
    return presented(
        layers.TimeDistributed(convolutional, name="steps"),
        layers.Dense(6),
        neurons(),
        shape=IMAGE,
    )


def _trained():
    model = temporal(
        layers.Dense(6),
        neurons(trainable_parameters=("tau_rc", "amplitude")),
        synapse(trainable_parameters=("tau",)),
        neurons(
            nengo.RegularSpiking(nengo.LIFRate()),
            trainable_parameters=("amplitude", "base_tau_rc"),
        ),
        synapse(nengo.Alpha(0.005), trainable_parameters=("tau",)),
    )
    for weight in model.trainable_weights:
        if weight.name.startswith("log"):
            weight.assign(weight + 0.3)
    return model


def _axes():
    x = keras.Input((None, 2, 3))
    y = layers.Concatenate(axis=2)([x, layers.Dense(3)(x)])
    z = layers.Concatenate(axis=-1)([y, layers.Dense(2)(y)])
    return keras.Model(x, neurons()(z))


def _ensembles():
    x, e = keras.Input((None, 2), name="x"), keras.Input((None, 1), name="e")
    several = ensemble(2, function={"two": None, "one": lambda x: x[:1]})(x)
    learning = ensemble(2, function=lambda x: x[:1], learning_rule=nengo.PES(1e-4))
    learned = learning({"input": several["two"], "error": e})
    both = layers.Concatenate()([several["one"], synapse()(learned)])
    return keras.Model([x, e], [neurons(LINEAR)(layers.Dense(3)(both)), several["two"]])


def _network():
    with nengo.Network(seed=2) as net:
        a, b = nengo.Node([0.0, 0.0], label="a"), nengo.Node([0.0], label="b")
        ens = nengo.Ensemble(20, 3, label="ens")
        nengo.Connection(a, ens[:2])
        nengo.Connection(b, ens[2])
        nengo.Connection(ens, ens, synapse=0.1)
        probes = {
            "z": nengo.Probe(ens[1:], synapse=0.01),
            "n": nengo.Probe(ens.neurons[:5]),
            "b": nengo.Probe(b),
        }
    layer = ksn.layers.Network(
        net, inputs={"b": b, "a": a}, outputs=probes, return_sequences=True
    )
    inputs = {
        "a": keras.Input((None, 2), name="a"),
        "b": keras.Input((None, 1), name="b"),
    }
    y = layer(inputs)
    joined = layers.Concatenate()([y["n"], y["z"], y["b"]])
    return keras.Model(inputs, {"all": layers.Dense(3)(joined), "z": y["z"]})


def _transforms():
    kernel = nengo.Convolution(2, (2, 3, 1), kernel_size=(2, 2), padding="same")
    return temporal(
        ksn.layers.Transform(nengo.Dense((6, 5), init=nengo.dists.Gaussian(0, 1))),
        ksn.layers.Transform(kernel, use_bias=True),
        neurons(),
        ksn.layers.Transform(nengo.Sparse((3, 12), indices=[[0, 1], [2, 11]], init=2)),
        ksn.layers.Transform(nengo.transforms.NoTransform(3), use_bias=True),
    )


def _trained_delays():
    delayed = ksn.layers.DelayedDense
    model = temporal(
        delayed(4, 0.003, return_sequences=True, name="synapses"),
        neurons(),
        delayed(5, 0.004, per="axon", return_sequences=True, name="axons"),
        cell(ksn.layers.DelayedDenseCell(3, 0.002, per="dendrite", use_bias=False)),
        neurons(),
        ksn.layers.RecurrentNeurons(
            QUICK, max_recurrent_delay=0.004, seed=1, return_sequences=True
        ),
    )
    for layer in model.layers:
        delays = getattr(getattr(layer, "cell", None), "delays", None)
        if delays is not None:
            delays.round()
    return model


# Spiking models on sequences and on presented inputs.
MODELS = {
    "cells": lambda: temporal(
        layers.Dense(8),
        cell(ksn.layers.NeuronsCell(QUICK)),
        cell(ksn.layers.SynapseCell(0.005)),
        cell(ksn.layers.EnsembleCell(20, 8, function=lambda x: x[:3], seed=1)),
        cell(layers.SimpleRNNCell(3, "relu")),
        layers.Dense(4),
    ),
    "recurrent neurons": lambda: temporal(
        layers.Dense(8),
        ksn.layers.RecurrentNeurons(QUICK, seed=1, return_sequences=True),
        layers.Dense(4),
        cell(
            ksn.layers.RecurrentNeuronsCell(
                nengo.AdaptiveLIF(),
                recurrent_synapse=nengo.Alpha(0.004),
                self_connections=False,
                seed=2,
            )
        ),
        layers.Dense(3),
    ),
    "delays": lambda: temporal(
        layers.Dense(3),
        ksn.layers.Delay([0, 0.003, 0.001], return_sequences=True),
        ksn.layers.Delay(0.002, return_sequences=True),
        neurons(),
    ),
    "trained delays": _trained_delays,
    "memory": lambda: temporal(memory(), layers.Dense(4)),
    "trained memory": lambda: temporal(
        memory(memory_to_memory=True, trainable_theta=True, discretizer="euler"),
        layers.Dense(4),
    ),
    "memory of what is hidden": lambda: temporal(
        layers.Dense(2),
        memory(
            [layers.Dense(6, "relu"), layers.SimpleRNNCell(4, "relu")],
            hidden_to_memory=True,
            input_to_hidden=True,
            return_sequences=False,
        ),
    ),
    "memory of spikes": lambda: temporal(
        memory(
            [layers.Dense(2), ksn.layers.NeuronsCell(LINEAR)],
            hidden_to_memory=True,
            kernel_initializer=None,
        ),
        synapse(),
        shape=(2,),
    ),
    "ensemble": lambda: temporal(ensemble(5, recurrent=True), synapse()),
    "ensembles": _ensembles,
    "activity of an ensemble": lambda: temporal(
        ensemble(5, output="neurons", return_sequences=False), layers.Dense(2)
    ),
    "network": _network,
    "transforms": _transforms,
    "dense": lambda: temporal(layers.Dense(8), neurons()),
    "dense, no bias": lambda: temporal(layers.Dense(8, use_bias=False), neurons()),
    "images in neurons": lambda: temporal(neurons(), shape=(2, 3)),
    "deep": lambda: temporal(
        layers.Dense(20),
        neurons(),
        synapse(0.005),
        layers.Dense(15),
        neurons(),
        synapse(nengo.Alpha(0.005)),
        layers.Dense(4),
    ),
    "bias before the synapse": lambda: temporal(
        layers.Dense(8), synapse(0.01), neurons(LINEAR)
    ),
    "bias and activation before the synapse": lambda: temporal(
        layers.Dense(8, "relu"), synapse(0.01), neurons(LINEAR)
    ),
    "two synapses": lambda: temporal(synapse(0.01), synapse(0.005), neurons(LINEAR)),
    "two transforms": lambda: temporal(
        layers.Dense(8),
        layers.Dense(6),
        synapse(0.01),
        layers.Dense(4),
        neurons(LINEAR),
    ),
    "no lag": lambda: temporal(
        layers.Dense(8), neurons(), synapse(0.01, delay=0), layers.Dense(3), neurons()
    ),
    "adaptive": lambda: temporal(neurons("adaptive_lif"), synapse()),
    "dt": lambda: temporal(neurons(dt=0.002), synapse(0.01, dt=0.002)),
    "direct": lambda: temporal(neurons("direct"), neurons()),
    "presented": lambda: presented(
        layers.Dense(12),
        neurons(),
        synapse(0.005, return_sequences=False),
        layers.Dense(4, "tanh"),
    ),
    "last spikes": lambda: presented(
        layers.Dense(12), neurons(return_sequences=False), layers.Dense(4)
    ),
    "known time": lambda: temporal(layers.Dense(8), neurons(), time=STEPS),
    "images": _images,
    "convolution of spikes": lambda: presented(
        per_step(layers.Conv2D(3, 2)),
        neurons(),
        synapse(0.005),
        per_step(layers.Conv2D(2, 2, 2)),
        neurons(),
        shape=IMAGE,
    ),
    "convolution of sequences": lambda: temporal(
        per_step(layers.Conv1D(3, 2)),
        neurons(),
        per_step(layers.Reshape((-1,))),
        shape=SIGNAL,
    ),
    "joined": _joined,
    "keyed": _keyed,
    "residual": _residual,
    "shared": _shared,
    "nested": _nested,
    "trained": _trained,
    "axes": _axes,
}


def make(name):
    """The model of that name, and data for it."""
    model = randomise(MODELS[name]())
    starts = any(isinstance(layer, ksn.layers.Repeat) for layer in model.layers)
    return model, batch(model) if starts else sequence(model)
