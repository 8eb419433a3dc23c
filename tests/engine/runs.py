"""What the probes of the networks of the catalogue show, run in several ways."""

import functools
from unittest import mock

import keras
import nengo
import numpy as np
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.loops import compiled, precision
from keras_spiking_nengo.engine import ALWAYS, Mode, compile_model
from tests.cases import NETWORKS

STEPS = 100
SEED = 7


def recorded(sim, steps=STEPS):
    """The probes of a simulator, and the data of each."""
    with sim:
        sim.run_steps(steps)
    probes = list(sim.model.probes)
    return probes, [np.array(sim.data[probe]) for probe in probes]


@functools.cache
def by_nengo(name, steps=STEPS):
    options = {"seed": SEED, "optimize": False, "progress_bar": False}
    return recorded(nengo.Simulator(NETWORKS[name](), **options), steps)


@functools.cache
def by_us(name, steps=STEPS, **options):
    common = {"seed": SEED, "dtype": "float64", "progress_bar": False, "compile": True}
    options = common | options
    return recorded(ksn.Simulator(NETWORKS[name](), **options), steps)[1]


def by_us_quickly(name, steps):
    """As `by_us`, on TensorFlow without its compiler, which takes longer than that."""
    if keras.backend.backend() != "tensorflow":
        return by_us(name, steps)
    module = "keras_spiking_nengo.simulator.compiled"
    with mock.patch(f"{module}.compiled", lambda function, host=False: function):
        return by_us.__wrapped__(name, steps)


@functools.cache
def built(name):
    model = nengo.builder.Model()
    model.build(NETWORKS[name]())
    return model


def program_of(net, passes=ALWAYS):
    """The program of a network that is in no catalogue."""
    model = nengo.builder.Model()
    model.build(net)
    return compile_model(model, passes=passes)


def compile_network(name, passes):
    """A network's model and its program."""
    model = built(name)
    return model, compile_model(model, passes=passes)


def by_program(name, passes, steps):
    """The data of each probe from a program."""
    model, program = compile_network(name, passes)
    mode, rng = Mode(dtype="float64"), np.random.RandomState(SEED)
    for _, operator in program.python_operators:
        operator.reset(rng)
    time = np.arange(1.0, steps + 1)[None, :, None]
    inputs = [time, time * model.dt, *(s(0, steps) for s in program.timed_inputs)]

    def run(state, inputs):
        values = dict(zip(program.inputs, inputs, strict=True))
        outputs, _ = program.sequence(packed, state, values, mode)
        return [outputs[probe] for probe in model.probes]

    with precision("float64"):
        inputs = [ops.convert_to_tensor(x, dtype="float64") for x in inputs]
        state, packed = program.initial_state(1, mode), program.pack({}, mode)
        if keras.backend.backend() != "tensorflow":  # whose compiler takes longer
            run = compiled(run)
        return [ops.convert_to_numpy(y) for y in run(state, inputs)]
