"""What an operation counts of a step, by hand."""

import math
from dataclasses import replace

import nengo
import numpy as np
import pytest

from keras_spiking_nengo.engine import Mode
from tests.engine.runs import program_of

CASES = {
    # Transform, inputs and products.
    "dense": (nengo.Dense((5, 12), init=np.ones((5, 12))), 5 * 12),
    "scalar": (3.0, 12),
    "sparse": (nengo.Sparse((5, 12), indices=[[0, 1], [4, 2], [4, 3]]), 3),
    "convolution": (
        nengo.Convolution(2, (2, 3, 2), kernel_size=(1, 2), strides=(1, 1)),
        (2 * 2) * (2 * 2 * 2),
    ),
    "transposed": (
        nengo.ConvolutionTranspose(2, (2, 3, 2), kernel_size=(1, 2), strides=(1, 1)),
        (2 * 3) * (2 * 2 * 2),
    ),
}


def total(program, name):
    return sum(getattr(operation, name) for _, operation in program.walk())


@pytest.mark.parametrize("name", CASES)
def test_multiplications_of_a_transform(name):
    transform, expected = CASES[name]
    with nengo.Network(seed=0) as net:
        u = nengo.Node(np.ones(12))
        out = nengo.Node(size_in=getattr(transform, "size_out", 12))
        nengo.Connection(u, out, transform=transform, synapse=None)
        nengo.Probe(out)
    assert total(program_of(net), "multiplications") == expected


@pytest.mark.parametrize("passes", [(), None])
def test_counts_of_ensembles_do_not_depend_on_passes(passes):
    with nengo.Network(seed=0) as net:
        a = nengo.Ensemble(20, 2)
        b = nengo.Ensemble(30, 1, neuron_type=nengo.LIFRate())
        nengo.Connection(a, b, function=lambda x: x[0], synapse=nengo.Alpha(0.01))
        nengo.Probe(b, synapse=0.1)
    program = program_of(net, **({} if passes is None else {"passes": passes}))
    # Encoders of two and one dimension, and decoders of one each.
    assert total(program, "multiplications") == 20 * 2 + 30 + 20 + 30
    # LIF neurons, an alpha synapse of order two, and a lowpass.
    assert total(program, "updates") == 20 + 2 + 1
    assert len(program.operations) == len(list(program.walk()))


def test_a_program_shows_what_its_products_read():
    with nengo.Network(seed=0) as net:
        u = nengo.Node(np.arange(3.0))
        out = nengo.Node(size_in=2)
        nengo.Connection(u, out, transform=np.ones((2, 3)), synapse=None)
        nengo.Probe(out)
    program = program_of(net)
    reads = {
        operation: operation.reads[0]
        for _, operation in program.walk()
        if operation.multiplications
    }
    program, mode = replace(program, outputs=reads), Mode()
    values = {value: np.ones((1, value.size), "float32") for value in program.inputs}
    state = program.initial_state(1, mode)
    outputs, _ = program.step(program.pack({}, mode), state, values, mode)
    (shown,) = outputs.values()
    np.testing.assert_array_equal(np.asarray(shown)[0], np.arange(3.0))
    (operation,) = reads
    assert operation.multiplications == math.prod((2, 3))
