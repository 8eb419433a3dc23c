"""A simulator's network trains as a Keras model, keyed by nengo's objects."""

import keras
import nengo
import numpy as np
import pytest
from nengo.exceptions import SimulatorClosed, ValidationError

import keras_spiking_nengo as ksn
from keras_spiking_nengo.simulator.grading import by_output
from tests.arrays import frames
from tests.marks import TAKES_TURNS, slow_on_jax
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

STEPS = 10


def two(neuron_type=None):
    """Two inputs, two probes, all labelled."""
    with nengo.Network(seed=3) as net:
        a = nengo.Node([0.0], label="a")
        b = nengo.Node([0.0, 0.0], label="b")
        ens = nengo.Ensemble(
            15, 2, label="ens", neuron_type=neuron_type or nengo.LIFRate()
        )
        nengo.Connection(a, ens[0], synapse=None, label="from_a", transform=0.5)
        nengo.Connection(b, ens, synapse=None, label="from_b", transform=np.eye(2))
        nengo.Connection(ens, ens, synapse=0.01, transform=0.2, label="loop")
        nengo.Probe(ens, label="p")
        nengo.Probe(ens[1], synapse=0.01, label="q")
    return net


def one(node=None):
    with nengo.Network(seed=3) as net:
        u = nengo.Node([0.0] if node is None else node, label="u")
        ens = nengo.Ensemble(15, 1, label="ens", neuron_type=nengo.LIFRate())
        sink = nengo.Node(size_in=1, label="sink")
        nengo.Connection(u, ens, synapse=None, label="into")
        nengo.Connection(ens, sink, synapse=0.005, label="out")
        nengo.Probe(sink, label="p")
    return net


def simulator(net, **options):
    return ksn.Simulator(net, progress_bar=False, seed=7, **options)


def data(items, by=None):
    """Data of `two`, keyed by labels, or by objects of a network."""
    x = {"a": frames(items, STEPS, 1), "b": frames(items, STEPS, 2, seed=1)}
    y = {"p": np.zeros((items, STEPS, 2)), "q": np.zeros((items, STEPS, 1))}
    if by is not None:
        x = dict(zip(by.nodes, x.values(), strict=True))
        y = dict(zip(by.probes, y.values(), strict=True))
    return x, y


@pytest.mark.parametrize(
    "keyed", ["objects", pytest.param("labels", marks=pytest.mark.slow)]
)
def test_fit_evaluate_and_predict(keyed):
    net = two()
    x, y = data(6, net if keyed == "objects" else None)
    with simulator(net) as sim:
        losses = dict.fromkeys(y, "mse")
        metrics = dict.fromkeys(y, ["mae"])
        sim.compile(keras.optimizers.Adam(1e-4), loss=losses, metrics=metrics)
        before = sim.evaluate(x, y, verbose=0, return_dict=True)
        history = sim.fit(x, y, epochs=8, batch_size=4, verbose=0).history
        after = sim.evaluate(x, y, verbose=0, return_dict=True)
        found = sim.predict(x, verbose=0)
    assert set(found) == set(net.probes)
    assert found[net.probes[0]].shape == (6, STEPS, 2)
    assert after["loss"] < before["loss"]
    assert history["loss"][-1] < history["loss"][0]
    p, q = (found[probe] for probe in net.probes)
    np.testing.assert_allclose(after["loss"], np.mean(p**2) + np.mean(q**2), rtol=1e-4)
    assert {"p_mae", "q_mae"} <= set(after)


def test_the_same_by_the_model(float64):
    net = two()
    x, y = data(4)
    with simulator(net, dtype="float64") as sim:
        sim.model.compile("sgd", "mse")
        sim.model.fit(x, y, epochs=1, verbose=0)
        assert np.isfinite(sim.model.evaluate(x, y, verbose=0)).all()
        found = sim.model.predict(x, verbose=0)
    assert set(found) == set(net.probes)


def test_the_loss_may_be_given_by_position():
    net = two()
    x, y = data(4, net)
    with simulator(net) as sim:
        sim.compile("sgd", dict.fromkeys(net.probes, "mse"))
        assert np.isfinite(sim.evaluate(x, y, verbose=0)).all()


def test_some_probes_alone_may_have_a_loss():
    net = two()
    x, _ = data(4, net)
    with simulator(net) as sim:
        sim.compile(keras.optimizers.Adam(1e-4), loss={"q": "mse"})
        y = {"q": np.zeros((4, STEPS, 1))}
        losses = sim.fit(x, y, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("batch_size", [3, pytest.param(32, marks=pytest.mark.slow)])
def test_batches_that_do_not_divide(batch_size):
    net = two()
    x, y = data(5)
    with simulator(net) as sim:
        sim.compile("sgd", "mse")
        history = sim.fit(
            x, y, batch_size=batch_size, validation_split=0.3, verbose=0
        ).history
        assert np.isfinite(history["val_loss"]).all()
        whole = sim.predict(x, verbose=0, batch_size=5)
        parts = sim.predict(x, verbose=0, batch_size=batch_size)
    for probe in net.probes:
        np.testing.assert_allclose(parts[probe], whole[probe], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [tuple, pytest.param(list, marks=pytest.mark.slow)])
def test_validation_data_are_keyed_alike(kind):
    net = two()
    x, y = data(4, net)
    with simulator(net) as sim:
        sim.compile(keras.optimizers.SGD(0.0), "mse")
        held_out = kind(data(3, net))
        history = sim.fit(x, y, validation_data=held_out, verbose=0).history
        expected = sim.evaluate(*data(3, net), verbose=0)
    np.testing.assert_allclose(history["val_loss"][-1], expected[0], rtol=1e-5)


def test_one_node_and_one_probe_take_arrays():
    net = one()
    x = frames(4, STEPS, 1)
    with simulator(net) as sim:
        sim.compile("sgd", "mse")
        history = sim.fit(x, 0 * x, epochs=2, validation_split=0.25, verbose=0)
        assert np.isfinite(history.history["val_loss"]).all()
        assert np.isfinite(sim.evaluate(x, 0 * x, verbose=0))
        (found,) = sim.predict(x, verbose=0).values()
    assert found.shape == x.shape


def test_predict_needs_no_compile_and_begins_at_the_start(float64):
    net = two(nengo.LIF())
    x, _ = data(2, net)
    with simulator(net, dtype="float64") as sim:
        sim.run_steps(7)
        first = sim.predict(x, verbose=0)
        sim.run_steps(3)
        second = sim.predict(x, verbose=0)
    expected = by_nengo(net, {node: v[1] for node, v in x.items()}, STEPS)
    for probe in net.probes:
        assert np.any(expected[probe])
        np.testing.assert_array_equal(first[probe], second[probe])
        np.testing.assert_allclose(first[probe][1], expected[probe], atol=1e-9)


def fitted(net, **options):
    """A simulator whose network was trained, on what, and its loss."""
    x, y = data(4, net)
    sim = simulator(net, **options)
    # Steps that are so large that spikes move.
    sim.compile(keras.optimizers.Adam(1e-3), "mse", own_units=False)
    sim.fit(x, y, epochs=3, batch_size=3, verbose=0)
    return sim, x


def test_running_uses_what_was_trained(float64):
    net = two()
    with simulator(net, dtype="float64") as sim:
        x, y = data(4, net)
        item = {node: v[0] for node, v in x.items()}
        sim.run_steps(STEPS, data=item)
        untrained = {probe: np.array(sim.data[probe]) for probe in net.probes}
        sim.compile(keras.optimizers.Adam(1e-3), "mse")
        sim.fit(x, y, epochs=3, batch_size=3, verbose=0)
        sim.reset()
        sim.run_steps(STEPS, data=item)
        found = sim.predict(x, verbose=0)
        for probe in net.probes:
            np.testing.assert_allclose(
                sim.data[probe], found[probe][0], rtol=1e-9, atol=1e-12
            )
            assert np.max(np.abs(sim.data[probe] - untrained[probe])) > 1e-3


def test_data_show_what_was_trained(float64):
    net = two()
    with simulator(net, dtype="float64") as sim:
        ens, built = net.ensembles[0], sim.data[net.ensembles[0]]
        weights = {c: np.array(sim.data[c].weights) for c in net.connections}
        x, y = data(4, net)
        sim.compile(keras.optimizers.Adam(1e-3), "mse")
        sim.fit(x, y, epochs=2, verbose=0)
        layer = {w.name: w for w in sim.keras_model.trainable_weights}
        now = sim.data[ens]
        np.testing.assert_array_equal(now.bias, layer["ens.bias"].numpy())
        np.testing.assert_array_equal(
            now.scaled_encoders, layer["ens.encoders"].numpy()
        )
        gain = (now.gain / ens.radius)[:, None]
        np.testing.assert_allclose(now.encoders * gain, now.scaled_encoders)
        assert np.any(now.bias != built.bias)
        assert np.any(now.encoders != built.encoders)
        for conn in net.connections:
            trained = layer[f"{conn.label}.weights"].numpy()
            np.testing.assert_array_equal(sim.data[conn].weights, trained)
            assert np.any(trained != weights[conn])


@slow_on_jax
def test_the_network_written_back_equals_what_was_trained(float64):
    net = two(nengo.LIF())
    sim, x = fitted(net, dtype="float64")
    with sim:
        found = sim.predict(x, verbose=0)
        copy = sim.network()
    assert copy is not net
    given = dict(zip(copy.nodes, (v[2] for v in x.values()), strict=True))
    expected = by_nengo(copy, given, STEPS)
    untrained = by_nengo(net, {node: v[2] for node, v in x.items()}, STEPS)
    for ours, theirs in zip(net.probes, copy.probes, strict=True):
        np.testing.assert_allclose(found[ours][2], expected[theirs], atol=1e-9)
        assert np.max(np.abs(untrained[ours] - expected[theirs])) > 1e-3


@slow_on_jax
def test_compiling_again_keeps_what_was_trained():
    net = two()
    sim, x = fitted(net)
    with sim:
        before = sim.predict(x, verbose=0)
        sim.compile("adam", "mae", forward="rate")
        after = sim.predict(x, verbose=0)
    for probe in net.probes:
        np.testing.assert_allclose(after[probe], before[probe], rtol=1e-6)


def test_configured_objects_are_not_trained():
    net = two()
    ksn.configure(net, nengo.Ensemble, nengo.Connection, trainable=False)
    ksn.configure(net, net.connections[0], trainable=True)
    sim, _ = fitted(net)
    with sim:
        names = [w.name for w in sim.keras_model.trainable_weights]
    assert names == ["from_a.weights"]


def test_a_simulator_in_double_precision_trains_without_keras_being_so():
    net = two()
    sim, x = fitted(net, dtype="float64")
    with sim:
        found = sim.predict(x, verbose=0)
        for probe in net.probes:
            assert found[probe].dtype == "float64"
        # Keras gives its models single precision.
        item = {node: v[0].astype("float32") for node, v in x.items()}
        sim.run_steps(STEPS, data=item)
        for probe in net.probes:
            np.testing.assert_allclose(sim.data[probe], found[probe][0], atol=1e-9)


# --- without inputs, and with functions ------------------------------------------


@slow_on_jax
def test_without_inputs_the_number_of_steps_is_said():
    net = one(lambda t: np.cos(300 * t))
    with simulator(net) as sim:
        sim.compile(keras.optimizers.Adam(1e-3), "mse")
        y = np.zeros((3, STEPS, 1))
        before = sim.evaluate(y=y, n_steps=STEPS, verbose=0)
        sim.fit(y=y, n_steps=STEPS, epochs=4, batch_size=2, verbose=0)
        assert sim.evaluate(y=y, n_steps=STEPS, verbose=0) < before
        (found,) = sim.predict(n_steps=STEPS, verbose=0).values()
        sim.run_steps(STEPS)
        assert found.shape == (1, STEPS, 1)
        np.testing.assert_allclose(
            sim.data[net.probes[0]], found[0], rtol=1e-4, atol=1e-5
        )
        with pytest.raises(ValidationError, match="say n_steps"):
            sim.fit(y=y, verbose=0)
        with pytest.raises(ValidationError, match="say n_steps"):
            sim.predict(verbose=0)


def test_validation_without_inputs():
    net = one(lambda t: np.cos(300 * t))
    with simulator(net) as sim:
        sim.compile("sgd", "mse")
        y = np.zeros((3, STEPS, 1))
        history = sim.fit(
            y={net.probes[0]: y},
            n_steps=STEPS,
            validation_data=(None, {"p": y[:2]}),
            verbose=0,
        ).history
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize(
    "output", [lambda t: np.cos(300 * t), nengo.processes.WhiteSignal(1, 20, seed=1)]
)
def test_what_is_computed_may_be_given_data(output):
    net = one(output)
    x = frames(3, STEPS, 1)
    with simulator(net) as sim:
        with pytest.raises(ValidationError, match=r"a function.*compile\(inputs"):
            sim.predict({"u": x}, verbose=0)
        with pytest.raises(ValidationError, match=r"a function.*compile\(inputs"):
            sim.predict({net.nodes[0]: x}, verbose=0)
        sim.compile("sgd", "mse", inputs=[net.nodes[0]])
        for key in (net.nodes[0], "u"):
            found = sim.predict({key: x}, verbose=0)[net.probes[0]]
            assert np.max(np.abs(found[0] - found[1])) > 1e-3
        sim.fit({"u": x}, {"p": x}, verbose=0)


def test_compiling_with_other_inputs_keeps_what_was_trained():
    net = one(lambda t: np.cos(300 * t))
    y = np.zeros((3, STEPS, 1))
    with simulator(net) as sim:
        sim.compile(keras.optimizers.Adam(1e-3), "mse")
        sim.fit(y=y, n_steps=STEPS, epochs=3, verbose=0)
        expected = sim.predict(n_steps=STEPS, verbose=0)[net.probes[0]]
        sim.compile("sgd", "mse", inputs=net.nodes[:1])
        times = 0.001 * np.arange(1, STEPS + 1)
        x = np.cos(300 * times)[None, :, None]
        found = sim.predict({"u": x}, verbose=0)[net.probes[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_data_sets_are_keyed_by_labels():
    net = two()
    x, y = data(4)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            part = slice(2 * i, 2 * i + 2)
            return {k: v[part] for k, v in x.items()}, {
                k: v[part] for k, v in y.items()
            }

    with simulator(net) as sim:
        sim.compile(keras.optimizers.SGD(0.0), "mse")
        loss = sim.fit(Batches(), epochs=1, verbose=0).history["loss"][-1]
        expected = sim.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-5)


# --- what is refused --------------------------------------------------------------

WRONG = {
    "unknown input": (lambda x, y: ({**x, "c": x["a"]}, y), "c is not among.*a.*b"),
    "unknown target": (lambda x, y: (x, {"r": y["p"]}), "r is not among.*p.*q"),
    "missing node": (lambda x, y: ({"a": x["a"]}, y), r"lack \['b'\].*a.*b"),
    "lengths": (lambda x, y: ({**x, "b": x["b"][:, :4]}, y), "items and steps"),
    "items": (lambda x, y: ({**x, "b": x["b"][:2]}, y), "items and steps"),
    "an array": (lambda x, y: (x["a"], y), "dict keyed by the nodes.*a.*b"),
    "nothing": (lambda x, y: (None, y), "dict keyed by the nodes.*a.*b"),
}


@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_are_refused(name, method):
    change, message = WRONG[name]
    with simulator(two()) as sim:
        sim.compile("sgd", "mse")
        x, y = change(*data(4))
        with pytest.raises(ValidationError, match=f"(?s){message}"):
            getattr(sim, method)(x, y, verbose=0)


def test_wrong_sizes_are_refused():
    with simulator(two()) as sim:
        x, _ = data(4)
        for shape in ((4, STEPS, 1), (4, STEPS, 3), (4, STEPS)):
            with pytest.raises(ValidationError, match=r"b takes \(items, steps, 2\)"):
                sim.predict({**x, "b": frames(*shape)}, verbose=0)
        assert sim.predict(x, verbose=0)
    with simulator(one()) as sim, pytest.raises(ValidationError, match="u takes"):
        sim.predict(frames(4, STEPS, 2), verbose=0)


def test_objects_of_another_network_are_refused():
    with simulator(two()) as sim:
        x, _ = data(4, two())
        with pytest.raises(ValidationError, match="is not among"):
            sim.predict(x, verbose=0)
        with pytest.raises(ValueError, match="is not in"):
            sim.compile("sgd", "mse", inputs=[two().nodes[0]])


def test_duplicate_labels_are_refused_but_objects_are_not():
    net = two()
    net.nodes[1].label = "a"
    net.probes[1].label = "p"
    a, b = frames(4, STEPS, 1), frames(4, STEPS, 2)
    with simulator(net) as sim:
        with pytest.raises(ValidationError, match="2 objects have the label 'a'"):
            sim.predict({"a": a}, verbose=0)
        found = sim.predict(dict(zip(net.nodes, (a, b), strict=True)), verbose=0)
        assert [y.shape[-1] for y in found.values()] == [2, 1]
        with pytest.raises(ValidationError, match="2 objects have the label 'p'"):
            sim.compile("sgd", loss={"p": "mse"})


@pytest.mark.parametrize("labels", [("a", "a", "a_1"), ("a_2", "a", "a")])
def test_labels_that_look_like_numbered_ones(labels):
    with nengo.Network(seed=3) as net:
        for label in labels:
            nengo.Probe(nengo.Node([0.0], label=label), label=label)
    x = {node: np.full((1, 3, 1), i + 1.0) for i, node in enumerate(net.nodes)}
    with simulator(net) as sim:
        found = sim.predict(x, verbose=0)
    assert [found[p][0, 0, 0] for p in net.probes] == [1, 2, 3]


def test_labels_of_any_characters():
    net = one()
    net.nodes[0].label = "µ/in put:0"
    net.probes[0].label = "out/put (1)"
    x = frames(2, STEPS, 1)
    with simulator(net) as sim:
        sim.compile("sgd", {"out/put (1)": "mse"})
        sim.fit({"µ/in put:0": x}, {"out/put (1)": x}, verbose=0)


def test_given_twice_is_refused():
    net = two()
    x, _ = data(4)
    with simulator(net) as sim, pytest.raises(ValidationError, match="given twice"):
        sim.predict({**x, net.nodes[0]: x["a"]}, verbose=0)


def test_a_built_model_alone_does_not_train():
    model = nengo.builder.Model(dt=0.001)
    net = one()
    model.build(net)
    refused = pytest.raises(ValidationError, match="needs the network itself")
    with simulator(None, model=model) as sim, refused:
        sim.compile("sgd", "mse")


def test_unlabelled_objects_are_named_by_their_place():
    with nengo.Network(seed=3) as net:
        nengo.Probe(nengo.Node([0.0]))
    x = frames(2, 4, 1)
    with simulator(net) as sim:
        (found,) = sim.predict({"node_0": x}, verbose=0).values()
        assert list(sim.keras_model.output) == ["probe_0"]
    np.testing.assert_allclose(found, x, rtol=1e-6)


# --- several probes ---------------------------------------------------------------


def graded():
    """A raw and a filtered probe of three values each, in the order of no alphabet."""
    with nengo.Network(seed=3) as net:
        i = nengo.Node(np.zeros(4), label="i")
        ens = nengo.Ensemble(20, 4, neuron_type=nengo.LIFRate())
        out = nengo.Node(size_in=3)
        nengo.Connection(i, ens, synapse=None)
        nengo.Connection(ens, out, transform=np.ones((3, 4)), synapse=None)
        nengo.Probe(out, label="raw")
        nengo.Probe(out, synapse=0.01, label="filtered")
    return net


def classes(items=8):
    rng = np.random.RandomState(0)
    return rng.uniform(-1, 1, (items, 5, 4)), rng.randint(0, 3, (items, 5, 1))


def crossentropies(logits, labels):
    """Keras's, of each step."""
    loss = keras.losses.SparseCategoricalCrossentropy(True, reduction=None)
    return keras.ops.convert_to_numpy(loss(labels, logits))


CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_one_of_two_probes_has_a_loss_metrics_and_weights():
    net, (x, y) = graded(), classes()
    raw, weights = net.probes[0], frames(8, 5) ** 2
    with simulator(net) as sim:
        found = sim.predict(x, verbose=0)[raw]
        sim.compile(
            keras.optimizers.SGD(0.0),
            loss={raw: CROSSENTROPY},
            metrics={raw: "accuracy"},
        )
        result = sim.evaluate(
            x, {raw: y}, sample_weight={"raw": weights}, return_dict=True, verbose=0
        )
        held_out = ({"i": x}, {raw: y}, {raw: weights})
        history = sim.fit(x, y, validation_data=held_out, verbose=0).history
    each = crossentropies(found, y)
    np.testing.assert_allclose(result["loss"], np.mean(each * weights), rtol=1e-4)
    accuracy = np.mean(found.argmax(-1) == y[..., 0])
    np.testing.assert_allclose(result["raw_accuracy"], accuracy, rtol=1e-5)
    np.testing.assert_allclose(history["loss"][0], each.mean(), rtol=1e-4)
    np.testing.assert_allclose(history["val_loss"][0], result["loss"], rtol=1e-4)


def test_held_out_items_are_weighted_by_probe():
    """Of two probes with a loss one has weights; those of the other are ones."""
    net, (x, y) = graded(), classes()
    node, (raw, filtered) = net.nodes[0], net.probes
    y = {raw: y, filtered: (y + 1) % 3}
    weights = {raw: np.linspace(0.0, 3.0, 8)}
    with simulator(net) as sim:
        found = sim.predict({node: x}, verbose=0)
        sim.compile(keras.optimizers.SGD(0.0), loss=CROSSENTROPY)
        # Of batches of one size: of others, Keras weighs the losses of outputs alike.
        options = {"batch_size": 4, "verbose": 0}
        held_out = ({node: x}, y, weights)
        history = sim.fit({node: x}, y, validation_data=held_out, **options).history
        graded_alone = sim.evaluate(
            {node: x}, y, sample_weight=weights, return_dict=True, **options
        )
    each = {probe: crossentropies(found[probe], y[probe]) for probe in net.probes}
    of_raw = np.mean(each[raw] * weights[raw][:, None])
    expected = {
        "loss": of_raw + each[filtered].mean(),
        "raw_loss": of_raw,
        "filtered_loss": each[filtered].mean(),
    }
    for name, loss in expected.items():
        np.testing.assert_allclose(history[f"val_{name}"][0], loss, rtol=1e-4)
        np.testing.assert_allclose(graded_alone[name], loss, rtol=1e-4)
    assert abs(history["loss"][0] - expected["loss"]) > 0.1


@pytest.mark.parametrize(
    "loss, metrics, expected",
    [
        ({"a": "mse"}, ["mae", "mape"], {"a": ["mae", "mape"]}),
        ({"a": "mse"}, [["mae", "mape"]], {"a": ["mae", "mape"]}),
        ({"a": "mse"}, [["mae"], None], {"a": ["mae"], "b": None}),
        # Neither one for each: Keras refuses it, and nothing is left out.
        ({"a": "mse"}, [["mae"], None, None], {"a": [["mae"], None, None]}),
        ("mse", ["mae", "mape"], {"a": "mae", "b": "mape"}),  # as Keras reads it
        ("mse", ["mae"], {"a": ["mae"], "b": ["mae"]}),
        (None, ["mae"], {"a": ["mae"], "b": ["mae"]}),
    ],
)
def test_a_list_of_metrics_is_for_the_probes_that_have_a_loss(loss, metrics, expected):
    options = by_output({"loss": loss, "metrics": metrics}, ["a", "b"])
    assert options["metrics"] == expected


def test_one_loss_and_a_list_of_metrics_are_those_of_all_probes():
    net, (x, y) = graded(), classes()
    with simulator(net) as sim:
        found = sim.predict(x, verbose=0)
        sim.compile(
            "sgd", CROSSENTROPY, loss_weights={"raw": 2.0}, metrics=["accuracy"]
        )
        targets = dict.fromkeys(net.probes, y)
        result = sim.evaluate(x, targets, return_dict=True, verbose=0)
        with pytest.raises(ValidationError, match=r"lack \['filtered'\].*loss=\{probe"):
            sim.fit(x, {"raw": y}, verbose=0)
    each = [crossentropies(found[probe], y).mean() for probe in net.probes]
    np.testing.assert_allclose(result["loss"], 2 * each[0] + each[1], rtol=1e-4)
    for probe in net.probes:
        accuracy = np.mean(found[probe].argmax(-1) == y[..., 0])
        np.testing.assert_allclose(result[f"{probe.label}_accuracy"], accuracy, 1e-5)


def test_weights_of_classes():
    net, (x, y) = graded(), classes()
    by_class = {0: 0.5, 2: 3.0}
    with simulator(net) as sim:
        found = sim.predict(x, verbose=0)[net.probes[1]]
        sim.compile(keras.optimizers.SGD(0.0), loss={"filtered": CROSSENTROPY})
        options = {"verbose": 0, "class_weight": by_class}
        loss = sim.fit(x, y, **options).history["loss"][0]
        named = {"verbose": 0, "class_weight": {net.probes[1]: by_class}}
        halves = sim.fit(x, y, validation_split=0.5, **named).history
        with pytest.raises(ValidationError, match="not both"):
            sim.fit(x, y, sample_weight=np.ones(8), **options)
    each = crossentropies(found, y)
    weighted = each * np.array([0.5, 1.0, 3.0])[y[..., 0]]
    np.testing.assert_allclose(loss, weighted.mean(), rtol=1e-4)
    np.testing.assert_allclose(halves["loss"][0], weighted[:4].mean(), rtol=1e-4)
    np.testing.assert_allclose(halves["val_loss"][0], each[4:].mean(), rtol=1e-4)


# --- constants, labels, what was built --------------------------------------------


def test_constants_are_inputs_if_data_name_them():
    net = two()
    net.nodes[1].output = np.array([0.3, -0.2])
    x, y = data(3)
    constant = np.broadcast_to(net.nodes[1].output, (3, STEPS, 2))
    with simulator(net) as sim:
        alone = sim.predict({"a": x["a"]}, verbose=0)
        same = sim.predict({"a": x["a"], "b": constant}, verbose=0)
        other = sim.predict(x, verbose=0)
        for probe in net.probes:
            np.testing.assert_array_equal(alone[probe], same[probe])
            assert np.any(np.abs(alone[probe] - other[probe]) > 1e-3)
        sim.compile("sgd", "mse")
        before = np.array(sim.data[net.connections[1]].weights)
        sim.fit(x["a"], y, verbose=0)
        assert np.any(sim.data[net.connections[1]].weights != before)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_bias_of_a_converted_model_is_trained(by_name):
    i = keras.Input((6,))
    hidden = keras.layers.Dense(8, "relu")(i)
    model = keras.Model(i, keras.layers.Dense(3, bias_initializer="ones")(hidden))
    export = ksn.to_nengo(model)
    (node,), (probe,) = export.inputs.values(), export.outputs.values()
    x = frames(16, 1, 6)
    with simulator(export.net) as sim:
        found = sim.predict({node: x}, verbose=0)[probe]
        expected = model.predict(x[:, 0], verbose=0)
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-5)
        inputs = [node] if by_name else None
        sim.compile(keras.optimizers.Adam(0.1), loss={probe: "mse"}, inputs=inputs)
        # Without an input, only the bias is left.
        fit = sim.fit({node: 0 * x}, {probe: 5 + 0 * found}, epochs=30, verbose=0)
    assert fit.history["loss"][-1] < 0.3 * fit.history["loss"][0]


def test_labels_that_no_scope_takes():
    with nengo.Network(seed=0) as net:
        u = nengo.Node([0.0], label="u -> [0]")
        for label in ("gate[0]", "gate(0)", "a -> b: c? µ"):
            ens = nengo.Ensemble(10, 1, label=label)
            nengo.Connection(u, ens, synapse=None)
        probe = nengo.Probe(ens)
    x = frames(2, 5, 1)
    with simulator(net) as sim:
        sim.compile("adam", {probe: "mse"})
        sim.fit({"u -> [0]": x}, {probe: x}, verbose=0)
    trained = ["gate[0].encoders", "u -> [0]_to_gate[0].weights"]
    layer = ksn.layers.Network(net, u, net.probes[0], trained=trained[:0])
    names = ksn.layers.Network.from_config(layer.get_config()).cell.trained
    assert list(names) == []
    with nengo.Network() as small:
        u = nengo.Node([0.0])
        nengo.Connection(u, nengo.Ensemble(10, 1, label="gate[0]"), label="in: [0]")
        nengo.Probe(small.ensembles[0], label="p")
    layer = ksn.layers.Network(small, trained=["gate[0].bias"])
    copy = ksn.layers.Network.from_config(layer.get_config())
    copy(np.zeros((1, 3, 1)))
    assert [w.shape for w in copy.trainable_weights] == [(10,)]


def test_what_was_built_follows_what_was_trained():
    with nengo.Network(seed=0) as net:
        u = nengo.Node([0.0, 0.0], label="u")
        ens = nengo.Ensemble(15, 2, radius=1.5, neuron_type=nengo.LIFRate())
        nengo.Connection(u, ens, synapse=None)
        probe = nengo.Probe(ens)
    with simulator(net) as sim:
        before = sim.data[ens]
        sim.compile(keras.optimizers.Adam(0.05), loss="mse")
        sim.fit(frames(4, 5, 2), {probe: np.ones((4, 5, 2))}, epochs=3, verbose=0)
        now, written = sim.data[ens], sim.network()
    np.testing.assert_allclose(np.linalg.norm(now.encoders, axis=1), 1, rtol=1e-5)
    scaled = now.gain[:, None] * now.encoders / ens.radius
    np.testing.assert_allclose(now.scaled_encoders, scaled, rtol=1e-5)
    assert np.any(np.abs(now.gain - before.gain) > 1e-3)
    # Nengo's answer, of the same gain and bias.
    with nengo.Network() as net:
        same = nengo.Ensemble(
            15,
            2,
            neuron_type=nengo.LIFRate(),
            gain=now.gain,
            bias=now.bias,
            max_rates=nengo.params.Default,
            intercepts=nengo.params.Default,
        )
    with nengo.Simulator(net, progress_bar=False) as theirs:
        built = theirs.data[same]
    np.testing.assert_allclose(now.intercepts, built.intercepts, rtol=1e-5)
    np.testing.assert_allclose(now.max_rates, built.max_rates, rtol=1e-5)
    with nengo.Simulator(written, progress_bar=False) as theirs:
        copied = theirs.data[written.ensembles[0]]
    np.testing.assert_allclose(copied.scaled_encoders, now.scaled_encoders, rtol=1e-5)


@pytest.mark.parametrize("trainable", [True, False])
def test_weights_of_a_file_are_what_runs(trainable, tmp_path):
    path = tmp_path / "w.weights.h5"
    sim, x = fitted(two())
    with sim:
        sim.keras_model.save_weights(path)
        expected = list(sim.predict(x, verbose=0).values())
        trained = sim.data[sim.network_given.ensembles[0]]
    net = two()
    ksn.configure(net, trainable=trainable)
    item = {node: v[0] for node, v in zip(net.nodes, x.values(), strict=True)}
    with simulator(net) as sim:
        sim.keras_model.load_weights(path)
        sim.run_steps(STEPS, data=item)
        runs = [np.array(sim.data[probe]) for probe in net.probes]
        now, copy = sim.data[net.ensembles[0]], sim.network()
    np.testing.assert_array_equal(now.bias, trained.bias)
    np.testing.assert_array_equal(now.scaled_encoders, trained.scaled_encoders)
    inputs = dict(zip(copy.nodes, item.values(), strict=True))
    theirs = by_nengo(copy, inputs, STEPS)
    for ours, written, wanted in zip(runs, theirs.values(), expected, strict=True):
        np.testing.assert_allclose(ours, wanted[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(written, wanted[0], rtol=1e-4, atol=1e-5)


def test_a_closed_simulator_trains_no_more():
    net = one()
    sim = simulator(net)
    sim.close()
    x = frames(2, STEPS, 1)
    calls = (
        lambda: sim.compile("sgd", "mse"),
        lambda: sim.fit(x, x),
        lambda: sim.evaluate(x, x),
        lambda: sim.predict(x),
        lambda: sim.model.predict(x),
    )
    for call in calls:
        with pytest.raises(SimulatorClosed, match="closed"):
            call()
