"""Neurons of a user's own: taught, compared with the type, and used as others are."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from tests.marks import TAKES_TURNS, quick

pytestmark = TAKES_TURNS


class Quadratic(nengo.neurons.NeuronType):
    spiking = True
    negative = False
    state = {"voltage": nengo.dists.Uniform(-1, 0)}
    tau = nengo.params.NumberParam("tau", low=0, low_open=True)

    def __init__(self, tau=0.01, initial_state=None):
        super().__init__(initial_state)
        self.tau = tau

    def max_rates_intercepts(self, gain, bias):
        return np.full(len(gain), np.nan), np.full(len(gain), np.nan)

    def step(self, dt, J, output, voltage):
        voltage += (dt / self.tau) * (voltage * voltage + J)
        fired = voltage > 5
        output[...] = fired / dt
        voltage[fired] = -5


class Wrong(Quadratic):
    def step(self, dt, J, output, voltage):
        super().step(dt, J, output, voltage)


class Frozen(Wrong):
    def step(self, dt, J, output, voltage):
        super().step(dt, J, output, voltage)


def rule(reset=-5.0, held=lambda v: v):
    def of(kind):
        def constants(p, dt):
            return {"ratio": dt / p["tau"], "height": 1 / dt}

        def step(c, J, state, spike):
            (v,) = state
            v = held(v + c["ratio"] * (v * v + J))
            fired = ops.stop_gradient(v) > 5
            spikes = spike.spike((v - 5) / 5)
            return spikes * c["height"], [ops.where(fired, reset, v)]

        return ksn.Neuron(
            parameters={"tau": kind.tau},
            states=("voltage",),
            constants=constants,
            step=step,
            rates=None,
            trainable=("tau",),
            max_spikes=1,
        )

    return of


ksn.neuron_rule(Quadratic)(rule())
ksn.neuron_rule(Wrong)(rule(reset=0.0))
ksn.neuron_rule(Frozen)(rule(held=ops.stop_gradient))

KINDS = {
    "Quadratic": Quadratic(),
    "LIF": nengo.LIF(0.05),
    "AdaptiveLIF": nengo.AdaptiveLIF(),
    "SoftLIFRate": ksn.types.SoftLIFRate(),
    "RegularSpiking": nengo.RegularSpiking(nengo.LIFRate()),
    "AdaptiveExponentialLIF": ksn.types.AdaptiveExponentialLIF(),
    "AlphaLIF": ksn.types.AlphaLIF(),
    "BalancedResonateAndFire": ksn.types.BalancedResonateAndFire(),
    "QuadraticIntegrateAndFire": ksn.types.QuadraticIntegrateAndFire(),
    "SynapticLIF": ksn.types.SynapticLIF(),
    "SynapticLIF(zero)": ksn.types.SynapticLIF(reset="zero"),
    "Heterogeneous": ksn.types.Heterogeneous(
        ksn.types.AdaptiveExponentialLIF(), {"tau_w": np.linspace(0.05, 0.2, 50)}
    ),
}
# What the published numbers are for.
SCALES = {"BalancedResonateAndFire": {"dt": 0.01, "largest": 60.0}}


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", quick(KINDS, {"Quadratic", "SoftLIFRate", "BalancedResonateAndFire"})
)
def test_a_right_rule_is_right(name):
    options = {"n_steps": 200, "raise_on_failure": True} | SCALES.get(name, {})
    report = ksn.check_neuron(KINDS[name], **options)
    assert report.ok and len(report.rows) > 5
    assert "no spikes" not in str(report)


@pytest.mark.slow
def test_neurons_that_do_not_fire_are_said():
    report = ksn.check_neuron(ksn.types.AlphaLIF(), n_steps=20, largest=1e-3)
    assert not report.ok and "no spikes: raise `largest`" in str(report)


def test_a_step_of_another_neuron_is_found():
    report = ksn.check_neuron(Wrong(), n_steps=200)
    assert not report.ok and "WRONG" in str(report)
    (row,) = [found for checked, found, _ in report.rows if "constant" in checked]
    assert int(row.split()[0]) > 0
    with pytest.raises(AssertionError, match="WRONG"):
        ksn.check_neuron(Wrong(), n_steps=200, raise_on_failure=True)


def test_a_gradient_that_is_lost_is_found():
    report = ksn.check_neuron(Frozen(), n_steps=200)
    assert [row[1] for row in report.rows if "gradient" in row[0]] == ["zero"] * 3
    assert all(row[2] for row in report.rows if "gradient" not in row[0])


def test_a_type_of_ones_own_is_one_like_all(tmp_path):
    x = np.random.RandomState(0).uniform(0, 4, (2, 50, 3)).astype("float32")
    layer = ksn.layers.RecurrentNeurons(
        *(Quadratic(0.02),),
        trainable_parameters={"tau": "unit"},
        return_sequences=True,
        seed=0,
    )
    model = keras.Sequential(
        [keras.Input((50, 3)), keras.layers.Dense(4, bias_initializer="ones"), layer]
    )
    y = model.predict(x, verbose=0)
    assert np.any(y)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), y)
    report = ksn.to_nengo(model).verify(x)
    assert report.ok and report.spikes[0].total
    with nengo.Network(seed=0) as net:
        ens = nengo.Ensemble(
            20,
            1,
            neuron_type=Quadratic(),
            gain=np.ones(20),
            bias=np.linspace(-1, 3, 20),
        )
        probe = nengo.Probe(ens.neurons)
    data = []
    for simulator in nengo.Simulator, ksn.Simulator:
        with simulator(net, progress_bar=False) as sim:
            sim.run_steps(100)
        data.append(sim.data[probe])
    assert np.any(data[0])
    np.testing.assert_array_equal(*data)


def test_what_is_wrong_is_said():
    with pytest.raises(TypeError, match="classes are of neuron types"):
        ksn.neuron_rule(3)
    with pytest.raises(ValueError, match="Quadratic"):
        ksn.neuron_rule(Quadratic)(rule())
    with pytest.raises(TypeError, match="neuron_type"):
        ksn.check_neuron(Quadratic)
