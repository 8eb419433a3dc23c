"""An ensemble as a layer is Nengo's ensemble of the same seed."""

import json

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from tests.arrays import assert_near, numpy
from tests.marks import TAKES_TURNS, quick
from tests.simulated import by_nengo, row_by_row

pytestmark = TAKES_TURNS

STEPS = 120
SEED = 5
DOUBLE = {"dtype": "float64", "return_sequences": True, "seed": SEED}


def frames(size, steps=STEPS, batch=2, seed=0):
    rng = np.random.RandomState(seed)
    slow = np.cumsum(rng.randn(batch, steps, size), axis=1) / np.sqrt(steps)
    return np.clip(slow, -1, 1)


def probed(make, *given):
    """What `make`, called with a node for each array, probes; by item of a batch."""
    found = []
    for item in zip(*given, strict=True):
        with nengo.Network(seed=1) as net:
            probe = make(*(nengo.Node(row_by_row(values)) for values in item))
        found.append(by_nengo(net, steps=len(item[0]), seed=None)[probe])
    return np.stack(found)


def assert_equal(actual, expected, tolerance=1e-9):
    assert_near(numpy(actual), expected, tolerance)
    assert np.any(expected)


def square(x):
    return x**2


def product(x):
    return x[0] * x[1]


KINDS = {
    "default": {},
    "rates": {"neuron_type": nengo.LIFRate()},
    "radius": {"radius": 2.5},
    "drawn": {
        "encoders": nengo.dists.Choice([[1, 0], [0, -1]]),
        "intercepts": nengo.dists.Uniform(-0.5, 0.5),
        "max_rates": nengo.dists.Uniform(100, 120),
        "neuron_type": nengo.AdaptiveLIF(),
    },
    "given": {
        "gain": np.linspace(1, 2, 40),
        "bias": np.linspace(0, 1, 40),
        "encoders": np.random.RandomState(0).randn(40, 2),
        "normalize_encoders": False,
    },
    "points": {"eval_points": np.random.RandomState(0).uniform(-1, 1, (80, 2))},
    "fewer points": {"n_eval_points": 30},
    "solver": {"solver": nengo.solvers.LstsqL2(reg=0.3)},
    "direct": {"neuron_type": nengo.Direct()},
    "noise": {"noise": nengo.processes.WhiteNoise(seed=3)},
}


@pytest.mark.parametrize("name", quick(KINDS, ["drawn"]))
def test_decodes_as_nengo(name, float64):
    options, x = KINDS[name], frames(2)
    layer = ksn.layers.Ensemble(40, 2, function=product, **options, **DOUBLE)
    own = {k: v for k, v in options.items() if k != "solver"}
    solved = {k: v for k, v in options.items() if k == "solver"}

    def make(node):
        ens = nengo.Ensemble(40, 2, seed=SEED, **own)
        out = nengo.Node(size_in=1)
        nengo.Connection(node, ens, synapse=None)
        nengo.Connection(ens, out, function=product, synapse=None, **solved)
        return nengo.Probe(out)

    assert_equal(layer(x), probed(make, x))


def test_identity_without_a_function(float64):
    x = frames(2)

    def make(node):
        ens = nengo.Ensemble(40, 2, seed=SEED)
        nengo.Connection(node, ens, synapse=None)
        return nengo.Probe(ens)

    assert_equal(ksn.layers.Ensemble(40, 2, **DOUBLE)(x), probed(make, x))


def test_activity_of_the_neurons(float64):
    x = frames(2)

    def make(node):
        ens = nengo.Ensemble(40, 2, seed=SEED)
        nengo.Connection(node, ens, synapse=None)
        return nengo.Probe(ens.neurons)

    layer = ksn.layers.Ensemble(40, 2, output="neurons", **DOUBLE)
    assert_equal(layer(x), probed(make, x), 0)


def test_several_functions_by_name(float64):
    x = frames(2)
    points = np.random.RandomState(1).uniform(-1, 1, (60, 2))
    functions = {
        "square": square,
        "same": None,
        "table": np.prod(points, axis=1, keepdims=True),
    }
    layer = ksn.layers.Ensemble(40, 2, function=functions, eval_points=points, **DOUBLE)
    y = layer(x)
    assert {name: value.shape[2] for name, value in y.items()} == {
        "square": 2,
        "same": 2,
        "table": 1,
    }
    for name, function in {"square": square, "same": None, "table": product}.items():
        single = ksn.layers.Ensemble(
            40, 2, function=function, eval_points=points, **DOUBLE
        )
        expected = ops.convert_to_numpy(single(x))
        assert_equal(y[name], expected)


DYNAMICS = {
    "integrator": {"recurrent": True, "synapse": 0.1, "transform": 0.1},
    "oscillator": {
        "recurrent": True,
        "recurrent_transform": [[1, 0.5], [-0.5, 1]],
        "transform": 0.5,
    },
    "attractor": {"recurrent": lambda x: np.sign(x) * np.abs(x) ** 0.5},
    "alpha": {"recurrent": True, "recurrent_synapse": nengo.Alpha(0.05)},
    "weights": {
        "recurrent": True,
        "recurrent_solver": nengo.solvers.LstsqL2(weights=True),
    },
}


@pytest.mark.parametrize("name", quick(DYNAMICS, ["integrator"]))
def test_recurrence_as_nengo(name, float64):
    options, x = DYNAMICS[name], frames(2)
    layer = ksn.layers.Ensemble(40, 2, **options, **DOUBLE)
    recurrent = options["recurrent"]
    solver = options.get("recurrent_solver", nengo.solvers.LstsqL2())

    def make(node):
        ens = nengo.Ensemble(40, 2, seed=SEED)
        nengo.Connection(
            node,
            ens,
            synapse=options.get("synapse"),
            transform=options.get("transform", 1),
        )
        nengo.Connection(
            ens,
            ens,
            function=None if recurrent is True else recurrent,
            synapse=options.get("recurrent_synapse", 0.1),
            transform=options.get("recurrent_transform", 1),
            solver=solver,
        )
        return nengo.Probe(ens)

    assert_equal(layer(x), probed(make, x), 1e-7)


# --- learning -------------------------------------------------------------------

WEIGHTS = nengo.solvers.LstsqL2(weights=True)


@pytest.mark.parametrize(
    ("rule", "teacher"),
    [
        (nengo.PES(1e-3), "target"),
        (nengo.RLS(1e-3, pre_synapse=None), "error"),
        pytest.param(nengo.PES(1e-3), "error", marks=pytest.mark.slow),
    ],
)
def test_taught_as_nengo(rule, teacher, float64):
    x, taught = frames(2), frames(1, seed=1)
    layer = ksn.layers.Ensemble(
        40, 2, function=product, learning_rule=rule, teacher=teacher, **DOUBLE
    )

    def make(node, teaching):
        ens = nengo.Ensemble(40, 2, seed=SEED)
        out = nengo.Node(size_in=1)
        nengo.Connection(node, ens, synapse=None)
        learned = nengo.Connection(
            ens, out, function=product, synapse=None, learning_rule_type=rule
        )
        if teacher == "error":
            nengo.Connection(teaching, learned.learning_rule, synapse=None)
        else:
            error = nengo.Node(size_in=1)
            nengo.Connection(out, error, synapse=None)
            nengo.Connection(teaching, error, transform=-1, synapse=None)
            nengo.Connection(error, learned.learning_rule, synapse=None)
        return nengo.Probe(out)

    y = layer({"input": x, teacher: taught})
    assert_equal(y, probed(make, x, taught), 1e-7)
    # Without the rule it would have been something else.
    plain = ksn.layers.Ensemble(40, 2, function=product, **DOUBLE)(x)
    assert np.max(np.abs(ops.convert_to_numpy(y - plain))) > 0.01


def test_a_target_is_learned_in_predict():
    """From a zero function to the square of its input."""
    x = frames(1, steps=1500, batch=1)
    ensemble = ksn.layers.Ensemble(
        100,
        1,
        function=lambda x: 0 * x,
        learning_rule=nengo.PES(2e-3),
        teacher="target",
        seed=0,
        return_sequences=True,
    )
    inputs = {name: keras.Input((None, 1), name=name) for name in ("input", "target")}
    smooth = ksn.layers.Synapse(0.02, return_sequences=True)
    model = keras.Model(inputs, smooth(ensemble(inputs)))
    y = model.predict({"input": x, "target": x**2}, verbose=0)
    error = np.abs(y - x**2)[0, :, 0]
    assert np.mean(error[-500:]) < 0.3 * np.mean(x[0, -500:] ** 2)


@pytest.mark.parametrize(
    ("rule", "solver"),
    [
        (nengo.Voja(learning_rate=1e-2), None),
        (nengo.BCM(1e-9), WEIGHTS),
        pytest.param(nengo.Oja(1e-6), WEIGHTS, marks=pytest.mark.slow),
    ],
)
def test_untaught_as_nengo(rule, solver, float64):
    x = frames(2)
    recurrence = {} if solver is None else {"recurrent": True}
    layer = ksn.layers.Ensemble(
        40, 2, learning_rule=rule, recurrent_solver=solver, **recurrence, **DOUBLE
    )

    def make(node):
        ens = nengo.Ensemble(40, 2, seed=SEED)
        own = {"learning_rule_type": rule} if solver is None else {}
        nengo.Connection(node, ens, synapse=None, **own)
        if solver is not None:
            nengo.Connection(
                ens, ens, synapse=0.1, solver=solver, learning_rule_type=rule
            )
        return nengo.Probe(ens)

    y = layer(x)
    assert_equal(y, probed(make, x), 1e-6)
    plain = ksn.layers.Ensemble(40, 2, recurrent_solver=solver, **recurrence, **DOUBLE)(
        x
    )
    assert np.max(np.abs(ops.convert_to_numpy(y - plain))) > 1e-6


def test_some_of_several_functions_learn():
    layer = ksn.layers.Ensemble(
        20,
        1,
        function={"a": None, "b": None},
        learning_rule={"b": nengo.PES()},
        return_sequences=True,
        seed=0,
    )
    given = {"input": frames(1), "error_b": np.ones((2, STEPS, 1))}
    y = {name: ops.convert_to_numpy(v) for name, v in layer(given).items()}
    assert abs(y["b"] - y["a"])[:, :3].max() < 0.02 < abs(y["b"] - y["a"]).max()


# --- as a layer -----------------------------------------------------------------


def test_a_communication_channel_of_layers(float64):
    x = frames(1)
    layers = [
        ksn.layers.Ensemble(40, 1, **DOUBLE),
        ksn.layers.Synapse(0.01, dtype="float64", return_sequences=True),
        ksn.layers.Ensemble(30, 1, **DOUBLE),
    ]
    model = keras.Sequential([keras.Input((None, 1), dtype="float64"), *layers])

    def make(node):
        first, second = (nengo.Ensemble(n, 1, seed=SEED) for n in (40, 30))
        nengo.Connection(node, first, synapse=None)
        nengo.Connection(first, second, synapse=0.01)
        return nengo.Probe(second)

    assert_equal(model(x), probed(make, x), 1e-7)


def test_in_a_plain_rnn(float64):
    x = frames(2)
    options = {"recurrent": True, "seed": SEED, "dtype": "float64"}
    cell = ksn.layers.EnsembleCell(30, 2, **options)
    y = keras.layers.RNN(cell, return_sequences=True, dtype="float64")(x)
    layer = ksn.layers.Ensemble(30, 2, return_sequences=True, **options)
    assert_equal(y, ops.convert_to_numpy(layer(x)))


def test_weights_are_named_and_trained():
    layer = ksn.layers.Ensemble(
        30, 2, function={"square": square, "same": None}, recurrent=True, seed=0
    )
    layer.build((None, None, 2))
    names = {w.name.replace(":", ".") for w in layer.trainable_weights}
    assert names == {
        "ensemble.encoders",
        "ensemble.bias",
        "recurrent.weights",
        "square.weights",
        "same.weights",
    }
    layer = ksn.layers.Ensemble(30, 2, trained=["decoders.weights"], seed=0)
    layer.build((None, None, 2))
    (weight,) = layer.trainable_weights
    assert weight.shape == (2, 30)


def test_fit_learns_another_function():
    x = frames(1, steps=60, batch=16)
    model = keras.Sequential(
        [
            keras.Input((None, 1)),
            ksn.layers.Ensemble(40, 1, seed=0, return_sequences=True),
            ksn.layers.Synapse(0.02, return_sequences=True),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-4), "mse")
    before = model.evaluate(x, 0.5 - x, verbose=0)
    model.fit(x, 0.5 - x, epochs=30, verbose=0)
    assert model.evaluate(x, 0.5 - x, verbose=0) < 0.5 * before


def test_saved_without_its_functions(tmp_path):
    layer = ksn.layers.Ensemble(
        30,
        2,
        function={"product": product},
        recurrent=square,
        learning_rule=[nengo.PES(), nengo.Voja()],
        recurrent_synapse=nengo.Alpha(0.02),
        encoders=np.eye(2)[np.arange(30) % 2],
        seed=3,
        return_sequences=True,
    )
    sizes = {"input": 2, "error_product": 1}
    inputs = {k: keras.Input((None, size), name=k) for k, size in sizes.items()}
    model = keras.Model(inputs, layer(inputs))
    x = {"input": frames(2), "error_product": frames(1)}
    expected = model.predict(x, verbose=0)
    config = json.loads(json.dumps(layer.get_config()))
    again = ksn.layers.Ensemble.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0)["product"], expected["product"], atol=1e-6
    )


def test_arrays_are_taken_as_they_are_when_the_layer_is_made():
    gain = np.ones(5)
    layer = ksn.layers.Ensemble(5, 1, gain=gain, bias=[1.0] * 5, seed=0)
    config = layer.get_config()
    gain[:] = 7
    assert layer.get_config() == config
    np.testing.assert_array_equal(layer.cell.ensemble.gain, np.ones(5))


def test_without_a_seed_keras_decides():
    drawn = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        layer = ksn.layers.Ensemble(10, 1)
        layer.build((None, None, 1))
        drawn.append(np.concatenate([np.ravel(w) for w in layer.get_weights()]))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


REFUSED = {
    "output": ({"output": "rates"}, "output is one of"),
    "teacher": ({"teacher": "me"}, "teacher is one of"),
    "both": ({"output": "neurons", "function": square}, "Leave one of them out"),
    "nothing": ({"function": {}}, "no output"),
    "function": ({"function": 3}, "function is a function of a vector"),
    "recurrent": ({"recurrent": "yes"}, "recurrent is a function of a vector"),
    "points": ({"function": np.ones((4, 1))}, "give eval_points"),
    "rule": ({"learning_rule": "pes"}, "learning_rule is a nengo learning rule"),
    "named": ({"learning_rule": {"x": nengo.PES()}}, r"learning_rule names \['x'\]"),
    "weights": ({"learning_rule": nengo.BCM()}, "no recurrent connection"),
    "dt": ({"dt": 0}, "dt is the length of a step"),
    "seed": ({"seed": -1}, "seed is an integer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_impossible_arguments_are_refused(name):
    options, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        ksn.layers.Ensemble(10, 2, **options)
