"""A model cut into steps gives the model's numbers, or says which layer has no step."""

from concurrent.futures import ThreadPoolExecutor

import keras
import nengo
import numpy as np
import pytest
from keras import layers, ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.serving import Step
from keras_spiking_nengo.serving.agreement import sample
from tests.cases import NEURONS
from tests.marks import SLOW_ON_JAX

TIME = 6


def over(*stack, shape=(None, 3)):
    return keras.Sequential([keras.Input(shape), *stack])


def neurons(**flags):
    kind = nengo.LIF(tau_rc=0.003)
    return ksn.layers.Neurons(kind, seed=1, **{"return_sequences": True} | flags)


def shared():
    x = keras.Input((None, 3))
    spikes = neurons(name="spikes")
    return keras.Model(x, spikes(spikes(x) + x))


def nested():
    inner = over(layers.Dense(4), neurons(name="spikes"))
    x = keras.Input((TIME, 3))
    return keras.Model(x, {"b": inner(x), "a": layers.LSTM(2)(x)})


def joined():
    a, b = keras.Input((None, 3), name="a"), keras.Input((2,), name="b")
    b_spikes = ksn.layers.Repeat(TIME)(layers.Dense(3)(b))
    return keras.Model({"a": a, "b": b}, layers.Add()([a, neurons()(b_spikes)]))


def operations():
    x = keras.Input((None, 3))
    last = neurons(return_sequences=False)(x)
    return keras.Model(x, [2 * x + ops.tanh(neurons()(x)) / 3, 1 - last])


def states():
    x = keras.Input((None, 3))
    cells = [layers.LSTMCell(2), layers.GRUCell(3)]
    stacked = layers.RNN(cells, return_sequences=True, return_state=True)
    return keras.Model(x, keras.tree.flatten([stacked(x), neurons()(x)]))


def sliced():
    x = keras.Input((None, 3))
    y = neurons()(x)
    return keras.Model(x, [layers.Dense(2)(y[:, -1]), y[:, -1, 1:]])


MODELS = {
    "spiking": lambda: over(layers.Dense(4), neurons(), ksn.layers.Synapse(0.01)),
    "random": lambda: over(
        ksn.layers.Neurons(NEURONS["PoissonSpiking"], seed=1, return_sequences=True)
    ),
    "causal": lambda: over(
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"),
        layers.GRU(2, return_sequences=True),
    ),
    "stacked": lambda: over(
        layers.RNN(
            [ksn.layers.NeuronsCell(nengo.LIF(tau_rc=0.003)), layers.LSTMCell(2)],
            return_sequences=True,
        )
    ),
    "shared": shared,
    "nested": nested,
    "joined": joined,
    "presented": lambda: over(
        layers.Dense(4), ksn.layers.Repeat(TIME), neurons(), shape=(3,)
    ),
    "operations": operations,
    "states": states,
    "in steps of steps": lambda: over(
        layers.TimeDistributed(
            keras.Sequential(
                [
                    keras.Input((2, 3)),
                    layers.TimeDistributed(layers.Dense(4)),
                    layers.Flatten(),
                ]
            )
        ),
        neurons(),
        shape=(None, 2, 3),
    ),
    "sliced": sliced,
    "encoded": lambda: over(
        ksn.layers.PoissonEncoder(500.0, n_steps=TIME, seed=1, return_sequences=True),
        shape=(3,),
    ),
}


def run(step, xs):
    state, found = step.initial_state(2), []
    for t in range(TIME):
        now = [x if f else x[:, t] for x, f in zip(xs, step.frames, strict=True)]
        outputs, state = step(now, state)
        found.append([ops.convert_to_numpy(y) for y in outputs])
    return [
        ys[-1] if port.last else np.stack(ys, axis=1)
        for ys, port in zip(zip(*found, strict=True), step.outputs, strict=True)
    ]


# Its operations are compiled one by one on JAX.
LONG = ("causal", "stacked", "random", "encoded", "nested", "shared")
CASES = [
    pytest.param(name, marks=SLOW_ON_JAX if name in LONG else []) for name in MODELS
]


@pytest.mark.parametrize("name", CASES)
def test_step_by_step_a_model_gives_its_own_numbers(name):
    model = MODELS[name]()
    step = Step(model)
    xs = [
        sample((2, *(n or TIME for n in x.shape[1:])), "float32") for x in model.inputs
    ]
    sequential = isinstance(model, keras.Sequential)
    given = xs[0] if sequential else keras.tree.pack_sequence_as(model.input, xs)
    expected = [ops.convert_to_numpy(y) for y in keras.tree.flatten(model(given))]
    for y, answer in zip(expected, run(step, xs), strict=True):
        assert np.any(y)
        np.testing.assert_allclose(answer, y, rtol=1e-5, atol=1e-5 * np.max(np.abs(y)))


def test_states_are_named_and_a_shared_layer_has_two():
    assert [port.name for port in Step(shared()).states] == [
        "state_spikes_voltage",
        "state_spikes_refractory",
        "state_spikes_voltage_2",
        "state_spikes_refractory_2",
    ]


def test_states_are_in_the_order_in_which_keras_calls_the_layers():
    """A client that kept states of the last version by name goes on with them."""
    x = keras.Input((None, 3), name="a")
    first, second = (over(layers.Dense(2), neurons(name="spikes")) for _ in range(2))
    outputs = [first(x), second(x), first(layers.LSTM(3, return_sequences=True)(x))]
    model = keras.Model(x, outputs)
    step, xs = Step(model), sample((2, 1, 3), "float32")
    assert [port.name for port in step.states] == [
        "state_lstm_h",
        "state_lstm_c",
        *(f"state_spikes_{name}" for name in ("voltage", "refractory")),
        *(f"state_spikes_{name}_2" for name in ("voltage", "refractory")),
        *(f"state_spikes_{name}_3" for name in ("voltage", "refractory")),
    ]
    _, after = step([xs[:, 0]], step.initial_state(2))
    voltage = dict(zip([port.name for port in step.states], after, strict=True))
    alone = Step(second)
    _, (expected, _) = alone([xs[:, 0]], alone.initial_state(2))
    np.testing.assert_array_equal(voltage["state_spikes_voltage_2"], expected)


def test_threads_share_a_step():
    step = Step(shared())
    xs = [sample((2, TIME, 3), "float32") * k for k in (1, 2, -1, 0.5)]
    expected = [run(step, [x]) for x in xs]
    before = dict(vars(step))
    with ThreadPoolExecutor(4) as threads:
        answers = [list(threads.map(lambda x: run(step, [x]), xs)) for _ in range(3)]
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)
    assert all(vars(step)[name] is value for name, value in before.items())
    assert len(vars(step)) == len(before)


def test_a_model_keeps_no_trace_of_being_cut():
    model = over(neurons(name="spikes"))
    before = model.get_config()
    Step(model)
    assert model.get_config() == before
    # Keras would not know which, had the layer been called once more.
    assert model.get_layer("spikes").output.shape == (None, None, 3)


def python_node():
    with nengo.Network(seed=1) as net:
        source = nengo.Node([0.0], label="source")
        squared = nengo.Node(lambda t, x: x**2, size_in=1, label="squared")
        nengo.Connection(source, squared)
        nengo.Probe(squared)
    return ksn.layers.Network(net, return_sequences=True)


def rarely_probed():
    with nengo.Network(seed=1) as net:
        source = nengo.Node([0.0], label="source")
        nengo.Probe(source, sample_every=0.002)
    return ksn.layers.Network(net, return_sequences=True)


def given_state():
    x = keras.Input((None, 3))
    last = neurons(return_sequences=False)(x)
    return keras.Model(x, neurons(name="n")(x, initial_state=[last, last]))


def masked():
    x = keras.Input((None, 3))
    return keras.Model(x, neurons()(layers.Masking(name="m")(x)))


def masked_inside():
    inner = keras.Sequential([keras.Input((None, 3)), neurons(name="n")])
    x, mask = keras.Input((None, 3)), keras.Input((None,), dtype="bool")
    return keras.Model([x, mask], inner(x, mask=mask))


def last_joined():
    x = keras.Input((None, 3))
    last = neurons(return_sequences=False)(x)
    return keras.Model(x, layers.Add(name="both")([x, last[:, None]]))


def averaged():
    x = keras.Input((None, 3))
    return keras.Model(x, ops.mean(neurons()(x), axis=1))


class Backwards(keras.layers.Layer):
    def call(self, x):
        return ops.flip(x, axis=1)


SMALL = layers.SimpleRNN(2, return_sequences=True)
# The model, and what the error has to name.
REFUSED = {
    "bidirectional": (
        lambda: over(layers.Bidirectional(layers.SimpleRNN(2, name="r"), name="both")),
        "Bidirectional 'both'.*whole sequence.*forwards",
    ),
    "backwards": (
        lambda: over(neurons(go_backwards=True, name="back")),
        "Neurons 'back'.*go_backwards.*False",
    ),
    "conv": (
        lambda: over(layers.Conv1D(2, 3, name="conv")),
        "Conv1D 'conv'.*padding='valid'.*causal",
    ),
    "strided": (
        lambda: over(layers.Conv1D(2, 3, 2, padding="causal", name="conv")),
        "Conv1D 'conv'.*strides=\\(2,\\)",
    ),
    "global pool": (
        lambda: over(neurons(), layers.GlobalAveragePooling1D(name="mean")),
        "GlobalAveragePooling1D 'mean'.*Synapse",
    ),
    "pool": (lambda: over(layers.MaxPooling1D(2, name="p")), "MaxPooling1D 'p'.*PerS"),
    "flatten": (
        lambda: over(layers.Flatten(name="f"), shape=(TIME, 3)),
        "Flatten 'f'.*PerStep",
    ),
    "reshape": (
        lambda: over(layers.Reshape((3, 6), name="r"), shape=(TIME, 3)),
        "Reshape 'r'.*mix steps",
    ),
    "normalised over time": (
        lambda: over(layers.LayerNormalization(axis=1, name="n"), shape=(TIME, 3)),
        "LayerNormalization 'n'.*axis",
    ),
    "masking": (
        lambda: over(layers.Masking(name="m"), neurons()),
        "Masking 'm'.*leave",
    ),
    "masking, with the operations of the mask": (
        masked,
        "Masking 'm'.*leave",
    ),
    "a mask within": (masked_inside, "Neurons 'n'.*mask of the model's own"),
    "joined with the last": (last_joined, "Add 'both'.*without time.*Repeat"),
    "operation": (averaged, "Mean 'mean'.*may mix steps.*PerStep"),
    "of one's own": (lambda: over(Backwards(name="b")), "Backwards 'b'.*PerStep"),
    "repeated twice": (
        lambda: over(neurons(return_sequences=False), ksn.layers.Repeat(3, name="r")),
        "Repeat 'r'.*starts once",
    ),
    "static rnn": (
        lambda: over(SMALL, ksn.layers.Repeat(3), shape=(TIME, 3)),
        "SimpleRNN.*starts once",
    ),
    "no time": (lambda: over(layers.Dense(2), shape=(3,)), "axis of time.*Repeat"),
    "python": (lambda: over(python_node(), shape=(None, 1)), "squared.*Python"),
    "rarely probed": (
        lambda: over(rarely_probed(), shape=(None, 1)),
        "sample_every.*Probe every step",
    ),
    "given state": (given_state, "Neurons 'n'.*initial_state"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_the_whole_sequence_is_refused_by_name(name):
    make, message = REFUSED[name]
    with pytest.raises(NotImplementedError, match=f"(?s){message}"):
        Step(make())


def test_a_subclassed_model_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(TypeError, match="functional and Sequential.*Own"):
        Step(Own())


def test_a_wrapped_layer_is_the_way_out():
    step = Step(over(ksn.layers.PerStep(layers.Flatten()), shape=(TIME, 2, 2)))
    assert step.outputs[0].shape == (None, 4)
