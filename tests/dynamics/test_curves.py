"""Elementary functions as rate neurons, in Nengo and in Keras."""

import keras
import nengo
import numpy as np
import pytest
from keras import activations, ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo import serialization
from keras_spiking_nengo.dynamics.neurons import neuron
from keras_spiking_nengo.types import (
    CURVES,
    NEURON_TYPES,
    BoundedReLU,
    Elementwise,
    LeakyReLU,
    SpikingLeakyReLU,
)
from tests.gradients import gradient

X = np.concatenate([np.linspace(-8, 8, 201), [-100.0, 100.0, 0.5, -0.5, -1.0, 1.0]])
FUNCTIONS = {name: getattr(activations, name, None) for name in CURVES} | {
    "absolute": ops.abs,
    "gelu_tanh": lambda x: activations.gelu(x, approximate=True),
    "square": ops.square,
}
SLOPES = np.linspace(-0.5, 1.5, 6)


def currents(name):
    return np.minimum(X, 20.0) if name == "exponential" else X


def in_nengo(kind, J):
    """Rates of a population of as many neurons as there are currents."""
    output = np.zeros_like(J)
    kind.step(0.001, J, output)
    return output


@pytest.mark.parametrize("name", CURVES)
def test_both_forms_are_kerass_activation(name, float64):
    kind, J = Elementwise(name), currents(name)
    dynamics = neuron(kind)
    ours = dynamics.rates(dynamics.parameters, ops.convert_to_tensor(J))
    ours = ops.convert_to_numpy(ours)
    np.testing.assert_allclose(ours, in_nengo(kind, J), rtol=1e-9, atol=1e-12)
    expected = ops.convert_to_numpy(FUNCTIONS[name](ops.convert_to_tensor(J)))
    # Keras itself computes some of them in single precision.
    np.testing.assert_allclose(in_nengo(kind, J), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.torch
@pytest.mark.parametrize("name", CURVES)
def test_rates_as_a_layer(name):
    layer = ksn.layers.Neurons(Elementwise(name), return_sequences=True)
    J = currents(name).astype("float32")
    y = ops.convert_to_numpy(layer(J[None, None]))[0, 0]
    np.testing.assert_allclose(y, in_nengo(Elementwise(name), J), 1e-5, 1e-6)


@pytest.mark.torch
def test_derivatives_are_finite():
    """Also where an exponential, in a branch that is not chosen, would overflow."""
    curves = [neuron(Elementwise(name)) for name in CURVES if name != "exponential"]

    def all_rates(J):
        return ops.stack([curve.rates(curve.parameters, J) for curve in curves])

    y, slope = gradient(all_rates, X.astype("float32"))
    assert y.shape == (len(curves), len(X))
    assert np.all(np.isfinite(slope)) and np.all(slope[X > 4] > 1)


@pytest.mark.torch
@pytest.mark.parametrize("features", [(6,), (3, 2), (6, 1)])
def test_one_alpha_per_neuron(features):
    kind = Elementwise("leaky_relu", SLOPES)
    x = np.random.RandomState(0).normal(size=(2, 4, *features)).astype("float32")
    y = ops.convert_to_numpy(ksn.layers.Neurons(kind, return_sequences=True)(x))
    expected = np.where(x < 0, SLOPES.reshape(features) * x, x)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_types_with_alphas_are_stored():
    kind = Elementwise("leaky_relu", SLOPES)
    again = serialization.from_config(serialization.to_config(kind))
    assert again == kind and hash(again) == hash(kind)
    assert kind != Elementwise("leaky_relu", 2 * SLOPES)
    layer = ksn.layers.Neurons(kind)
    assert ksn.layers.Neurons.from_config(layer.get_config()).cell.neuron_type == kind


def network():
    """Populations that the engine can run as one, and others that it cannot."""
    kinds = [
        Elementwise("leaky_relu", SLOPES),
        Elementwise("leaky_relu", -0.25),
        Elementwise("elu"),
        Elementwise("gelu"),
        BoundedReLU(0.5),
        BoundedReLU(1.5, threshold=0.25),
        nengo.RegularSpiking(Elementwise("softplus"), amplitude=0.5),
        nengo.RegularSpiking(Elementwise("leaky_relu", 100 * SLOPES)),
        nengo.RegularSpiking(Elementwise("leaky_relu", 50.0)),
    ]
    with nengo.Network(seed=0) as net:
        source = nengo.Node(lambda t: np.sin(40 * t + np.arange(6.0)) * 2)
        for kind in kinds:
            own = {"gain": np.ones(6), "bias": np.zeros(6), "encoders": np.ones((6, 1))}
            ens = nengo.Ensemble(6, 1, neuron_type=kind, **own)
            nengo.Connection(source, ens.neurons, synapse=None)
            nengo.Probe(ens.neurons)
    return net


def test_the_engine_keeps_apart_what_differs(float64):
    net = network()
    with nengo.Simulator(net, progress_bar=False) as reference:
        reference.run_steps(40)
    with ksn.Simulator(net, progress_bar=False, dtype="float64") as sim:
        sim.run_steps(40)
    for probe in net.all_probes:
        expected = reference.data[probe]
        assert np.any(expected)
        np.testing.assert_allclose(sim.data[probe], expected, 1e-6, 1e-9)


def test_an_amplitude_is_a_factor_on_the_curve(float64):
    kind = Elementwise("elu", 0.5, amplitude=40)
    expected = 40 * in_nengo(Elementwise("elu", 0.5), X)
    np.testing.assert_allclose(in_nengo(kind, X), expected)
    dynamics = neuron(kind)
    ours = dynamics.rates(dynamics.parameters, ops.convert_to_tensor(X))
    np.testing.assert_allclose(ops.convert_to_numpy(ours), expected)


def test_files_of_before_there_was_an_amplitude_are_read():
    config = serialization.to_config(nengo.RegularSpiking(Elementwise("elu", 0.5)))
    del config["state"]["base_type"]["state"]["amplitude"]
    kind = serialization.from_config(config)
    assert kind == nengo.RegularSpiking(Elementwise("elu", 0.5, amplitude=1))


def test_names():
    assert NEURON_TYPES["spiking_elu"]() == nengo.RegularSpiking(Elementwise("elu"))
    assert NEURON_TYPES["spiking_tanh"]() == nengo.RegularSpiking(nengo.Tanh(1))
    assert isinstance(NEURON_TYPES["spiking_leaky_relu"](), SpikingLeakyReLU)
    assert NEURON_TYPES["elu"]() == Elementwise("elu")
    assert NEURON_TYPES["relu6"]() == BoundedReLU(6)
    assert isinstance(NEURON_TYPES["leaky_relu"](), LeakyReLU)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("softmax",), "must be one of"),
        (("gelu", 1.0), "takes none"),
        (("elu", [[1.0]]), "one for each neuron"),
        (("elu", np.nan), "finite"),
    ],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Elementwise(*arguments)


def test_alpha_is_trained():
    layer = ksn.layers.Neurons(
        Elementwise("elu", 0.5), trainable_parameters=("alpha",), return_sequences=True
    )
    model = keras.Sequential([keras.Input((3, 2)), layer])
    model.compile("sgd", "mse")
    x = -np.ones((4, 3, 2), "float32")
    model.fit(x, 2 * x, verbose=0)
    (alpha,) = model.get_weights()
    assert alpha > 0.5
