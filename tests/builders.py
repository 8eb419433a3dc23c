"""Short ways to build layers and models, and the data that models are run on."""

import keras
import nengo
import numpy as np
from keras import layers

import keras_spiking_nengo as ksn

STEPS = 25


# Quick to fire: what never fires shows nothing.
QUICK = nengo.LIF(tau_rc=0.003)
LINEAR = nengo.RegularSpiking(nengo.RectifiedLinear(amplitude=200))


def neurons(kind=QUICK, **kwargs):
    return ksn.layers.Neurons(kind, **{"return_sequences": True, "seed": 1} | kwargs)


def synapse(kind=0.01, **kwargs):
    return ksn.layers.Synapse(kind, **{"return_sequences": True} | kwargs)


def static(*stack, shape=(5,)):
    """A stack without time."""
    return keras.Sequential([keras.Input(shape), *stack])


def presented(*stack, shape=(5,)):
    """A stack to which a static input is presented."""
    return static(ksn.layers.Repeat(STEPS), *stack, shape=shape)


def temporal(*stack, shape=(5,), time=None):
    """A stack that runs over a sequence."""
    return static(*stack, shape=(time, *shape))


def per_step(layer):
    return layers.TimeDistributed(layer)


def ensemble(size, **kwargs):
    options = {"seed": 1, "return_sequences": True} | kwargs
    return ksn.layers.Ensemble(20, size, **options)


def memory(hidden=None, **kwargs):
    """A memory of two channels."""
    options = {"return_sequences": True, "use_bias": True} | kwargs
    return ksn.layers.LMU(2, 4, 8.0, hidden, **options)


def cell(of_one_step):
    return layers.RNN(of_one_step, return_sequences=True)


def functional(build, *shapes, **options):
    """A model of what `build` makes of inputs of these shapes."""
    inputs = [keras.Input(shape, **options) for shape in shapes]
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], build(*inputs))


def sequence(model):
    """Data for a model of sequences."""
    return data([(6, STEPS, *tensor.shape[2:]) for tensor in model.inputs])


def batch(model):
    """Data for a model of static inputs."""
    return data([(6, *tensor.shape[1:]) for tensor in model.inputs])


def data(shapes):
    rng = np.random.RandomState(0)
    arrays = [rng.uniform(-2, 4, size=shape) for shape in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


# Range of weights that are the same for all elements by default.
RANGES = dict.fromkeys(("alpha", "beta", "bias", "gamma", "moving_mean"), (-0.8, 0.8))
RANGES["moving_variance"] = (0.25, 2)


def randomise(model):
    """Biases that are not zero, scales that are not one, and so on."""
    rng = np.random.RandomState(1)
    for weight in model.weights:
        if weight.name in RANGES:
            weight.assign(rng.uniform(*RANGES[weight.name], size=weight.shape))
    return model
