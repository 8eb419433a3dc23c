"""What `fit` and `evaluate` of a simulator take, and what they refuse."""

import keras
import nengo
import numpy as np
import pytest
from nengo.exceptions import ValidationError

import keras_spiking_nengo as ksn
from tests.arrays import frames
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

ITEMS, STEPS, BATCH = 8, 5, 4
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def graded():
    """Two inputs in the order of no alphabet, one of them constant, and two probes."""
    with nengo.Network(seed=3) as net:
        second = nengo.Node(np.zeros(4), label="second")
        first = nengo.Node([0.4], label="first")
        out = nengo.Node(size_in=3)
        nengo.Connection(second, out, transform=np.eye(3, 4), synapse=None)
        nengo.Connection(first, out[0], synapse=None)
        nengo.Probe(out, label="raw")
        nengo.Probe(out, synapse=0.01, label="filtered")
    return net


def examples():
    rng = np.random.RandomState(0)
    x = rng.uniform(-1, 1, (ITEMS, STEPS, 4)).astype("float32")
    weights = rng.uniform(0.5, 2, ITEMS).astype("float32")
    return x, rng.randint(0, 3, (ITEMS, STEPS, 1)), weights


def simulator(net):
    return ksn.Simulator(net, progress_bar=False, seed=7)


def batches(*parts):
    """Elements of a data set of these parts, each an array or a dict of arrays."""
    for start in range(0, ITEMS, BATCH):
        part = slice(start, start + BATCH)
        yield tuple(
            {key: value[part] for key, value in each.items()}
            if isinstance(each, dict)
            else each[part]
            for each in parts
        )


class Batches(keras.utils.PyDataset):
    """Knows how often an epoch ended."""

    def __init__(self, *parts):
        super().__init__()
        self.elements, self.epochs = [*batches(*parts)], 0

    def __len__(self):
        return len(self.elements)

    def __getitem__(self, i):
        return self.elements[i]

    def on_epoch_end(self):
        self.epochs += 1


def dataset(*parts):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(parts).batch(BATCH)


SETS = {"generator": batches, "PyDataset": Batches, "tf.data": dataset}
KEYS = {
    "generator": ("objects", "arrays", "labels"),
    "PyDataset": ("objects",),
    "tf.data": ("labels",),  # TensorFlow sorts keys
}


def keyed(net, by, *values):
    """Data, targets and weights by node and probe; or by label; or as they are."""
    if by == "arrays":
        return values
    objects = net.nodes[0], net.probes[0], net.probes[0]
    keys = [obj if by == "objects" else obj.label for obj in objects]
    return [{key: value} for key, value in zip(keys, values, strict=False)]


@pytest.mark.parametrize("kind, by", [(k, by) for k in SETS for by in KEYS[k]])
def test_a_data_set_is_what_its_arrays_are(kind, by):
    """With a loss and metrics for one of two probes, and weights of the items."""
    net, parts = graded(), examples()
    raw = net.probes[0]
    options = {"return_dict": True, "verbose": 0}
    with simulator(net) as sim:
        sim.compile(
            keras.optimizers.SGD(0.0),
            loss={raw: CLASSES},
            metrics={raw: "accuracy"},
            weighted_metrics={raw: "accuracy"},
        )
        x, y, weights = parts
        expected = sim.evaluate(x, y, sample_weight=weights, batch_size=4, **options)
        elements = keyed(net, by, *parts)
        found = sim.evaluate(SETS[kind](*elements), **options)
        held_out = SETS[kind](*elements)
        history = sim.fit(x, y, validation_data=held_out, verbose=0).history
        reverse = sim.fit(
            SETS[kind](*elements), validation_data=(x, {raw: y}), verbose=0
        ).history
        shown = sim.predict(SETS[kind](*elements), verbose=0)[raw]
        np.testing.assert_allclose(shown, sim.predict(x, verbose=0)[raw], rtol=1e-6)
    assert set(expected) == {"loss", "raw_accuracy", "raw_weighted_accuracy"}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
        np.testing.assert_allclose(history[f"val_{name}"][0], value, rtol=1e-5)
        np.testing.assert_allclose(reverse[name][0], value, rtol=1e-5)
    np.testing.assert_allclose(reverse["val_loss"][0], history["loss"][0], rtol=1e-5)


def test_a_data_set_hears_of_the_ends_of_epochs_as_from_keras():
    net, (x, y, _) = graded(), examples()
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(plain := Batches(x, y), epochs=3, verbose=0)
    with simulator(net) as sim:
        sim.compile("sgd", loss={"raw": CLASSES})
        data_set = Batches({"second": x}, {"raw": y})
        sim.fit(data_set, epochs=3, verbose=0)
    assert data_set.epochs == plain.epochs >= 3


def test_a_data_set_for_a_network_without_inputs():
    with nengo.Network() as net:
        wave = nengo.Node(lambda t: np.cos(300 * t), label="wave")
        probe = nengo.Probe(wave)
    y = np.zeros((ITEMS, STEPS, 1))
    with simulator(net) as sim:
        sim.compile(keras.optimizers.SGD(0.0), "mse")
        expected = sim.evaluate(None, y, n_steps=STEPS, verbose=0)
        elements = batches({}, {probe: y})
        assert sim.evaluate(elements, n_steps=STEPS, verbose=0) == expected > 0


@pytest.mark.parametrize("kind", ["generator", "PyDataset"])
def test_weights_of_classes_in_a_data_set(kind):
    net, (x, y, _) = graded(), examples()
    weights = {0: 0.5, 2: 3.0}
    with simulator(net) as sim:
        sim.compile(keras.optimizers.SGD(0.0), loss={"raw": CLASSES})
        options = {"class_weight": {"raw": weights}, "verbose": 0}
        expected = sim.fit(x, y, batch_size=BATCH, **options).history["loss"]
        found = sim.fit(SETS[kind](x, y), **options).history["loss"]
        plain = sim.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert abs(found[0] - plain) > 0.05


def test_weights_of_classes_beside_tensorflow_s_data_sets_are_refused():
    net, (x, y, _) = graded(), examples()
    with simulator(net) as sim:
        sim.compile("sgd", loss={"raw": CLASSES})
        elements = dataset({"second": x}, {"raw": y})
        with pytest.raises(ValidationError, match="class_weight.*Map a tf.data"):
            sim.fit(elements, class_weight={0: 1.0})


def test_lists_are_in_the_order_of_nodes_and_probes():
    net, (x, _, weights) = graded(), examples()
    second, first, _ = net.nodes
    constants = frames(ITEMS, STEPS, 1)
    raw, filtered = (frames(ITEMS, STEPS, 3, seed=seed) for seed in (1, 2))
    with simulator(net) as sim:
        sim.compile("sgd", loss=["mse", "mae"])
        options = {"return_dict": True, "verbose": 0}
        by_key = {net.probes[0]: raw, net.probes[1]: filtered}
        data = {second: x, first: constants}
        expected = sim.evaluate(data, by_key, **options)
        found = sim.evaluate([x, constants], [raw, filtered], **options)
        assert found == expected
        assert found != sim.evaluate(data, [filtered, raw], **options)
        weighted = sim.evaluate(
            data, by_key, sample_weight=[weights, np.ones(ITEMS)], **options
        )
        by_probe = sim.evaluate(
            data, by_key, sample_weight={net.probes[0]: weights}, **options
        )
        assert weighted == by_probe != expected
        sim.compile("sgd", loss={"filtered": "mae"})
        assert np.isfinite(sim.evaluate(data, [filtered], verbose=0))


def test_constants_are_not_rounded_to_the_type_of_whole_numbers():
    net = graded()
    x = np.ones((2, STEPS, 4), int)
    with simulator(net) as sim:
        shown = sim.predict({"second": x}, verbose=0)[net.probes[0]]
    np.testing.assert_allclose(shown[0, 0], [1.4, 1, 1], rtol=1e-6)


# --- what is refused ----------------------------------------------------------------

X, Y, W = examples()
VALUES = frames(ITEMS, STEPS, 3)
# By what is wrong: a loss, arguments of `fit`, and the message.
WRONG = {
    "four validation data": (
        "mse",
        {"validation_data": (1, 2, 3, 4)},
        "validation_data",
    ),
    "text to validate": ("mse", {"validation_data": "a"}, "validation_data.*'a'"),
    "items to validate": (
        "mse",
        {"validation_data": (X, VALUES[:3])},
        "validation_data.*8 items",
    ),
    "weights of a list": ("mse", {"class_weight": [1, 2]}, "class_weight.*a dict"),
    "weights of text": ("mse", {"class_weight": "a"}, "class_weight.*a dict"),
    "weights that are text": (
        "mse",
        {"class_weight": {0: "a"}},
        "class_weight of 0.*number",
    ),
    "sample_weight of text": ("mse", {"sample_weight": "a"}, "sample_weight.*number"),
    "sample_weight of other items": (
        "mse",
        {"sample_weight": {"raw": np.ones(3)}},
        r"sample_weight.*\(8,\) or \(8, 5\).*\(3,\)",
    ),
    "sample_weight of other steps": (
        "mse",
        {"sample_weight": np.ones((ITEMS, 4))},
        r"sample_weight.*\(8, 4\)",
    ),
    "targets of other steps": (
        "mse",
        {"y": VALUES[:, :1]},
        r"y:.*\(8, 5, 3\).*\(8, 1, 3\)",
    ),
    "targets of another size": ("mae", {"y": VALUES[..., :1]}, r"y:.*\(8, 5, 1\)"),
    "targets without steps": ("huber", {"y": VALUES[:, 0]}, r"y:.*\(8, 3\)"),
    "values where classes are wanted": (CLASSES, {"y": VALUES}, r"y:.*\(8, 5, 1\)"),
    "classes of other steps": (CLASSES, {"y": Y[:, -1:]}, r"y:.*\(8, 1, 1\)"),
    "a list of other arrays": (
        "mse",
        {"y": [VALUES] * 3},
        r"y:.*\['raw', 'filtered'\].*a list of \[an array of shape \(8, 5, 3\),",
    ),
    "targets beside a data set": (
        "mse",
        {"x": Batches(X, VALUES)},
        r"y:.*an array of shape \(8, 5, 3\)",
    ),
    "four parts": ("mse", {"x": Batches(X, X, X, X), "y": None}, "x:.*(x, y)"),
    "other items in a data set": (
        "mse",
        {"x": Batches(X, VALUES[:6]), "y": None},
        "y:.*4 items",
    ),
    "data sets of another kind": ("mse", {"x": {1, 2}, "y": None}, "x:.*a generator"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_examples_are_refused(name):
    loss, options, message = WRONG[name]
    with simulator(graded()) as sim:
        sim.compile("sgd", loss={"raw": loss})
        with pytest.raises(ValueError, match=f"(?s){message}") as caught:
            sim.fit(**{"x": X, "y": VALUES, "verbose": 0, **options})
    assert len(str(caught.value)) < 500


WRONG_GRADES = {
    "optimizer": {"optimizer": 3},
    "loss": {"loss": {"raw": 3}},
    "metrics": {"metrics": {"raw": [3]}},
    "weighted_metrics": {"weighted_metrics": "no such metric"},
    "loss_weights": {"loss_weights": ["a", 1]},
    "inputs": {"inputs": [3]},
}


@pytest.mark.parametrize("name", WRONG_GRADES)
def test_wrong_ways_of_grading_are_refused_by_name(name):
    refused = pytest.raises((TypeError, ValueError), match=rf"\b{name}\b")
    with simulator(graded()) as sim, refused as caught:
        sim.compile(**{"optimizer": "sgd", "loss": "mse", **WRONG_GRADES[name]})
    assert "data is keyed" not in str(caught.value)
