"""Programs that compute the same of other numbers are compiled once."""

import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.engine import compile_model, likeness
from tests.conftest import BACKEND
from tests.simulated import by_nengo


def network(
    seed=0,
    tau=0.01,
    neuron_type=None,
    n_neurons=20,
    constant=0.5,
    function=np.square,
    rows=(0, 1, 2),
    rule=None,
    weight=2.0,
):
    with nengo.Network(seed=seed) as net:
        source = nengo.Node([constant])
        a = nengo.Ensemble(n_neurons, 1, neuron_type=neuron_type or nengo.LIF())
        b = nengo.Ensemble(10, 1)
        nengo.Connection(source, a)
        nengo.Connection(a, b, synapse=tau, function=function, transform=weight)
        learned = nengo.Connection(a, b, learning_rule_type=rule)
        if rule:
            nengo.Connection(source, learned.learning_rule)
        sparse = nengo.transforms.Sparse(
            (10, n_neurons), indices=[(r, r) for r in rows]
        )
        nengo.Connection(a.neurons, b.neurons, transform=sparse)
        nengo.Probe(b, synapse=0.01)
    return net


def likeness_of(dt=0.001, net=None, **options):
    model = nengo.builder.Model(dt=dt)
    model.build(net or network(**options))
    return likeness(compile_model(model))


@pytest.mark.parametrize("option", ["seed", "constant", "function", "weight"])
def test_of_other_numbers_they_are_alike(option):
    other = {"seed": 1, "constant": -0.3, "function": np.sin, "weight": 0.7}[option]
    found = likeness_of(**{option: other})
    assert found is not None and found == likeness_of()
    assert hash(found) == hash(likeness_of())


OTHERS = {
    "step": {"dt": 0.002},
    "synapse": {"tau": 0.02},
    "neurons": {"neuron_type": nengo.LIF(tau_rc=0.03)},
    "type": {"neuron_type": nengo.AdaptiveLIF()},
    "size": {"n_neurons": 21},
    "places": {"rows": (0, 1, 3)},
    "rule": {"rule": nengo.PES()},
}


@pytest.mark.parametrize("name", OTHERS)
def test_of_another_computation_they_are_not(name):
    assert likeness_of(**OTHERS[name]) != likeness_of()


def test_rates_of_learning_tell_apart():
    one, same, other = (likeness_of(rule=nengo.PES(r)) for r in (1e-4, 1e-4, 1e-3))
    assert one == same != other


def test_of_functions_of_users_nothing_is_known():
    with nengo.Network() as net:
        source = nengo.Node([1.0])
        double = nengo.Node(
            ksn.tensor_function(lambda t, x: 2 * x), size_in=1, size_out=1
        )
        nengo.Connection(source, double)
        nengo.Probe(double)
    assert likeness_of(net=net) is None


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing")
def test_a_sweep_over_seeds_is_traced_once(traced):
    counts = []
    for seed in range(3):
        net = network(seed=seed, n_neurons=17)
        options = {"dtype": "float64", "progress_bar": False, "compile": True}
        with ksn.Simulator(net, **options) as sim:
            sim.run_steps(30 + seed)
            counts.append(len(traced))
            expected = by_nengo(net, steps=30 + seed, seed=None)
            for probe, values in expected.items():
                assert np.any(values)
                np.testing.assert_allclose(sim.data[probe], values, rtol=1e-9)
    assert counts[0] > 0 and set(counts) == {counts[0]}


def test_what_is_kept_holds_no_weights_and_not_all(monkeypatch):
    from keras_spiking_nengo.simulator import compiled

    kept = type(compiled._ALIKE)()
    monkeypatch.setattr(compiled, "_ALIKE", kept)
    monkeypatch.setattr(compiled, "_MOST_ALIKE", 2)
    seen = []
    monkeypatch.setattr(compiled, "compiled", lambda block: seen.append(block) or block)
    for n in (5, 6, 7, 5):
        net = network(n_neurons=n)
        ksn.Simulator(net, progress_bar=False, compile=True).close()
    assert len(kept) == 2 and len(seen) == 4
    assert not any(block.program.parameters for block in seen)
