"""`metrics=["accuracy"]` beside losses of ours: what fires most, by hand."""

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

LOSSES = {
    "rate": ksn.losses.SpikeRateCrossEntropy(),
    "count": ksn.losses.SpikeCountCrossEntropy(0.001),
    "window": ksn.losses.SpikeCountCrossEntropy(0.001, window=(0.005, 0.015)),
    "temporal": ksn.losses.TemporalCrossEntropy(),
}


def data(n_items=16, seed=0):
    rng = np.random.RandomState(seed)
    return rng.uniform(size=(n_items, 20, 6)), rng.randint(0, 4, n_items)


def branch(x, name):
    dense = keras.layers.Dense(4, bias_initializer="ones", name=f"{name}_dense")
    neurons = ksn.layers.Neurons("lif", return_sequences=True, seed=0, name=name)
    return neurons(dense(x))


def right(outputs, y, steps=slice(None)):
    return np.mean(outputs[:, steps].sum(axis=1).argmax(axis=-1) == y)


@pytest.mark.parametrize("labels", ["integers", "column", "one-hot"])
@pytest.mark.parametrize("kind", LOSSES)
def test_the_word_is_found(kind, labels):
    x, y = data()
    inputs = keras.Input((20, 6))
    model = keras.Model(inputs, branch(inputs, "a"))
    model.compile("adam", LOSSES[kind], metrics=["accuracy"], weighted_metrics=["acc"])
    forms = {"integers": y, "column": y[:, None], "one-hot": np.eye(4)[y]}
    found = model.evaluate(x, forms[labels], verbose=0, return_dict=True)
    steps = slice(5, 15) if kind == "window" else slice(None)
    expected = right(model.predict(x, verbose=0), y, steps)
    assert found["accuracy"] == found["acc"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        ([LOSSES["rate"], "mse"], {"a": "accuracy", "b": "mae"}),
        ([LOSSES["rate"], "mse"], [["accuracy"], ["mae"]]),
        ({"a": LOSSES["rate"], "b": "mse"}, {"a": ["accuracy"]}),
        ({"a": LOSSES["rate"], "b": "mse"}, ["accuracy", "mae"]),
        (LOSSES["rate"], [["accuracy"], []]),
    ],
)
def test_of_several_outputs_each_has_its_own(loss, metrics):
    x, y = data()
    inputs = keras.Input((20, 6))
    model = keras.Model(inputs, [branch(inputs, "a"), branch(inputs, "b")])
    model.compile("adam", loss, metrics=metrics)
    other = y if isinstance(loss, keras.losses.Loss) else np.zeros((16, 20, 4))
    found = model.evaluate(x, [y, other], verbose=0, return_dict=True)
    assert found["a_accuracy"] == pytest.approx(right(model.predict(x)[0], y))


def test_a_loaded_model_has_it(tmp_path):
    x, y = data()
    model = keras.Sequential([keras.Input((20, 6)), keras.layers.Dense(4)])
    model.compile("adam", LOSSES["window"], metrics=["accuracy"])
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == expected


def test_a_simulator_finds_it_by_probe():
    x, y = data()
    with nengo.Network(seed=0) as net:
        node, classes = nengo.Node(np.zeros(6)), nengo.Node(size_in=4)
        ens = nengo.Ensemble(50, 6)
        nengo.Connection(node, ens)
        nengo.Connection(ens[:4], classes)
        out = nengo.Probe(classes)
    loss = {out: LOSSES["temporal"]}
    with ksn.Simulator(net, minibatch_size=4, progress_bar=False) as sim:
        sim.compile("adam", loss, metrics={out: ["accuracy"]})
        found = sim.evaluate({node: x}, {out: y}, verbose=0, return_dict=True)
        expected = right(sim.predict({node: x})[out], y)
        assert found["accuracy"] == pytest.approx(expected)


def test_other_models_are_compiled_as_ever():
    x = np.eye(3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Activation("linear")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert model.evaluate(x, np.arange(3), verbose=0)[1] == 1
    with pytest.raises(TypeError, match="unexpected keyword argument 'optimiser'"):
        model.compile(optimiser="adam")


def test_a_subclass_compiles_in_its_own_way():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(4)

        def call(self, x):
            return self.dense(x)

        def compile(self, *args, **kwargs):
            super().compile("sgd", *args, **kwargs)

    (x, y), model = data(), Own()
    model.compile(LOSSES["rate"], metrics=["accuracy"])
    found = model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    assert found == pytest.approx(right(model.predict(x, verbose=0), y))
