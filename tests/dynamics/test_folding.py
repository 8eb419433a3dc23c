"""A voltage and a clock in one array say what both said."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.folding import fold, foldable, folded, unfold
from keras_spiking_nengo.dynamics.neurons import neuron
from keras_spiking_nengo.dynamics.surrogates import Arctan
from tests.gradients import gradient

FOLDED = {
    "LIF": nengo.LIF(),
    "short": nengo.LIF(tau_rc=0.005, tau_ref=0.0),
    "within": nengo.LIF(tau_ref=0.0005, amplitude=0.3),
    "AdaptiveLIF": nengo.AdaptiveLIF(tau_n=0.05),
}
KEPT = {
    "negative": nengo.LIF(min_voltage=-1),
    "long": nengo.LIF(tau_rc=1e-4, tau_ref=0.005),
    "held": nengo.LIF(
        initial_state={
            "refractory_time": nengo.dists.Choice([0.003]),
            "voltage": nengo.dists.Choice([0.5]),
        }
    ),
    "trained": nengo.LIF(),
}


def layer_of(neuron_type, name="", **options):
    trained = {"trainable_parameters": ["tau_rc"]} if name == "trained" else {}
    return ksn.layers.Neurons(
        neuron_type,
        return_sequences=True,
        return_state=True,
        seed=0,
        dtype="float32",
        **trained,
        **options,
    )


def currents(steps=120):
    return np.random.RandomState(0).normal(1.5, 3.0, (2, steps, 5)).astype("float32")


def whole_and_stepwise(layer, x):
    """Outputs and states: from the layer's own start, and from the same as given."""
    own = layer(x)
    given = layer(x, initial_state=layer.get_initial_state(len(x)))
    return [[ops.convert_to_numpy(a) for a in found] for found in (own, given)]


@pytest.mark.parametrize("name", FOLDED)
def test_folded_neurons_are_those_in_two_arrays(name):
    layer = layer_of(FOLDED[name])
    own, given = whole_and_stepwise(layer, currents())
    assert layer.cell._folds
    assert own[0].any()
    np.testing.assert_array_equal(own[0], given[0])
    np.testing.assert_array_equal(own[1], given[1])
    # Of a clock that stops within the next step, nothing is kept: it acts alike.
    decay = np.exp(-0.001 / FOLDED[name].tau_rc)
    clocks = [np.maximum(found[2] * decay, 1) for found in (own, given)]
    np.testing.assert_array_equal(*clocks)


@pytest.mark.parametrize("name", KEPT)
def test_what_folding_would_lose_is_not_folded(name):
    layer = layer_of(KEPT[name], name)
    own, given = whole_and_stepwise(layer, currents())
    assert not layer.cell._folds
    assert own[0].any()
    for a, b in zip(own, given, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["LIF", "AdaptiveLIF"])
def test_folded_gradients_are_those_of_two_arrays(name, training):
    layer, x = layer_of(FOLDED[name]), currents(40)
    layer.build(x.shape)
    weights = np.random.RandomState(1).normal(size=x.shape).astype("float32")

    def slope(start):
        def spikes(x):
            state = layer.get_initial_state(2) if start else None
            return layer(x, initial_state=state, training=training)[0]

        return gradient(spikes, x, weights=weights)[1]

    own, given = slope(False), slope(True)
    scale = np.abs(given).max()
    assert scale > 0
    np.testing.assert_allclose(own, given, rtol=1e-4, atol=1e-4 * scale)


def test_loaded_states_decide_anew(tmp_path):
    models = [
        keras.Sequential([keras.Input((None, 5)), ksn.layers.Neurons(seed=0)])
        for _ in range(2)
    ]
    cells = [model.layers[0].cell for model in models]
    clocks = cells[0]._initial[1]
    clocks.assign(np.full(5, 2.0))
    assert cells[1]._folds
    models[0].save_weights(tmp_path / "start.weights.h5")
    models[1].load_weights(tmp_path / "start.weights.h5")
    assert not cells[1]._folds
    x = currents()
    np.testing.assert_array_equal(
        *(model.predict(x, verbose=0) for model in models[::-1])
    )


def test_a_nan_stays_in_the_voltage():
    lif = neuron(nengo.LIF())
    c = lif.constants(lif.parameters, 0.001)
    m = fold(ops.zeros((1, 2)), 2 * ops.ones((1, 2)))
    J = ops.convert_to_tensor([[np.nan, 2.0]], dtype="float32")
    _, (m,) = folded(lif).step(c, J, [m], Arctan().plain())
    voltage, clock = map(ops.convert_to_numpy, unfold(m))
    assert np.isnan(voltage).tolist() == [[True, False]]
    assert clock[0, 1] > 1


def test_only_a_voltage_with_a_clock_folds():
    izhikevich = neuron(nengo.Izhikevich())
    state = [np.zeros(3)] * len(izhikevich.states)
    assert not foldable(izhikevich, [izhikevich.parameters], state)
