"""Weights in units of their own size: another step, and nothing else."""

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.catalogue.trained import TRAINED
from tests.marks import TAKES_TURNS, slow_on_jax

pytestmark = TAKES_TURNS

UNIT = 2.0**-12
RNG = np.random.RandomState(0)
X = RNG.standard_normal((32, 5)).astype("float32")
Y = RNG.standard_normal((32, 3)).astype("float32")
KERNEL = RNG.choice([-1.0, 1.0], (5, 3)) * RNG.uniform(0.9, 1.1, (5, 3))

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "momentum": lambda: keras.optimizers.SGD(100.0, momentum=0.9, nesterov=True),
    "decay": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "averages": lambda: keras.optimizers.RMSprop(0.01, use_ema=True),
    "copies": lambda: keras.optimizers.ScheduleFreeAdamW(0.01),
    "accumulated": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
}


def linear(size):
    """A model of one product, and a kernel of a size."""
    layer = keras.layers.Dense(3, use_bias=False)
    model = keras.Sequential([keras.Input((5,)), layer])
    layer.set_weights([size * KERNEL])
    return model


def trained(model, optimizer):
    """The model after some steps of `fit`."""
    model.compile(optimizer, "mse", jit_compile=True)
    model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model


def stepped(optimizer, model, slopes):
    """The kernel after steps with these gradients."""
    variables = model.trainable_variables
    for slope in slopes:
        optimizer.apply([keras.ops.convert_to_tensor(slope)], variables)
    optimizer.finalize_variable_values(variables)
    return model.get_weights()[0]


@slow_on_jax
@pytest.mark.torch
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_trains_the_weights_over_their_size(name):
    slopes = RNG.standard_normal((6, 5, 3)).astype("float32")
    plain = stepped(OPTIMIZERS[name](), linear(1.0), UNIT * slopes)
    optimizer, model = OPTIMIZERS[name](), linear(UNIT)
    assert ksn.optimizers.in_own_units(optimizer, model) is optimizer
    actual = stepped(optimizer, model, slopes)
    assert not np.allclose(plain, KERNEL, rtol=1e-2)
    np.testing.assert_allclose(actual, UNIT * plain, rtol=1e-6)


def test_what_is_not_named_is_trained_as_before():
    plain = trained(linear(0.01), "adam")
    other = linear(0.01)
    trained(other, ksn.optimizers.in_own_units("adam", other, []))
    np.testing.assert_array_equal(other.get_weights()[0], plain.get_weights()[0])


def test_a_file_has_weights_as_they_are_and_goes_on_in_their_units(tmp_path):
    model = linear(UNIT)
    trained(model, ksn.optimizers.in_own_units("adam", model))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
    for m in (model, loaded):
        m.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(
        loaded.get_weights()[0], model.get_weights()[0], rtol=1e-6
    )


def test_zeros_and_constrained_weights_keep_their_unit():
    layer = keras.layers.Dense(3, kernel_constraint="max_norm")
    model = keras.Sequential([keras.Input((5,)), layer])
    layer.set_weights([UNIT * KERNEL, np.zeros(3)])
    assert ksn.optimizers.in_own_units("adam", model).units == {}


def test_what_is_no_optimizer_or_model_is_refused():
    with pytest.raises(TypeError, match="model is a keras.Model"):
        ksn.optimizers.in_own_units("adam", [])
    with pytest.raises((TypeError, ValueError), match="optimizer"):
        ksn.optimizers.in_own_units(3, linear(1.0))


def test_units_of_other_weights_are_refused():
    model = linear(UNIT)
    optimizer = ksn.optimizers.in_own_units("adam", model)
    loaded = type(optimizer).from_config(optimizer.get_config())
    with pytest.raises(ValueError, match="units of 1 weights"):
        loaded.build([])


# --- networks that are right before they are trained ------------------------------


@pytest.mark.parametrize(
    "name",
    [n if n == "channel" else pytest.param(n, marks=pytest.mark.slow) for n in TRAINED],
)
def test_adam_by_its_name_never_loses_a_network_that_was_right(name):
    net, stimulus, probe, x, y = TRAINED[name]()
    with ksn.Simulator(net, seed=1, progress_bar=False) as sim:
        sim.compile("adam", loss={probe: "mse"})
        start = sim.evaluate({stimulus: x}, {probe: y}, verbose=0)
        losses = sim.fit({stimulus: x}, {probe: y}, batch_size=4, epochs=6, verbose=0)
        end = sim.evaluate({stimulus: x}, {probe: y}, verbose=0)
    assert max(losses.history["loss"]) < 2 * start
    assert end < start


HOLDERS = ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")


def optimizers_of_keras():
    """Its classes of optimizers, but for those that hold others."""
    for name in dir(keras.optimizers):
        kind = getattr(keras.optimizers, name)
        if not isinstance(kind, type) or name in HOLDERS:
            continue
        if issubclass(kind, keras.optimizers.Optimizer):
            yield name


OF_KERAS = [*optimizers_of_keras()]


def first_step(kind, size):
    """How far the first step of a rate of 0.01 goes, for gradients of a size."""
    optimizer, model = kind(0.01), linear(1.0)
    (variable,) = model.trainable_variables
    before = model.get_weights()[0]
    slope = size * KERNEL.astype("float32")
    optimizer.apply([keras.ops.convert_to_tensor(slope)], [variable])
    return np.abs(model.get_weights()[0] - before).mean()


def test_there_are_optimizers_to_try():
    assert {"Adam", "AdamW", "SGD", "RMSprop", "Lion", "Ftrl"} <= {*OF_KERAS}


@pytest.mark.parametrize("name", OF_KERAS)
def test_whose_steps_are_alike_is_seen_in_their_steps(name):
    kind = getattr(keras.optimizers, name)
    ratio = first_step(kind, 1e6) / first_step(kind, 1e3)
    assert (0.5 < ratio < 2) == ksn.optimizers.steps_alike(kind())
    scaled = keras.optimizers.LossScaleOptimizer(kind())
    assert ksn.optimizers.steps_alike(scaled) == ksn.optimizers.steps_alike(kind())


@pytest.mark.parametrize(
    "name",
    [
        n if n in ("Adam", "RMSprop") else pytest.param(n, marks=pytest.mark.slow)
        for n in OF_KERAS
        if n not in ("SGD", "Ftrl")  # as it is; forgets what weights were
    ],
)
def test_an_optimizer_that_is_given_never_loses_a_network_that_was_right(name):
    if name == "ScheduleFreeAdamW" and keras.backend.backend() == "tensorflow":
        pytest.skip("in fit on TensorFlow, Keras's own copies of weights stay zeros")
    net, stimulus, probe, x, y = TRAINED["channel"]()
    with ksn.Simulator(net, seed=1, progress_bar=False) as sim:
        sim.compile(getattr(keras.optimizers, name)(), loss={probe: "mse"})
        start = sim.evaluate({stimulus: x}, {probe: y}, verbose=0)
        losses = sim.fit({stimulus: x}, {probe: y}, batch_size=4, epochs=5, verbose=0)
        end = sim.evaluate({stimulus: x}, {probe: y}, verbose=0)
        assert max(losses.history["loss"]) < 2 * start
        assert end < start
        if name == "Adam":  # at Keras's own steps
            adam = keras.optimizers.Adam()
            sim.compile(adam, loss={probe: "mse"}, own_units=False)
            losses = sim.fit({stimulus: x}, {probe: y}, batch_size=4, verbose=0)
            assert losses.history["loss"][0] > 10 * start


def test_units_are_those_of_what_nengo_has_built():
    net, _, probe, _, _ = TRAINED["channel"]()
    with ksn.Simulator(net, progress_bar=False) as sim:
        for own_units, optimizer, expected in (
            (None, "adam", True),
            (None, "sgd", True),
            (None, keras.optimizers.Adam(), True),
            (None, keras.optimizers.SGD(), False),
            (True, keras.optimizers.SGD(), True),
            (False, keras.optimizers.Adam(), False),
            (False, "adam", False),
        ):
            sim.compile(optimizer, loss={probe: "mse"}, own_units=own_units)
            units = getattr(sim.keras_model.optimizer, "units", {})
            kinds = {path.rpartition(".")[2] for path in units}
            assert kinds == ({"encoders", "bias", "weights"} if expected else set())
            # A transform that the user has chosen keeps the unit 1.
            assert not any("stimulus" in path for path in units)
        with pytest.raises(ValueError, match="own_units"):
            sim.compile("adam", loss={probe: "mse"}, own_units="yes")


def test_what_a_simulator_shows_after_training_is_in_units_of_nengo():
    net, stimulus, probe, x, y = TRAINED["channel"]()
    decoded = next(c for c in net.connections if isinstance(c.pre_obj, nengo.Ensemble))
    with ksn.Simulator(net, progress_bar=False) as sim:
        before = np.array(sim.data[decoded].weights)
        sim.compile("adam", loss={probe: "mse"})
        sim.fit({stimulus: x}, {probe: y}, batch_size=8, verbose=0)
        after = sim.data[decoded].weights
        frozen = sim.network()
    assert 0 < np.max(np.abs(after - before)) < 0.01 * np.max(np.abs(before))
    solver = next(c.solver for c in frozen.connections if c.label == decoded.label)
    np.testing.assert_allclose(solver.values.T, after, rtol=1e-6)
