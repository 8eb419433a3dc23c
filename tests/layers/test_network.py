"""A Nengo network as a layer: what Nengo computes, and what an LSTM can do."""

import json

import keras
import nengo
import numpy as np
import pytest
from keras import ops
from nengo.exceptions import BuildError
from nengo.processes import WhiteSignal

import keras_spiking_nengo as ksn
from keras_spiking_nengo.layers import Network, NetworkCell
from tests.arrays import frames, numpy
from tests.conftest import BACKEND
from tests.layers.contract import check_layer
from tests.layers.nets import STEPS, assert_equal, layer_of, small, spiking
from tests.marks import TAKES_TURNS, slow_on_jax
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

CHECKS = [name for name in dir(check_layer) if name.startswith("check_")]


# --- what nengo computes ------------------------------------------------------


@pytest.mark.parametrize("dt", [0.001, 0.002])
def test_equals_nengo_with_data_in_a_dict(dt, float64):
    net = spiking()
    layer = layer_of(
        net, inputs={"x": "a", "y": "b"}, outputs={"z": "spikes", "v": "decoded"}, dt=dt
    )
    a, b = frames(2, STEPS, 1), frames(2, STEPS, 2, seed=1)
    found = layer({"y": b, "x": a})
    assert set(found) == {"z", "v"}
    for i in range(2):
        given = dict(zip(net.nodes, (a[i], b[i]), strict=True))
        expected = by_nengo(net, given, dt=dt)
        decoded, spikes = net.probes
        assert np.any(expected[spikes])
        np.testing.assert_array_equal(numpy(found["z"])[i], expected[spikes])
        assert_equal(numpy(found["v"])[i], expected[decoded])


@pytest.mark.parametrize("kind", ["objects", "labels", "positions", "default"])
@slow_on_jax
def test_a_list_may_name_objects_in_several_ways(kind, float64):
    net = spiking()
    inputs = {
        "objects": net.nodes[::-1],
        "labels": ["b", "a"],
        "positions": [1, 0],
        "default": None,
    }[kind]
    outputs = {
        "objects": net.probes,
        "labels": ("decoded", "spikes"),
        "positions": [0, 1],
        "default": None,
    }[kind]
    a, b = frames(1, STEPS, 1), frames(1, STEPS, 2, seed=1)
    layer = layer_of(net, inputs=inputs, outputs=outputs)
    found = layer([a, b] if kind == "default" else [b, a])
    expected = by_nengo(net, dict(zip(net.nodes, (a[0], b[0]), strict=True)))
    assert isinstance(found, list)
    for y, probe in zip(found, net.probes, strict=True):
        assert_equal(numpy(y)[0], expected[probe])


def test_one_input_and_one_output_are_tensors(float64):
    net, x = small(), frames(2, STEPS, 2)
    layer = layer_of(net, inputs=net.nodes[0], outputs=net.probes[0])
    y = numpy(layer(x))
    for i in range(2):
        assert_equal(y[i], by_nengo(net, {net.nodes[0]: x[i]})[net.probes[0]])


def test_nodes_that_are_not_inputs_keep_their_output(float64):
    net, a = spiking(), frames(1, STEPS, 1)
    net.nodes[1].output = lambda t: [np.sin(300 * t), np.cos(300 * t)]
    found = layer_of(net, inputs=["a"], outputs=["decoded"])([a])
    expected = by_nengo(net, {net.nodes[0]: a[0]})
    assert_equal(numpy(found[0])[0], expected[net.probes[0]])


def test_without_inputs_the_data_tell_the_number_of_steps(float64):
    net = small()
    net.nodes[0].output = [0.5, -0.5]
    y = numpy(layer_of(net, inputs=[])(np.full((3, STEPS, 1), 9.0)))
    assert_equal(y[2], by_nengo(net)[net.probes[0]])
    np.testing.assert_array_equal(y[0], y[2])


@pytest.mark.parametrize("sample_every", [0.001, 0.003, 0.0035, 0.007])
def test_sampled_probes(sample_every, float64):
    net, x = small(), frames(1, STEPS, 2)
    net.probes[0].sample_every = sample_every
    layer = layer_of(net)
    y = numpy(layer(x))
    expected = by_nengo(net, {net.nodes[0]: x[0]})[net.probes[0]]
    assert_equal(y[0], expected)
    assert layer.compute_output_shape(x.shape) == y.shape
    last = numpy(layer_of(net, return_sequences=False)(x))
    assert last.shape == (1, 2)
    inputs = keras.Input((STEPS, 2))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape[1:] == expected.shape
    assert_equal(model.predict(x, verbose=0)[0], expected)


@slow_on_jax
def test_any_attribute_can_be_probed(float64):
    with nengo.Network(seed=3) as net:
        u = nengo.Node([0.0], label="u")
        ens = nengo.Ensemble(8, 1, neuron_type=nengo.AdaptiveLIF(tau_n=0.1, inc_n=0.1))
        into = nengo.Connection(u, ens, synapse=0.01)
        back = nengo.Connection(ens, ens, synapse=0.1)
        probes = [
            nengo.Probe(ens, "input"),
            nengo.Probe(ens, "scaled_encoders"),
            *(nengo.Probe(ens.neurons, n) for n in ("voltage", "adaptation", "input")),
            nengo.Probe(ens.neurons[[2, 2, 5]], synapse=0.01),
            nengo.Probe(into, "input"),
            nengo.Probe(back, "weights"),
            nengo.Probe(u),
        ]
    x = frames(2, STEPS, 1)
    layer = layer_of(net)
    found = layer(x)
    expected = by_nengo(net, {u: x[1]})
    shapes = layer.compute_output_shape(x.shape)
    for probe, y, shape in zip(probes, found, shapes, strict=True):
        assert_equal(numpy(y)[1], expected[probe])
        assert y.shape == shape


def test_the_output_of_a_connection_can_be_probed(float64):
    with nengo.Network() as net:
        u = nengo.Node([0.0])
        conn = nengo.Connection(u, nengo.Node(size_in=1), synapse=0.01)
        nengo.Probe(conn, "output")
    x = frames(1, STEPS, 1)
    expected = by_nengo(net, {u: x[0]})[net.probes[0]]
    assert_equal(numpy(layer_of(net)(x))[0], expected)


def test_tanh_neurons_are_as_precise_as_others(float64):
    net, x = small(nengo.Tanh()), frames(1, STEPS, 2)
    expected = by_nengo(net, {net.nodes[0]: x[0]})[net.probes[0]]
    assert_equal(numpy(layer_of(net)(x))[0], expected)


# --- what an LSTM can do --------------------------------------------------------


def contract_case(name):
    net = {
        "LIF": small,
        "AdaptiveLIF": lambda: small(nengo.AdaptiveLIF(tau_n=0.05)),
        "LIFRate": lambda: small(nengo.LIFRate()),
    }[name]()
    arguments = {
        "net": net,
        "inputs": net.nodes[0],
        "outputs": net.probes[0],
        "dt": 0.002,
        "seed": 5,
        "surrogate": "triangle",
    }
    if name == "LIFRate":
        arguments |= {
            "forward": "rate",
            "trained": ["ens.bias", "loop.weights", "into.weights"],
        }
    return Network, arguments, (2,)


@pytest.mark.slow  # test_contract.py has a network, too
@pytest.mark.parametrize("check", CHECKS)
def test_contract(check):
    check_layer(*contract_case("LIF"), only=[check])


@pytest.mark.parametrize(
    "check",
    [
        "check_config",
        "check_stateful",
        pytest.param("check_training", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", ["AdaptiveLIF", "LIFRate"])
def test_contract_of_other_networks(name, check):
    check_layer(*contract_case(name), only=[check])


@slow_on_jax
def test_masks_of_several_inputs_and_outputs():
    net = spiking()
    layer = layer_of(net, inputs={"a": "a", "b": "b"}, return_state=True)
    x = {"a": frames(2, STEPS, 1), "b": frames(2, STEPS, 2)}
    mask = np.ones((2, STEPS), bool)
    mask[1, 4:7] = False
    (decoded, spikes), *_ = layer(x, mask=ops.convert_to_tensor(mask))
    (plain, fired), *_ = layer({k: v[:, mask[1]] for k, v in x.items()})
    np.testing.assert_allclose(
        numpy(decoded)[1][mask[1]], numpy(plain)[1], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(numpy(spikes)[1][mask[1]], numpy(fired)[1])
    whole = numpy(layer(x)[0][0])
    np.testing.assert_allclose(numpy(decoded)[0], whole[0], rtol=1e-4, atol=1e-4)


@slow_on_jax
def test_states_of_dicts_go_on(float64):
    layer = layer_of(spiking(), inputs={"a": "a", "b": "b"}, return_state=True)
    x = {"a": frames(2, STEPS, 1), "b": frames(2, STEPS, 2)}
    (whole, _), *end = layer(x)
    _, *state = layer({k: v[:, :8] for k, v in x.items()})
    (half, _), *later = layer({k: v[:, 8:] for k, v in x.items()}, initial_state=state)
    assert_equal(numpy(half), numpy(whole)[:, 8:])
    for ours, theirs in zip(later, end, strict=True):
        np.testing.assert_allclose(numpy(ours), numpy(theirs), atol=1e-9)


def test_stateful_training_carries_the_state():
    def model_of(stateful):
        inputs = keras.Input(batch_shape=(2, 6, 2))
        layer = layer_of(small(), stateful=stateful)
        model = keras.Model(inputs, layer(inputs))
        model.compile(keras.optimizers.SGD(0.0), "mse")
        return model, layer

    x = frames(2, 12, 2).astype("float32")
    model, layer = model_of(True)
    y = np.zeros((2, 6, 2))
    model.fit(x[:, :6], y, batch_size=2, epochs=1, verbose=0)
    second = model.predict(x[:, 6:], batch_size=2, verbose=0)
    whole = numpy(layer_of(small())(x))
    np.testing.assert_allclose(second, whole[:, 6:], rtol=1e-4, atol=1e-4)
    layer.reset_state()
    first = model.predict(x[:, :6], batch_size=2, verbose=0)
    np.testing.assert_allclose(first, whole[:, :6], rtol=1e-4, atol=1e-4)


def test_cell_in_a_plain_rnn_with_a_source(float64):
    net = spiking()
    net.nodes[0].output = lambda t: np.sin(500 * t)
    cell = NetworkCell(net, inputs="b", outputs="decoded")
    x = frames(2, STEPS, 2)
    y = numpy(keras.layers.RNN(cell, return_sequences=True)(x))
    assert_equal(y[1], by_nengo(net, {net.nodes[1]: x[1]})[net.probes[0]])


def test_any_length_and_batch_through_one_model(float64):
    net = spiking()
    net.nodes[0].output = lambda t: np.sin(500 * t)
    inputs = keras.Input((None, 2))
    outputs = layer_of(net, inputs="b", outputs="decoded")(inputs)
    model = keras.Model(inputs, outputs)
    for batch, steps in ((2, STEPS), (1, 7)):
        x = frames(batch, steps, 2)
        expected = by_nengo(net, {net.nodes[1]: x[-1]}, steps=steps)
        y = model.predict(x, verbose=0)
        assert_equal(y[-1], expected[net.probes[0]])


# --- saving and exporting -------------------------------------------------------


def test_saved_without_the_functions(tmp_path):
    net = spiking()
    net.nodes[0].output = lambda t: t  # given from outside, so not stored
    inputs = {"a": keras.Input((None, 1)), "b": keras.Input((None, 2))}
    layer = layer_of(net, inputs={"a": "a", "b": "b"}, outputs={"y": "decoded"})
    model = keras.Model(inputs, layer(inputs))
    x = {"a": frames(2, STEPS, 1), "b": frames(2, STEPS, 2)}
    # As after training: the file has these, and not what was built.
    layer.set_weights([w + 0.01 for w in layer.get_weights()])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    ours, theirs = model.predict(x, verbose=0), again.predict(x, verbose=0)
    np.testing.assert_array_equal(theirs["y"], ours["y"])


def test_states_have_the_names_that_files_of_earlier_versions_hold():
    kinds = {name.split("_")[0] for name in layer_of(spiking()).cell.state_names}
    assert kinds == {"neurons", "filter"}


@slow_on_jax
def test_exported_with_open_sizes(tmp_path):
    tf = pytest.importorskip("tensorflow")
    net = small()
    time = None if BACKEND == "tensorflow" else STEPS
    inputs = keras.Input((time, 2))
    model = keras.Model(inputs, layer_of(net)(inputs))
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    for batch, steps in ((1, STEPS), (3, STEPS if time else 7)):
        x = frames(batch, steps, 2).astype("float32")
        expected = numpy(model(x))
        assert np.any(expected)
        answer = served.serve(x).numpy()
        np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-4)


def with_python(source=False):
    net = small()
    with net:
        if source:
            node = nengo.Node(lambda t: [t, t], label="mine")
        else:
            node = nengo.Node(lambda t, x: 2 * x, size_in=2, size_out=2, label="mine")
            nengo.Connection(net.nodes[0], node, synapse=None)
        nengo.Connection(node, net.ensembles[0])
    return net


@pytest.mark.parametrize("time", [STEPS, None])
def test_python_in_an_export_is_refused_by_name(time, tmp_path):
    inputs = keras.Input((time, 2))
    model = keras.Model(inputs, layer_of(with_python(), inputs="u")(inputs))
    with pytest.raises(NotImplementedError, match="mine.*tensor_function"):
        model.export(tmp_path / "served", verbose=False)


@slow_on_jax
def test_a_source_is_exported_where_the_length_is_known(tmp_path):
    tf = pytest.importorskip("tensorflow")
    inputs = keras.Input((STEPS, 2))
    model = keras.Model(inputs, layer_of(with_python(True), inputs="u")(inputs))
    model.export(tmp_path / "served", verbose=False)
    x = frames(2, STEPS, 2).astype("float32")
    served = tf.saved_model.load(tmp_path / "served")
    answer = served.serve(x).numpy()
    np.testing.assert_allclose(answer, numpy(model(x)), rtol=1e-3, atol=1e-4)


def test_a_source_in_an_export_of_any_length_is_refused_by_name(tmp_path):
    inputs = keras.Input((None, 2))
    model = keras.Model(inputs, layer_of(with_python(True), inputs="u")(inputs))
    with pytest.raises(NotImplementedError, match="mine"):
        model.export(tmp_path / "served", verbose=False)


def test_a_source_of_a_stateful_export_is_refused(tmp_path):
    # With sizes that are known JAX refuses in words of its own.
    known = {"tensorflow": (NotImplementedError, "mine")}
    error, words = known.get(BACKEND, (Exception, "callback|call back|supported"))
    inputs = keras.Input(batch_shape=(2, STEPS, 2))
    layer = layer_of(with_python(True), inputs="u", stateful=True)
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(error, match=words):
        model.export(
            tmp_path / "served",
            verbose=False,
            input_signature=[keras.InputSpec(shape=(2, STEPS, 2), dtype="float32")],
        )


def test_python_is_not_stored_but_named():
    with pytest.raises(TypeError, match="mine.*Python function"):
        layer_of(with_python(), inputs="u").get_config()
    with pytest.raises(TypeError, match="mine.*Python function"):
        layer_of(with_python(True), inputs="u").get_config()


def everything():
    """Subnetworks, slices, transforms, rules, weight solvers, and more."""
    with nengo.Network(seed=3) as net:
        u = nengo.Node(np.zeros(4), label="u")
        noise = nengo.Node(WhiteSignal(0.05, high=80, seed=5, default_size_out=2))
        adaptive = nengo.AdaptiveLIF(tau_n=0.1, inc_n=0.02)
        a = nengo.Ensemble(12, 2, neuron_type=adaptive, radius=2.0)
        with nengo.Network(label="sub") as sub:
            b = nengo.Ensemble(10, 2, label="inner")
            with nengo.Network(label="subsub"):
                direct = nengo.Ensemble(1, 2, neuron_type=nengo.Direct())
                nengo.Connection(b, direct, synapse=0.01)
            nengo.Probe(direct)
        nengo.Connection(u[[3, 0]], a[::-1], transform=[[1, 0.5], [0, 1]])
        nengo.Connection(noise[1], a[0], transform=0.3)
        full = nengo.solvers.LstsqL2(weights=True)
        nengo.Connection(a, b, solver=full, function=np.square)
        nengo.Connection(b[1], a[0], synapse=nengo.Alpha(0.02))
        sparse = nengo.Sparse((2, 4), [[0, 3], [1, 1]], init=[0.5, -0.5])
        nengo.Connection(u, direct, transform=sparse, synapse=None)
        kernel = nengo.Convolution(2, (4, 1), kernel_size=(2,), strides=(2,))
        nengo.Connection(u, b.neurons[:4], transform=kernel, synapse=None)
        learned = nengo.Connection(a, b, learning_rule_type=nengo.PES(1e-3))
        nengo.Connection(b, learned.learning_rule)
        voja = nengo.Connection(a, b, learning_rule_type={"v": nengo.Voja(0.1)})
        nengo.Probe(voja.learning_rule["v"], "post_filtered")
        nengo.Probe(a[1], synapse=0.01)
        nengo.Probe(b.neurons)
        nengo.Probe(learned, "weights", sample_every=0.005)
    assert sub in net.networks
    return net


@slow_on_jax
def test_configuration_holds_everything(float64):
    layer = layer_of(everything(), inputs=["u"], dt=0.002)
    x = [frames(2, STEPS, 4)]
    expected = layer(x)
    config = layer.get_config()
    assert json.loads(json.dumps(config)) == config
    again = Network.from_config(json.loads(json.dumps(config)))
    found = again(x)
    for y, z in zip(found, expected, strict=True):
        assert_equal(numpy(y), numpy(z))
        assert np.any(numpy(z))
    assert again.get_config() == config
    assert [w.name for w in again.weights] == [w.name for w in layer.weights]
    inner = layer.cell.net.networks[0]
    assert again.cell.net.networks[0].label == inner.label == "sub"
    assert again.cell.net.networks[0].networks[0].label == "subsub"


def test_everything_equals_nengo(float64):
    net, x = everything(), frames(1, STEPS, 4)
    found = layer_of(net, inputs="u")(x)
    expected = by_nengo(net, {net.nodes[0]: x[0]})
    for y, probe in zip(found, net.all_probes, strict=True):
        assert_equal(numpy(y)[0], expected[probe])


# --- what is refused -----------------------------------------------------------------


def test_a_network_without_probes_is_refused():
    with nengo.Network() as net:
        nengo.Node([0.0])
    with pytest.raises(ValueError, match=r"no probe.*nengo\.Probe"):
        Network(net)


REFUSED = {
    "no network": (lambda net: Network(3), TypeError, r"nengo\.Network; received 3"),
    "foreign node": (
        lambda net: Network(net, inputs=small().nodes[0]),
        ValueError,
        "is not in",
    ),
    "foreign probe": (
        lambda net: Network(net, outputs=[small().probes[0]]),
        ValueError,
        "is not in",
    ),
    "a probe as input": (
        lambda net: Network(net, inputs=net.probes[0]),
        TypeError,
        r"Expected a nengo\.Node",
    ),
    "an ensemble as output": (
        lambda net: Network(net, outputs=net.ensembles[0]),
        TypeError,
        r"Expected a nengo\.Probe",
    ),
    "unknown label": (
        lambda net: Network(net, inputs="v"),
        ValueError,
        "0 objects.*'v'.*a, b",
    ),
    "unknown position": (lambda net: Network(net, inputs=7), TypeError, "received 7"),
    "forward": (lambda net: Network(net, forward="fast"), ValueError, "'fast'"),
    "dt": (lambda net: Network(net, dt=0.0), ValueError, "dt"),
    "empty outputs": (lambda net: Network(net, outputs=[]), ValueError, "no probe"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_impossible_arguments_are_refused(name):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=f"(?s){message}"):
        make(spiking())


def test_duplicate_labels_are_refused():
    net = spiking()
    net.nodes[1].label = "a"
    with pytest.raises(ValueError, match=r"2 objects.*'a'.*object itself"):
        Network(net, inputs="a")


def test_a_node_with_an_input_cannot_be_one():
    net = small()
    with net:
        node = nengo.Node(size_in=1, label="relay")
    with pytest.raises(ValueError, match="relay.*cannot be an input"):
        Network(net, inputs=node)


def test_a_loop_within_a_step_is_refused():
    with nengo.Network() as net:
        node = nengo.Node(size_in=1)
        nengo.Connection(node, node, synapse=None)
        nengo.Probe(node)
    with pytest.raises(BuildError):
        Network(net)


WRONG_DATA = {
    "size": ("b", lambda: frames(2, STEPS, 3), "2"),
    "rank": ("b", lambda: frames(2, 2), "batch, time"),
    "keys": ({"x": "a"}, lambda: {"z": frames(2, STEPS, 1)}, "'x'.*received.*z"),
    "tensor for dict": ({"x": "a"}, lambda: frames(2, STEPS, 1), "'x'"),
    "too few": (["a", "b"], lambda: [frames(2, STEPS, 1)], "list of 2"),
    "size in a list": (
        ["a", "b"],
        lambda: [frames(2, STEPS, 1), frames(2, STEPS, 1)],
        r"\(batch, time, [12]\)",
    ),
    "without inputs": ([], lambda: frames(2, STEPS, 2), "tells the number of steps"),
}


@pytest.mark.parametrize("name", WRONG_DATA)
def test_wrong_data_are_refused(name):
    inputs, data, message = WRONG_DATA[name]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        layer_of(spiking(), inputs=inputs)(data())


@pytest.mark.parametrize("name", ["keys", "too few", "size in a list"])
def test_wrong_data_are_refused_once_built(name):
    inputs, data, message = WRONG_DATA[name]
    layer = layer_of(spiking(), inputs=inputs)
    good = {"x": frames(2, STEPS, 1)}
    layer(good if name == "keys" else [frames(2, STEPS, 1), frames(2, STEPS, 2)])
    if name == "size in a list":  # the same in all, but from one node to the other
        with pytest.raises(ValueError, match=message):
            layer([frames(2, STEPS, 2), frames(2, STEPS, 1)])
    with pytest.raises(ValueError, match=f"(?s){message}"):
        layer(data())


def test_configure_refuses_what_it_does_not_know():
    net = spiking()
    with pytest.raises(TypeError, match="Ensemble, Connection, Probe, Node"):
        ksn.configure(net, net, trainable=True)
    with pytest.raises(TypeError, match="keras_node"):
        ksn.configure(net, net.nodes[0], trainable=True)
    with pytest.raises(ValueError, match="is not in"):
        ksn.configure(net, small().ensembles[0], trainable=True)
    with pytest.raises(ValueError, match="received 'yes'"):
        ksn.configure(net, trainable="yes")
