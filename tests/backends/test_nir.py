"""NIR graphs on other frameworks: Norse, snnTorch and SpikingJelly, and from there."""

import keras
import nir
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.types import IntegrateAndFire

pytestmark = pytest.mark.backends

# The step that snnTorch has, and the others by default.
DT, STEPS, BATCH, SIZES = 1e-4, 200, 4, (8, 12, 6)
TAUS = (2e-3, 1e-3)


def neurons(tau, **options):
    """Neurons as these frameworks step them."""
    kind = IntegrateAndFire(
        tau, v_threshold=0.2, discretization="euler", amplitude=DT, **options
    )
    return ksn.layers.Neurons(kind, dt=DT, return_sequences=True)


def trained():
    """A model that has learned something, and the same with its first layer alone."""
    inputs = keras.Input((None, SIZES[0]))
    hidden = neurons(TAUS[0])(keras.layers.Dense(SIZES[1])(inputs))
    model = keras.Model(inputs, neurons(TAUS[1])(keras.layers.Dense(SIZES[2])(hidden)))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    x = data()
    model.fit(x, np.roll((x[..., : SIZES[2]] > 1), 3, axis=-1), epochs=5, verbose=0)
    return keras.Model(inputs, hidden), model


def data():
    rng = np.random.RandomState(0)
    base = rng.uniform(0, 2, (BATCH, 1, SIZES[0]))
    return base * rng.uniform(0.5, 1.5, (BATCH, STEPS, SIZES[0]))


def stepped(module, x):
    """Spikes of a torch module, one step after the other."""
    import torch

    state, found = None, []
    with torch.no_grad():
        for step in range(x.shape[1]):
            given = torch.as_tensor(x[:, step], dtype=torch.float32)
            y, state = module(given, state)
            found.append(y.detach().numpy())
    return np.stack(found, axis=1)


def imported(name, graph):
    """A graph as a module of a framework."""
    if name == "norse":
        import norse.torch

        return norse.torch.from_nir(graph, dt=DT, ignore_warnings=True)
    if name == "snntorch":
        from snntorch.import_nir import import_from_nir

        return import_from_nir(graph)
    from spikingjelly.activation_based import nir_exchange

    return nir_exchange.import_from_nir(graph, dt=DT)


def similarity(a, b):
    a, b = (np.sum(x, axis=1).ravel() for x in (a, b))
    assert np.sum(a) > 0
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


FRAMEWORKS = ("norse", "snntorch", "spikingjelly")


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_models_of_ours_run_there(name):
    x = data()
    for model in trained():
        graph = ksn.to_nir(model)
        y = ops.convert_to_numpy(model(x))
        found = stepped(imported(name, graph), x)
        assert found.shape == y.shape
        value = similarity(found, y)
        print(f"{name}: {value:.5f}, {np.mean(found != y):.2e} of steps differ")
        assert value >= 0.99


def made(name):
    """A module of a framework, and what it exports."""
    import torch

    torch.manual_seed(0)
    first, second = torch.nn.Linear(*SIZES[:2]), torch.nn.Linear(*SIZES[1:])
    sample = torch.zeros(SIZES[0])  # NIR has no axis of the batch
    if name == "norse":
        import norse.torch as norse

        def cell(tau, size):
            values = {"v_th": torch.full((size,), 0.2), "v_leak": torch.zeros(size)}
            inverse = torch.full((size,), 1 / tau)
            return norse.LIFBoxCell(
                norse.LIFBoxParameters(tau_mem_inv=inverse, **values), dt=DT
            )

        module = norse.SequentialState(
            first, cell(TAUS[0], SIZES[1]), second, cell(TAUS[1], SIZES[2])
        )
        return module, norse.to_nir(module, sample, dt=1.0)
    if name == "snntorch":
        import snntorch
        from snntorch.export_nir import export_to_nir

        def leaky(tau, size):
            return snntorch.Leaky(
                torch.full((size,), 1 - DT / tau),
                threshold=torch.full((size,), 2.0),
                init_hidden=True,
                reset_mechanism="zero",
                reset_delay=False,
            )

        module = torch.nn.Sequential(
            first, leaky(TAUS[0], SIZES[1]), second, leaky(TAUS[1], SIZES[2])
        )
        return module, export_to_nir(module, sample)
    from spikingjelly.activation_based import layer, neuron, nir_exchange

    def node(tau):
        return neuron.LIFNode(tau / DT, v_threshold=0.2, v_reset=0.0)

    def linear(given):
        found = layer.Linear(given.in_features, given.out_features)
        found.load_state_dict(given.state_dict())
        return found

    module = torch.nn.Sequential(
        linear(first), node(TAUS[0]), linear(second), node(TAUS[1])
    )
    return module, nir_exchange.export_to_nir(module, sample[None], dt=DT)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_models_of_theirs_run_here(name, tmp_path):
    import torch

    module, graph = made(name)
    path = tmp_path / "graph.nir"
    nir.write(path, graph)
    model = ksn.from_nir(path, dt=DT, discretization="euler")
    x = 3 * data()
    y = ops.convert_to_numpy(model(x))
    if name == "norse":
        found = stepped(module, x)
    else:
        with torch.no_grad():
            steps = torch.as_tensor(x, dtype=torch.float32).unbind(1)
            found = np.stack([module(step).numpy() for step in steps], axis=1)
    assert found.shape == y.shape
    value = similarity(found, y)
    print(f"{name}: {value:.5f}, {np.mean(found != y):.2e} of steps differ")
    assert value >= 0.99
