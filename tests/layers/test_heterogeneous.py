"""Parameters that differ from neuron to neuron: each is as if it were alone."""

import pickle

import keras
import nengo
import numpy as np
import pytest
from nengo.dists import Uniform

import keras_spiking_nengo as ksn
from keras_spiking_nengo import serialization
from keras_spiking_nengo.types import Heterogeneous, IntegrateAndFire, SoftLIFRate
from tests.arrays import numpy
from tests.marks import TAKES_TURNS, quick, slow_on_jax

pytestmark = [*TAKES_TURNS, pytest.mark.usefixtures("float64")]

N, TIME = 5, 120
KINDS = {
    "LIF": (nengo.LIF, ("tau_rc", "tau_ref", "min_voltage", "amplitude")),
    "AdaptiveLIF": (nengo.AdaptiveLIF, ("tau_rc", "tau_n", "inc_n")),
    "Izhikevich": (nengo.Izhikevich, ("tau_recovery", "coupling", "reset_recovery")),
    "LIFRate": (nengo.LIFRate, ("tau_rc", "tau_ref", "amplitude")),
    "SpikingRectifiedLinear": (nengo.SpikingRectifiedLinear, ("amplitude",)),
    "Sigmoid": (nengo.Sigmoid, ("tau_ref",)),
    "SoftLIFRate": (SoftLIFRate, ("sigma", "tau_rc")),
}


def currents(high=30.0, features=(N,)):
    return np.random.RandomState(0).uniform(0, high, (1, TIME, *features))


def spread(kind, name):
    middle = getattr(kind, name) or -0.5
    return np.linspace(0.5, 1.5, N) * middle


def neurons(kind, **arguments):
    return ksn.layers.Neurons(kind, seed=0, return_sequences=True, **arguments)


@pytest.mark.parametrize("name", quick(KINDS, {"LIF", "SoftLIFRate"}))
def test_each_neuron_is_as_if_it_were_alone(name):
    cls, parameters = KINDS[name]
    x = currents()
    for parameter in parameters:
        values = spread(cls(), parameter)
        layer = neurons(cls(), initial_parameters={parameter: values})
        y, state = numpy(layer(x)), layer.cell.initial_values()
        assert np.any(y)
        for i, value in enumerate(values):
            start = {k: [s[i]] for k, s in state.items() if k in cls.state} or None
            alone = neurons(cls(**{parameter: float(value)}, initial_state=start))
            found = numpy(alone(x[..., i : i + 1]))
            np.testing.assert_allclose(y[..., i], found[..., 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", quick(KINDS, {"LIF", "SoftLIFRate"}))
def test_nengo_runs_them_as_ensembles_of_their_own(name):
    cls, parameters = KINDS[name]
    values = {parameter: spread(cls(), parameter) for parameter in parameters}
    kinds = [
        cls(**{k: float(v[i]) for k, v in values.items()}, **_start(cls))
        for i in range(N)
    ]
    with nengo.Network(seed=0) as net:
        options = {"gain": np.full(N, 2.0), "bias": np.full(N, 1.5)}
        one = nengo.Ensemble(
            N, 1, neuron_type=Heterogeneous(cls(**_start(cls)), values), **options
        )
        each = [
            nengo.Ensemble(1, 1, neuron_type=kind, gain=[2.0], bias=[1.5])
            for kind in kinds
        ]
        stimulus = nengo.Node(lambda t: 5 * np.sin(30 * t))
        for ens in (one, *each):
            to = ens.neurons
            nengo.Connection(stimulus, to, transform=np.ones((ens.n_neurons, 1)))
        probes = [nengo.Probe(ens.neurons) for ens in (one, *each)]
    for simulator in nengo.Simulator, ksn.Simulator:
        with simulator(net, progress_bar=False) as sim:
            sim.run_steps(TIME)
        whole, *single = (sim.data[probe] for probe in probes)
        assert np.any(whole)
        single = np.concatenate(single, axis=1)
        np.testing.assert_allclose(whole, single, rtol=1e-9, atol=1e-9)


def _start(cls):
    starts = {name: [0.3] for name in cls.state if name == "voltage"}
    if "voltage" not in starts or cls is nengo.Izhikevich:
        return {}
    return {"initial_state": {"voltage": nengo.dists.Choice([0.3])}}


@slow_on_jax
@pytest.mark.parametrize("form", quick(["unit", "channel", "shared"], {"channel"}))
def test_they_are_trained_saved_and_exported(form, tmp_path):
    start = 0.03 if form == "shared" else Uniform(0.01, 0.03)
    layer = neurons(
        nengo.AdaptiveLIF(),
        initial_parameters={"tau_rc": start, "tau_ref": Uniform(0.001, 0.003)},
        trainable_parameters={"tau_rc": form},
        name="n",
    )
    dense = keras.layers.Dense(6, bias_initializer="ones")
    stack = [keras.layers.Reshape((-1, 2, 3)), layer, keras.layers.Reshape((-1, 6))]
    model = keras.Sequential([keras.Input((TIME, N)), dense, *stack])
    shape = {"unit": (2, 3), "channel": (3,), "shared": ()}[form]
    parameters = layer.cell.parameters()
    # Copies: a training step of JAX's takes the arrays that weights were.
    before, fixed = (np.array(numpy(parameters[n])) for n in ("tau_rc", "tau_ref"))
    assert before.shape == shape and fixed.shape == (2, 3)
    assert np.all((before >= 0.01) & (before <= 0.03))
    x = currents(6.0)
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(x, np.full((1, TIME, 6), 100.0), verbose=0)
    assert np.all(numpy(layer.cell.parameters()["tau_rc"]) != before)
    after = numpy(layer.cell.parameters()["tau_ref"])
    np.testing.assert_array_equal(after, fixed)
    y = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), y)


@slow_on_jax
def test_to_nengo_and_back():
    kinds = {"tau_rc": Uniform(0.01, 0.03), "tau_ref": np.linspace(0.001, 0.003, N)}
    first = neurons(nengo.LIF(), initial_parameters=kinds)
    base = {"base_tau_rc": Uniform(0.01, 0.03)}
    second = neurons(nengo.RegularSpiking(nengo.LIFRate()), initial_parameters=base)
    dense = keras.layers.Dense(N, kernel_initializer="orthogonal")
    model = keras.Sequential([keras.Input((None, N)), first, dense, second])
    export, x = ksn.to_nengo(model), currents(6.0)
    report = export.verify(x, rtol=1e-9, atol=1e-9)
    assert report.ok and report.spikes[0].total, report
    assert isinstance(export.net.ensembles[0].neuron_type, Heterogeneous)
    again = ksn.from_nengo(export.net)
    y = model.predict(x, verbose=0)
    np.testing.assert_allclose(again.predict(x, verbose=0), y, rtol=1e-6)


def test_to_nir():
    taus = np.linspace(0.01, 0.03, N)
    kind = nengo.LIF(0.02, 0.0, -np.inf, initial_state={"voltage": np.zeros(N)})
    layer = neurons(kind, initial_parameters={"tau_rc": taus}, name="n")
    graph = ksn.to_nir(keras.Sequential([keras.Input((None, N)), layer]))
    np.testing.assert_allclose(graph.nodes["n"].tau, taus)
    layer = neurons(kind, initial_parameters={"tau_ref": taus})
    with pytest.raises(NotImplementedError, match="tau_ref.*differ"):
        ksn.to_nir(keras.Sequential([keras.Input((None, N)), layer]), strict=False)


def test_a_type_is_a_value():
    kind = Heterogeneous(nengo.LIF(), {"tau_rc": [0.01, 0.02]})
    others = [
        pickle.loads(pickle.dumps(kind)),
        serialization.from_config(serialization.to_config(kind)),
    ]
    for other in others:
        assert other == kind and hash(other) == hash(kind)
    with pytest.raises(ValueError):
        kind.parameters["tau_rc"][0] = 1
    gain, bias = kind.gain_bias(np.array([50.0, 80.0]), np.array([0.0, 0.5]))
    rates, intercepts = kind.max_rates_intercepts(gain, bias)
    np.testing.assert_allclose((*rates, *intercepts), (50, 80, 0, 0.5), atol=1e-9)
    found = kind.rates(np.ones((1, 2)), gain, bias)
    np.testing.assert_allclose(found, [[50, 80]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Heterogeneous(nengo.LIF(), {"tau": [1.0]}), "has no .'tau'."),
        (lambda: Heterogeneous(nengo.LIF(), {"tau_rc": 1.0}), "a number for each"),
        (lambda: Heterogeneous(nengo.LIF(), {"tau_rc": [-1.0]}), "tau_rc"),
        (
            lambda: Heterogeneous(nengo.PoissonSpiking(nengo.LIFRate()), {}),
            "a number for each|both halves",
        ),
        (lambda: neurons("lif", initial_parameters={"tau": 1.0}), "has no 'tau'"),
        (lambda: neurons("lif", initial_parameters={"tau_rc": "a"}), "finite number"),
        (
            lambda: neurons(
                "lif",
                initial_parameters={"tau_rc": Uniform(0.01, 0.02)},
                trainable_parameters=("tau_rc",),
            ),
            "'unit'",
        ),
        (
            lambda: neurons("lif", initial_parameters={"tau_rc": [0.01, 0.02]})(
                currents()
            ),
            r"shape \(5,\).*received the shape \(2,\)",
        ),
        (
            lambda: neurons("lif", initial_parameters={"tau_rc": Uniform(-1, 0)})(
                currents()
            ),
            "above 0; received -",
        ),
        (
            lambda: neurons(
                "lif", forward="rate", initial_parameters={"tau_ref": Uniform(0, 0.01)}
            ),
            "shorter than dt",
        ),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_thresholds_differ_and_are_trained():
    layer = neurons(
        IntegrateAndFire(0.02),
        initial_parameters={"v_threshold": Uniform(0.5, 1.5)},
        trainable_parameters={"v_threshold": "unit"},
    )
    y = numpy(layer(np.full((1, TIME, N), 3.0)))
    thresholds = numpy(layer.cell.parameters()["v_threshold"])
    order = np.argsort(thresholds)
    counts = np.count_nonzero(y[0], axis=0)[order]
    assert np.all(np.diff(counts) <= 0) and counts[0] > counts[-1]
