"""No number is lost in training where plain Keras would lose none.

Six layers of neurons are trained with large steps in each mode, with each surrogate,
in single and in half precision: the outputs and weights stay finite.

    pytest -m slow tests/layers/test_finite_training.py
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.neurons import neuron
from tests.cases import NEURONS
from tests.layers.test_finite import variants

DEPTH, WIDTH, TIME, BATCH = 6, 6, 5, 4
STEPS = 1000
POLICIES = ("float32", "mixed_float16")
# Optimizers, and the learning rates that they are tried with.
OPTIMIZERS = {
    "adam": (lambda: keras.optimizers.Adam(), (0.5, 30.0)),
    "sgd": (lambda: keras.optimizers.SGD(clipnorm=1.0), (10.0,)),
}


@pytest.fixture(autouse=True)
def _policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def deep_net(layers):
    """Weights and layers by turns, and a class for the mean of the last."""
    model = keras.Sequential([keras.Input((TIME, WIDTH))])
    for layer in layers:
        model.add(keras.layers.Dense(WIDTH))
        model.add(layer)
        # Of 1000 Hz, half precision could add up few.
        model.add(keras.layers.Rescaling(0.002))
    model.add(keras.layers.GlobalAveragePooling1D())
    model.add(keras.layers.Dense(3, dtype="float32"))
    return model


def lost(layers, optimizer, policy, steps=STEPS, jit_compile=True) -> list[float]:
    """Learning rates after whose steps a weight or an output is not finite.

    Args:
        layers: makes a list of new ones.
    """
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    rng = np.random.RandomState(0)
    x = rng.normal(size=(BATCH, TIME, WIDTH)).astype("float32")
    y = rng.randint(3, size=BATCH)
    model = deep_net(layers())
    make, rates = OPTIMIZERS[optimizer]
    inner = make()
    scaled = policy == "mixed_float16"
    model.compile(
        keras.optimizers.LossScaleOptimizer(inner) if scaled else inner,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    start = [ops.convert_to_numpy(v) for v in variables]
    return [
        rate
        for rate in rates
        if _is_lost(model, inner, rate, x, y, steps, zip(variables, start, strict=True))
    ]


def _is_lost(model, optimizer, rate, x, y, steps, start) -> bool:
    # What is compiled serves all rates.
    for variable, value in start:
        variable.assign(value)
    optimizer.learning_rate.assign(rate)
    data = np.tile(x, (steps, 1, 1)), np.tile(y, steps)
    history = model.fit(*data, batch_size=BATCH, shuffle=False, verbose=0).history
    arrays = [*model.get_weights(), history["loss"], ops.convert_to_numpy(model(x))]
    return not all(np.all(np.isfinite(array)) for array in arrays)


def neurons(name, **arguments):
    return ksn.layers.Neurons(NEURONS[name], return_sequences=True, seed=0, **arguments)


def all_trained(name):
    return dict.fromkeys(neuron(NEURONS[name]).trainable, "unit")


def lines(name, times=1.0):
    """What Keras has of the height of these neurons' spikes, or of one so many times.

    Parameters are trained up to 10,000 times their start.
    """
    dynamics = neuron(NEURONS[name])
    height = times * dynamics.parameters.get("amplitude", 1.0)
    if dynamics.spiking:
        height /= 0.001
    return lambda: [keras.layers.Rescaling(height) for _ in range(DEPTH)]


CASES = {
    f"{name}, {'-'.join(map(str, arguments.values()))}": (name, arguments)
    for name, kind in NEURONS.items()
    for arguments in variants(kind)
}


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_lost_that_keras_would_keep(case, optimizer, policy):
    name, arguments = CASES[case]
    rates = lost(
        lambda: [neurons(name, **arguments) for _ in range(DEPTH)], optimizer, policy
    )
    if rates:
        assert set(rates) <= set(lost(lines(name), optimizer, policy)), rates


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", [n for n in NEURONS if all_trained(n)])
def test_parameters_stay_where_they_mean_something(name, policy):
    dynamics = neuron(NEURONS[name])
    for mode in (
        ("spikes", "rate") if dynamics.spiking and dynamics.rates else ["spikes"]
    ):
        arguments = {"trainable_parameters": all_trained(name), "forward": mode}
        rates = lost(
            lambda arguments=arguments: [
                neurons(name, **arguments) for _ in range(DEPTH)
            ],
            "adam",
            policy,
        )
        if rates:
            assert set(rates) <= set(lost(lines(name, 1e4), "adam", policy)), mode


MIXED = [
    ("LIF", {"surrogate": "arctan"}),
    ("AdaptiveLIF", {"surrogate": "fast_sigmoid"}),
    ("IntegrateAndFire(euler)", {"surrogate": "triangle"}),
    ("Izhikevich", {"surrogate": "soft_lif"}),
    ("LIF", {"forward": "spike_aware"}),
    ("RegularSpiking", {"forward": "rate"}),
]


@pytest.mark.parametrize("policy", POLICIES)
def test_six_layers_of_all_kinds_lose_nothing(policy):
    def layers():
        return [
            neurons(name, trainable_parameters=all_trained(name), **arguments)
            for name, arguments in MIXED
        ]

    compiled = keras.backend.backend() == "jax"  # what takes TensorFlow long
    rates = lost(layers, "adam", policy, steps=60, jit_compile=compiled)
    # Of weights that move by 30, half precision has no product.
    assert not rates or (policy == "mixed_float16" and rates == [30.0])
