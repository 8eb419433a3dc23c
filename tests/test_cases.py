"""Whatever has a rule has a case, and no part of the catalogue is empty."""

import inspect

import keras
import nengo
import pytest
from keras import layers
from nengo.transforms import Transform

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert import LAYERS as LAYER_RULES
from keras_spiking_nengo.convert.rules.sequences import CELL_RULES
from keras_spiking_nengo.dynamics import synapses
from keras_spiking_nengo.dynamics.neurons import NEURONS as NEURON_RULES
from keras_spiking_nengo.dynamics.neurons.generators import RATES_TO_SPIKES
from keras_spiking_nengo.layers.base import SequenceLayer
from tests import cases
from tests.conftest import BACKEND


@pytest.mark.parametrize("name", [name for name in cases.__all__ if name.isupper()])
def test_no_part_of_the_catalogue_is_empty(name):
    assert len(getattr(cases, name)) > 0


def test_every_neuron_type_with_a_rule_has_a_case_and_every_case_a_rule():
    kinds = {type(case) for case in cases.NEURONS.values()}
    known = ("nengo.", "keras_spiking_nengo.")  # and not those of other tests
    rules = {kind for kind in NEURON_RULES if f"{kind.__module__}.".startswith(known)}
    # Its arrays are of one size: tests/layers/test_heterogeneous.py has it.
    assert kinds == rules - {ksn.types.Heterogeneous}
    assert kinds >= set(RATES_TO_SPIKES)
    assert {*cases.RANDOM} < {*cases.NEURONS}


def test_every_synapse_with_a_rule_has_a_case():
    assert set(synapses.SYNAPSES) <= {type(case) for case in cases.SYNAPSES.values()}


def test_every_transform_of_nengo_has_a_case():
    public = [getattr(nengo.transforms, name) for name in dir(nengo.transforms)]
    kinds = {kind for kind in public if inspect.isclass(kind)}
    kinds = {kind for kind in kinds if issubclass(kind, Transform)}
    kinds = {kind for kind in kinds if not kind.__name__.startswith("_")}
    assert kinds - {Transform} == {type(case) for case in cases.TRANSFORMS.values()}


def test_every_layer_over_time_has_a_case():
    public = [getattr(ksn.layers, name) for name in ksn.layers.__all__]
    kinds = {kind for kind in public if issubclass(kind, SequenceLayer)}
    assert kinds == {kind for kind, _, _ in cases.LAYERS.values()}


def layers_of(model):
    """Of the model and of those in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)


def single_layers():
    """The classes that are cases by themselves."""
    single = cases.LINEAR_LAYERS | cases.CURVED_LAYERS | cases.SINGLE_PRECISION
    yield from (type(make_layer()) for make_layer, _ in single.values())
    yield from map(type, cases.training_only())
    yield from (kind for kind, *_ in cases.POOLS.values())
    yield layers.SimpleRNN  # RECURRENT_LAYERS
    yield layers.Multiply  # tests/convert/test_products.py
    yield from (ksn.layers.BernoulliEncoder, ksn.layers.PoissonEncoder)  # LAYERS
    x, y = keras.Input((3, 4)), keras.Input((3, 4))
    outputs = [join(x, y) for join in cases.JOINED.values()]
    yield from map(type, keras.Model([x, y], outputs).layers)


@pytest.mark.skipif(BACKEND == "jax", reason="the cases are the same everywhere")
def test_every_layer_and_cell_that_is_converted_has_a_case():
    models = [cases.make(name)[0] for name in cases.MODELS]
    in_models = [layer for model in models for layer in layers_of(model)]
    kinds = {*single_layers(), *map(type, in_models)}
    ours = {kind for kind in LAYER_RULES if kind.__module__.startswith("keras")}
    assert ours - kinds == set()
    cells = {type(layer.cell) for layer in in_models if isinstance(layer, layers.RNN)}
    assert set(CELL_RULES) - cells == set()
