"""Synapse is a Nengo connection's synapse, or its `filt`."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops
from scipy import signal

from keras_spiking_nengo.layers import Synapse, SynapseCell
from tests.arrays import numpy, run
from tests.cases import SYNAPSES
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.marks import TAKES_TURNS, quick, some_on_jax

pytestmark = TAKES_TURNS

DT, TIME, N = 0.001, 150, 3
INPUT = np.random.RandomState(0).standard_normal((2, TIME, N)).cumsum(1)
# Keras's matrix product on torch is a single precision one.
NEAR = 1e-4 if BACKEND == "torch" else 1e-9
WITHOUT_MEMORY = ("None", "Lowpass(0)", "LinearFilter(gain)")
WITH_MEMORY = [name for name in SYNAPSES if name not in WITHOUT_MEMORY]


def synapse(*args, **kwargs):
    return Synapse(*args, return_sequences=True, **kwargs)


def simulated(kind, x):
    """What nengo.Simulator gives behind a connection with that synapse."""
    with nengo.Network() as net:
        source = nengo.Node(lambda t: x[round(t / DT) - 1])
        target = nengo.Node(size_in=N)
        nengo.Connection(source, target, synapse=kind)
        probe = nengo.Probe(target, synapse=None)
    with nengo.Simulator(net, dt=DT, progress_bar=False) as sim:
        sim.run_steps(len(x))
        return sim.data[probe]


# --- the same numbers as nengo's ----------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("name", SYNAPSES)
def test_by_default_the_synapse_of_a_connection(name, float64):
    expected = np.stack([simulated(SYNAPSES[name], x) for x in INPUT])
    assert np.any(expected)
    actual = run(synapse(SYNAPSES[name]), INPUT)
    np.testing.assert_allclose(actual, expected, rtol=NEAR, atol=NEAR)


@pytest.mark.torch
@pytest.mark.parametrize("name", [n for n in SYNAPSES if n != "None"])
def test_without_delay_it_is_filt(name, float64):
    expected = SYNAPSES[name].filt(INPUT, dt=DT, axis=1)
    actual = run(synapse(SYNAPSES[name], delay=0), INPUT)
    np.testing.assert_allclose(actual, expected, rtol=NEAR, atol=NEAR)


@pytest.mark.torch
@pytest.mark.parametrize("delay", [0, 1])
def test_a_number_is_a_lowpass(delay):
    x = INPUT.astype("float32")
    expected = run(synapse(nengo.Lowpass(0.03), delay=delay), x)
    np.testing.assert_array_equal(run(synapse(0.03, delay=delay), x), expected)


@pytest.mark.torch
@pytest.mark.parametrize("delay", [0, 1])
def test_none_passes_its_input_on(delay):
    x = INPUT.astype("float32")
    layer = synapse(None, delay=delay, return_state=True)
    (y,) = run(layer, x)
    np.testing.assert_array_equal(y, x)


@pytest.mark.torch
def test_a_time_constant_of_zero_lags_one_step_or_none():
    x = INPUT.astype("float32")
    lagged = run(synapse(0), x)
    np.testing.assert_array_equal(lagged[:, 1:], x[:, :-1])
    np.testing.assert_array_equal(lagged[:, 0], 0)
    np.testing.assert_array_equal(run(synapse(0, delay=0), x), x)


# --- initial level ------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("name", WITH_MEMORY)
def test_an_initial_level_is_held_by_the_input_that_keeps_it(name, delay, float64):
    kind, level = SYNAPSES[name], [0.5, -1.0, 2.0]
    # Nengo's gain for a constant input, when all has settled.
    gain = kind.filt(np.ones((5000, 1)), dt=DT)[-1, 0]
    x = np.broadcast_to(np.asarray(level) / gain, (2, 20, N))
    y = run(synapse(kind, delay=delay, initial_level=level), x)
    np.testing.assert_allclose(y, x * gain, rtol=1e-6)


@pytest.mark.torch
def test_an_initial_level_decays_as_nengos_does(float64):
    layer = synapse(nengo.Alpha(0.02), delay=0, initial_level=0.5)
    expected = nengo.Alpha(0.02).filt(INPUT[0], dt=DT, y0=0.5)
    np.testing.assert_allclose(run(layer, INPUT)[0], expected, rtol=NEAR, atol=NEAR)


@pytest.mark.torch
def test_an_initial_level_can_be_learned():
    layer = synapse(
        0.05, initial_level=0.1, trainable_parameters={"initial_level": "unit"}
    )
    model = keras.Sequential([keras.Input((10, N)), layer])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    level = np.array([1.0, -1.0, 0.5], "float32")
    x = np.broadcast_to(level, (800, 10, N))
    model.fit(x, x, batch_size=8, verbose=0)
    (weight,) = layer.trainable_variables
    np.testing.assert_allclose(numpy(weight), level, atol=0.02)


# --- trained time constants ---------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("kind", ["shared", "unit"])
@pytest.mark.parametrize("of", [nengo.Lowpass, nengo.Alpha])
def test_gradient_of_tau_equals_finite_differences(of, kind, delay, float64):
    layer = synapse(of(0.02), delay=delay, trainable_parameters={"tau": kind})
    x = INPUT[:, :20]
    layer.build(x.shape)
    (weight,) = layer.trainable_variables
    assert weight.name == "log_tau"
    weights = np.random.RandomState(1).standard_normal(x.shape)

    def filtered(log_tau):
        return layer.stateless_call([log_tau], [], ops.convert_to_tensor(x))[0]

    start = np.full(() if kind == "shared" else (N,), np.log(0.02))
    np.testing.assert_allclose(numpy(weight), start)
    y, slope = gradient(filtered, start, weights=ops.convert_to_tensor(weights))
    np.testing.assert_allclose(y, run(synapse(of(0.02), delay=delay), x), atol=NEAR)
    for index in np.ndindex(start.shape):
        step = np.zeros(start.shape)
        step[index] = 1e-6
        ends = [
            # The filter of that time constant, by way of nengo.
            [of(np.exp(v)).filt(x[..., i : i + 1], dt=DT, axis=1) for i, v in columns]
            for columns in (enumerate(start + s + np.zeros(N)) for s in (step, -step))
        ]
        up, down = (np.concatenate(end, axis=-1) for end in ends)
        if delay:
            up, down = (np.pad(z, [(0, 0), (1, 0), (0, 0)])[:, :-1] for z in (up, down))
        expected = np.sum((up - down) * weights) / 2e-6
        np.testing.assert_allclose(slope[index], expected, rtol=1e-5)


# --- all steps at once, and one by one ----------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("name", some_on_jax(WITH_MEMORY, ["Lowpass", "Triangle"]))
def test_blocks_are_single_steps(name):
    x = INPUT.astype("float32")
    cell = SynapseCell(SYNAPSES[name])
    steps = run(keras.layers.RNN(cell, return_sequences=True), x)
    actual = run(synapse(SYNAPSES[name]), x)
    np.testing.assert_allclose(actual, steps, atol=1e-6 * np.max(np.abs(steps)))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="others know the length")
@pytest.mark.parametrize("name", quick(SYNAPSES, ["Lowpass", "Alpha", "Triangle"]))
def test_an_unknown_number_of_steps(name):
    import tensorflow as tf

    layer = synapse(SYNAPSES[name], return_state=True)
    x = INPUT.astype("float32")
    signature = [tf.TensorSpec((None, None, N))]
    dynamic = tf.function(lambda x: layer(x), signature, autograph=False)
    for known, y in zip(run(layer, x), dynamic(x), strict=True):
        scale = np.max(np.abs(known))
        np.testing.assert_allclose(numpy(y), known, atol=1e-6 * scale)


@pytest.mark.torch
@pytest.mark.parametrize("kind", [nengo.Lowpass(0.1), nengo.Alpha(0.1)])
def test_5000_steps_do_not_drift(kind):
    x = np.random.RandomState(0).uniform(0, 2, (1, 5000, 1))
    d = np.exp(-DT / 0.1)
    expected = signal.lfilter([0, 1 - d], [1, -d], x, axis=1)
    if isinstance(kind, nengo.Alpha):
        expected = kind.filt(x, dt=DT, axis=1)
        expected = np.pad(expected, [(0, 0), (1, 0), (0, 0)])[:, :-1]
    actual = run(synapse(kind), x.astype("float32"))
    np.testing.assert_allclose(actual, expected, atol=4e-6)


@pytest.mark.torch
def test_nan_stays_with_its_item_and_feature():
    x = INPUT.astype("float32")
    clean = run(synapse(0.02), x)
    x[1, 100, 2] = np.nan
    y = run(synapse(0.02), x)
    assert np.all(np.isnan(y[1, 101:, 2]))
    np.testing.assert_array_equal(y[0], clean[0])
    np.testing.assert_array_equal(y[..., :2], clean[..., :2])


@pytest.mark.torch
def test_features_of_any_shape_are_filtered_alike():
    x = INPUT.astype("float32")
    grid = run(synapse(nengo.Alpha(0.02)), x.reshape(2, TIME, 1, N, 1))
    np.testing.assert_allclose(
        grid.reshape(x.shape), run(synapse(nengo.Alpha(0.02)), x), atol=1e-6
    )


@pytest.mark.torch
def test_reset_state_restores_the_initial_level():
    layer = synapse(0.02, initial_level=0.5, stateful=True)
    x = INPUT[:, :5].astype("float32")
    first, second = run(layer, x), run(layer, x)
    np.testing.assert_allclose(first[:, 0], 0.5, rtol=1e-6)
    assert np.any(second[:, 0] != first[:, 0])
    layer.reset_state()
    np.testing.assert_array_equal(run(layer, x), first)


# --- bad input ----------------------------------------------------------------


class Squared(nengo.synapses.Synapse):
    """Not linear."""


class Own(nengo.Lowpass):
    def make_step(self, *args, **kwargs):
        raise AssertionError


INTEGRATOR = nengo.LinearFilter([1], [1, 0])
GAIN = nengo.LinearFilter([2.0], [1.0])


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"synapse": -0.1}, ValueError, "at least 0.*received -0.1"),
        ({"synapse": float("nan")}, ValueError, "received nan"),
        ({"synapse": float("inf")}, ValueError, "received inf"),
        ({"synapse": True}, ValueError, "received True"),
        ({"synapse": "lowpass"}, ValueError, "nengo.Alpha.*'lowpass'"),
        ({"synapse": nengo.Alpha}, ValueError, "received <class.*Alpha"),
        (
            {"synapse": nengo.LinearFilter([1, 1, 1], [1, 1])},
            ValueError,
            r"LinearFilter\(.*causal.*num no longer than den",
        ),
        (
            {"synapse": nengo.LinearFilter([1, 1, 1], [1, 1], analog=False)},
            ValueError,
            "causal",
        ),
        ({"synapse": Squared()}, NotImplementedError, "Squared.*Known.*LinearFilter"),
        ({"synapse": Own(0.1)}, NotImplementedError, "Own redefines make_step"),
        ({"dt": 0}, ValueError, "seconds.*received 0"),
        ({"dt": "1"}, ValueError, "received '1'"),
        ({"delay": 2}, ValueError, "received 2.*Delay"),
        ({"delay": None}, ValueError, "received None"),
        ({"synapse": INTEGRATOR, "initial_level": 1}, ValueError, "integrates"),
        (
            {"synapse": INTEGRATOR, "trainable_parameters": ("initial_level",)},
            ValueError,
            "integrates",
        ),
        ({"synapse": None, "initial_level": 1}, ValueError, "no memory"),
        ({"synapse": GAIN, "delay": 0, "initial_level": 1}, ValueError, "no memory"),
        ({"initial_level": "high"}, ValueError, "finite number.*'high'"),
        ({"initial_level": float("nan")}, ValueError, "finite number.*nan"),
        (
            {
                "synapse": nengo.LinearFilter([1], [0.1, 1]),
                "trainable_parameters": "tau",
            },
            ValueError,
            "cannot train 'tau'.*'initial_level'",
        ),
        (
            {"synapse": 0, "trainable_parameters": ("tau",)},
            ValueError,
            "cannot train 'tau'",
        ),
        ({"trainable": ("tau",)}, TypeError, "trainable_parameters"),
    ],
    ids=str,
)
def test_arguments_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Synapse(**arguments)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({}, (3,), r"\(batch, time, \*features\).*\(None, 3\).*Repeat"),
        ({}, (4, None), r"feature dimension known.*\(None,\)"),
        ({}, (0, 3), r"at least one step.*\(None, 0, 3\)"),
        ({"initial_level": [1, 2]}, (4, 3), r"\(2,\).*features \(3,\)"),
        ({"initial_level": [[1, 2, 3]]}, (4, 3), r"\(1, 3\).*features \(3,\)"),
        ({"unroll": True}, (None, 3), r"unroll.*\(None, None, 3\)"),
    ],
)
def test_shapes_refused(arguments, shape, message):
    with pytest.raises(ValueError, match=message):
        Synapse(**arguments)(keras.Input(shape))
