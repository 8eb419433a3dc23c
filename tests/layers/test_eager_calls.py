"""Eager calls are compiled once for each shape and setting, and change nothing else."""

import contextlib
import copy
import gc
import logging
import threading
import weakref

import keras
import nengo
import numpy as np
import pytest
from keras import ops

from keras_spiking_nengo import layers, surrogates
from keras_spiking_nengo.layers import eager_calls
from tests.arrays import numpy
from tests.conftest import BACKEND
from tests.gradients import gradient, penalty
from tests.layers.contract import currents
from tests.layers.nets import small
from tests.marks import TAKES_TURNS, quick, slow_on_jax

pytestmark = [
    *TAKES_TURNS,
    pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing"),
]

TIME = 6


@pytest.fixture(autouse=True)
def _short_ones_too(monkeypatch):
    monkeypatch.setattr(eager_calls, "is_compiled_eagerly", lambda n_steps: True)


def _lmu(**flags):
    return layers.LMU(1, 4, 10.0, keras.layers.SimpleRNNCell(3), **flags)


def _ensemble(**flags):
    return layers.Ensemble(12, 2, seed=0, **flags)


LAYERS = {
    "neurons": lambda **flags: layers.Neurons(nengo.LIF(), seed=0, **flags),
    "random": lambda **flags: layers.Neurons(
        nengo.PoissonSpiking(nengo.LIFRate()), seed=0, **flags
    ),
    "synapse": lambda **flags: layers.Synapse(nengo.Alpha(0.01), **flags),
    "lmu": _lmu,
    "ensemble": _ensemble,
    "network": lambda **flags: layers.Network(small(), **flags),
    "delay": lambda **flags: layers.Delay(3, **flags),
}
NAMES = quick(LAYERS, {"neurons", "network"})
FLAGS = {
    "last": {},
    "state": {"return_sequences": True, "return_state": True},
    "backwards": {"go_backwards": True, "return_sequences": True},
    "unroll": {"unroll": True},
    "zeros": {"return_sequences": True, "zero_output_for_mask": True},
}


@pytest.fixture
def make(request):
    return LAYERS[request.param]


def every_layer(test):
    """For all layers, of which two are among the default tests."""
    return pytest.mark.parametrize("make", NAMES, indirect=True)(test)


def _x(seed=0, time=TIME, batch=2):
    return ops.convert_to_tensor(currents((2,), batch, time, seed))


@contextlib.contextmanager
def as_it_is(layer):
    """Without any compiled calls of the layer."""
    held = layer.eager_calls
    plain = eager_calls.EagerCalls(layer)
    plain.run = lambda arguments, training: layer.computed(*arguments, training)
    object.__setattr__(layer, "eager_calls", plain)
    yield
    object.__setattr__(layer, "eager_calls", held)


def _close(actual, expected):
    pairs = zip(keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(numpy(a), numpy(b), rtol=1e-4, atol=1e-4)


@every_layer
def test_a_shape_is_compiled_once(make):
    layer = make(return_sequences=True)
    layer(_x(0))
    for seed in (1, 2):
        actual = layer(_x(seed))
        with as_it_is(layer):
            _close(actual, layer(_x(seed)))
    assert layer.eager_calls.n_compiled == 1
    layer(_x(time=TIME + 1))
    layer(_x(time=TIME + 1), training=False)
    assert layer.eager_calls.n_compiled == 2


def test_a_short_call_runs_step_by_step(monkeypatch):
    monkeypatch.setattr(
        eager_calls, "is_compiled_eagerly", lambda n_steps: n_steps > TIME
    )
    layer = LAYERS["neurons"](return_sequences=True)
    for time, number in (TIME, 0), (TIME + 1, 1), (TIME, 1):
        layer(_x(time=time))
        assert layer.eager_calls.n_compiled == number


@pytest.mark.parametrize("name", quick(LAYERS, {"neurons"}))
@pytest.mark.parametrize("flags", quick(FLAGS, {"state", "zeros"}))
def test_flags_masks_and_states_act_as_they_do(name, flags):
    make, flags = LAYERS[name], FLAGS[flags]
    layer = make(**flags)
    layer.build(_x().shape)
    state = layer.get_initial_state(2)
    mask = np.arange(TIME) < np.array([[TIME], [TIME - 2]])
    for call in ({}, {"mask": mask}, {"initial_state": state, "mask": mask}):
        actual = layer(_x(), **call), layer(_x(1), **call)
        with as_it_is(layer):
            _close(actual, (layer(_x(), **call), layer(_x(1), **call)))
    assert layer.eager_calls.n_compiled == 3


@every_layer
def test_a_stateful_layer_goes_on(make):
    layer, whole = make(stateful=True), make(return_sequences=False)
    for model in (layer, whole):
        model.build((2, TIME, 2))
    whole.set_weights(layer.get_weights())
    x = _x(time=3 * TIME)
    for part in range(3):
        y = layer(x[:, part * TIME : (part + 1) * TIME])
    _close(y, whole(x))
    assert layer.eager_calls.n_compiled == 1
    layer.reset_state()
    _close(layer(x[:, :TIME]), whole(x[:, :TIME]))


def test_weights_that_change_are_those_of_the_call():
    layer = layers.Neurons("relu", trainable_parameters=("amplitude",))
    before = numpy(layer(_x()))
    layer.set_weights([w + 1 for w in layer.get_weights()])
    np.testing.assert_allclose(numpy(layer(_x())), np.e * before, rtol=1e-5)
    layer.trainable_weights[0].assign(layer.trainable_weights[0] - 1)
    np.testing.assert_allclose(numpy(layer(_x())), before, rtol=1e-5)
    assert layer.eager_calls.n_compiled == 1


def test_settings_that_change_are_those_of_the_call():
    layer = layers.Neurons(return_sequences=True)
    shape = layer(_x()).shape
    layer.return_sequences = False
    assert layer(_x()).shape == (2, 2)
    layer.return_sequences = True
    assert layer(_x()).shape == shape
    layer.cell.dt = 0.0005
    actual = layer(_x())
    with as_it_is(layer):
        _close(actual, layer(_x()))
    assert layer.eager_calls.n_compiled == 4
    # Those that were compiled with other settings are of no use.
    assert len(layer.eager_calls) == 1


def test_a_policy_that_changes_is_that_of_the_call():
    layer = layers.Neurons("relu", return_sequences=True)
    layer(_x())
    layer.dtype_policy = keras.DTypePolicy("mixed_float16")
    for _ in range(2):
        assert keras.backend.standardize_dtype(layer(_x()).dtype) == "float16"


def test_loaded_weights_are_those_of_the_call(tmp_path):
    layer, other = _lmu(), _lmu()
    model = keras.Sequential([keras.Input((TIME, 2)), layer])
    keras.Sequential([keras.Input((TIME, 2)), other]).save_weights(
        tmp_path / "other.weights.h5"
    )
    before, expected = numpy(layer(_x())), numpy(other(_x()))
    model.load_weights(tmp_path / "other.weights.h5")
    assert np.max(np.abs(before - expected)) > 1e-3
    np.testing.assert_allclose(numpy(layer(_x())), expected, rtol=1e-5, atol=1e-6)
    assert layer.eager_calls.n_compiled == 1


def test_a_setting_of_a_part_is_that_of_the_call():
    surrogate = surrogates.Arctan(0.5)
    layer = layers.Neurons(surrogate=surrogate, return_sequences=True)
    run = lambda x: layer(x, training=True)  # noqa: E731
    _, first = gradient(run, numpy(_x()), eager=True)
    surrogate.width = 2.0
    _, second = gradient(run, numpy(_x()), eager=True)
    assert np.max(np.abs(first - second)) > 1e-3
    hidden = keras.layers.Dense(3, activation="relu")
    lmu = layers.LMU(1, 4, 10.0, hidden)
    lmu(_x())
    before = numpy(lmu(_x()))
    hidden.activation = keras.ops.negative
    assert np.max(np.abs(numpy(lmu(_x())) - before)) > 1e-5


def test_calls_are_bounded(monkeypatch):
    monkeypatch.setattr(eager_calls, "_MOST_CALLS", 2)
    layer = layers.Synapse(0.01, return_sequences=True)
    for time in (2, 3, 4, 2):
        assert layer(_x(time=time)).shape == (2, time, 2)
    assert layer.eager_calls.n_compiled == 4
    assert len(layer.eager_calls) == 2


def test_what_keras_does_not_compile_runs_as_it_is():
    hidden = keras.layers.SimpleRNNCell(3)
    hidden.supports_jit = False
    layer = layers.LMU(1, 4, 10.0, hidden)
    for _ in range(2):
        layer(_x())
    assert layer.eager_calls.n_compiled == 0


def test_what_calls_python_meanwhile_runs_as_it_is():
    with nengo.Network() as net:
        data = nengo.Node([0.0])
        node = nengo.Node(lambda t, x: 2 * x, size_in=1)
        nengo.Connection(data, node, synapse=None)
        nengo.Probe(node)
    layer = layers.Network(net, inputs=data, return_sequences=True)
    for _ in range(2):
        np.testing.assert_allclose(numpy(layer(ops.ones((1, 4, 1)))), 2)
    assert layer.eager_calls.n_compiled == 0


@every_layer
def test_compiled_calls_go_with_their_layer(make):
    layer = make()
    layer(_x())
    layer(_x())
    there = weakref.ref(layer)
    del layer
    gc.collect()
    assert there() is None


def test_training_draws_anew_and_else_the_same():
    layer = LAYERS["random"](return_sequences=True)
    first, second = (numpy(layer(_x(), training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
    first, second, third = (numpy(layer(_x(), training=t)) for t in (None, False, None))
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)


def test_an_outer_call_says_whether_it_trains():
    layer = LAYERS["random"](return_sequences=True)
    model = keras.Sequential([layer])
    numpy(layer(_x()))
    first, second = (numpy(model(_x(), training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(numpy(model(_x())), numpy(layer(_x())))


@pytest.mark.parametrize(
    "name", quick(["neurons", "lmu", "ensemble", "network", "synapse"], {"neurons"})
)
@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_inputs_and_states(name, training):
    layer = LAYERS[name](return_sequences=True)
    layer.build((2, TIME, 2))
    states = [numpy(s) for s in layer.get_initial_state(2)]
    floats = [i for i, s in enumerate(states) if s.dtype.kind == "f"]

    def run(x, *values):
        state = list(states)
        for i, value in zip(floats, values, strict=True):
            state[i] = value
        return layer(x, initial_state=state, training=training)

    arrays = numpy(_x()), *[states[i] for i in floats]
    with as_it_is(layer):
        expected = gradient(run, *arrays, eager=True)
    for _ in range(2):
        _close(gradient(run, *arrays, eager=True), expected)


def _weight_gradients(layer, x):
    """Of the trainable weights, for the sum of squares, twice."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            y = layer(x, training=True)
            loss = ops.sum(y**2)
            other = ops.sum(y)
        return [
            tape.gradient(value, [w.value for w in layer.trainable_weights])
            for value in (loss, other)
        ]
    import jax

    def loss(values, power):
        y, _ = layer.stateless_call(
            values, [v.value for v in layer.non_trainable_variables], x, training=True
        )
        return ops.sum(y**power)

    values = [w.value for w in layer.trainable_weights]
    return [jax.grad(loss)(values, power) for power in (2, 1)]


@slow_on_jax
@pytest.mark.parametrize("name", quick(["lmu", "ensemble", "network"], {"lmu"}))
def test_gradients_of_weights(name):
    layer = LAYERS[name](return_sequences=True)
    layer.build((2, TIME, 2))
    with as_it_is(layer):
        expected = _weight_gradients(layer, _x())
    for _ in range(2):
        _close(_weight_gradients(layer, _x()), expected)
    assert layer.eager_calls.n_compiled == 1


@pytest.mark.parametrize("name", quick(["neurons", "lmu"], {"neurons"}))
def test_second_derivatives(name):
    layer = LAYERS[name](return_sequences=True)
    layer.build((2, TIME, 2))
    x = ops.convert_to_tensor(0.2 * numpy(_x()))
    second = penalty(lambda x: layer(x, training=True))
    with as_it_is(layer):
        expected = numpy(second(x))
    np.testing.assert_allclose(numpy(second(x)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tapes are TensorFlow's")
@pytest.mark.parametrize("trainable", [False, True])
def test_a_tape_watches_what_it_watches(trainable):
    import tensorflow as tf

    layer = _lmu(trainable=trainable)
    layer(_x())

    def watched():
        with tf.GradientTape() as tape:
            layer(_x())
        return {variable.ref() for variable in tape.watched_variables()}

    actual = watched()
    with as_it_is(layer):
        assert watched() == actual


@slow_on_jax
def test_what_is_traced_runs_as_it_is():
    layer = LAYERS["neurons"](return_sequences=True)
    layer.build((2, TIME, 2))
    if BACKEND == "jax":
        import jax

        values = [jax.jit(layer)(_x()), jax.vmap(lambda x: layer(x[None])[0])(_x())]
    else:
        import tensorflow as tf

        values = [tf.function(layer)(_x())]
    assert layer.eager_calls.n_compiled == 0
    for value in values:
        _close(value, layer(_x()))


@every_layer
def test_a_stateless_call_takes_the_values_it_is_given(make):
    layer = make(stateful=True)
    layer.build((2, TIME, 2))
    trainable = [v.value for v in layer.trainable_variables]
    other = [v.value for v in layer.non_trainable_variables]
    first = numpy(layer(_x()))
    values = [numpy(v) for v in layer.states]
    y, _ = layer.stateless_call(trainable, other, _x())
    layer.reset_state()
    np.testing.assert_allclose(numpy(layer(_x())), first, rtol=1e-4, atol=1e-4)
    for variable, value in zip(layer.states, values, strict=True):
        np.testing.assert_allclose(numpy(variable), value, rtol=1e-4, atol=1e-4)
    del y


def test_updates_in_a_stateless_scope_stay_there():
    layer = layers.Synapse(0.01, stateful=True)
    layer(_x())
    before = [numpy(v) for v in layer.states]
    with keras.StatelessScope() as scope:
        layer(_x())
        inside = [numpy(scope.get_current_value(v)) for v in layer.states]
    for variable, value, new in zip(layer.states, before, inside, strict=True):
        np.testing.assert_array_equal(numpy(variable), value)
        assert not np.array_equal(value, new)


def test_losses_are_those_of_the_last_call():
    layer = layers.Neurons("relu", activity_regularizer=keras.regularizers.L1(0.1))
    for seed in range(3):
        y = numpy(layer(_x(seed)))
        (loss,) = layer.losses
        np.testing.assert_allclose(float(loss), 0.1 * np.sum(np.abs(y)) / 2, rtol=1e-5)
    assert layer.eager_calls.n_compiled == 1


def test_masks_reach_the_next_layer():
    x = keras.layers.Masking()(ops.concatenate([_x(), 0 * _x()], axis=1))
    layer = layers.Synapse(0.01, return_sequences=True)
    layer(ops.concatenate([_x(), _x()], axis=1))
    for _ in range(2):
        y = layer(x)
        np.testing.assert_array_equal(numpy(y._keras_mask)[0], [True] * 6 + [False] * 6)


@pytest.mark.parametrize(
    "dtype", quick(["mixed_float16", "mixed_bfloat16", "float64"], {"mixed_float16"})
)
def test_other_precisions(dtype):
    if dtype == "float64" and BACKEND == "jax":
        pytest.skip("a mode of JAX's")
    # A hidden cell's own dtype is that of the states.
    own = dtype if dtype == "float64" else "float32"
    hidden = keras.layers.SimpleRNNCell(3, dtype=own)
    layer = layers.LMU(1, 4, 10.0, hidden, dtype=dtype, return_sequences=True)
    for _ in range(2):
        y = layer(_x())
    with as_it_is(layer):
        _close(ops.cast(y, "float32"), ops.cast(layer(_x()), "float32"))
    assert layer.eager_calls.n_compiled == 1
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype


def test_errors_are_what_they_are():
    layer = layers.Neurons(return_sequences=True)
    layer(_x())
    messages = []
    for _ in range(2):
        with pytest.raises(ValueError, match="initial_state") as raised:
            layer(_x(), initial_state=[ops.ones((2, 2))])
        messages.append(str(raised.value))
    with as_it_is(layer), pytest.raises(ValueError, match="initial_state") as raised:
        layer(_x(), initial_state=[ops.ones((2, 2))])
    assert messages == [str(raised.value)] * 2
    assert layer.eager_calls.n_compiled == 1


def test_a_function_of_the_time_is_called_each_time():
    level = [1.0]
    with nengo.Network() as net:
        node = nengo.Node(lambda t: level[0])
        data = nengo.Node([0.0])
        nengo.Probe(node)
    layer = layers.Network(net, inputs=data, return_sequences=True)
    x = ops.zeros((1, 4, 1))
    for _ in range(3):
        level[0] += 1
        assert np.all(numpy(layer(x)) == level[0])
    assert layer.eager_calls.n_compiled == 1


def test_copies_have_calls_of_their_own(tmp_path):
    layer = _lmu(return_sequences=True)
    model = keras.Sequential([keras.Input((TIME, 2)), layer])
    y = numpy(layer(_x()))
    model.save(tmp_path / "model.keras")
    clone = keras.models.load_model(tmp_path / "model.keras")
    twin = copy.deepcopy(model)
    for other in (clone.layers[-1], twin.layers[-1]):
        assert other.eager_calls is not layer.eager_calls
        np.testing.assert_allclose(numpy(other(_x())), y, rtol=1e-5, atol=1e-6)


def test_training_step_by_step_is_training():
    histories = []
    for eagerly in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((TIME, 2)), _lmu()])
        model.compile("sgd", "mse", run_eagerly=eagerly)
        fitted = model.fit(_x(), np.ones((2, 3)), epochs=3, verbose=0)
        histories.append(fitted.history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-4)


def test_threads_share_calls():
    layer = layers.Neurons(return_sequences=True, seed=0)
    layer.build((2, TIME, 2))
    results = {}

    def run(i):
        results[i] = [numpy(layer(_x(i))) for _ in range(3)]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert layer.eager_calls.n_compiled == 1
    with as_it_is(layer):
        for i in range(4):
            _close(results[i], [layer(_x(i))] * 3)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a warning of TensorFlow's")
def test_no_shape_is_said_to_be_traced_too_often(caplog):
    layer = layers.Synapse(0.01)
    with caplog.at_level(logging.WARNING, logger="tensorflow"):
        for time in range(2, 10):
            layer(_x(time=time))
            layers.Synapse(0.01)(_x(time=110 + time))
    assert "retracing" not in caplog.text
