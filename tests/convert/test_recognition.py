"""Functions that are Keras's activations by what they compute, not by their names."""

from functools import partial

import keras
import nengo
import numpy as np
import pytest
from keras import activations, ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert.rate_types import RATE_TYPES
from keras_spiking_nengo.convert.recognition import recognised
from tests.conftest import BACKEND
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

layers = keras.layers


def of_the_backend():
    """Names of Keras, and what the library of the backend calls them."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return {
            "relu": tf.nn.relu,
            "relu6": tf.nn.relu6,
            "leaky_relu": tf.nn.leaky_relu,
            "sigmoid": tf.sigmoid,
            "tanh": tf.math.tanh,
            "elu": tf.nn.elu,
            "silu": tf.nn.silu,
            "gelu": tf.nn.gelu,
            "softplus": tf.nn.softplus,
            "exponential": tf.exp,
            "linear": tf.identity,
            "softmax": tf.nn.softmax,
        }
    if BACKEND == "jax":
        import jax

        return {
            "relu": jax.nn.relu,
            "relu6": jax.nn.relu6,
            "leaky_relu": jax.nn.leaky_relu,
            "sigmoid": jax.nn.sigmoid,
            "tanh": jax.numpy.tanh,
            "elu": jax.nn.elu,
            "silu": jax.nn.silu,
            "gelu": jax.nn.gelu,
            "hard_tanh": jax.nn.hard_tanh,
            "softmax": jax.nn.softmax,
        }
    return {"relu": lambda x: ops.maximum(x, 0)}


def relu(x):
    """Not Keras's: it ends at 0.3."""
    return ops.clip(x, 0.0, 0.3)


@pytest.mark.parametrize("name", of_the_backend())
def test_functions_of_the_backend(name):
    function = of_the_backend()[name]
    same = recognised(function)
    assert same.function is getattr(activations, name)
    x = ops.convert_to_tensor(np.random.RandomState(0).normal(0, 3, (4, 7)), "float32")
    np.testing.assert_allclose(
        ops.convert_to_numpy(same.function(x, **same.arguments)),
        ops.convert_to_numpy(function(x)),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("function", RATE_TYPES, ids=lambda f: f.__name__)
def test_each_function_is_found_by_its_numbers_alone(function):
    assert recognised(function).function is function
    same = recognised(lambda x: function(x))
    # By default these two are one.
    wanted = activations.elu if function is activations.celu else function
    assert same.function is wanted and not same.arguments


@pytest.mark.parametrize(
    "function",
    [
        relu,
        lambda x: ops.clip(x, 0, 500.0),  # relu, but for large values
        lambda x: ops.maximum(x, -1e-3 * x),
        lambda x: ops.relu(x) + 1e-4,
        lambda x: ops.sum(ops.relu(x)),
        lambda x: x / ops.sum(x),
        lambda x, y: x,
        lambda x: None,
        layers.ReLU(),
        "relu",
        3,
    ],
)
def test_what_is_none_of_them(function):
    assert recognised(function) is None


def test_arguments_of_partial_functions():
    same = recognised(partial(activations.leaky_relu, negative_slope=0.4))
    assert same.function is activations.leaky_relu
    assert same.arguments == {"negative_slope": 0.4}


def test_a_network_of_functions_of_the_backend():
    functions = [f for name, f in of_the_backend().items() if name != "softmax"]
    x = keras.Input((3,), name="x")
    dense = [layers.Dense(4, activation=function)(x) for function in functions]
    model = keras.Model(x, layers.Concatenate()([*dense, x]))
    data = np.random.RandomState(0).uniform(-1, 1, (4, 3)).astype("float32")
    assert ksn.to_nengo(model).verify(data).ok


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (relu, "leaky_relu, linear"),
        (of_the_backend().get("softmax", relu), "activation"),
    ],
)
def test_other_functions_are_refused(function, words):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, activation=function)])
    with pytest.raises(NotImplementedError, match=words):
        ksn.to_nengo(model)


def test_a_function_of_ones_own_stays_what_it_is():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(3, relu, kernel_initializer="identity", name="own"),
            layers.Dense(3, "relu", kernel_initializer="identity", name="keras"),
        ]
    )
    other = ksn.to_spiking(model, scale_firing_rates=1000.0, n_steps=200)
    names = [layer.name for layer in other.layers]
    assert "keras_neurons" in names and "own_neurons" not in names
    x = np.ones((1, 3))
    np.testing.assert_allclose(other.predict(x, verbose=0), 0.3, atol=0.01)
    np.testing.assert_allclose(model.predict(x, verbose=0), 0.3, atol=1e-6)


def test_a_function_of_ones_own_is_a_key():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(3, relu, kernel_initializer="identity", name="own"),
            layers.Dense(3, "relu", kernel_initializer="identity", name="keras"),
        ]
    )
    kinds = {relu: nengo.SpikingRectifiedLinear()}
    with pytest.warns(UserWarning, match="'own': the rates of .* differ from relu"):
        other = ksn.to_spiking(model, kinds, scale_firing_rates=100.0, n_steps=100)
    names = [layer.name for layer in other.layers]
    assert "own_neurons" in names and "keras_neurons" not in names
    assert ksn.compare(model, other, np.ones((1, 3))).layers[0].name == "own"
