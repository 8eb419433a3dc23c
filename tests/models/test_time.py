"""The table of time is whole, and true: layers are run on sequences and per step."""

import inspect

import keras
import nengo
import numpy as np
import pytest
from keras import layers, ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.models.calls import calls
from keras_spiking_nengo.models.time import (
    TIMES,
    Time,
    has_row,
    is_causal,
    moves,
    presents,
    reading_of,
    runs,
    stepwise_objection,
    takes_any_rank,
    teach,
    time_of,
)
from tests.builders import randomise
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

TIME, SIZE = 6, 4
# Bases of layers, and layers that are made of Keras's own classes at import.
ABSTRACT = {"Layer", "Wrapper", "RNN"}


def public_layers():
    for module in (layers, ksn.layers):
        for name in dir(module):
            kind = getattr(module, name)
            if inspect.isclass(kind) and issubclass(kind, keras.Layer):
                yield kind


def is_cell(kind):
    return kind.__name__.endswith(("Cell", "Cells"))


def test_every_public_layer_has_a_row():
    kinds = set(public_layers())
    assert len(kinds) > 150
    without = {k.__name__ for k in kinds if not is_cell(k) and not has_row(k)}
    assert without <= ABSTRACT


def test_a_layer_without_a_row_would_be_seen():
    class New(layers.Layer):
        def call(self, x):
            return x

    class Mixing(layers.Dense):
        def call(self, x):
            return ops.flip(super().call(x), axis=1)

    assert not has_row(New) and not has_row(Mixing)
    assert "PerStep" in stepwise_objection(Mixing(2), (None, 5, 3))


# --- layers that keep steps apart ---------------------------------------------------

# Layers without an objection, for `(batch, time, 4)`.
STEPWISE = {
    "Activation": lambda: layers.Activation("tanh"),
    "ActivityRegularization": lambda: layers.ActivityRegularization(0.1),
    "AlphaDropout": lambda: layers.AlphaDropout(0.5),
    "BatchNormalization": lambda: layers.BatchNormalization(),
    "Conv1D": lambda: layers.Conv1D(3, 1),
    "Dense": lambda: layers.Dense(3, "relu"),
    "Dropout": lambda: layers.Dropout(0.5),
    "ELU": lambda: layers.ELU(),
    "Embedding": lambda: layers.Embedding(9, 3),
    "GaussianDropout": lambda: layers.GaussianDropout(0.5),
    "GaussianNoise": lambda: layers.GaussianNoise(0.5),
    "Identity": lambda: layers.Identity(),
    "LayerNormalization": lambda: layers.LayerNormalization(),
    "LeakyReLU": lambda: layers.LeakyReLU(),
    "Normalization": lambda: layers.Normalization(mean=0.5, variance=2.0),
    "PReLU": lambda: layers.PReLU("random_normal", shared_axes=[1]),
    "PerStep": lambda: ksn.layers.PerStep(layers.Dense(3)),
    "Quantized": lambda: ksn.layers.Quantized(layers.Dense(3, "relu"), 4),
    "RMSNormalization": lambda: layers.RMSNormalization(),
    "ReLU": lambda: layers.ReLU(0.5),
    "Rescaling": lambda: layers.Rescaling(2.0, 1.0),
    "Reshape": lambda: layers.Reshape((-1, 2, 2)),
    "Softmax": lambda: layers.Softmax(),
    "SpatialDropout1D": lambda: layers.SpatialDropout1D(0.5),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(3)),
    "Transform": lambda: ksn.layers.Transform(nengo.Dense((3, SIZE), np.eye(3, SIZE))),
    "UnitNormalization": lambda: layers.UnitNormalization(),
}
JOINING = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply")


def data(seed=0):
    rng = np.random.RandomState(seed)
    return rng.uniform(0, 4, (2, TIME, SIZE)).astype("float32")


def by_steps(layer, *xs):
    """The layer on sequences of one step, one after the other."""
    parts = [
        layer([x[:, t : t + 1] for x in xs] if len(xs) > 1 else xs[0][:, t : t + 1])
        for t in range(TIME)
    ]
    return np.concatenate(list(map(ops.convert_to_numpy, parts)), axis=1)


def built(layer):
    randomise(chain(layer))
    return layer


def chain(layer):
    return keras.Sequential([keras.Input((TIME, SIZE)), layer])


@pytest.mark.parametrize("name", STEPWISE)
def test_a_layer_without_an_objection_keeps_steps_apart(name):
    layer = built(STEPWISE[name]())
    assert stepwise_objection(layer, (None, TIME, SIZE)) == ""
    x = data()
    y = ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(by_steps(layer, x), y, rtol=1e-5, atol=1e-6)
    assert y.shape[1] == TIME


@pytest.mark.parametrize("name", [*JOINING, "Subtract"])
def test_a_layer_that_joins_keeps_steps_apart(name):
    layer = getattr(layers, name)()
    assert stepwise_objection(layer, (None, TIME, SIZE)) == ""
    xs = [data(0), data(1)]
    np.testing.assert_allclose(by_steps(layer, *xs), layer(xs), rtol=1e-6)


def test_all_layers_that_may_have_no_objection_are_tried():
    shape = (None, TIME, SIZE)
    without = set()
    for kind in TIMES:
        try:
            layer = kind()
        except (TypeError, ValueError):
            continue  # it needs arguments
        if TIMES[kind].time is Time.KEEPS and not stepwise_objection(layer, shape):
            without.add(kind.__name__)
    assert {"ReLU", "Add", "Softmax"} <= without <= {*STEPWISE, *JOINING, "Subtract"}


# --- layers that would mix steps ----------------------------------------------------

MIXING = {
    "AdditiveAttention": lambda: layers.AdditiveAttention(),
    "Attention": lambda: layers.Attention(),
    "AveragePooling1D": lambda: layers.AveragePooling1D(2),
    "Conv1D": lambda: layers.Conv1D(3, 2),
    "Conv1D(same)": lambda: layers.Conv1D(3, 3, padding="same"),
    "Conv1D(strided)": lambda: layers.Conv1D(3, 2, 2),
    "Conv1DTranspose": lambda: layers.Conv1DTranspose(3, 2),
    "Cropping1D": lambda: layers.Cropping1D(1),
    "DepthwiseConv1D": lambda: layers.DepthwiseConv1D(2),
    "Flatten": lambda: layers.Flatten(),
    "GlobalAveragePooling1D": lambda: layers.GlobalAveragePooling1D(),
    "GlobalMaxPooling1D": lambda: layers.GlobalMaxPooling1D(),
    "GroupNormalization": lambda: layers.GroupNormalization(2),
    "LayerNormalization(axis=1)": lambda: layers.LayerNormalization(axis=1),
    "MaxPooling1D": lambda: layers.MaxPooling1D(2),
    "Permute": lambda: layers.Permute((2, 1)),
    "Quantized(Conv1D)": lambda: ksn.layers.Quantized(layers.Conv1D(3, 2), 4),
    "Reshape": lambda: layers.Reshape((SIZE, TIME)),
    "SeparableConv1D": lambda: layers.SeparableConv1D(3, 2),
    "Softmax(axis=1)": lambda: layers.Softmax(axis=1),
    "UpSampling1D": lambda: layers.UpSampling1D(2),
    "ZeroPadding1D": lambda: layers.ZeroPadding1D(1),
}
OVER_TIME = ("Attention", "AdditiveAttention")


@pytest.mark.parametrize("name", MIXING)
def test_a_layer_with_an_objection_mixes_steps(name):
    """A later or an earlier step changes what it gives, or their number does."""
    layer, x = MIXING[name](), data()
    inputs = keras.Input((TIME, SIZE))
    several = name in OVER_TIME
    model = randomise(
        keras.Model(inputs, layer([inputs, inputs] if several else inputs))
    )
    assert stepwise_objection(layer, (None, TIME, SIZE))
    keeps, reads = "axis=1" in name, reading_of(layer)
    expected = Time.KEEPS if keeps else Time.READS if reads else Time.MIXES
    assert time_of(layer) is expected
    y = ops.convert_to_numpy(model(x))
    changed = x.copy()
    changed[:, -1] += 1
    changed[:, 0] -= 0.5
    difference = np.abs(ops.convert_to_numpy(model(changed)) - y)
    assert y.shape[:2] != (2, TIME) or np.any(difference[:, 1:-1] > 1e-6)


def test_shared_weights_are_asked_for():
    layer = layers.PReLU()
    assert "shared_axes" in stepwise_objection(layer, (None, TIME, SIZE))


@pytest.mark.parametrize(
    "layer", [layers.Masking(), layers.Embedding(4, 2, mask_zero=True)]
)
def test_masks_are_objected_to(layer):
    assert "no masks" in stepwise_objection(layer, (None, TIME, SIZE))


# --- convolutions that look back ----------------------------------------------------


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("wrap", [lambda layer: layer, ksn.layers.Quantized])
def test_a_causal_convolution_looks_back_only(dilation, wrap):
    conv = layers.Conv1D(3, 3, padding="causal", dilation_rate=dilation)
    layer = built(wrap(conv))
    assert is_causal(layer) and stepwise_objection(layer, (None, TIME, SIZE)) == ""
    x = data()
    changed = x.copy()
    changed[:, -1] += 1
    y, z = (ops.convert_to_numpy(layer(value)) for value in (x, changed))
    np.testing.assert_allclose(y[:, :-1], z[:, :-1], rtol=1e-6)
    assert np.any(y[:, -1] != z[:, -1])


def test_other_convolutions_are_not_causal():
    class Own(layers.Conv1D):
        def call(self, x):
            return ops.flip(super().call(x), axis=1)

    assert not is_causal(Own(3, 3, padding="causal"))
    assert not is_causal(layers.Conv1D(3, 3))
    assert not is_causal(layers.Conv1D(3, 3, 2, padding="causal"))
    assert not is_causal(layers.Dense(2))


# --- layers that begin, or run over, time -------------------------------------------


def test_layers_over_time():
    for layer in (layers.LSTM(2), ksn.layers.Neurons("lif"), layers.ConvLSTM1D(2, 2)):
        assert runs(layer) and not presents(layer)
        assert time_of(layer) is Time.RUNS
    assert time_of(layers.Bidirectional(layers.LSTM(2))) is Time.RUNS


def test_layers_that_begin_time():
    encoder = ksn.layers.PoissonEncoder(n_steps=5)
    assert presents(encoder) and runs(encoder)
    assert time_of(encoder) is Time.PRESENTS
    assert not presents(ksn.layers.PoissonEncoder())
    for layer, time in (
        (ksn.layers.Repeat(5), Time.STARTS),
        (layers.RepeatVector(5), Time.REPEATS),
    ):
        assert presents(layer) and not runs(layer) and time_of(layer) is time


def test_what_moves_values_gives_only_values_that_it_takes():
    x = data()
    for kind in ("Cropping1D", "UpSampling1D", "Permute", "Reshape"):
        layer = MIXING[kind]()
        assert moves(layer)
        assert set(np.ravel(layer(x))) <= set(np.ravel(x))
    assert not moves(layers.Dense(2)) and not moves(layers.AveragePooling1D(2))


def test_layers_of_any_rank_take_static_tensors_once_built():
    x = data()
    for name in ("Dense", "Activation", "Dropout"):
        layer = built(STEPWISE[name]())
        assert takes_any_rank(layer)
        np.testing.assert_allclose(
            layer(x[:, 0]), ops.convert_to_numpy(layer(x))[:, 0], rtol=1e-5
        )
    assert not takes_any_rank(layers.Conv1D(2, 2))

    class Own(layers.Dense):
        pass

    assert not takes_any_rank(Own(2))


# --- operations ---------------------------------------------------------------------

# Operations of `x`, and of `x` and `y`.
ELEMENTWISE = {
    "Add": lambda x, y: x + y,
    "Subtract": lambda x, y: x - 2,
    "Multiply": lambda x, y: x * y,
    "TrueDivide": lambda x, y: x / (1 + y),
    "Tanh": lambda x, y: ops.tanh(x),
    "Relu": lambda x, y: ops.relu(x - 2),
    "Maximum": lambda x, y: ops.maximum(x, y),
    "Clip": lambda x, y: ops.clip(x, 1, 2),
    "Where": lambda x, y: ops.where(x, x, y),
    "Square": lambda x, y: ops.square(x),
}
OTHER = {
    "Flip": lambda x: ops.flip(x, axis=1),
    "Mean": lambda x: ops.mean(x, axis=1),
    "GetItem": lambda x: x[:, ::-1],
    "Transpose": lambda x: ops.transpose(x, (0, 2, 1)),
    "Roll": lambda x: ops.roll(x, 1, axis=1),
    "Cumsum": lambda x: ops.cumsum(x, axis=1),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_operations_that_keep_steps_apart(name):
    function, xs = ELEMENTWISE[name], [data(0), data(1)]
    inputs = [keras.Input((TIME, SIZE)) for _ in xs]
    found = calls(keras.Model(inputs, function(*inputs)))
    kinds = {type(call.operation).__name__: call.operation for call in found}
    assert name in kinds or name == "TrueDivide" and "Divide" in kinds
    for operation in kinds.values():
        assert stepwise_objection(operation, (None, TIME, SIZE)) == ""
        assert time_of(operation) is Time.KEEPS
    whole = function(*map(ops.convert_to_tensor, xs))
    steps = by_steps(lambda parts: function(*map(ops.convert_to_tensor, parts)), *xs)
    np.testing.assert_allclose(steps, whole, rtol=1e-6)


@pytest.mark.parametrize("name", OTHER)
def test_operations_that_may_mix_steps(name):
    x = keras.Input((TIME, SIZE))
    (call,) = calls(keras.Model(x, OTHER[name](x)))
    assert type(call.operation).__name__ == name
    assert "may mix steps" in stepwise_objection(call.operation, (None, TIME, SIZE))


# --- layers of a user's own ---------------------------------------------------------


def test_a_class_is_taught_once():
    class Own(layers.Layer):
        def call(self, x):
            return ops.flip(x, axis=1)

    assert time_of(Own()) is Time.KEEPS
    teach(Time.MIXES, Own)
    teach(Time.KEEPS, Own)
    assert time_of(Own()) is Time.MIXES and has_row(Own)
