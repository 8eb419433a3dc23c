"""Keras's layers and operations become Nengo objects that give the same numbers."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert import to_nengo
from keras_spiking_nengo.convert.hosted import KerasLayer
from tests.conftest import BACKEND
from tests.convert import wholes
from tests.convert.catalogue import (
    ACTIVATIONS,
    CHANNELS_FIRST,
    CURVED,
    HOSTED,
    JOINED,
    LINEAR,
    RECURRENT,
    SINGLE,
    first,
)
from tests.convert.models import data, layers, randomise, static
from tests.marks import SLOW_ON_JAX

NATIVE = {**LINEAR, **CURVED}
# Keras on JAX computes these in single precision, whatever it is given.
ROUNDED = ("BatchNormalization", "AveragePooling") if BACKEND == "jax" else ()
# Where the conversion asks Keras, and the answer may depend on the backend.
ASKED = (
    "Conv2DTranspose(output padding)",
    "Cropping2D",
    "Permute",
    "Resizing(padded)",
    "UpSampling2D(bilinear)",
)


def marked(names, quick=()):
    """Parameters, slow on JAX unless they are among those to be quick."""
    return [pytest.param(n, marks=[] if n in quick else SLOW_ON_JAX) for n in names]


def inputs_of(model):
    """Two items for each input, of three steps where time is open."""
    shapes = [tensor.shape[1:] for tensor in model.inputs]
    return data([(2, *(size or 3 for size in shape)) for shape in shapes])


def called(model, x):
    return keras.tree.map_structure(ops.convert_to_numpy, model(x, training=False))


def hosts(export):
    """Nodes that call Python."""
    kinds = (Callable, KerasLayer)
    return [node for node in export.net.all_nodes if isinstance(node.output, kinds)]


def errors(found, expected):
    """Largest difference of each output, relative to its largest value."""
    pairs = zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True)
    for one, other in pairs:
        assert one.shape == other.shape
        yield np.max(np.abs(one - other)) / (1 + np.max(np.abs(other)))


def difference(model, **options):
    """Between Nengo and Keras, and the export."""
    x = inputs_of(randomise(model))
    export = to_nengo(model, **options)
    return max(errors(export.run(x), called(model, x))), export


# --- single layers ------------------------------------------------------------------


def test_numbers_of_cases():
    """NengoDL's converter has 22 of 67 such cases as Nengo objects."""
    native = [*NATIVE, *SINGLE, *ACTIVATIONS, *JOINED, *RECURRENT]
    assert len(native) > 130
    assert len(native) + len(HOSTED) > 150
    assert len(wholes.MODELS) + len(wholes.HOSTED) > 25


@pytest.mark.parametrize("name", marked(NATIVE, ASKED))
def test_layer(name, float64):
    make_layer, shape = NATIVE[name]
    error, export = difference(static(make_layer(), shape=shape))
    exact = name in LINEAR and not any(word in name for word in ROUNDED)
    assert error < (1e-12 if exact else 1e-6)
    assert not hosts(export)


@pytest.mark.parametrize("name", marked(SINGLE))
def test_layer_in_single_precision(name):
    make_layer, shape = SINGLE[name]
    error, export = difference(static(make_layer(), shape=shape))
    assert error < 1e-5
    assert not hosts(export)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="has no such convolutions")
@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_channels_first(name, float64):
    make_layer, shape = CHANNELS_FIRST[name]
    error, export = difference(static(make_layer(), shape=first(shape)))
    assert error < (1e-6 if any(word in name for word in ROUNDED) else 1e-12)
    assert not hosts(export)


def test_activations(float64):
    x = keras.Input((5,))
    model = keras.Model(x, [layers.Activation(name)(x) for name in ACTIVATIONS])
    values = inputs_of(model)
    export = to_nengo(model)
    found = errors(export.run(values), called(model, values))
    assert {n: e for n, e in zip(ACTIVATIONS, found, strict=True) if e > 1e-6} == {}
    kinds = {ens.neuron_type for ens in export.net.all_ensembles}
    assert len(kinds) == len(ACTIVATIONS) - 1 and not hosts(export)


def test_operations(float64):
    x, y = keras.Input((3, 4)), keras.Input((3, 4))
    model = keras.Model([x, y], [join(x, y) for join in JOINED.values()])
    values = inputs_of(model)
    export = to_nengo(model)
    found = errors(export.run(values), called(model, values))
    assert {n: e for n, e in zip(JOINED, found, strict=True) if e > 1e-6} == {}
    assert not hosts(export)


@pytest.mark.parametrize("name", marked(RECURRENT, ["relu"]))
def test_recurrence(name):
    error, export = difference(static(RECURRENT[name](), shape=(5, 3)))
    assert error < 1e-5
    assert not hosts(export)
    x, again = inputs_of(export.model), back(export)
    steps = called(again, ops.convert_to_tensor(x, "float32"))
    found = steps if RECURRENT[name]().return_sequences else steps[:, -1]
    assert max(errors(found, called(export.model, x))) < 1e-5


@pytest.mark.parametrize("name", marked(HOSTED, ["LayerNormalization"]))
def test_hosted(name):
    make_layer, shape = HOSTED[name]
    model = static(make_layer(), shape=shape)
    with pytest.raises(NotImplementedError, match=model.layers[0].name):
        to_nengo(model)
    with pytest.warns(UserWarning, match="Keras runs it, in a Python node"):
        error, export = difference(model, strict=False)
    assert error < 1e-5
    assert len(hosts(export)) == 1


# --- back from Nengo ----------------------------------------------------------------

BACK = (
    *("Dense", "Conv2D(groups)", "Conv2D(dilated)", "DepthwiseConv2D", "Conv3D"),
    *("Conv2DTranspose(same)", "AveragePooling2D(same)", "ZeroPadding2D", "Permute"),
    *("BatchNormalization", "PReLU", "ReLU(max_value)", "ELU"),
)


def back(export):
    """The Keras model that comes back."""
    return ksn.from_nengo(
        export.net, list(export.inputs.values()), list(export.outputs.values())
    )


def loss(model):
    """Largest difference between a model and what comes back of it."""
    again = back(to_nengo(randomise(model)))
    x = keras.tree.flatten(inputs_of(model))
    flat = [ops.convert_to_tensor(v.reshape(2, 1, -1), "float32") for v in x]
    found = keras.tree.flatten(called(again, flat if len(flat) > 1 else flat[0]))
    expected = keras.tree.flatten(called(model, x if len(x) > 1 else x[0]))
    found = [one.reshape(other.shape) for one, other in zip(found, expected, strict=1)]
    return max(errors(found, expected))


@pytest.mark.parametrize("name", marked(BACK, ["PReLU"]))
def test_layer_comes_back(name):
    make_layer, shape = NATIVE[name]
    assert loss(static(make_layer(), shape=shape)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NATIVE if name not in BACK])
def test_every_layer_comes_back(name):
    make_layer, shape = NATIVE[name]
    assert loss(static(make_layer(), shape=shape)) < 1e-5


# --- whole models -------------------------------------------------------------------


@pytest.mark.parametrize("name", marked(wholes.MODELS, ["operations over time"]))
def test_model(name):
    error, export = difference(wholes.MODELS[name]())
    assert error < 1e-5
    assert not hosts(export)


@pytest.mark.parametrize("name", marked(wholes.HOSTED))
def test_model_with_hosts(name):
    with pytest.warns(UserWarning, match="Keras runs it"):
        error, export = difference(wholes.HOSTED[name](), strict=False)
    assert error < 1e-5
    assert hosts(export)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="has no such convolutions")
def test_model_with_channels_first():
    error, export = difference(wholes.batch_norm_net(data_format="channels_first"))
    assert error < 1e-5
    assert len(export.net.all_ensembles) == 2


@pytest.mark.parametrize(
    "name", ["dense net", "mobile net", "u-net", "several inputs and outputs"]
)
@pytest.mark.slow
def test_model_comes_back(name):
    assert loss(wholes.MODELS[name]()) < 1e-4


def test_spiking_images_over_time(float64):
    model = randomise(wholes.spiking_images())
    x = inputs_of(model)
    with pytest.raises(NotImplementedError, match="max_to_avg_pool=True"):
        to_nengo(model)
    with pytest.warns(UserWarning, match="takes means where .*max_pooling2d"):
        export = to_nengo(model, max_to_avg_pool=True)
    assert export.run(x).shape == called(model, x).shape
