"""What is read asks for no more memory than is allowed, and says so before it does."""

import json
import math
import tracemalloc
from contextlib import contextmanager

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo import serialization
from keras_spiking_nengo.engine.stored import network_to_config
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

K = ksn.layers
L = keras.layers
ADD_WEIGHT = keras.Layer.add_weight
UNIFORM = nengo.dists.Uniform(-1, 1)


@keras.saving.register_keras_serializable("tests")
class Attention(L.Layer):
    """Of images or rows to themselves; its layers make their weights in `build`."""

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.attention = L.MultiHeadAttention(heads, 4)

    def build(self, input_shape):
        self.attention.build(input_shape, input_shape)
        super().build(input_shape)

    def call(self, x):
        return self.attention(x, x)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"heads": self.heads}


def small():
    with nengo.Network(seed=1) as net:
        ensemble = nengo.Ensemble(6, 1)
        nengo.Connection(nengo.Node([0.5]), ensemble)
        nengo.Connection(ensemble, ensemble, synapse=0.1)
        nengo.Probe(ensemble)
    return net


CONFIG = json.dumps(K.Network(small()).get_config())


def network(kind, *left_out, **fields):
    """A stored network in which the first object of a kind has other fields."""
    config = json.loads(CONFIG)
    obj = config["net"][kind][0]
    obj |= {name: serialization.to_config(value) for name, value in fields.items()}
    for name in left_out:
        del obj[name]
    return K.Network, config


def of_transform(transform):
    return K.Transform, {"transform": serialization.to_config(transform)}


DRAWN = ("encoders", "gain", "bias", "eval_points")
CHANNELS = nengo.transforms.ChannelShape((99, 99, 10**5))
LARGE = {
    "dense": of_transform(nengo.Dense((200_000, 200_000), UNIFORM)),
    "kernel": of_transform(nengo.Convolution(10**5, CHANNELS, init=UNIFORM)),
    "rows": of_transform(nengo.Sparse((10**10, 1), indices=[(0, 0)], init=[1.0])),
    "neurons": network("ensembles", *DRAWN, n_neurons=2 * 10**9),
    "dimensions": network(
        "ensembles", *DRAWN, dimensions=10**5, neuron_type=nengo.Direct()
    ),
    "points": network("ensembles", "eval_points", n_eval_points=10**9),
    "node": network("nodes", "output", size_in=10**12),
    "noise": network("ensembles", noise=nengo.processes.WhiteSignal(1e7, 1)),
    "signal": network("nodes", output=nengo.processes.WhiteSignal(1e7, 1), size_out=1),
    "taps": network("probes", synapse=nengo.Triangle(1e6)),
    "filter": network(
        "nodes",
        output=nengo.processes.FilteredNoise(nengo.Triangle(1e6)),
        size_out=1,
    ),
    "poles": network(
        "connections", synapse=nengo.LinearFilter(np.ones(9000), np.ones(9000))
    ),
    "a synapse": (K.Synapse, {"synapse": serialization.to_config(nengo.Triangle(1e4))}),
    "delay": (K.Delay, {"delay": 1e9}),
    "order": (K.LMU, {"memory_d": 1, "order": 10**6, "theta": 1e7}),
    "a memory": (K.LMU, {"memory_d": 10**9, "order": 4, "theta": 10}),
    "an ensemble": (K.Ensemble, {"n_neurons": 2 * 10**9, "dimensions": 1}),
    "a vector": (K.Ensemble, {"n_neurons": 2, "dimensions": 10**12}),
}


@contextmanager
def allocating(most):
    """Asserts that NumPy and Python do not ask for more than so many bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", LARGE)
def test_what_asks_for_more_than_a_machine_has_is_refused_before_it_is_drawn(name):
    cls, config = LARGE[name]
    with (
        allocating(50e6),
        pytest.raises((ValueError, TypeError), match=r"asks for .*max_bytes"),
    ):
        cls.from_config(config)


@pytest.mark.parametrize("name", ["dense", "poles"])
def test_objects_are_bounded_as_layers_are(name):
    synapse = nengo.LinearFilter(np.ones(9000), np.ones(9000))
    transform = nengo.Dense((200_000, 200_000), UNIFORM)
    config = serialization.to_config({"dense": transform, "poles": synapse}[name])
    with pytest.raises(ValueError, match="max_bytes=1,073,741,824"):
        serialization.from_config(config)
    with serialization.budget(max_bytes=2**50):
        assert serialization.from_config(config) is not None


def stored(layer):
    return keras.saving.serialize_keras_object(layer)


def read_lmu(hidden):
    return K.LMU.from_config(
        {"memory_d": 1, "order": 4, "theta": 8.0, "hidden_cell": stored(hidden)}
    )


def read_per_step(layer):
    return K.PerStep.from_config({"layer": stored(layer)})


def read_quantized(layer):
    return K.Quantized.from_config({"layer": stored(layer)})


HIDDEN = {
    "a cell": lambda: L.SimpleRNNCell(2**31),
    "in a stack": lambda: L.StackedRNNCells([L.GRUCell(3), L.LSTMCell(2**31)]),
    "a layer": lambda: L.Dense(2**31),
    "weights of a call": lambda: keras.Sequential([L.Dense(3), L.Dense(2**31)]),
}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("built_by", ["call", "file"])
def test_keras_s_layers_within_ours_are_bounded(name, built_by):
    for read in (read_lmu, read_per_step, read_quantized):
        layer = HIDDEN[name]()
        if read is read_per_step and hasattr(layer, "state_size"):
            continue  # a cell is no layer of items
        if read is read_quantized and not isinstance(layer, L.Dense):
            continue
        ours = read(layer)
        with pytest.raises(ValueError, match=r"A weight of .* asks for .*max_bytes"):
            if built_by == "call":
                ours(keras.Input((5, 3)))
            else:
                ours.build_from_config({"input_shape": (None, 5, 3)})


def test_weights_that_a_layer_of_keras_makes_inside_are_bounded():
    layer = read_per_step(Attention(heads=2**28))
    with pytest.raises(ValueError, match=r"A weight of .* asks for .*max_bytes"):
        layer(keras.Input((5, 7, 3)))
    assert read_per_step(Attention(heads=2))(keras.Input((5, 7, 3))).shape == (
        None,
        5,
        7,
        3,
    )
    # What reads has put back Keras's own way of making weights.
    assert keras.Layer.add_weight is ADD_WEIGHT


@pytest.mark.parametrize("seed", [2**64, -(2**70)])
def test_seeds_beyond_a_backend_are_refused(seed):
    config = stored(L.Dense(2, kernel_initializer=keras.initializers.HeNormal(seed)))
    for read in (
        lambda: K.PerStep.from_config({"layer": config})(keras.Input((5, 3))),
        lambda: K.LMU(1, 4, 8.0, kernel_initializer=keras.initializers.HeNormal(seed)),
        lambda: K.RecurrentNeurons(
            recurrent_initializer=keras.initializers.HeNormal(seed)
        ),
    ):
        with pytest.raises((ValueError, TypeError), match="out[- ]of|large|seed"):
            read()


def test_a_node_of_a_keras_layer_is_bounded():
    with nengo.Network():
        node = ksn.keras_node(L.Dense(2), 3)
    config = json.dumps(serialization.to_config(node.output))
    wide = json.loads(config.replace('\\"units\\": 2', f'\\"units\\": {2**31}'))
    assert str(2**31) in json.dumps(wide)
    with pytest.raises(ValueError, match=r"A weight of .* asks for .*max_bytes"):
        serialization.from_config(wide)
    assert serialization.from_config(json.loads(config)).default_size_out == 2


def test_the_message_says_how_to_allow_it():
    config = {"n_neurons": 1000, "dimensions": 1, "seed": 0}
    with (
        serialization.budget(10_000),
        pytest.raises(ValueError, match=r"Ensemble 'ensemble'.*serialization\.budget"),
    ):
        K.Ensemble.from_config(config)
    assert K.Ensemble.from_config(config).cell.n_neurons == 1000


def test_a_file_s_layers_are_bounded_one_by_one(tmp_path):
    transform = nengo.Dense((300, 300), UNIFORM)
    layers = [K.Transform(transform, seed=seed) for seed in range(3)]
    model = keras.Sequential([keras.Input((300,)), *layers])
    model.save(tmp_path / "m.keras")
    with (
        serialization.budget(300 * 300 * 8 - 1),
        pytest.raises(TypeError, match=r"asks for 720,000 bytes.*max_bytes=719,999"),
    ):
        keras.models.load_model(tmp_path / "m.keras")
    with serialization.budget(300 * 300 * 8):
        loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.get_weights()[2], model.get_weights()[2])


def test_numbers_that_stand_in_a_configuration_cost_nothing():
    config = json.loads(CONFIG)
    dense = serialization.to_config(nengo.Dense((100, 100), np.ones((100, 100))))
    with serialization.budget(10_000):
        K.Network.from_config(config)
        K.Transform.from_config({"transform": dense})


def test_what_a_program_makes_itself_is_not_bounded():
    with serialization.budget(1):
        K.Ensemble(20, 1, seed=0)
        K.Transform(nengo.Dense((30, 30), UNIFORM)).build((1, 30))


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, None, True, "1"])
def test_a_budget_is_a_number_of_bytes(max_bytes):
    with (
        pytest.raises(ValueError, match="max_bytes is a number of bytes"),
        serialization.budget(max_bytes),
    ):
        raise AssertionError("entered")


@pytest.mark.parametrize("size", [10**400, math.inf, math.nan])
def test_numbers_of_any_size_are_refused(size):
    shape = serialization.to_config(nengo.processes.WhiteSignal(1.0, 5.0))
    shape["state"]["period"] = size
    cls, config = network("nodes", size_out=1)
    config["net"]["nodes"][0]["output"] = shape
    with pytest.raises(ValueError, match=r"max_bytes|WhiteSignal"):
        cls.from_config(config)


@pytest.mark.parametrize(
    "config", [{}, {"layer": {}}, {"layer": 3}, {"layer": {"config": {}}}]
)
def test_a_configuration_that_lacks_parts_is_refused(config):
    with pytest.raises((ValueError, TypeError)):
        K.PerStep.from_config(config)


@pytest.mark.parametrize("sizes", [(8, 1), (7, 2), (["x"], 1)])
def test_the_sizes_of_an_ensemble_are_those_that_were_built(sizes):
    config = K.Ensemble(7, 1, seed=0).get_config()
    config["n_neurons"], config["dimensions"] = sizes
    with pytest.raises(ValueError, match=r"n_neurons|make them agree"):
        K.Ensemble.from_config(config)


# --- depth ------------------------------------------------------------------------


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [70, 250, 3000])
def test_depth_ends_in_no_recursion(depth):
    neuron_type = {"nengo": "nengo.neurons.LIF", "state": nested(depth)}
    for read in (
        lambda: serialization.from_config(neuron_type),
        lambda: serialization.from_config({"nengo": nested(depth), "state": {}}),
        lambda: serialization.from_config({"array": "", "dtype": nested(depth)}),
        lambda: K.Neurons.from_config({"neuron_type": neuron_type}),
        lambda: K.Neurons.from_config({"dt": nested(depth)}),
        lambda: K.Network.from_config({"net": nested(depth)}),
        lambda: K.Network.from_config({"net": {"networks": nested(depth)}}),
        lambda: K.NeuronsCell.from_config({"dt": nested(depth)}),
        lambda: K.Transform.from_config({"transform": nested(depth)}),
    ):
        with pytest.raises((ValueError, TypeError)):
            read()


def test_a_message_is_short_whatever_was_received():
    for value in (nested(60), list(range(10**5)), "a" * 10**6):
        with pytest.raises(ValueError) as caught:
            K.Neurons.from_config({"dt": value})
        assert len(str(caught.value)) < 1000


def test_a_circle_has_no_end():
    circle = []
    circle += [circle, circle]
    with pytest.raises(ValueError, match="256 levels"):
        K.Neurons.from_config({"dt": circle})


def test_networks_in_networks_are_counted():
    cls, config = network("nodes")
    inner = [{"label": None, "seed": 1, "parent": i} for i in range(2000)]
    config["net"]["networks"] += inner
    with pytest.raises(ValueError, match="64 levels deep at most; received 2000"):
        cls.from_config(config)
    config["net"]["networks"][65:] = []
    assert len(cls.from_config(config).cell.net.all_networks) == 64
    with nengo.Network() as net:
        outer = net
        for _ in range(65):
            with outer:
                outer = nengo.Network()
    with pytest.raises(ValueError, match="64 levels deep at most"):
        network_to_config(net)
