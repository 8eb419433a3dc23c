"""LMU is the published Legendre memory unit, step by step and all at once."""

import json

import keras
import nengo
import numpy as np
import pytest
from keras import ops
from scipy import signal, special

from keras_spiking_nengo.dynamics import legendre
from keras_spiking_nengo.layers import LMU, LMUCell, Neurons, NeuronsCell, SynapseCell
from tests.arrays import numpy, run
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.layers.contract import check_layer
from tests.marks import SLOW_ON_JAX

# By default JAX runs the examples of the docstrings.
pytestmark = SLOW_ON_JAX

# Keras's matrix product on torch is a single precision one.
NEAR = 1e-4 if BACKEND == "torch" else 1e-9
N_IN = 3
RNG = np.random.RandomState(0)
INPUT = RNG.standard_normal((2, 101, N_IN))
LIF = nengo.LIF(amplitude=0.01)
SLOW = pytest.mark.slow


def dense(units=4):
    return keras.layers.Dense(units, activation="tanh", bias_initializer="ones")


def currents(units, bias=1.0):
    constant = keras.initializers.Constant(bias)
    return keras.layers.Dense(
        units, kernel_initializer="he_normal", bias_initializer=constant
    )


def spiking():
    return [currents(5), NeuronsCell(LIF, seed=0), SynapseCell(0.01)]


def slow_on_jax(*values):
    return [pytest.param(value, marks=SLOW_ON_JAX) for value in values]


# Of each kind: no hidden part, a layer, a cell of Keras's, and cells of ours.
HIDDEN = {
    "none": lambda: None,
    "layer": dense,
    "layers": lambda: keras.Sequential([dense(), dense(2)]),
    "cell": lambda: keras.layers.LSTMCell(4),
    "cells": lambda: keras.layers.StackedRNNCells(
        [keras.layers.GRUCell(4), keras.layers.LSTMCell(3)]
    ),
    "spiking": spiking,
}


def everything(**kwargs):
    """Arguments of a layer of which no connection is left out."""
    return {
        "memory_d": 2,
        "order": 5,
        "theta": 12.5,
        "hidden_to_memory": True,
        "memory_to_memory": True,
        "input_to_hidden": True,
        "use_bias": True,
        "bias_initializer": "glorot_normal",
    } | kwargs


# --- the memory -----------------------------------------------------------------


def state_space(order):
    """The matrices of the paper, for a window of 1."""
    A = np.zeros((order, order))
    for i, j in np.ndindex(A.shape):
        A[i, j] = (2 * i + 1) * (-1 if i < j else (-1) ** (i - j + 1))
    return A, np.array([[(2 * i + 1) * (-1.0) ** i] for i in range(order)])


@pytest.mark.torch
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("method", ["zoh", "euler"])
@pytest.mark.parametrize(("order", "theta"), [(1, 3.0), (6, 20.0), (40, 784.0)])
def test_matrices_are_those_of_scipy(order, theta, method, trained, float64):
    A, B = state_space(order)
    system = A / theta, B / theta, np.eye(order), np.zeros((order, 1))
    expected = signal.cont2discrete(system, 1.0, method=method)
    if trained:
        theta = ops.convert_to_tensor(theta, dtype="float64")
    actual = legendre.discretized(order, theta, method)
    A, B = (numpy(x) if trained else x for x in actual)
    near = max(NEAR * 0.01, 1e-13) if trained else 1e-13
    np.testing.assert_allclose(A, expected[0], atol=near)
    np.testing.assert_allclose(B, expected[1][:, 0], atol=near)


@pytest.mark.torch
def test_a_trained_theta_may_become_short_and_long():
    for theta in (0.3, 3.0, 1e6):
        expected = legendre.discretized(8, theta)
        actual = legendre.discretized(8, ops.convert_to_tensor(theta, dtype="float32"))
        for ours, theirs in zip(actual, expected, strict=True):
            np.testing.assert_allclose(numpy(ours), theirs, atol=2e-6)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("share", "error"), [(0, 0.03), (0.1, 0.005), (0.5, 0.005), (1, 0.005)]
)
def test_the_memory_holds_a_window_of_its_input(share, error):
    order, theta = 12, 100.0

    def signal_at(t):
        return sum(np.sin(2 * np.pi * (f * t / theta + f**2)) for f in (0.3, 0.9, 1.5))

    t = np.arange(400.0)
    layer = LMU(1, order, theta, kernel_initializer=None, return_sequences=True)
    memory = run(layer, signal_at(t)[None, :, None].astype("float32"))[0]
    actual = memory @ special.eval_sh_legendre(np.arange(order), share)
    # An input that is held for a step is, on average, half a step late.
    expected = signal_at(t + 0.5 - share * theta)
    np.testing.assert_allclose(actual[150:], expected[150:], atol=error)


# --- the unit -------------------------------------------------------------------


def by_hand(layer, x, memory, h):
    """The equations of the paper, with a `SimpleRNNCell`, in NumPy."""
    cell = layer.cell
    w = {weight.path.removeprefix(cell.path): numpy(weight) for weight in cell.weights}
    inner = {k: w[f"/{cell.hidden_cell.name}/{k}"] for k in WEIGHTS}
    d, q = cell.memory_d, cell.order
    A, B = state_space(q)
    system = A / cell.theta, B / cell.theta, np.eye(q), np.zeros((q, 1))
    A, B, *_ = signal.cont2discrete(system, 1.0)
    outputs = []
    for t in range(x.shape[1]):
        u = x[:, t] @ w["/kernel"] + h @ w["/hidden_kernel"] + w["/bias"]
        u = u + memory @ w["/recurrent_kernel"]
        channels = memory.reshape(-1, d, q) @ A.T + u[..., None] * B[:, 0]
        memory = channels.reshape(-1, d * q)
        z = np.concatenate([memory, x[:, t]], axis=1)
        h = z @ inner["kernel"] + h @ inner["recurrent_kernel"] + inner["bias"]
        h = h / (1 + np.abs(h))
        outputs.append(h)
    return np.stack(outputs, axis=1), memory, h


WEIGHTS = "kernel", "recurrent_kernel", "bias"


@pytest.mark.torch
def test_it_is_the_paper_by_hand(float64):
    cell = keras.layers.SimpleRNNCell(
        4, activation="softsign", bias_initializer="glorot_normal"
    )
    layer = LMU(
        **everything(hidden_cell=cell), return_sequences=True, return_state=True
    )
    x, memory, h = INPUT[:, :30], RNG.standard_normal((2, 10)), RNG.uniform(size=(2, 4))
    layer.build(x.shape)
    assert layer.cell.state_names == ("memory", "hidden_0")
    start = [ops.convert_to_tensor(s) for s in (memory, h)]
    expected = by_hand(layer, x, memory, h)
    assert np.max(np.abs(expected[0])) > 0.5
    for ours, theirs in zip(run(layer, x, initial_state=start), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=NEAR, atol=NEAR)
    rnn = keras.layers.RNN(layer.cell, return_sequences=True)
    fresh = by_hand(layer, x, np.zeros((2, 10)), np.zeros((2, 4)))[0]
    np.testing.assert_allclose(run(rnn, x), fresh, rtol=NEAR, atol=NEAR)


@pytest.mark.torch
def test_an_output_that_is_no_state_is_kept_to_be_fed_back():
    layer = LMU(**everything(hidden_cell=spiking()), return_state=True)
    x = INPUT[:, :5].astype("float32")
    y, memory, output, *hidden = run(layer, x)
    assert layer.cell.state_names[:2] == ("memory", "output")
    assert memory.shape == (2, 10) and len(hidden) == 3
    np.testing.assert_array_equal(output, y)
    whole = run(LMU(**everything(hidden_cell=spiking())), x)
    assert y.shape == whole.shape == (2, 5)
    # Of two cells, the output of the last one.
    cells = [keras.layers.LSTMCell(3), keras.layers.SimpleRNNCell(2)]
    layer = LMU(**everything(hidden_cell=cells), return_state=True)
    y, memory, *hidden = run(layer, x)
    np.testing.assert_array_equal(hidden[2], y)
    assert layer.cell.kernels["hidden_kernel"].shape == (2, 2)


@pytest.mark.torch
def test_without_a_kernel_the_input_goes_to_the_memory():
    layer = LMU(N_IN, 4, 20.0, kernel_initializer=None)
    given = LMU(N_IN, 4, 20.0, kernel_initializer="identity")
    x = INPUT.astype("float32")
    np.testing.assert_allclose(run(layer, x), run(given, x), atol=1e-6)
    assert not layer.weights
    fed = LMU(
        N_IN, 4, 20.0, dense(N_IN), hidden_to_memory=True, kernel_initializer=None
    )
    assert len(run(fed, x)) == 2 and len(fed.weights) == 2


# --- all steps at once, and one by one ------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", ["layer", *slow_on_jax("none", "layers", "cell", "cells", "spiking")]
)
def test_all_at_once_is_step_by_step(name, float64):
    layer = LMU(
        2,
        6,
        12.5,
        HIDDEN[name](),
        input_to_hidden=True,
        use_bias=True,
        return_sequences=True,
        return_state=True,
    )
    layer.build(INPUT.shape)
    # Another start than zeros; neurons keep theirs, or spikes would be moved.
    start = layer.get_initial_state(2)
    start[0] = ops.convert_to_tensor(RNG.standard_normal((2, 12)))
    # A mask takes single steps.
    mask = ops.ones(INPUT.shape[:2], dtype="bool")
    expected = run(layer, INPUT, initial_state=start, mask=mask)
    assert np.all(np.std(expected[0], axis=(0, 1)) > 0)
    actual = run(layer, INPUT, initial_state=start)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=NEAR, atol=NEAR)
    layer.return_sequences = False
    final = run(layer, INPUT, initial_state=start)
    for ours, theirs in zip(final, [expected[0][:, -1], *expected[1:]], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=NEAR, atol=NEAR)


def stepped(A, B, u, m):
    """The memories after all steps, in NumPy."""
    found = []
    for t in range(u.shape[1]):
        m = m @ A.T + u[:, t, :, None] * B
        found.append(m)
    return np.stack(found, axis=1)


@pytest.mark.torch
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("time", [49, *slow_on_jax(1, 48, 97, 784, 2100)])
def test_blocks_are_single_steps(time, trained):
    theta = 784.0
    A, B = legendre.discretized(16, theta)
    u, m = RNG.standard_normal((2, time, 2)), RNG.standard_normal((2, 2, 16))
    expected = stepped(A, B, u, m)
    if trained:
        A, B = legendre.discretized(16, ops.convert_to_tensor(theta, dtype="float32"))
    u, m = (ops.convert_to_tensor(x, dtype="float32") for x in (u, m))
    scale = np.max(np.abs(expected))
    actual = numpy(legendre.memories(A, B, u, m))
    np.testing.assert_allclose(actual, expected, atol=1e-4 * scale)
    actual = numpy(legendre.last(A, B, u, m))
    np.testing.assert_allclose(actual, expected[:, -1], atol=1e-4 * scale)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="others know the length")
@pytest.mark.parametrize("name", ["none", "layer", "spiking"])
def test_an_unknown_number_of_steps(name):
    import tensorflow as tf

    layer = LMU(2, 6, 12.5, HIDDEN[name](), return_sequences=True, return_state=True)
    x = INPUT.astype("float32")
    known = run(layer, x)
    signature = [tf.TensorSpec((None, None, N_IN))]
    dynamic = tf.function(lambda x: layer(x), signature, autograph=False)
    for ours, theirs in zip(dynamic(x), known, strict=True):
        np.testing.assert_allclose(numpy(ours), theirs, atol=1e-4)


@pytest.mark.torch
def test_a_step_that_is_masked_changes_nothing():
    layer = LMU(2, 6, 12.5, dense(), return_sequences=True, return_state=True)
    x = INPUT[:, :12].astype("float32")
    mask = np.ones((2, 12), bool)
    mask[:, [0, 4, 5, 11]] = False
    y, memory = run(layer, x, mask=ops.convert_to_tensor(mask))
    expected, end = run(layer, x[:, mask[0]])
    np.testing.assert_allclose(y[:, mask[0]], expected, atol=1e-5)
    np.testing.assert_allclose(memory, end, atol=1e-5)
    np.testing.assert_array_equal(y[:, 11], y[:, 10])


# --- gradients ------------------------------------------------------------------


def of_weights(layer, x):
    """Output as a function of the layer's trained weights, and these."""
    layer.build(x.shape)
    fixed = [numpy(v) for v in layer.non_trainable_variables]

    def output(*weights):
        return layer.stateless_call(list(weights), fixed, ops.convert_to_tensor(x))[0]

    return output, [numpy(w) for w in layer.trainable_variables]


@pytest.mark.torch
@pytest.mark.parametrize("fed_back", [False, *slow_on_jax(True)])
@pytest.mark.parametrize("method", ["zoh", *slow_on_jax("euler")])
def test_gradient_of_theta_equals_finite_differences(method, fed_back, float64):
    if BACKEND == "torch":
        pytest.skip("Keras's matrix product on torch is a single precision one")
    x = INPUT[:, :60]
    arguments = {"discretizer": method, "memory_to_memory": fed_back}
    layer = LMU(2, 5, 12.5, trainable_theta=True, return_sequences=True, **arguments)
    output, weights = of_weights(layer, x)
    (place,) = [
        i for i, w in enumerate(layer.trainable_variables) if w.name == "log_theta"
    ]
    np.testing.assert_allclose(np.exp(weights[place]), 12.5)
    shares = ops.convert_to_tensor(RNG.standard_normal((2, 60, 10)))
    _, slopes = gradient(output, *weights, weights=shares)
    ends = []
    for step in (1e-6, -1e-6):
        moved = list(weights)
        moved[place] = weights[place] + step
        ends.append(np.sum(numpy(output(*moved)) * numpy(shares)))
    expected = (ends[0] - ends[1]) / 2e-6
    assert abs(expected) > 0.1
    np.testing.assert_allclose(slopes[place], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "hidden",
    [
        lambda: [dense(), keras.layers.SimpleRNNCell(3)],
        pytest.param(lambda: keras.layers.GRUCell(4), marks=SLOW),
        pytest.param(lambda: [currents(5, 4.0), NeuronsCell(LIF, seed=0)], marks=SLOW),
    ],
    ids=["layer and cell", "cell", "spiking"],
)
@pytest.mark.skipif(BACKEND == "torch", reason="torch records its own loop")
def test_gradients_of_all_weights_equal_those_of_the_loop_unrolled(hidden, float64):
    x, found = INPUT[:, :15], []
    for unroll in (False, True):
        keras.utils.set_random_seed(0)
        arguments = everything(hidden_cell=hidden(), trainable_theta=True)
        layer = LMU(**arguments, return_sequences=True, unroll=unroll)
        output, weights = of_weights(layer, x)
        found.append(gradient(output, *weights)[1])
    for ours, theirs in zip(*found, strict=True):
        assert np.any(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


# --- the hidden part ------------------------------------------------------------


@pytest.mark.torch
def test_a_spiking_hidden_part_is_a_layer_of_neurons():
    x = INPUT.astype("float32")
    lmu = LMU(
        2, 6, 12.5, [currents(20), NeuronsCell(LIF, seed=0)], return_sequences=True
    )
    memory = LMU(2, 6, 12.5, return_sequences=True)
    neurons = Neurons(LIF, seed=0, return_sequences=True)
    model = keras.Sequential([keras.Input(x.shape[1:]), memory, currents(20), neurons])
    lmu.build(x.shape)
    model.set_weights(lmu.get_weights())
    spikes = run(lmu, x)
    assert set(np.unique(spikes)) == {0, 10}
    np.testing.assert_array_equal(spikes, run(model, x))


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", ["spiking", *slow_on_jax("none", "layer", "layers", "cell", "cells")]
)
def test_hidden_parts_survive_their_configuration(name, tmp_path):
    layer = LMU(1, 4, 9.0, HIDDEN[name](), return_sequences=True)
    inputs = keras.Input((20, N_IN))
    model = keras.Model(inputs, keras.layers.Bidirectional(layer)(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = INPUT[:, :20].astype("float32")
    np.testing.assert_array_equal(run(again, x), run(model, x))
    layers = [m.layers[-1].forward_layer for m in (model, again)]
    before, after = (json.dumps(layer.get_config()) for layer in layers)
    assert before == after
    given, kind = HIDDEN[name](), layers[1].cell.hidden_cell
    if name == "spiking":
        assert [type(k) for k in kind] == [type(g) for g in given]
    else:
        assert type(kind) is type(given)


class Counter(keras.layers.Layer):
    """A cell as Keras's guide has it: `state_size` and `call`, and nothing else."""

    state_size = 3

    def call(self, inputs, states):
        total = states[0] + ops.mean(inputs, axis=-1, keepdims=True)
        return total, [total]


@pytest.mark.torch
@pytest.mark.parametrize("fed_back", [False, True])
def test_a_cell_of_ones_own_needs_no_more_than_keras_asks_for(fed_back):
    x = INPUT[:, :10].astype("float32")
    layer = LMU(1, 4, 9.0, Counter(), hidden_to_memory=fed_back, return_state=True)
    y, *states = run(layer, x)
    assert [s.shape for s in states] == [(2, 4)] + [(2, 3)] * (1 + fed_back)
    np.testing.assert_array_equal(states[-1], y)


@pytest.mark.torch
def test_dropout_in_the_hidden_part_needs_all_steps_at_once():
    x = INPUT[:, :10].astype("float32")
    hidden = keras.Sequential([keras.layers.Dropout(0.5), dense()])
    layer = LMU(1, 4, 9.0, hidden)
    assert np.any(run(layer, x, training=True) != run(layer, x))
    mask = ops.ones((2, 10), dtype="bool")
    run(layer, x, mask=mask)
    with pytest.raises(ValueError, match="Dropout.*step by step"):
        layer(x, mask=mask, training=True)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="compiled")
@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden_cell": keras.saving.serialize_keras_object(dense(5))},
        {
            "hidden_cell": [
                keras.saving.serialize_keras_object(layer)
                for layer in (currents(5), NeuronsCell(LIF, seed=5))
            ],
            "discretizer": "euler",
            "use_bias": True,
        },
    ],
    ids=["layer", "spiking"],
)
def test_forms_without_a_loop_keep_the_contract_of_layers(arguments):
    check_layer(LMU, {"memory_d": 1, "order": 4, "theta": 9.0, **arguments}, (3,))


# --- bad input ------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory_d": 0}, "memory_d.*at least 1.*received 0"),
        ({"memory_d": 1.5}, "received 1.5"),
        ({"order": 0}, "order.*at least 1.*received 0"),
        ({"order": True}, "received True"),
        ({"theta": 0}, "steps.*above 0.*received 0"),
        ({"theta": -1.0}, "received -1"),
        ({"theta": float("nan")}, "received nan"),
        ({"theta": None, "trainable_theta": True}, "received None"),
        ({"trainable_theta": "unit"}, "one trained value.*received 'unit'"),
        ({"discretizer": "bilinear"}, "'zoh', 'euler'.*'bilinear'"),
        ({"discretizer": "euler"}, "theta above 10.64 for order=6.*'zoh'"),
        ({"discretizer": "euler", "trainable_theta": True}, "grows without"),
        ({"hidden_to_memory": True}, "hidden_cell=None.*memory_to_memory"),
        ({"hidden_cell": "lstm"}, "SimpleRNNCell.*received 'lstm'"),
        ({"hidden_cell": keras.layers.LSTM(3)}, "LSTM runs over.*Give a cell"),
        ({"hidden_cell": [keras.layers.LSTM(3)]}, "LSTM runs over"),
        (
            {"hidden_cell": keras.layers.TimeDistributed(keras.layers.Dense(3))},
            "TimeDistributed runs over",
        ),
        ({"hidden_cell": keras.layers.LSTMCell(3, dropout=0.2)}, "dropout of 0.2"),
        (
            {"hidden_cell": keras.layers.GRUCell(3, recurrent_dropout=0.3)},
            "dropout of 0.3",
        ),
        (
            {"hidden_cell": keras.layers.Dense(3, activity_regularizer="l2")},
            "activity_regularizer.*Give it to the LMU",
        ),
    ],
    ids=str,
)
def test_arguments_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LMU(**({"memory_d": 1, "order": 6, "theta": 10.0} | arguments))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({}, (3,), r"\(batch, time, \*features\).*\(None, 3\)"),
        ({}, (4, 5, 3), r"needs vectors.*\(5, 3\).*Reshape"),
        ({"kernel_initializer": None}, (4, 3), "its input.*memory_d=1; received 3"),
        (
            {"kernel_initializer": None, "hidden_to_memory": True},
            (4, 1),
            "its hidden output.*memory_d=1; received 2",
        ),
        ({"hidden_cell": keras.layers.Reshape((2, 2))}, (4, 3), r"makes \(2, 2\)"),
    ],
)
def test_shapes_refused(arguments, shape, message):
    arguments = {"hidden_cell": keras.layers.Dense(2)} | arguments
    with pytest.raises(ValueError, match=message):
        LMU(1, 4, 10.0, **arguments)(keras.Input(shape))


@pytest.mark.torch
def test_a_layer_that_is_no_longer_the_same_step_by_step_is_refused_in_a_loop():
    hidden = [dense(), keras.layers.BatchNormalization()]
    layer = LMU(1, 4, 9.0, hidden, memory_to_memory=True)
    x = INPUT[:, :10].astype("float32")
    assert run(layer, x).shape == (2, 4)
    with pytest.raises(ValueError, match="BatchNormalization.*step by step"):
        layer(x, training=True)


@pytest.mark.torch
def test_the_cell_is_one_of_keras():
    x = INPUT[:, :10].astype("float32")
    layer = keras.layers.RNN(LMUCell(1, 4, 9.0, dense(), hidden_to_memory=True))
    again = keras.layers.RNN.from_config(layer.get_config())
    y = run(layer, x)
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(run(again, x), y)
