"""Counted by hand, and by the function."""

import json
import math

import keras
import nengo
import numpy as np
import pytest
from keras import layers, ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.analysis import DEVICES, Device, energy
from keras_spiking_nengo.analysis.cell_costs import CELL_COSTS
from keras_spiking_nengo.analysis.layer_costs import LAYER_COSTS, cost_of
from keras_spiking_nengo.models.time import has_row, moves
from tests.marks import SLOW_ON_JAX, TAKES_TURNS, slow_on_jax

pytestmark = TAKES_TURNS

# One spike per step for a current of 1000, two for 2000, and so on.
LINEAR = nengo.SpikingRectifiedLinear(amplitude=0.5)
# Of one spike, the height is 1 over this.
LINEAR_DT = 0.001 / 0.5


def model_of(*stack, shape):
    return keras.Sequential([keras.Input(shape), *stack])


def dense(kernel, **arguments):
    """A Dense layer with this kernel."""
    kernel = np.asarray(kernel, "float32")

    def initial(shape, dtype):
        return ops.convert_to_tensor(kernel, dtype=dtype)

    return layers.Dense(kernel.shape[1], kernel_initializer=initial, **arguments)


def neurons(kind=LINEAR, **arguments):
    return ksn.layers.Neurons(kind, seed=0, return_sequences=True, **arguments)


def by_name(report):
    return {layer.name: layer for layer in report.layers}


# --- three networks counted by hand -------------------------------------------


@pytest.mark.torch
def test_an_example_of_neurobench():
    weights = [[1.3, 0, -3.2], [0, 1.2, -5.1], [-1.1, 2.7, 0]]
    model = model_of(dense(np.transpose(weights)), shape=(3,))
    total = energy(model, np.array([[0, 1.3, -1.0]])).total
    # Of the second column 2 weights are not 0, and of the third 2.
    assert (total.dense, total.macs, total.acs) == (9, 4, 0)
    assert total.connection_sparsity == 3 / 9


@pytest.mark.torch
def test_a_rate_network():
    first = [[1, -1, 0], [1, -1, 2], [0, -1, 0], [1, 0, 1]]
    second = [[1, 1], [1, 1], [0, 1]]
    model = model_of(
        dense(first, activation="relu", name="first"),
        dense(second, name="second"),
        shape=(4,),
    )
    x = np.array([[0.5, 0, 0, 0], [0, 0.25, 1, 0]])
    report = energy(model, x, ["45nm", "cpu"])
    layer = by_name(report)
    # 4 * 3 and 3 * 2 connections.
    assert (layer["first"].dense, layer["second"].dense) == (12, 6)
    # Item 1: input 1 has 2 weights that are not 0. Item 2: inputs 2 and 3 have 3 + 1.
    assert layer["first"].macs == (2 + 4) / 2
    # relu gives [0.5, 0, 0], and [0.25, 0, 0.5] with weights 2 + 1: the mean is 2.5.
    # The one value of item 1 and the two of item 2 are of more than one magnitude.
    assert (layer["second"].macs, layer["second"].acs) == ((2 + 3) / 2, 0)
    assert layer["first"].activation_sparsity == 3 / 6
    assert layer["second"].activation_sparsity is None
    assert (layer["first"].connection_sparsity, layer["first"].weights) == (4 / 12, 12)
    total = report.total
    assert (total.dense, total.macs, total.acs, total.updates) == (18, 5.5, 0, 0)
    assert (total.weights, total.zero_weights) == (18, 5)
    # 12 + 3 + 6 + 2 float32 weights, and no state.
    assert (total.weight_bytes, total.state_bytes) == (23 * 4, 0)
    assert report.joules["45nm"] == pytest.approx(5.5 * 4.6e-12)
    assert report.joules["cpu"] == pytest.approx(18 * 8.6e-9)


@pytest.mark.torch
def test_a_spiking_network_over_time():
    model = model_of(
        dense([[1000, 2000, 0], [0, 0, 1000]], use_bias=False, name="currents"),
        neurons(name="spikes"),
        ksn.layers.Synapse(None, return_sequences=True, name="none"),
        dense([[1, 1], [1, 0], [1, 1]], name="read"),
        ksn.layers.Synapse(nengo.Alpha(0.01), name="filter"),
        shape=(None, 2),
    )
    x = np.zeros((2, 5, 2))
    x[0, :, 0] = 1  # the first two neurons send 1 and 2 spikes in each of 5 steps
    x[1, :2, 1] = 2  # the third sends 2 spikes in each of 2 steps
    report = energy(model, x, ["loihi", "45nm", "gpu"])
    layer = by_name(report)
    # Per step 2 * 3 connections. Effective: 2 weights that are not 0 in 5 steps, and 1
    # in 2. The values are not of one magnitude, so they are no spikes.
    assert (layer["currents"].dense, layer["currents"].macs) == (30, (10 + 2) / 2)
    assert layer["spikes"].spikes == (5 * (1 + 2) + 2 * 2) / 2
    assert layer["spikes"].updates == 5 * 3
    # Of 2 * 15 values 10 and 2 are not 0.
    assert layer["spikes"].activation_sparsity == (30 - 12) / 30
    # Item 1: 1 spike over 2 weights and 2 over 1, 5 times; item 2: 2 over 2, twice.
    assert layer["read"].acs == (5 * (2 + 2) + 2 * 4) / 2
    assert (layer["read"].macs, layer["read"].dense) == (0, 5 * 6)
    assert layer["none"].updates == 0
    # A filter of order 2 on 2 values.
    assert layer["filter"].updates == 5 * 2 * 2
    # A membrane per neuron, and two numbers per filtered value.
    assert (layer["spikes"].state_bytes, layer["filter"].state_bytes) == (12, 16)
    total = report.total
    assert (total.macs, total.acs, total.updates) == (6, 14, 35)
    assert report.joules["loihi"] == pytest.approx(20 * 23.6e-12 + 35 * 81e-12)
    expected = 6 * 4.6e-12 + 14 * 0.9e-12 + 35 * 4.6e-12
    assert report.joules["45nm"] == pytest.approx(expected)
    assert report.joules["gpu"] == pytest.approx((60 + 35) * 0.3e-9)


@pytest.mark.torch
def test_a_convolution_with_pooling():
    model = model_of(
        layers.Conv2D(2, 3, padding="same", kernel_initializer="ones", name="conv"),
        layers.ReLU(name="relu"),
        layers.MaxPooling2D(2, name="most"),
        layers.AveragePooling2D(2, 1, "same", name="mean"),
        layers.GlobalAveragePooling2D(name="all"),
        shape=(4, 4, 1),
    )
    x = np.zeros((1, 4, 4, 1))
    x[0, 0, 0] = 3  # in a corner 4 windows see it
    x[0, 2, 1] = 1  # and inside 9
    layer = by_name(energy(model, x))
    # Along an axis of 4 windows see 2 + 3 + 3 + 2 places: 10 * 10, and 2 filters.
    assert layer["conv"].dense == 100 * 2
    assert layer["conv"].macs == (4 + 9) * 2
    # Convolved, they cover 12 of 16 places: (0..1, 0..1) and (1..3, 0..2), less (1, 0)
    # and (1, 1), which are in both.
    assert layer["relu"].activation_sparsity == (16 - 11) / 16
    # Of each window of 2 * 2 all values are compared.
    assert (layer["most"].dense, layer["most"].acs) == (16 * 2, 11 * 2)
    # Windows from each of 2 * 2 places, cut at the border: 4 + 2 + 2 + 1.
    # Pooled, one place of four is 0 in no channel: all are seen.
    assert (layer["mean"].dense, layer["mean"].acs) == (9 * 2, 9 * 2)
    assert (layer["all"].dense, layer["all"].acs) == (4 * 2, 4 * 2)


# --- each kind of connection --------------------------------------------------

CONVOLUTION = nengo.Convolution(2, (5, 4, 2), (3, 2), (2, 1), "same")
TRANSPOSED = nengo.ConvolutionTranspose(1, (3, 3, 2), kernel_size=(2, 2))
_UNIFORM = nengo.dists.Uniform(0.5, 1)
CONNECTIONS = {
    "Dense": (lambda: layers.Dense(3), (2, 4)),
    "EinsumDense": (lambda: layers.EinsumDense("abc,bcd->ad", (3,)), (2, 4)),
    "Conv1D(causal, dilated)": (
        lambda: layers.Conv1D(2, 3, padding="causal", dilation_rate=2),
        (7, 2),
    ),
    "Conv2D(groups)": (
        lambda: layers.Conv2D(4, (2, 3), (1, 2), "same", groups=2),
        (4, 5, 2),
    ),
    "Conv3D": (lambda: layers.Conv3D(2, 2, padding="same"), (2, 3, 2, 1)),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(3, 1, "same"), (5, 2)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(2, 2), (4, 4, 2)),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(2, 3, 2), (4, 2)),
    "Conv2DTranspose": (
        lambda: layers.Conv2DTranspose(2, 3, 2, padding="same"),
        (3, 2, 1),
    ),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(1, 2), (2, 2, 2, 1)),
    "Transform(Dense)": (
        lambda: ksn.layers.Transform(nengo.Dense((3, 5), init=_UNIFORM), use_bias=True),
        (5,),
    ),
    "Transform(Sparse)": (
        lambda: ksn.layers.Transform(
            nengo.Sparse((3, 5), indices=[(0, 1), (2, 1), (1, 4)])
        ),
        (5,),
    ),
    "Transform(Convolution)": (lambda: ksn.layers.Transform(CONVOLUTION), (5, 4, 2)),
    "Transform(ConvolutionTranspose)": (
        lambda: ksn.layers.Transform(TRANSPOSED),
        (18,),
    ),
}


def thinned(layer, seed):
    """Some weights put to 0, the others to numbers whose sums are none."""
    rng = np.random.RandomState(seed)
    for weight in layer.weights:
        if weight.name != "bias":
            value = rng.uniform(0.5, 1, size=weight.shape)
            weight.assign(value * (rng.uniform(size=weight.shape) < 0.7))


@pytest.mark.torch
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=SLOW_ON_JAX * (i > 2)) for i, n in enumerate(CONNECTIONS)],
)
def test_operations_are_the_pairs_of_inputs_and_outputs_that_are_connected(name):
    make, shape = CONNECTIONS[name]
    model = model_of(make(), shape=shape)
    size = math.prod(shape)
    rng = np.random.RandomState(0)
    # Each input alone tells how many outputs it reaches.
    alone = np.eye(size, dtype="float32").reshape(size, *shape)
    for weight in model.layers[0].weights:
        weight.assign(np.ones(weight.shape) * (weight.name != "bias"))
    all_fans = np.sum(model.predict(alone, verbose=0) != 0, axis=None)
    thinned(model.layers[0], 1)
    fans = ops.convert_to_numpy(model(alone)).reshape(size, -1)
    fans = np.sum(fans != 0, axis=1)
    x = rng.uniform(0.5, 1, size=(3, size)) * (rng.uniform(size=(3, size)) < 0.5)
    total = energy(model, x.reshape(3, *shape)).total
    assert total.dense == all_fans
    assert total.macs == pytest.approx(np.sum((x != 0) @ fans) / 3)
    assert total.acs == 0 and 0 < total.macs < total.dense
    spikes = 1000.0 * (x != 0)
    total = energy(model, spikes.reshape(3, *shape)).total
    assert total.acs == pytest.approx(np.sum((x != 0) @ fans) / 3)
    assert total.macs == 0


@pytest.mark.torch
@pytest.mark.parametrize("kind", [layers.SeparableConv1D, layers.SeparableConv2D])
def test_a_separable_convolution_is_two(kind):
    rank = 1 if kind is layers.SeparableConv1D else 2
    layer = kind(4, 3, depth_multiplier=2)
    model = model_of(layer, shape=(*[5] * rank, 2))
    x = np.ones((1, *[5] * rank, 2))
    total = energy(model, x).total
    # 3 outputs per axis with 3 inputs each, 2 channels, and 2 kernels for each; then
    # 4 channels to 4 filters. What is between is real, the input is not.
    places = 3**rank
    assert total.dense == places * (3**rank * 2 * 2 + 4 * 4)
    assert (total.acs, total.macs) == (places * 3**rank * 4, places * 4 * 4)


@pytest.mark.torch
def test_an_adapter_of_low_rank_is_part_of_its_kernel():
    model = model_of(dense([[1.0, 0.0], [0.0, 0.0]]), shape=(2,))
    x = np.array([[1.0, 2.0]])
    model.layers[0].enable_lora(1)
    assert energy(model, x).total.macs == 1
    model.layers[0].lora_kernel_b.assign([[0.0, 1.0]])
    assert energy(model, x).total.macs == 3  # the whole second column


@pytest.mark.torch
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_of_a_few_bits_are_counted_as_they_are_rounded(per_channel):
    inner = dense([[1.0, 0.1], [0.0, 0.5], [0.2, -0.2]])
    layer = ksn.layers.Quantized(inner, 3, per_channel, name="few")
    report = energy(model_of(layer, shape=(3,)), np.array([[1.0, 2.0, 0.0]]))
    # Rounded by channel to [[3, 1], [0, 3], [1, -1]], else [[3, 0], [0, 2], [1, -1]].
    few = by_name(report)["few"]
    assert (few.macs, few.zero_weights) == ((3, 1) if per_channel else (2, 2))
    biases = 4 * sum(w.shape[0] for w in inner.weights[1:])
    assert few.weight_bytes == 3 + 4 * (2 if per_channel else 1) + biases


# --- recurrence ---------------------------------------------------------------


@pytest.mark.torch
def test_a_simple_recurrent_layer():
    layer = layers.SimpleRNN(
        2,
        activation="relu",
        kernel_initializer="ones",
        recurrent_initializer="ones",
        name="rnn",
    )
    model = model_of(layer, shape=(4, 3))
    x = np.zeros((1, 4, 3))
    x[0, 1, :2] = [0.5, 2]
    report = energy(model, x)
    # Per step 3 * 2 and 2 * 2 connections.
    assert report.total.dense == 4 * (6 + 4)
    # Input: 2 values over 2 weights in step 2. Feedback: 2 units in steps 3 and 4.
    assert report.total.macs == 2 * 2 + 2 * 4 or report.total.acs == 2 * 4
    # Both units are active from step 2 on.
    assert report.total.activation_sparsity == 2 / 8
    assert report.total.state_bytes == 2 * 4


@slow_on_jax
@pytest.mark.torch
@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_gated_layers(kind, both_ways):
    gates = 4 if kind is layers.LSTM else 3
    units, size, steps = 5, 3, 6
    layer = kind(units, return_sequences=True)
    layer = layers.Bidirectional(layer) if both_ways else layer
    model = model_of(layer, shape=(None, size))
    x = np.random.RandomState(0).uniform(0.5, 1, size=(2, steps, size))
    total = energy(model, x).total
    products = gates * (size * units + units * units) + 3 * units
    ways = 2 if both_ways else 1
    assert total.dense == ways * steps * products
    # The first step has no output before it.
    assert total.macs == ways * (steps * products - gates * units * units)
    assert total.weights == ways * gates * (size * units + units * units)
    assert total.state_bytes == ways * 4 * units * (2 if kind is layers.LSTM else 1)


@pytest.mark.torch
def test_a_cell_in_a_plain_rnn_counts_as_its_layer():
    cell = ksn.layers.NeuronsCell(LINEAR, seed=0)
    plain = model_of(layers.RNN(cell, return_sequences=True), shape=(None, 3))
    ours = model_of(neurons(), shape=(None, 3))
    last = model_of(ksn.layers.Neurons(LINEAR, seed=0), shape=(None, 3))
    x = np.full((2, 4, 3), 1000.0)
    for model in (plain, ours, last):
        total = energy(model, x).total
        assert (total.spikes, total.updates, total.zeros) == (12, 12, 0)


def test_recurrent_neurons_by_hand():
    layer = ksn.layers.RecurrentNeurons(
        LINEAR,
        recurrent_initializer=keras.initializers.Constant(1e-6),
        recurrent_synapse=0.01,
        seed=0,
        return_sequences=True,
    )
    total = energy(model_of(layer, shape=(None, 3)), np.full((2, 4, 3), 1000.0)).total
    # Each of three neurons fires in each of four steps; the last is not seen any more.
    assert (total.spikes, total.acs) == (12, 9 * 3)
    # Voltages, and what the synapse remembers.
    assert (total.updates, total.dense) == (12 + 12, 4 * 9)
    assert total.weights == 9


def test_delayed_weights_by_hand():
    layer = ksn.layers.DelayedDense(2, 0.003, name="d", return_sequences=True)
    x = np.zeros((1, 5, 4))
    x[0, 1, :3] = 0.5
    total = energy(model_of(layer, shape=(5, 4)), x).total
    # As a Dense layer: each value goes once to each output, whenever that is.
    assert (total.dense, total.macs + total.acs) == (5 * 8, 3 * 2)
    assert total.weights == 8


def test_parallel_neurons_by_hand():
    x = np.zeros((1, 5, 2))
    x[0, 1] = x[0, 4] = 2.0
    kernel = keras.initializers.Constant(1.0)
    whole = ksn.layers.ParallelSpikingNeurons(2, kernel_initializer=kernel, name="p")
    total = energy(model_of(whole, shape=(5, 2)), x).total
    # Each of 9 pairs of steps, of each of two neurons; two steps see each input, but
    # that of the last is seen by itself alone.
    assert (total.dense, total.macs + total.acs) == (25 * 2, (2 + 1) * 2)
    assert (total.spikes, total.updates) == (3 * 2, 0)
    slid = ksn.layers.SlidingParallelSpikingNeurons(
        2, kernel_initializer=kernel, return_sequences=True, name="s"
    )
    total = energy(model_of(slid, shape=(5, 2)), x).total
    assert (total.dense, total.macs + total.acs) == (9 * 2, (2 + 1) * 2)
    assert (total.spikes, total.weights) == (3 * 2, 2)


# --- Legendre memory units ----------------------------------------------------


def _lmu(hidden=None, theta=4.0, **arguments):
    arguments = {"kernel_initializer": "ones", "recurrent_initializer": "ones"} | {
        **arguments
    }
    return ksn.layers.LMU(2, 3, theta, hidden, name="lmu", **arguments)


@pytest.mark.torch
def test_a_legendre_memory_by_hand():
    # Channels of the memory 2, polynomials 3, inputs 4; 5 steps.
    model = model_of(_lmu(return_sequences=True), shape=(5, 4))
    x = np.zeros((2, 5, 4))
    x[0, 1] = [0.5, 0, 0.25, 0]
    report = energy(model, x)
    # Wx, and A and B of each channel.
    assert report.total.dense == 5 * (4 * 2 + 2 * (9 + 3))
    # Of one item in step 2: Wx of two inputs, and B of two channels. In the three steps
    # that follow A, of a memory without zeros.
    assert report.total.macs == (2 * 2 + 2 * 3 + 3 * 2 * 9) / 2
    assert (report.total.acs, report.total.units, report.total.updates) == (0, 0, 0)
    # Wx, A and B; the memory is kept.
    assert report.total.weights == 8 + 9 + 3
    assert (report.total.weight_bytes, report.total.state_bytes) == (8 * 4, 6 * 4)
    last = energy(model_of(_lmu(), shape=(5, 4)), x)
    assert last.total == report.total


# What a hidden part of 5 units costs in each step, of the memory's 6 values.
_PRODUCTS = 6 * 5
HIDDEN = {
    "Dense": (lambda: layers.Dense(5), _PRODUCTS),
    "SimpleRNNCell": (lambda: layers.SimpleRNNCell(5), _PRODUCTS + 25),
    "LSTMCell": (lambda: layers.LSTMCell(5), 4 * (_PRODUCTS + 25) + 3 * 5),
    "GRUCell": (lambda: layers.GRUCell(5), 3 * (_PRODUCTS + 25) + 3 * 5),
    "Dense, Neurons": (
        lambda: [layers.Dense(5), ksn.layers.NeuronsCell(LINEAR, seed=0)],
        _PRODUCTS,
    ),
    "Sequential": (
        lambda: keras.Sequential([layers.Dense(5), layers.Dropout(0.5), layers.ReLU()]),
        _PRODUCTS,
    ),
}


@slow_on_jax
@pytest.mark.torch
@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("name", HIDDEN)
def test_the_hidden_part_of_an_lmu_counts_by_its_own_rule(name, feedback):
    hidden, products = HIDDEN[name]
    layer = _lmu(
        hidden(),
        hidden_to_memory=feedback,
        memory_to_memory=feedback,
        return_sequences=True,
    )
    model = model_of(layer, layers.Dense(1, name="read"), shape=(7, 4))
    x = np.random.RandomState(0).uniform(0.5, 1, size=(2, 7, 4)) * 300
    lmu, read = energy(model, x).layers
    # Wh takes 5 values to 2 channels, Wm 6.
    fed_back = (5 + 6) * 2 if feedback else 0
    assert lmu.dense == 7 * (4 * 2 + 2 * (9 + 3) + fed_back + products)
    assert lmu.macs + lmu.acs <= lmu.dense or "Neurons" in name
    assert lmu.weights == 8 + 9 + 3 + fed_back + sum(
        math.prod(weight.shape)
        for part in layer.cell.hidden_layers
        for weight in part.weights
        if "kernel" in weight.path
    )
    if "Neurons" in name:
        y = ops.convert_to_numpy(model.layers[0](x.astype("float32")))
        assert lmu.spikes == pytest.approx(y.sum() / 2 * LINEAR_DT) and lmu.spikes > 0
        assert lmu.updates == 7 * 5
        assert (read.acs, read.macs) == (lmu.spikes, 0)


@pytest.mark.torch
def test_an_lmu_shows_its_input_to_the_hidden_part():
    spikes = ksn.layers.Neurons(LINEAR, seed=0, return_sequences=True)
    layer = _lmu(layers.Dense(5), input_to_hidden=True, kernel_initializer=None)
    model = model_of(spikes, layer, shape=(3, 2))
    x = np.zeros((1, 3, 2))
    x[0, 1] = [1000, 2000]
    lmu = energy(model, x).layers[1]
    # Without a kernel, the input goes to B and to the hidden part as it is.
    assert lmu.dense == 3 * (2 * (9 + 3) + (6 + 2) * 5)
    # In step 2 one spike and two, each over 3 weights of B and 5 of the hidden part.
    assert lmu.acs == 3 * (3 + 5)
    # From then on the memory's 6 values; A works in step 3 only.
    assert lmu.macs == 2 * 6 * 5 + 2 * 9


@pytest.mark.torch
def test_a_hidden_part_without_a_rule_is_refused_by_name():
    layer = _lmu(layers.LayerNormalization(name="norm"))
    with pytest.raises(NotImplementedError, match=r"lmu/norm \(LayerNormalization\)"):
        energy(model_of(layer, shape=(3, 2)), np.ones((1, 3, 2)))


# --- what spikes pass through -------------------------------------------------


@pytest.mark.torch
def test_spikes_stay_spikes_where_they_are_only_moved():
    inputs = keras.Input((4, 2, 2))
    x = neurons(name="a")(inputs)
    x = layers.TimeDistributed(layers.MaxPooling1D(1))(x)
    x = layers.TimeDistributed(layers.Flatten())(x)
    x = layers.Reshape((4, 2, 2))(layers.Dropout(0.5)(x))
    x = ksn.layers.Delay(0.001, return_sequences=True)(x)
    x = layers.Concatenate()([x, inputs])
    y = layers.TimeDistributed(layers.Flatten())(x)
    model = keras.Model(inputs, layers.Dense(3, name="read")(y))
    currents = np.zeros((1, 4, 2, 2))
    currents[0, :, 0, 0] = 3000
    currents[0, :, 0, 1] = 1000
    layer = by_name(energy(model, currents))
    # 4 spikes, a step later, and 2 real values per step, over 3 weights each.
    assert (layer["read"].acs, layer["read"].macs) == (3 * 4 * 3, 4 * 2 * 3)


@pytest.mark.torch
def test_spikes_of_data_stay_spikes_beside_those_of_neurons():
    inputs, events = keras.Input((3, 1)), keras.Input((3, 2))
    joined = layers.Concatenate()([neurons()(inputs), events])
    model = keras.Model([inputs, events], layers.Dense(2)(joined))
    x = [np.full((1, 3, 1), 1000.0), np.ones((1, 3, 2))]
    read = energy(model, x).layers[-1]
    assert (read.acs, read.macs) == (3 * 3 * 2, 0)


@pytest.mark.torch
def test_heights_may_differ_between_neurons_and_between_layers():
    own = {"trainable_parameters": {"amplitude": "unit"}}
    inputs = keras.Input((None, 2))
    a, b = neurons(name="a", **own), neurons(nengo.SpikingRectifiedLinear(3.0))
    joined = layers.Concatenate()([a(inputs), b(inputs)])
    model = keras.Model(inputs, layers.Dense(2, name="read")(joined))
    a.cell.trainable_weights[0].assign(np.log([0.1, 7.0]))
    layer = by_name(energy(model, np.full((1, 3, 2), 2000.0)))
    assert layer["a"].spikes == 3 * 2 * 2
    assert (layer["read"].acs, layer["read"].macs) == (3 * 4 * 2 * 2, 0)


@pytest.mark.torch
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_spikes_are_counted_in_mixed_precision(policy):
    kind = nengo.SpikingRectifiedLinear(amplitude=1 / 3)
    model = model_of(
        neurons(kind, dtype=policy), layers.Dense(2, dtype=policy), shape=(None, 2)
    )
    total = energy(model, np.array([[[3000.0, 1000.0]] * 3])).total
    assert (total.spikes, total.acs, total.macs) == (3 * 4, 3 * 4 * 2, 0)


@pytest.mark.torch
def test_encoders_send_spikes_and_are_no_neurons():
    model = model_of(
        ksn.layers.PoissonEncoder(2000.0, n_steps=50, seed=0, return_sequences=True),
        layers.Dense(3),
        shape=(4,),
    )
    x = np.random.RandomState(0).uniform(size=(2, 4))
    encoder, read = energy(model, x).layers
    spikes = ops.convert_to_numpy(model.layers[0](x)) / 1000
    assert encoder.spikes == pytest.approx(spikes.sum() / 2) and spikes.max() > 1
    assert (read.acs, read.macs) == (pytest.approx(3 * encoder.spikes), 0)
    assert (encoder.units, encoder.updates) == (0, 0)


# --- sums, products, normalisations -------------------------------------------


@pytest.mark.torch
def test_sums_and_products_of_layers():
    a, b, c = (keras.Input((3,), name=n) for n in "abc")
    added = layers.Add(name="add")([a, b, c])
    model = keras.Model([a, b, c], layers.Multiply(name="times")([added, a]))
    x = [np.array([[1, 0, 2.5]]), np.array([[0, 0, 4.0]]), np.array([[0.5, 0, 1]])]
    layer = by_name(energy(model, x))
    # Two additions for each of 3 places. Not 0 are 2, 0 and 3 of the operands.
    assert (layer["add"].dense, layer["add"].acs) == (6, 1 + 0 + 2)
    assert (layer["times"].dense, layer["times"].macs) == (3, 2)


@pytest.mark.torch
def test_a_normalisation_behind_a_linear_layer_is_folded():
    model = model_of(
        layers.Dense(3, name="linear"),
        layers.BatchNormalization(name="folded"),
        layers.ReLU(),
        layers.BatchNormalization(name="own"),
        layers.Rescaling(2.0, name="scale"),
        shape=(2,),
    )
    layer = by_name(energy(model, np.array([[1.0, 2.0]])))
    assert (layer["folded"].dense, layer["folded"].macs) == (0, 0)
    assert (layer["own"].dense, layer["own"].macs) == (3, 3)
    assert (layer["scale"].dense, layer["scale"].macs) == (3, 3)


# --- calls --------------------------------------------------------------------


@pytest.mark.torch
def test_a_shared_layer_works_twice_and_is_stored_once():
    inputs = keras.Input((3,))
    shared = dense(np.ones((3, 3)), use_bias=False, name="shared")
    model = keras.Model(inputs, shared(shared(inputs)))
    report = energy(model, np.array([[1.0, 2.0, 0.5]]))
    assert [layer.name for layer in report.layers] == ["shared", "shared:2"]
    # The second time all values are equal, which spikes could tell as well.
    assert [(c.macs, c.acs) for c in report.layers] == [(9, 0), (0, 9)]
    assert (report.total.dense, report.total.weights) == (18, 9)
    assert report.footprint == 36


@pytest.mark.torch
def test_nested_models_and_steps_are_taken_apart():
    kernel = np.random.RandomState(0).uniform(0.5, 1, size=(2, 3))
    inner = model_of(dense(kernel, name="deep"), layers.ReLU(), shape=(2,))
    inner = keras.Sequential(inner.layers, name="inner")
    inputs = keras.Input((None, 2))
    x = layers.TimeDistributed(inner, name="each")(inputs)
    x = ksn.layers.PerStep(layers.Dense(2, name="last"), name="per")(x)
    model = keras.Model(inputs, x)
    data = np.random.RandomState(0).uniform(0.5, 1, size=(2, 5, 2))
    layer = by_name(energy(model, data))
    assert len(layer) == 3
    assert layer["each/deep"].macs == layer["each/deep"].dense == 5 * 6
    assert (layer["per"].kind, layer["per"].dense) == ("Dense", 5 * 6)
    outer = keras.Model(inputs, model(inputs))
    assert energy(outer, data).total == energy(model, data).total


@pytest.mark.torch
def test_batches_do_not_matter_and_steps_multiply():
    model = model_of(dense(np.ones((3, 2))), neurons("lif"), shape=(None, 3))
    x = np.random.RandomState(0).uniform(0, 3, size=(5, 8, 3))
    whole = energy(model, x)
    parts = energy(model, x, batch_size=2)
    assert whole.total.spikes > 0
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert one.dense == other.dense and one.zeros == other.zeros
        assert one.macs == pytest.approx(other.macs)
    tripled = energy(model, x, steps=3)
    assert tripled.total.macs == pytest.approx(3 * whole.total.macs)
    assert tripled.footprint == whole.footprint
    assert tripled.joules["cpu"] == pytest.approx(3 * whole.joules["cpu"])


@pytest.mark.torch
def test_a_model_is_left_as_it_was():
    inputs = keras.Input(batch_shape=(2, 4, 3))
    layer = neurons("lif", stateful=True)
    model = keras.Model(inputs, layers.Dense(2)(layer(inputs)))
    x = np.full((2, 4, 3), 3.0)
    model.predict(x, batch_size=2, verbose=0)
    before = [ops.convert_to_numpy(state) for state in layer.states]
    assert np.any(before[0])
    assert energy(model, np.concatenate([x, x])).total.spikes > 0
    for state, value in zip(layer.states, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(state), value)
    assert model.layers[1].output is not None
    with pytest.raises(ValueError, match="fixed batch size of 2"):
        energy(model, x[:1])


# --- masks --------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("functional", [False, True])
def test_masks_cost_nothing(functional):
    """Keras writes comparisons into a functional model that make its masks."""
    stack = [
        layers.Masking(0.0, name="masking"),
        layers.TimeDistributed(dense(np.ones((2, 3))), name="dense"),
        layers.LSTM(3, name="lstm"),
    ]
    x = np.array([[[0, 0], [1, 2], [0.5, 4]]])
    model = model_of(*stack, shape=(3, 2))
    if functional:
        y = inputs = keras.Input((3, 2))
        for layer in stack:
            y = layer(y)
        model = keras.Model(inputs, y)
    report = energy(model, x)
    assert list(by_name(report)) == ["masking", "dense", "lstm"]
    assert by_name(report)["dense"].macs == 2 * 2 * 3
    # 4 gates of 3 inputs and 3 outputs, and three products of 3 values.
    assert by_name(report)["lstm"].dense == 3 * (4 * (9 + 9) + 9)


@pytest.mark.torch
def test_a_model_in_a_masked_model_is_taken_apart():
    step = keras.Sequential([keras.Input((3, 2)), layers.SimpleRNN(4, name="rnn")])
    step.name = "inner"
    inputs = keras.Input((3, 2))
    model = keras.Model(inputs, step(layers.Masking(0.0, name="masking")(inputs)))
    report = energy(model, np.array([[[1, 2], [3, 4], [0, 0]]]))
    assert list(by_name(report)) == ["masking", "inner/rnn"]
    assert report.total.dense == 3 * (2 * 4 + 4 * 4)


# --- every layer --------------------------------------------------------------

# Their costs are not known: energy refuses them by name.
# fmt: off
REFUSED = {
    "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D", "AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D", "AdditiveAttention", "Attention", "AugMix",
    "AutoContrast", "CategoryEncoding", "CenterCrop", "ConvLSTM1D", "ConvLSTM2D",
    "ConvLSTM3D", "ContrastLimitedAdaptiveHistogramEqualization", "CutMix",
    "Discretization", "Dot", "Equalization", "FlaxLayer", "GroupNormalization",
    "GroupQueryAttention", "HashedCrossing", "Hashing", "InputLayer",
    "IntegerLookup", "JaxLayer", "Lambda", "LayerNormalization",
    "MaxNumBoundingBoxes", "MelSpectrogram", "MixUp", "MultiHeadAttention",
    "Pipeline", "RMSNormalization", "RandAugment", "Resizing",
    "ReversibleEmbedding", "STFTSpectrogram", "Solarization",
    "SpectralNormalization", "StringLookup", "TFSMLayer", "TextVectorization",
    "TorchModuleWrapper", "UnitNormalization",
}
# fmt: on


@pytest.mark.torch
def test_every_layer_of_ours_has_a_rule():
    for name in ksn.layers.__all__:
        kind = getattr(ksn.layers, name)
        costs = CELL_COSTS if name.endswith("Cell") else LAYER_COSTS
        apart = issubclass(kind, layers.TimeDistributed)  # its layer counts
        assert apart or kind in costs or moves(kind), name


@pytest.mark.torch
def test_every_layer_of_keras_has_a_rule_or_is_refused():
    kinds = {name: getattr(layers, name) for name in dir(layers)}
    refused = {
        name
        for name, kind in kinds.items()
        if isinstance(kind, type)
        and has_row(kind)
        and cost_of(kind) is None
        # Those that draw images are many.
        and not name.startswith("Random")
        and not issubclass(kind, layers.TimeDistributed)
    }
    assert refused == REFUSED


# --- networks -----------------------------------------------------------------


def _network():
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0, 0.0], label="in")
        ens = nengo.Ensemble(10, 2, neuron_type=LINEAR)
        other = nengo.Ensemble(6, 1)
        nengo.Connection(stimulus, ens, synapse=None)
        nengo.Connection(ens, ens, synapse=0.1)
        nengo.Connection(ens[0], other, synapse=nengo.Alpha(0.02))
        nengo.Connection(ens.neurons[:4], other.neurons, transform=np.ones((6, 4)))
        nengo.Probe(other.neurons, label="out")
    return net


@pytest.mark.torch
@slow_on_jax
def test_a_network_is_counted_operator_by_operator():
    layer = ksn.layers.Network(_network(), return_sequences=True, name="net")
    probe = ksn.layers.Network(_network(), return_sequences=True)
    model = model_of(layer, shape=(None, 2))
    x = np.full((1, 30, 2), 0.5)
    x[:, :10] = 0
    total = energy(model, x).total
    # Encoders 10 * 2 and 6 * 1; decoders 2 * 10 and 1 * 10; neurons to neurons 6 * 4,
    # and the 6 gains that it has in Nengo, as its builder multiplies them in.
    built = layer.cell.model.operators
    gains = sum(type(op).__name__ == "ElementwiseInc" for op in built) * 6
    assert total.dense == 30 * (20 + 6 + 20 + 10 + 24 + gains)
    # All connections of neurons carry spikes: 2 + 1 decoders each, and 6 of four.
    assert 0 < total.acs < total.dense
    # 10 membranes and 6; a lowpass of 2 values, an alpha of 1, and the one that Nengo
    # gives a connection between neurons, of 6.
    assert total.updates == 30 * (10 + 6 + 2 + 2 * 1 + 6)
    spikes = ops.convert_to_numpy(probe(x)) / 1000
    assert total.spikes > spikes.sum() > 0


@pytest.mark.torch
def test_an_ensemble_counts_encoders_with_values_and_decoders_with_spikes():
    layer = ksn.layers.Ensemble(
        8, 2, neuron_type=LINEAR, seed=0, return_sequences=True, function=lambda x: x[0]
    )
    model = model_of(layer, shape=(None, 2))
    x = np.random.RandomState(0).uniform(0.2, 1, size=(2, 20, 2))
    total = energy(model, x).total
    assert total.dense == 20 * (8 * 2 + 8)
    assert total.macs == 20 * 8 * 2
    # One decoder for each spike.
    assert total.acs == total.spikes > 0
    assert (total.updates, total.weights) == (20 * 8, 8 * 2 + 8)


@pytest.mark.torch
def test_spikes_stay_spikes_behind_a_node_that_passes_them_on():
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0])
        ens = nengo.Ensemble(4, 1, neuron_type=LINEAR, gain=[1] * 4, bias=[0] * 4)
        relay = nengo.Node(size_in=4)
        read = nengo.Node(size_in=3)
        nengo.Connection(stimulus, ens.neurons, transform=[[1]] * 4, synapse=None)
        nengo.Connection(ens.neurons, relay, synapse=None)
        nengo.Connection(relay, read, transform=np.ones((3, 4)), synapse=None)
        nengo.Probe(read)
    layer = ksn.layers.Network(net, return_sequences=True)
    total = energy(model_of(layer, shape=(None, 1)), np.full((1, 5, 1), 2000.0)).total
    # Two spikes of each neuron in each step, over 3 weights.
    assert (total.spikes, total.acs) == (5 * 4 * 2, 5 * 4 * 2 * 3)


@pytest.mark.torch
def test_a_network_that_learns_is_refused():
    layer = ksn.layers.Ensemble(
        8, 1, learning_rule=nengo.PES(), seed=0, return_sequences=True
    )
    inputs = {"input": keras.Input((None, 1)), "error": keras.Input((None, 1))}
    model = keras.Model(inputs, layer(inputs))
    x = {"input": np.ones((1, 4, 1)), "error": np.ones((1, 4, 1))}
    with pytest.raises(NotImplementedError, match=r"learns online \(SimPES\)"):
        energy(model, x)
    with pytest.warns(UserWarning, match="counts as nothing"):
        assert energy(model, x, strict=False).total.dense == 0


# --- devices and reports ------------------------------------------------------


@pytest.mark.torch
def test_a_device_of_your_own():
    model = model_of(dense([[1.0, 0.0], [1.0, 1.0]]), shape=(2,))
    chip = Device("chip", mac=3.0, ac=2.0, update=1.0)
    report = energy(model, np.array([[1.0, 2.0]]), [chip, "cpu"])
    assert report.joules == {"chip": 9.0, "cpu": pytest.approx(4 * 8.6e-9)}
    alike = Device("alike", mac=2.0, ac=2.0, update=1.0)
    notes = str(energy(model, np.array([[1.0, 2.0]]), [alike, "loihi"]).notes)
    assert "loihi take spikes only" in notes and "alike" not in notes
    dense_chip = Device("dense", mac=3.0, ac=2.0, update=1.0, skips_zeros=False)
    assert energy(model, np.ones((1, 2)), dense_chip).joules == {"dense": 12.0}


@pytest.mark.torch
def test_every_device_says_where_its_figures_are_from():
    assert {"cpu", "gpu", "loihi", "spinnaker", "spinnaker2", "45nm"} <= set(DEVICES)
    for name, device in DEVICES.items():
        assert device.name == name and "(20" in device.source
        assert 0 < device.ac <= device.mac <= device.update or not device.skips_zeros
    assert DEVICES["45nm"].mac == pytest.approx(3.7e-12 + 0.9e-12)
    with pytest.raises(ValueError, match=r"Unknown device 'tpu'. Known: cpu, gpu"):
        energy(model_of(layers.Dense(1), shape=(1,)), np.ones((1, 1)), "tpu")
    with pytest.raises(TypeError, match="name or a ksn.analysis.Device"):
        energy(model_of(layers.Dense(1), shape=(1,)), np.ones((1, 1)), [3])
    with pytest.raises(ValueError, match="names of their own"):
        energy(model_of(layers.Dense(1), shape=(1,)), np.ones((1, 1)), ["cpu", "cpu"])
    with pytest.raises(ValueError, match="mac of .* is at least 0 J, and finite"):
        Device("x", mac=-1, ac=0, update=0)
    assert type(Device("x", np.float32(1), 0, 0).mac) is float


@pytest.mark.torch
def test_energies_are_printed_with_three_digits():
    model = model_of(dense([[1.0]]), shape=(1,))
    for joules, printed in ((999.7e-12, "1 nJ"), (12.34e-6, "12.3 \N{MICRO SIGN}J")):
        chip = Device("chip", mac=joules, ac=joules, update=0)
        assert f" {printed} " in str(energy(model, np.ones((1, 1)), chip))


@pytest.mark.torch
def test_a_report_is_a_table_and_plain_data():
    model = model_of(
        dense(np.eye(2)), neurons(), layers.Dense(1, name="out"), shape=(3, 2)
    )
    report = energy(model, np.array([[[1000.0, 2000.0]] * 3]))
    text = str(report)
    for word in (
        "out (Dense)",
        "total",
        "loihi",
        "Davies",
        "memory",
        "take spikes only",
    ):
        assert word in text, word
    plain = report.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["total"]["spikes"] == 9 and plain["layers"][2]["name"] == "out"
    assert plain["joules"] == report.joules and set(plain["devices"]) == set(DEVICES)
    spiking = energy(model_of(neurons(), shape=(3, 2)), np.full((1, 3, 2), 1000.0))
    assert "take spikes only" not in str(spiking)


# --- refusals -----------------------------------------------------------------


@pytest.mark.torch
def test_a_layer_without_a_rule_is_refused_by_name():
    model = model_of(layers.LayerNormalization(name="norm"), shape=(3,))
    with pytest.raises(
        NotImplementedError, match=r"norm \(LayerNormalization\) has no rule.*Dense"
    ):
        energy(model, np.ones((1, 3)))
    inputs = keras.Input((3,))
    model = keras.Model(
        inputs, dense(np.ones((3, 2)))(layers.LayerNormalization(name="norm")(inputs))
    )
    with pytest.warns(UserWarning, match="norm counts as nothing"):
        report = energy(model, np.array([[1.0, 2.0, 4.0]]), strict=False)
    assert report.total.macs == 6
    assert "norm counts as nothing" in str(report)


class Louder(layers.Dense):
    """A Dense with a call of its own."""

    def call(self, inputs, training=None):
        return 2 * super().call(inputs)


@pytest.mark.torch
def test_a_subclass_with_a_call_of_its_own_is_refused():
    with pytest.raises(NotImplementedError, match=r"\(Louder\) has no rule"):
        energy(model_of(Louder(2), shape=(3,)), np.ones((1, 3)))


class Otherwise(layers.TimeDistributed):
    """Steps in a way of its own."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs[:, ::-1])


@pytest.mark.torch
def test_a_wrapper_with_a_call_of_its_own_is_refused():
    with pytest.raises(NotImplementedError, match=r"\(Otherwise\) has no rule"):
        energy(model_of(Otherwise(layers.Dense(2)), shape=(4, 3)), np.ones((1, 4, 3)))


@pytest.mark.torch
def test_an_operation_is_refused_by_name():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, inputs + 2 * inputs)
    with pytest.raises(NotImplementedError, match=r"is an operation.*layers.Add"):
        energy(model, np.ones((1, 3)))
    with pytest.warns(UserWarning, match="counts as nothing"):
        assert energy(model, np.ones((1, 3)), strict=False).total.dense == 0


@pytest.mark.torch
def test_calls_with_more_than_data_are_refused():
    inputs = keras.Input((4, 3))
    state = keras.Input((2,))
    model = keras.Model(
        [inputs, state], layers.SimpleRNN(2)(inputs, initial_state=state)
    )
    with pytest.raises(NotImplementedError, match="called with initial_state"):
        energy(model, [np.ones((1, 4, 3)), np.ones((1, 2))])


@pytest.mark.torch
@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_other_numbers_of_steps_are_refused(steps):
    for name in ("steps", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} is an integer of at least 1"):
            energy(
                model_of(layers.Dense(1), shape=(1,)), np.ones((1, 1)), **{name: steps}
            )
