"""Keras's layers and operations become Nengo objects that give the same numbers."""

from collections.abc import Callable

import keras
import nengo
import numpy as np
import pytest
from keras import layers, ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert import to_nengo
from keras_spiking_nengo.engine.functions import is_tensor_function
from keras_spiking_nengo.engine.keras_layers import KerasLayer
from tests.builders import data, randomise, static
from tests.cases import (
    ACTIVATIONS,
    ARCHITECTURES,
    CHANNELS_FIRST,
    CURVED_LAYERS,
    HOSTED_ARCHITECTURES,
    HOSTED_LAYERS,
    JOINED,
    LINEAR_LAYERS,
    POOLS,
    RECURRENT_LAYERS,
    SINGLE_PRECISION,
    STATIC_LAYERS,
    batch_norm_net,
    channels_first,
    spiking_images,
    training_only,
)
from tests.conftest import BACKEND
from tests.marks import TAKES_TURNS, slow_on_jax, some_on_jax

pytestmark = TAKES_TURNS

# Of those that TensorFlow has not, one of each kind.
ON_JAX = ("Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "AveragePooling2D", "Flatten")
NATIVE = {**LINEAR_LAYERS, **CURVED_LAYERS}
RNG = np.random.RandomState(0)
# Keras on JAX computes these in single precision, whatever it is given.
ROUNDED = ("BatchNormalization", "AveragePooling") if BACKEND == "jax" else ()


def inputs_of(model):
    """Two items for each input, of three steps where time is open."""
    shapes = [tensor.shape[1:] for tensor in model.inputs]
    return data([(2, *(size or 3 for size in shape)) for shape in shapes])


def called(model, x):
    return keras.tree.map_structure(ops.convert_to_numpy, model(x, training=False))


def hosts(export):
    """Nodes that call Python; what products of signals are is compiled in."""
    kinds, nodes = (Callable, KerasLayer), export.net.all_nodes
    python = [node for node in nodes if isinstance(node.output, kinds)]
    return [node for node in python if not is_tensor_function(node.output)]


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
    native = [
        *NATIVE,
        *SINGLE_PRECISION,
        *training_only(),
        *ACTIVATIONS,
        *JOINED,
        *RECURRENT_LAYERS,
    ]
    assert len(native) > 150
    assert len(native) + len(HOSTED_LAYERS) > 165
    assert len(ARCHITECTURES) + len(HOSTED_ARCHITECTURES) > 25


# The others are those of test_to_nengo.py.
NEW = [name for name in NATIVE if name not in STATIC_LAYERS]


@slow_on_jax
@pytest.mark.parametrize("name", NEW)
def test_layer(name, float64):
    make_layer, shape = NATIVE[name]
    error, export = difference(static(make_layer(), shape=shape))
    exact = name in LINEAR_LAYERS and not any(word in name for word in ROUNDED)
    assert error < (1e-12 if exact else 1e-6)
    assert not hosts(export)


@slow_on_jax
@pytest.mark.parametrize("name", SINGLE_PRECISION)
def test_layer_in_single_precision(name):
    make_layer, shape = SINGLE_PRECISION[name]
    error, export = difference(static(make_layer(), shape=shape))
    assert error < 1e-5
    assert not hosts(export)


@slow_on_jax
def test_layers_of_training_only():
    error, export = difference(static(*training_only(), shape=(6, 5, 3)))
    assert error < 1e-5
    assert len(export.net.all_connections) == 1 and not hosts(export)


@slow_on_jax
@pytest.mark.parametrize("name", POOLS)
def test_means_for_maxima(name):
    largest, mean, arguments, shape = POOLS[name]
    model = static(largest(*arguments, name="pool"), shape=shape)
    with pytest.raises(NotImplementedError, match="max_to_avg_pool=True"):
        to_nengo(model)
    with pytest.warns(UserWarning, match="means where 'pool' pool maxima"):
        export = to_nengo(model, max_to_avg_pool=True)
    x = inputs_of(model)
    expected = ops.convert_to_numpy(mean(*arguments)(x))
    np.testing.assert_allclose(export.run(x), expected, atol=1e-5)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="has no such convolutions")
@pytest.mark.parametrize("name", some_on_jax(CHANNELS_FIRST, ON_JAX))
def test_layers_with_channels_first(name, float64):
    make_layer, shape = CHANNELS_FIRST[name]
    error, export = difference(static(make_layer(), shape=channels_first(shape)))
    assert error < (1e-6 if any(word in name for word in ROUNDED) else 1e-12)
    assert not hosts(export)


@slow_on_jax
def test_activations(float64):
    x = keras.Input((5,))
    model = keras.Model(x, [layers.Activation(name)(x) for name in ACTIVATIONS])
    values = inputs_of(model)
    export = to_nengo(model)
    found = errors(export.run(values), called(model, values))
    assert {n: e for n, e in zip(ACTIVATIONS, found, strict=True) if e > 1e-6} == {}
    kinds = {ens.neuron_type for ens in export.net.all_ensembles}
    assert len(kinds) == len(ACTIVATIONS) - 1 and not hosts(export)


@slow_on_jax
def test_operations(float64):
    x, y = keras.Input((3, 4)), keras.Input((3, 4))
    model = keras.Model([x, y], [join(x, y) for join in JOINED.values()])
    values = inputs_of(model)
    export = to_nengo(model)
    found = errors(export.run(values), called(model, values))
    assert {n: e for n, e in zip(JOINED, found, strict=True) if e > 1e-6} == {}
    assert not hosts(export)


@slow_on_jax
@pytest.mark.parametrize("name", RECURRENT_LAYERS)
def test_recurrence(name):
    error, export = difference(static(RECURRENT_LAYERS[name](), shape=(5, 3)))
    assert error < 1e-5
    assert not hosts(export)
    x, again = inputs_of(export.model), back(export)
    steps = called(again, ops.convert_to_tensor(x, "float32"))
    found = steps if RECURRENT_LAYERS[name]().return_sequences else steps[:, -1]
    assert max(errors(found, called(export.model, x))) < 1e-5


@slow_on_jax
@pytest.mark.parametrize("name", HOSTED_LAYERS)
def test_hosted(name):
    make_layer, shape = HOSTED_LAYERS[name]
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
    export = to_nengo(randomise(model))
    again = back(export)
    x = keras.tree.flatten(inputs_of(model))
    flat = [ops.convert_to_tensor(v.reshape(2, 1, -1), "float32") for v in x]
    found = called(again, flat if len(flat) > 1 else flat[0])
    several = isinstance(found, dict)
    found = list(found.values()) if several else [found]
    expected = keras.tree.flatten(called(model, x if len(x) > 1 else x[0]))
    found = [one.reshape(other.shape) for one, other in zip(found, expected, strict=1)]
    return max(errors(found, expected))


@slow_on_jax
@pytest.mark.parametrize("name", BACK)
def test_layer_comes_back(name):
    make_layer, shape = NATIVE[name]
    assert loss(static(make_layer(), shape=shape)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NATIVE if name not in BACK])
def test_every_layer_comes_back(name):
    make_layer, shape = NATIVE[name]
    assert loss(static(make_layer(), shape=shape)) < 1e-5


# --- whole models -------------------------------------------------------------------


@slow_on_jax
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_model(name):
    error, export = difference(ARCHITECTURES[name]())
    assert error < 1e-5
    assert not hosts(export)


@slow_on_jax
@pytest.mark.parametrize("name", HOSTED_ARCHITECTURES)
def test_model_with_hosts(name):
    with pytest.warns(UserWarning, match="Keras runs it"):
        error, export = difference(HOSTED_ARCHITECTURES[name](), strict=False)
    assert error < 1e-5
    assert hosts(export)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="has no such convolutions")
def test_model_with_channels_first():
    error, export = difference(batch_norm_net(data_format="channels_first"))
    assert error < 1e-5
    assert len(export.net.all_ensembles) == 2


@pytest.mark.parametrize(
    "name", ["dense net", "mobile net", "u-net", "several inputs and outputs"]
)
@pytest.mark.slow
def test_model_comes_back(name):
    assert loss(ARCHITECTURES[name]()) < 1e-4


@slow_on_jax
def test_spiking_images_over_time(float64):
    model = randomise(spiking_images())
    x = inputs_of(model)
    with pytest.raises(NotImplementedError, match="max_to_avg_pool=True"):
        to_nengo(model)
    with pytest.warns(UserWarning, match="means where '.*max_pooling2d' pool maxima"):
        export = to_nengo(model, max_to_avg_pool=True)
    assert export.run(x).shape == called(model, x).shape


APPLICATIONS = {
    "MobileNet": {"alpha": 0.25},
    "MobileNetV2": {"alpha": 0.35},
    "EfficientNetB0": {},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", APPLICATIONS)
def test_application(name):
    options = {"weights": None, "classes": 10, "classifier_activation": None}
    make_model = getattr(keras.applications, name)
    model = make_model(input_shape=(32, 32, 3), **options, **APPLICATIONS[name])
    for weight in model.weights:
        if weight.name in ("moving_mean", "moving_variance"):
            weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
    export = to_nengo(model)
    report = export.verify(RNG.uniform(0, 1, (1, 32, 32, 3)))
    assert report.ok, f"\n{report}"
    assert not hosts(export)


# --- what goes into the weights -----------------------------------------------------


def objects(*stack, shape=(6, 6, 2)):
    """Numbers of ensembles, nodes and connections of a stack."""
    error, export = difference(static(*stack, shape=shape))
    assert error < 1e-12
    net = export.net
    return len(net.all_ensembles), len(net.all_nodes), len(net.all_connections)


NORM = layers.BatchNormalization


@pytest.mark.skipif(BACKEND == "jax", reason="rounds, and the objects are the same")
def test_scales_go_into_weights(float64):
    conv = layers.Conv2D
    # One ensemble, the input, and one connection between them.
    assert objects(conv(3, 3), NORM(), layers.ReLU()) == (1, 1, 1)
    assert objects(NORM(), conv(3, 3), layers.ReLU()) == (1, 1, 1)
    assert objects(
        layers.Rescaling(0.5, 1.0), conv(3, 3, padding="same"), NORM(), layers.ReLU()
    ) == (1, 1, 1)
    assert objects(layers.SeparableConv2D(3, 3), NORM(), layers.ReLU()) == (1, 1, 1)
    assert objects(
        layers.Conv2DTranspose(3, 3, 2), NORM(), layers.Rescaling(2.0), layers.ReLU()
    ) == (1, 1, 1)
    assert objects(NORM(), NORM(), layers.ReLU()) == (1, 1, 1)
    stack = layers.Dense(4), NORM(), layers.ReLU(), NORM(), layers.Dense(3, "relu")
    assert objects(*stack, shape=(5,)) == (2, 1, 2)


@pytest.mark.skipif(BACKEND == "jax", reason="rounds, and the objects are the same")
def test_scales_stay_between_others(float64):
    """Neurons, several readers, and numbers that differ within a channel."""
    stack = layers.Dense(4, "relu"), NORM(), layers.ReLU()
    assert objects(*stack, shape=(5,)) == (2, 1, 2)
    within = NORM(axis=1)
    assert objects(layers.Conv2D(3, 3), within, layers.ReLU()) == (1, 2, 2)
    x = keras.Input((4,))
    h = NORM()(layers.Dense(4)(x))
    model = keras.Model(x, [layers.Dense(3, "relu")(h), layers.Dense(2, "relu")(h)])
    error, export = difference(model)
    assert error < 1e-12
    # Dense and its normalisation are one connection, which two others read.
    assert len(export.net.all_connections) == 3


# --- one parameter for each neuron --------------------------------------------------


@slow_on_jax
def test_alphas_of_neurons_are_written():
    kind = ksn.types.Elementwise("elu", 0.5)
    options = {"trainable_parameters": {"alpha": "unit"}, "return_sequences": True}
    model = static(ksn.layers.Neurons(kind, **options), shape=(None, 2, 3))
    error, export = difference(model)
    assert error < 1e-5
    (ens,) = export.net.all_ensembles
    (slopes,) = model.get_weights()
    assert np.ptp(slopes) > 0.5
    np.testing.assert_array_equal(ens.neuron_type.alpha, slopes.ravel())


# --- rules of users -----------------------------------------------------------------


class Reversed(keras.layers.Layer):
    """A layer of a user that mixes the steps of a sequence."""

    def call(self, x):
        return ops.flip(x, axis=1)


class Doubled(keras.layers.Layer):
    """A layer of a user."""

    def call(self, x):
        return 2.0 * x


def test_a_rule_of_a_user():
    @ksn.layer_rule(Doubled)
    def doubled(site):
        size = int(np.prod(site.output))
        transform = nengo.Dense((size, size), init=2.0)
        return site.vertex(), [site.edge(site.sources[0], transform=transform)]

    error, export = difference(static(layers.Dense(3), Doubled(), layers.ReLU()))
    assert error < 1e-5
    assert len(export.net.all_connections) == 1
    spiking = static(Doubled(), ksn.layers.Neurons(), shape=(None, 3))
    assert to_nengo(spiking).net.all_connections[0].transform.init == 2
    with pytest.raises(ValueError, match="has a layer rule already"):
        ksn.layer_rule(Doubled)(doubled)
    with pytest.raises(ValueError, match="'keeps', 'mixes'"):
        ksn.layer_rule(Doubled, time="runs")


def test_a_rule_of_a_user_without_time():
    @ksn.layer_rule(Reversed, time="mixes")
    def turned(site):
        size = int(np.prod(site.output))
        numbers = np.arange(size).reshape(site.output)[::-1]
        places = np.stack([np.arange(size), numbers.ravel()], axis=1)
        transform = nengo.Sparse((size, size), indices=places)
        return site.vertex(), [site.edge(site.sources[0], transform=transform)]

    error, _ = difference(static(Reversed(), shape=(4, 3)))
    assert error < 1e-6
    over_time = static(Reversed(), ksn.layers.Neurons(), shape=(4, 3))
    with pytest.raises(NotImplementedError, match="whose steps it would mix"):
        to_nengo(over_time)
