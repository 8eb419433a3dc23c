"""NIR graphs compute in Keras, and in Nengo, what their equations say, and back."""

import copy
import inspect
import math

import h5py
import keras
import nengo
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert.nir import PRIMITIVES
from keras_spiking_nengo.types import IntegrateAndFire, LeakyIntegrator
from tests.convert.nir_graphs import (
    CASES,
    CYCLIC,
    DT,
    Runner,
    graph_with,
    nir_graphs,
)
from tests.marks import TAKES_TURNS, quick, slow_on_jax, some_on_jax

pytestmark = TAKES_TURNS

STEPS = 25
SLOW = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
QUICK = settings(SLOW, max_examples=15)


def data(graph, seed=0, steps=STEPS):
    """Inputs by name, in NIR's order of axes."""
    rng = np.random.RandomState(seed)
    nodes = graph.nodes.items()
    found = {n: v for n, v in nodes if type(v) is nir.Input}
    return {
        name: rng.uniform(-1, 2, (steps, *node.input_type["input"]))
        for name, node in found.items()
    }


def turned(x, to):
    """Axes of channels put last, or first again, behind those of batch and time."""
    if x.ndim < 4:
        return x
    return np.moveaxis(x, 2, -1) if to == "last" else np.moveaxis(x, -1, 2)


def run(model, inputs):
    """Outputs by name, without the batch, in NIR's order of axes."""
    x = {name: turned(values[None], "last") for name, values in inputs.items()}
    y = model(x if len(x) > 1 else next(iter(x.values())))
    y = y if isinstance(y, dict) else {None: y}
    return {k: turned(ops.convert_to_numpy(v), "first")[0] for k, v in y.items()}


def assert_same(found, expected, tolerance=1e-9):
    assert len(found) == len(expected)
    for name, values in expected.items():
        actual = found.get(name, found.get(None))
        assert actual.shape == values.shape
        scale = max(np.max(np.abs(values)), 1)
        np.testing.assert_allclose(actual / scale, values / scale, atol=tolerance)


def check(graph, nested, late, exact, subtracts):
    inputs = data(graph)
    expected = Runner(graph, late, exact, subtracts).run(inputs)
    model = ksn.from_nir(
        nested,
        discretization="exact" if exact else "euler",
        reset="subtract" if subtracts else "value",
    )
    assert_same(run(model, inputs), expected)
    return model, inputs, expected


@slow_on_jax
@QUICK
@given(nir_graphs(), st.booleans(), st.booleans())
def test_generated_graphs(float64, drawn, exact, subtracts):
    model, inputs, expected = check(*drawn, exact, subtracts)
    # And back: the same numbers.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)
        again = ksn.to_nir(model, strict=False)
    assert_same(run(ksn.from_nir(again), inputs), expected)


@pytest.mark.slow
@SLOW
@given(nir_graphs(), st.booleans(), st.booleans())
def test_many_generated_graphs(float64, drawn, exact, subtracts):
    inner = test_generated_graphs.hypothesis.inner_test
    inner(float64, drawn, exact, subtracts)


@pytest.mark.slow
@settings(SLOW, max_examples=60)
@given(nir_graphs())
def test_generated_graphs_in_nengo(float64, drawn):
    graph, nested, _ = drawn
    model = ksn.from_nir(nested)
    inputs = data(graph)
    x = {name: turned(values[None], "last") for name, values in inputs.items()}
    report = ksn.to_nengo(model).verify(x if len(x) > 1 else next(iter(x.values())))
    assert report.ok, f"\n{report}"


# What JAX runs by default: one of each kind.
ON_JAX = ("Affine", "AvgPool2d", "Conv1d", "CubaLIF", "Delay", "IF", "Threshold")


# --- every row of the table ---------------------------------------------------------


def test_every_primitive_has_a_row_and_cases():
    nodes = {n for n, c in vars(nir).items() if inspect.isclass(c)}
    nodes = {n for n in nodes if issubclass(getattr(nir, n), nir.NIRNode)}
    assert nodes - {"NIRNode", "NIRGraph"} == {*PRIMITIVES} == {*CASES}
    assert {*CYCLIC} == {*CASES} - {"Input", "Output"}
    assert all(
        type(node).__name__ == name
        for name, cases in CASES.items()
        for _, node in [*cases, CYCLIC.get(name, (None, None))]
        if node is not None
    )


def same_fields(after, before):
    assert type(after) is type(before)
    for field, value in vars(before).items():
        if field in ("input_type", "output_type"):
            value = next(iter(value.values()))
            other = next(iter(getattr(after, field).values()))
            assert value is None or np.array_equal(other, value)
        elif field != "metadata":
            np.testing.assert_allclose(getattr(after, field), value, rtol=1e-12)


@pytest.mark.parametrize("name", some_on_jax(PRIMITIVES, ON_JAX))
def test_rows_are_read_and_written_as_they_are(name, float64):
    for shape, node in CASES[name]:
        graph = graph_with(shape, node)
        model = ksn.from_nir(graph)
        again = ksn.to_nir(model)
        before = list(graph.nodes.values())
        if name == "SumPool2d":
            size = math.prod(node.kernel_size)
            mean = nir.AvgPool2d(node.kernel_size, node.stride, node.padding)
            scale = nir.Scale(np.full(graph.nodes["out"].output_type["output"], size))
            before[1:2] = [mean, scale]
        after = [again.nodes[name] for name in Runner(again).order()]
        for pair in zip(after, before, strict=True):
            same_fields(*pair)
        # And the model: the same layers, weights and numbers.
        other = ksn.from_nir(again)
        for one, two in zip(model.layers, other.layers, strict=True):
            assert type(one) is type(two)
        for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
        inputs = data(graph)
        expected = Runner(graph).run(inputs)
        assert_same(run(model, inputs), expected)
        assert_same(run(other, inputs), expected)


# Generated graphs have the others in cycles, too.
IN_CYCLES = {*CYCLIC} - {"I", "LI", "CubaLI", "IF", "LIF", "Scale", "Threshold"}


@pytest.mark.parametrize("name", quick(CYCLIC, IN_CYCLES))
def test_rows_in_a_cycle(name, float64):
    shape, node = CYCLIC[name]
    graph = graph_with(shape, node, back=nir.Scale(np.full(shape, 0.25)))
    inputs, late = data(graph), [("back", "node")]
    expected = graph
    if name == "Delay":
        # All of its delay: a step from what leads to it, and the rest in it.
        expected = graph_with(shape, nir.Delay(node.delay - DT), graph.nodes["back"])
        late = [("back", "node"), ("in", "node")]
    expected = Runner(expected, late).run(inputs)
    assert_same(run(ksn.from_nir(graph), inputs), expected)


WRONG = [None, "text", -1.0, 0, np.nan, np.ones((2, 3, 4, 5)), np.ones(7), [], {}]


@slow_on_jax
@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][0][1] is not None])
def test_nodes_with_wrong_fields_are_named(name):
    shape, node = CASES[name][0]
    fields = {*vars(node)} - {"metadata", "input_type", "output_type", "input_shape"}
    refused = 0
    for field in sorted(fields):
        for value in WRONG:
            wrong = copy.copy(node)
            setattr(wrong, field, value)
            try:
                ksn.from_nir(
                    nir.NIRGraph(
                        graph_with(shape, node).nodes | {"node": wrong},
                        [("in", "node"), ("node", "out")],
                        type_check=False,
                    )
                )
            except ValueError as error:
                assert f"'node' ({name})" in str(error) or "'out' (Out" in str(error)
                refused += 1
    assert refused >= 3 * len(fields)


# --- the experiment of the paper ----------------------------------------------------

ONE = np.ones(1)
# Every tenth step that has a spike.
SPIKES = [6, 22, 27, 31, 32, 35, 37, 40, 41, *range(43, 54), *range(67, 79), 84, 85]


def paper_graph():
    return nir.NIRGraph.from_list(
        nir.Affine(np.ones((1, 1)), np.zeros(1)),
        nir.LIF(tau=0.0025 * ONE, r=ONE, v_leak=0 * ONE, v_threshold=0.1 * ONE),
    )


def paper_input():
    x = np.zeros((1, 1000, 1))
    x[0, np.multiply(SPIKES, 10)] = 1
    return x


@pytest.mark.parametrize("discretization", ["exact", "euler"])
def test_the_experiment_of_the_paper(discretization):
    model = ksn.from_nir(paper_graph(), dt=1e-4, discretization=discretization)
    (spikes,) = np.nonzero(ops.convert_to_numpy(model(paper_input()))[0, :, 0])
    assert spikes.tolist() == [460, 510, 710, 760]


def test_the_experiment_of_the_paper_in_nengo():
    export = ksn.from_nir(paper_graph(), dt=1e-4, to="nengo")
    assert isinstance(export.net, nengo.Network) and export.dt == 1e-4
    (spikes,) = np.nonzero(export.run(paper_input())[0, :, 0])
    assert spikes.tolist() == [460, 510, 710, 760]


# --- by hand ------------------------------------------------------------------------


def graph_of(nodes, *paths):
    """A graph with edges along paths of names."""
    edges = [edge for path in paths for edge in zip(path, path[1:], strict=False)]
    return nir.NIRGraph(nodes, edges, type_check=False)


def typed(key, *shape):
    return {key: np.array(shape)}


def lif(n, **changes):
    values = {"tau": 0.01, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.3} | changes
    return nir.LIF(**{name: np.full(n, value) for name, value in values.items()})


def ends(n):
    return {"in": nir.Input(typed("input", n)), "out": nir.Output(typed("output", n))}


def recurrent(*between, n=3):
    rng = np.random.RandomState(0)
    nodes = ends(n) | {"lif": lif(n), "rec": nir.Linear(rng.normal(size=(n, n)))}
    nodes |= {f"b{i}": node for i, node in enumerate(between)}
    back = [f"b{i}" for i in range(len(between))]
    return graph_of(nodes, ["in", "lif", "out"], ["lif", "rec", *back, "lif"])


def test_a_delay_in_a_cycle_is_all_of_its_delay(float64):
    plain = recurrent()
    delayed = recurrent(nir.Delay(np.full(3, DT)))
    inputs = data(plain)
    expected = Runner(plain, [("rec", "lif")]).run(inputs)
    assert_same(run(ksn.from_nir(plain), inputs), expected)
    assert_same(run(ksn.from_nir(delayed), inputs), expected)
    # A delay of three steps is a step, and a delay of two.
    three, two = (recurrent(nir.Delay(np.full(3, n * DT))) for n in (3, 2))
    expected = Runner(two, [("b0", "lif")]).run(inputs)
    assert_same(run(ksn.from_nir(three), inputs), expected)


@slow_on_jax
def test_what_was_read_is_trained_and_saved(tmp_path):
    model = ksn.from_nir(recurrent())
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=True)
    x = np.random.RandomState(0).uniform(0, 2, (4, STEPS, 3)).astype("float32")
    before = model.get_weights()
    model.fit(x, np.ones_like(x), epochs=1, verbose=0)
    after = model.get_weights()
    assert any(np.any(a != b) for a, b in zip(after, before, strict=True))
    model.save(tmp_path / "m.keras")
    y = model.predict(x, verbose=0)
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), y)
    # A graph that is written has what was learned.
    again = ksn.from_nir(ksn.to_nir(model))
    np.testing.assert_array_equal(again.predict(x, verbose=0), y)


def test_subgraphs_are_taken_apart(float64):
    inner = graph_of(ends(3) | {"lif": lif(3)}, ["in", "lif", "out"])
    nodes = ends(3) | {"one": inner, "two": inner}
    graph = graph_of(nodes, ["in", "one", "two", "out"])
    flat = graph_of(ends(3) | {"a": lif(3), "b": lif(3)}, ["in", "a", "b", "out"])
    inputs = data(graph)
    model = ksn.from_nir(graph)
    assert_same(run(model, inputs), Runner(flat).run(inputs))
    assert {"one_lif", "two_lif"} < {layer.name for layer in model.layers}


def nodes_of(graph):
    """Kinds of the nodes, in the order in which one leads to the other."""
    order = Runner(graph).order()
    return [type(graph.nodes[name]).__name__ for name in order]


def test_nodes_come_back_as_they_were(float64):
    rng = np.random.RandomState(0)
    graph = nir.NIRGraph.from_list(
        nir.Input(typed("input", 2, 6, 6)),
        nir.Conv2d((6, 6), rng.normal(size=(4, 1, 3, 3)), (2, 1), 1, 1, 2, np.ones(4)),
        lif((4, 3, 6)),
        nir.AvgPool2d(np.array([1, 2]), np.array([1, 2]), np.array([0, 0])),
        nir.Flatten(typed("input", 4, 3, 3), 0, -1),
        nir.Affine(rng.normal(size=(5, 36)), np.ones(5)),
        nir.CubaLIF(*(np.full(5, v) for v in (0.005, 0.01, 2, 0.1, 0.5, -0.1, 0.7))),
        nir.Linear(rng.normal(size=(3, 5))),
        nir.Scale(rng.normal(size=3)),
        nir.Delay(np.array([0, 1, 2]) * DT),
        nir.CubaLI(*(np.full(3, v) for v in (0.005, 0.01, 2, 0.1, 0.7))),
        nir.Threshold(np.full(3, 0.1)),
        nir.LI(*(rng.uniform(0.01, 0.02, 3) for _ in range(3))),
        nir.IF(np.full(3, 50.0), np.full(3, 0.5), np.full(3, -0.1)),
        nir.I(np.full(3, 2.0)),
        nir.Output(typed("output", 3)),
        type_check=False,
    )
    again = ksn.to_nir(ksn.from_nir(graph))
    assert nodes_of(again) == nodes_of(graph)
    for before, name in zip(graph.nodes.values(), Runner(again).order(), strict=True):
        after = again.nodes[name]
        for field, value in vars(before).items():
            if isinstance(value, np.ndarray | float | int) and hasattr(after, field):
                np.testing.assert_allclose(
                    np.broadcast_to(getattr(after, field), np.shape(value)), value
                )
    assert again.metadata["dt"] == DT


def test_a_cycle_comes_back_as_it_was(float64):
    graph = recurrent()
    again = ksn.to_nir(ksn.from_nir(graph))
    kinds = sorted(type(node).__name__ for node in again.nodes.values())
    assert kinds == ["Input", "LIF", "Linear", "Output"]
    assert len(again.edges) == 4


def test_a_graph_ends_before_what_is_read_over_time():
    model = stack(L.Dense(4), spikes(), L.GlobalAveragePooling1D(), shape=(3,))
    with pytest.warns(UserWarning, match="takes the mean over time.*ends before it"):
        again = ksn.from_nir(ksn.to_nir(model))
    x = np.random.RandomState(0).uniform(0, 4, (2, 30, 3))
    y = again.predict(x, verbose=0)
    assert y.shape == (2, 30, 4)
    np.testing.assert_allclose(y.mean(axis=1), model.predict(x, verbose=0), rtol=1e-5)


def test_quantized_weights_go_to_nir():
    model = keras.Sequential([keras.Input((None, 3)), L.Dense(4, use_bias=False)])
    kernel = model.layers[0].kernel.numpy()
    model.quantize("int8")
    (weight,) = [
        n.weight for n in ksn.to_nir(model).nodes.values() if hasattr(n, "weight")
    ]
    steps = np.abs(kernel).max(axis=0) / 127
    np.testing.assert_allclose(weight.T / steps, np.rint(kernel / steps), atol=1e-3)


@pytest.mark.parametrize("synapse", [None, 0.01])
def test_a_ring_of_neurons_and_a_matrix_is_trained(synapse, float64):
    kind = IntegrateAndFire(0.02, amplitude=DT)
    layer = K.RecurrentNeurons(
        *(kind, DT), recurrent_synapse=synapse, return_sequences=True, name="rec"
    )
    model = stack(L.Dense(6), layer, L.Dense(2), shape=(3,))
    again = ksn.from_nir(ksn.to_nir(model))
    (ring,) = [x for x in again.layers if isinstance(x, K.RecurrentNeurons)]
    assert ring.cell.recurrent_kernel.trainable
    x = np.random.RandomState(0).uniform(0, 4, (2, 60, 3))
    y = again.predict(x, verbose=0)
    assert np.any(y)
    np.testing.assert_allclose(y, model.predict(x, verbose=0), rtol=1e-9)


@pytest.mark.parametrize("per", ["synapse", "axon", "dendrite"])
def test_trained_delays_are_nodes(per, float64):
    delayed = K.DelayedDense(4, 0.005, DT, per, return_sequences=True, name="delayed")
    model = stack(L.Dense(5), delayed, L.Dense(2, use_bias=False), shape=(3,))
    with pytest.raises(NotImplementedError, match=r"round_delays\(\)"):
        ksn.to_nir(model)
    delayed.round_delays()
    delayed.cell.bias.assign(np.arange(4.0))
    graph = ksn.to_nir(model)
    delays = [n for n in graph.nodes.values() if isinstance(n, nir.Delay)]
    if per == "synapse":
        longest = {float(delay) for n in delays for delay in n.delay}
        assert longest == {*np.unique(delayed.delays())} - {0.0}
    else:
        (delay,) = delays
        np.testing.assert_array_equal(delay.delay, delayed.delays())
    x = np.random.RandomState(0).uniform(-1, 1, (2, 20, 3))
    y = ksn.from_nir(graph).predict(x, verbose=0)
    np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=1e-9)


def test_a_ring_with_a_bias_is_a_network(float64):
    graph = recurrent()
    (name,) = [n for n, node in graph.nodes.items() if isinstance(node, nir.Linear)]
    weight = graph.nodes[name].weight
    for bias, kind in (0.0, K.RecurrentNeurons), (0.1, K.Network):
        graph.nodes[name] = nir.Affine(weight, np.full(len(weight), bias))
        assert any(isinstance(x, kind) for x in ksn.from_nir(graph).layers)


# --- models of Keras and Nengo ------------------------------------------------------

L, K = keras.layers, ksn.layers
FIRING = IntegrateAndFire(0.01, v_threshold=0.3)


def stack(*layers, shape):
    model = keras.Sequential([keras.Input((None, *shape)), *layers])
    rng = np.random.RandomState(1)
    for weight in model.weights:
        if weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(rng.uniform(-0.5, 0.5, weight.shape))
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 2, weight.shape))
    return model


def spikes(kind=FIRING):
    return K.Neurons(kind, return_sequences=True)


def ensemble():
    return K.Ensemble(
        20,
        3,
        neuron_type=IntegrateAndFire(0.02),
        gain=np.linspace(0.5, 2, 20),
        bias=np.linspace(-1, 2, 20),
        recurrent=True,
        seed=0,
        return_sequences=True,
    )


MODELS = {
    "convolutions": lambda: stack(
        K.PerStep(L.Conv2D(4, 3, 2, "same")),
        K.PerStep(L.BatchNormalization()),
        spikes(),
        K.PerStep(L.AveragePooling2D(2)),
        K.PerStep(L.Flatten()),
        L.Dense(6),
        K.Synapse(0.01, return_sequences=True),
        spikes(LeakyIntegrator(0.01, 0.003)),
        shape=(8, 8, 2),
    ),
    "signals": lambda: stack(
        K.PerStep(L.ZeroPadding1D((1, 2))),
        K.PerStep(L.Conv1D(4, 3, dilation_rate=1)),
        K.PerStep(L.BatchNormalization()),
        spikes(),
        K.PerStep(L.Permute((2, 1))),
        K.PerStep(L.Flatten()),
        K.Delay(0.002, return_sequences=True),
        L.Dense(2),
        K.Synapse(nengo.Alpha(0.01), delay=0, return_sequences=True),
        shape=(6, 3),
    ),
    "images out": lambda: stack(
        K.PerStep(L.Conv2D(3, (2, 3), padding="same")),
        K.PerStep(L.Cropping2D(1)),
        K.PerStep(L.Flatten()),
        shape=(5, 4, 2),
    ),
    "means with zeros after them": lambda: stack(
        K.PerStep(L.ZeroPadding2D(((0, 1), (0, 1)))),
        K.PerStep(L.AveragePooling2D(2)),
        K.PerStep(L.Flatten()),
        shape=(3, 5, 2),
    ),
    "ensemble": lambda: stack(ensemble(), L.Dense(2), shape=(3,)),
    "residual": lambda: keras.Model(
        x := keras.Input((None, 4)),
        L.Subtract()([L.Add()([x, x, L.Dense(4)(x)]), spikes()(x)]),
    ),
}


@pytest.mark.parametrize("name", MODELS)
@slow_on_jax
def test_models_go_to_nir_and_back(name, float64):
    model = MODELS[name]()
    graph = ksn.to_nir(model)
    shape = model.inputs[0].shape[2:]
    x = np.random.RandomState(0).uniform(-2, 4, (2, STEPS, *shape))
    y, again = (ops.convert_to_numpy(m(x)) for m in (model, ksn.from_nir(graph)))
    assert np.any(y)
    np.testing.assert_allclose(again, y, atol=1e-9 * np.max(np.abs(y)))


@slow_on_jax
def test_networks_of_nengo(float64):
    with nengo.Network(seed=0) as net:
        source = nengo.Node(np.zeros(2))
        kind = nengo.LIF(
            tau_ref=0, min_voltage=-np.inf, initial_state={"voltage": np.zeros(10)}
        )
        ens = nengo.Ensemble(10, 2, neuron_type=kind)
        nengo.Connection(source, ens, synapse=None)
        nengo.Connection(ens, ens, synapse=nengo.Alpha(0.02), transform=0.3)
        nengo.Probe(ens, synapse=0.01)
    graph = ksn.to_nir(net)
    assert {"LIF", "CubaLI", "LI", "Scale"} < {
        type(node).__name__ for node in graph.nodes.values()
    }
    x = np.ones((1, 300, 2))
    one, other = (
        ops.convert_to_numpy(model(x))
        for model in (ksn.from_nengo(net), ksn.from_nir(graph))
    )
    # Nengo's neurons begin anew within a step, NIR's are reset at its end.
    assert np.max(np.abs(one - other)) < 0.2 * np.max(np.abs(one))


def test_amplitudes_are_scales(float64):
    model = stack(spikes(IntegrateAndFire(0.01, amplitude=2.0)), shape=(3,))
    graph = ksn.to_nir(model)
    (scale,) = (node for node in graph.nodes.values() if type(node) is nir.Scale)
    np.testing.assert_array_equal(scale.scale, np.full(3, 2000.0))


def test_what_nir_has_not_is_left_out_on_request():
    model = stack(spikes(nengo.LIF()), shape=(3,))
    with pytest.raises(NotImplementedError, match=r"refractory period.*strict=False"):
        ksn.to_nir(model)
    with pytest.warns(UserWarning, match="refractory period"):
        graph = ksn.to_nir(model, strict=False)
    assert any(type(node) is nir.LIF for node in graph.nodes.values())


def _product():
    x, y = keras.Input((None, 3)), keras.Input((None, 3))
    return keras.Model([x, y], L.Multiply(name="named")([x, y]))


REFUSED = {
    "relu of a few bits": (
        lambda: stack(K.Quantized(L.Dense(2, "relu"), name="named"), shape=(3,)),
        "activation",
    ),
    "product": (_product, "multiplies signals"),
    "relu": (lambda: stack(L.Dense(2, "relu", name="named"), shape=(3,)), "activation"),
    "LSTM": (lambda: stack(L.LSTM(2, name="named"), shape=(3,)), "no rule"),
    "rates": (lambda: stack(spikes("lif_rate"), shape=(3,)), "its neurons are LIFRate"),
    "current without leak": (
        lambda: stack(spikes(LeakyIntegrator(None, 0.01)), shape=(3,)),
        "no leak",
    ),
    "synapse": (
        lambda: stack(K.Synapse(nengo.Triangle(0.01)), shape=(3,)),
        "its synapse is Triangle",
    ),
    "learning": (
        lambda: stack(
            K.Ensemble(5, 2, learning_rule=nengo.Voja(), return_sequences=True, seed=0),
            shape=(2,),
        ),
        "learns",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    build, words = REFUSED[name]
    with pytest.raises(NotImplementedError, match=rf"has no form in NIR.*{words}"):
        ksn.to_nir(build())


def test_arguments():
    with pytest.raises(TypeError, match=r"nir.NIRGraph, or the path"):
        ksn.from_nir(3)
    with pytest.raises(TypeError, match=r"keras.Model or a nengo.Network"):
        ksn.to_nir("model")
    for dt in (0, -1.0, np.nan, np.inf, "a"):
        with pytest.raises(ValueError, match=r"dt is .* received"):
            ksn.from_nir(paper_graph(), dt=dt)
        with pytest.raises(ValueError, match=r"dt is .* received"):
            ksn.to_nir(stack(spikes(), shape=(3,)), dt=dt)
    noted = paper_graph()
    noted.metadata["dt"] = -1.0
    with pytest.raises(ValueError, match=r"metadata say dt=-1.0"):
        ksn.from_nir(noted)
    for options in ({"discretization": "tustin"}, {"reset": "never"}, {"to": "lava"}):
        with pytest.raises(ValueError, match=r"is one of .* received"):
            ksn.from_nir(paper_graph(), **options)


# --- files --------------------------------------------------------------------------


def test_files(tmp_path):
    graph, path = paper_graph(), tmp_path / "lif.nir"
    nir.write(path, graph)
    model = ksn.from_nir(path, dt=1e-4)
    assert model.name == "lif"
    (steps,) = np.nonzero(ops.convert_to_numpy(model(paper_input()))[0, :, 0])
    assert steps.tolist() == [460, 510, 710, 760]
    again = tmp_path / "again.nir"
    nir.write(again, ksn.to_nir(model))
    model = ksn.from_nir(again)  # the file says dt
    assert nir.read(again).nodes.keys() == ksn.to_nir(model).nodes.keys()
    (steps,) = np.nonzero(ops.convert_to_numpy(model(paper_input()))[0, :, 0])
    assert steps.tolist() == [460, 510, 710, 760]


def changed(path, change):
    nir.write(path, paper_graph())
    with h5py.File(path, "r+") as file:
        change(file["node/nodes"])
    return path


def _unknown(nodes):
    del nodes["lif/type"]
    nodes["lif"]["type"] = "Flux"


def _huge(nodes):
    del nodes["lif/tau"]
    nodes["lif"].create_dataset("tau", (10**9, 10**3), "f8", chunks=(1000, 1000))


def _linked(nodes):
    del nodes["lif/tau"]
    nodes["lif"]["tau"] = h5py.ExternalLink("/etc/passwd", "/")


def _missing(nodes):
    del nodes["lif/r"]


def _objects(nodes):
    del nodes["lif/tau"]
    nodes["lif"].create_dataset("tau", (1,), h5py.ref_dtype)


def _other_shape(nodes):
    del nodes["affine/weight"]
    nodes["affine"]["weight"] = np.ones((2, 1))


def _infinite(nodes):
    conv = {"type": "Conv1d", "input_shape": 4, "weight": np.ones((1, 1, 2))}
    conv |= {"stride": 0, "padding": 0, "dilation": 1, "groups": 1, "bias": ONE}
    for name, value in conv.items():
        nodes.require_group("conv")[name] = value


FILES = {
    "unknown kind": (_unknown, r"node/lif.*its type is 'Flux'; known are"),
    "huge": (_huge, r"lif/tau.*max_bytes"),
    "link": (_linked, r"lif/tau.*link to elsewhere"),
    "missing field": (_missing, r"node/lif.*do not make one"),
    "references": (_objects, r"lif/tau.*numbers and strings"),
    "other shape": (_other_shape, r"'lif' \(LIF\) takes \(1,\), and 'affine' sends"),
    "no number": (_infinite, r"node/conv.*do not make one"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_refused(name, tmp_path):
    change, words = FILES[name]
    with pytest.raises(ValueError, match=words):
        ksn.from_nir(changed(tmp_path / "graph.nir", change))


def test_files_that_are_none(tmp_path):
    path = tmp_path / "graph.nir"
    with pytest.raises(FileNotFoundError, match=r"no file .*graph.nir"):
        ksn.from_nir(path)
    path.write_bytes(b"not a file of HDF5")
    with pytest.raises(ValueError, match=r"graph.nir.*no HDF5 file"):
        ksn.from_nir(path)
    nir.write(path, paper_graph())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"graph.nir.*no HDF5 file"):
        ksn.from_nir(path)
    with h5py.File(path, "w") as file:
        file["node/type"] = "Threshold"
        file["node/threshold"] = np.ones(1)
    with pytest.raises(ValueError, match="holds a single node, Threshold"):
        ksn.from_nir(path)
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(ValueError, match="no group 'node'"):
        ksn.from_nir(path)


GRAPHS = {
    "edge from nowhere": (
        lambda: graph_of(ends(2), ["in", "lif", "out"]),
        "names the node 'lif', which is not there",
    ),
    "shapes": (
        lambda: graph_of(ends(2) | {"lif": lif(3)}, ["in", "lif", "out"]),
        r"'lif' \(LIF\) takes \(3,\), and 'in' sends \(2,\)",
    ),
    "through an output": (
        lambda: graph_of(ends(2) | {"lif": lif(2)}, ["in", "out", "lif"]),
        r"'out' \(Output\): it is where a signal leaves, and leads to 'lif'",
    ),
    "back to an input": (
        lambda: graph_of(
            ends(2) | {"lif": lif(2)}, ["in", "lif", "out"], ["lif", "in"]
        ),
        r"'in' \(Input\): it is where a signal enters, and 'lif' leads to it",
    ),
    "no input": (
        lambda: graph_of({"lif": lif(2), "out": ends(2)["out"]}, ["lif", "out"]),
        "has no Input node",
    ),
    "not led to": (
        lambda: graph_of(ends(2) | {"lif": lif(2)}, ["in", "out"], ["lif", "out"]),
        "No input leads to 'lif'",
    ),
    "an edge twice": (
        lambda: graph_of(ends(2), ["in", "out"], ["in", "out"]),
        "is there twice",
    ),
    "same with strides": (
        lambda: graph_of(
            {
                "in": nir.Input(typed("input", 1, 4, 4)),
                "conv": nir.Conv2d(None, np.ones((1, 1, 3, 3)), 2, "same", 1, 1, ONE),
                "out": nir.Output(typed("output", 1, 2, 2)),
            },
            ["in", "conv", "out"],
        ),
        "padding 'same' with a stride",
    ),
    "huge": (
        lambda: graph_of(
            {
                "in": nir.Input(typed("input", 10**9)),
                "out": nir.Output(typed("output", 10**9)),
            },
            ["in", "out"],
        ),
        "at most max_elements",
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_that_are_refused(name):
    build, words = GRAPHS[name]
    with pytest.raises(ValueError, match=words):
        ksn.from_nir(build())
