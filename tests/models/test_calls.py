"""Every call of a model is there, in order, and the model is as it was."""

import json
import threading
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from keras_spiking_nengo.models.building import layers_of
from keras_spiking_nengo.models.calls import calls, is_opaque
from tests.marks import TAKES_TURNS
from tests.models.nets import (
    NETS,
    Called,
    Constructed,
    by_name,
    chain,
    drawn_inside,
    masked,
    masked_inside,
    model_per_step,
    nested,
    operations,
    per_step,
    several,
    shared,
    states,
    steps_of_steps,
)

pytestmark = TAKES_TURNS


def names(model):
    return [call.name for call in calls(model)]


def test_nested_models_are_taken_apart():
    inner = ["middle/inner/a", "middle/inner/b", "middle/c"]
    outer = ["inner/a", "inner/b"]
    found = names(nested())
    assert sorted(found) == sorted(
        [*inner, *outer, *(f"{name}:2" for name in inner), "sum"]
    )
    assert found[-1] == "sum"
    assert found.index("inner/b") < found.index("middle/inner/a:2")


def test_a_shared_layer_has_several_calls():
    model = shared()
    first, between, second = calls(model)
    assert (first.name, between.name, second.name) == ("dense", "between", "dense:2")
    assert first.path == second.path == "dense"
    assert first.operation is second.operation is model.get_layer("dense")
    assert between.inputs[0] is first.symbols[0]
    assert second.inputs[0] is between.symbols[0]


def test_layers_per_step_are_named_by_their_wrapper():
    model = per_step()
    outer, fast = calls(model)
    assert (outer.name, fast.name) == ("outer", "fast")
    assert outer.operation.name == "inner" and fast.operation.name == "norm"
    assert outer.called is model.get_layer("outer")
    assert outer.wrappers == (model.get_layer("outer"),)
    assert outer.per_step and outer.n_folded == 0
    assert outer.symbols[0].shape == (None, 5, 4)


def test_a_wrapper_of_its_own_is_not_taken_apart():
    class Twice(layers.TimeDistributed):
        def call(self, x):
            return 2 * super().call(x)

    (call,) = calls(chain(Twice(layers.Dense(2), name="twice"), shape=(5, 3)))
    assert type(call.operation) is Twice and not call.per_step


def test_models_per_step_are_taken_apart():
    a, b = calls(model_per_step())
    assert (a.name, b.name) == ("outer/a", "outer/b")
    assert a.n_folded == b.n_folded == 1
    assert a.called is a.operation and a.per_step
    assert [x.shape for x in (*a.inputs, *a.symbols)] == [(None, 5, 3), (None, 5, 4)]


def test_steps_of_steps_have_both_axes():
    a, b, rnn = calls(steps_of_steps())
    assert (a.name, b.name, rnn.name) == (
        "steps/rows/a",
        "steps/rows/b",
        "steps/rnn",
    )
    assert (a.n_folded, b.n_folded, rnn.n_folded) == (2, 2, 1)
    assert [w.name for w in a.wrappers] == ["steps", "rows"]
    assert a.inputs[0].shape == (None, 5, 4, 2, 3)
    assert b.symbols[0].shape == rnn.inputs[0].shape == (None, 5, 4, 8)
    assert rnn.symbols[0].shape == (None, 5, 2)


def test_operations_are_calls_with_their_constants():
    found = calls(operations())
    kinds = {type(call.operation).__name__ for call in found}
    assert {"Multiply", "Subtract", "Tanh", "GetItem", "Concatenate"} <= kinds
    (double,) = [c for c in found if type(c.operation).__name__ == "Multiply"]
    assert double.args[0] == 2 and len(double.inputs) == 1


def test_a_mask_is_an_argument():
    found = calls(masked())
    lstm = found["lstm"]
    assert lstm.kwargs["mask"] is lstm.inputs[1]
    assert lstm.kwargs["mask"].shape == (None, None)
    assert found.makers[id(lstm.kwargs["mask"])].name != "mask"


def test_a_mask_reaches_models_within_and_what_comes_after_them():
    found = calls(masked_inside())
    gru, rnn, lstm = (found[name] for name in ("pair/gru", "rnn", "last/lstm"))
    either = gru.kwargs["mask"]
    assert type(found.makers[id(either)].operation).__name__ == "LogicalOr"
    assert rnn.kwargs["mask"] is lstm.kwargs["mask"] is either
    assert "mask" not in found["pair/dense"].kwargs


def test_training_reaches_models_within():
    dropout, relu = calls(drawn_inside())
    assert dropout.name == "inner/dropout" and dropout.kwargs == {"training": True}
    assert not relu.kwargs


def test_inputs_and_outputs_by_name():
    found = calls(by_name())
    assert found.takes_dict and found.gives_dict
    assert list(found.inputs) == ["a", "b"]
    assert list(found.outputs) == ["y", "y:2", "z"]
    assert found.inputs["b"].shape == (None, 2)
    assert found.outputs["y"] is found["both"].symbols[0]
    assert found.outputs["y:2"] is found.inputs["a"]


def test_several_inputs_and_outputs():
    found = calls(several())
    assert not found.takes_dict and not found.gives_dict
    assert list(found.inputs) == ["a", "b"]
    assert list(found.outputs) == ["dense", "a", "dense:2", "sum"]
    assert found.outputs["a"] is found.inputs["a"]
    assert found.outputs["dense"] is not found.outputs["dense:2"]


def test_states_are_tensors_as_others_are():
    found = calls(states())
    rnn, lstm = found["rnn"], found["lstm"]
    assert len(rnn.symbols) == 4
    assert lstm.inputs[1:] == rnn.symbols[1:3]


def test_a_model_with_a_constructor_of_its_own():
    found = calls(Constructed(units=5))
    assert [call.name for call in found] == ["dense"]
    assert found["dense"].symbols[0].shape == (None, 5)


def test_a_model_with_a_call_of_its_own_is_one_call_or_refused():
    dense, own = calls(NETS["with a call inside"]())
    assert dense.name == "dense" and own.name == "own"
    assert is_opaque(own.operation) and not is_opaque(nested())
    model = Called()
    model(np.ones((1, 3)))
    with pytest.raises(NotImplementedError, match="'own' .Called. has a call of its"):
        calls(model)


def test_what_is_no_model_or_not_built_is_refused():
    with pytest.raises(TypeError, match=r"keras\.Model; received.*Dense"):
        calls(layers.Dense(2))
    with pytest.raises(ValueError, match="not built.*keras.Input"):
        calls(keras.Sequential([layers.Dense(2)]))


def test_calls_are_found_by_name():
    found = calls(shared())
    assert len(found) == 3 and "dense:2" in found and "dense:3" not in found
    assert found["dense:2"].turn > found["between"].turn > found["dense"].turn


@pytest.mark.parametrize("name", NETS)
def test_sources_come_first(name):
    found = calls(NETS[name]())
    ready = {id(x) for x in found.inputs.values()}
    for call in found:
        assert {id(x) for x in call.inputs} <= ready
        ready |= {id(y) for y in call.symbols}
    assert {id(y) for y in found.outputs.values()} <= ready


@pytest.mark.parametrize("name", NETS)
def test_turns_are_an_order_that_has_sources_first(name):
    found = calls(NETS[name]())
    ready = {id(x) for x in found.inputs.values()}
    for call in sorted(found, key=lambda call: call.turn):
        assert {id(x) for x in call.inputs} <= ready
        ready |= {id(y) for y in call.symbols}


def test_a_symbol_is_used_last_once():
    found = calls(nested())
    uses = [key for keys in found.last_uses.values() for key in keys]
    assert len(uses) == len(set(uses))
    assert not {id(y) for y in found.outputs.values()} & set(uses)


def test_layers_of_a_model_are_those_of_models_in_it():
    assert [layer.name for layer in layers_of(chain(chain(layers.ReLU(name="r"))))] == [
        "r"
    ]


# --- nothing is left behind ---------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_layers_are_left_as_they_were(name):
    model = NETS[name]()
    held = layers_of(model)
    before = [dict(vars(layer)) for layer in held]
    outputs = [getattr(layer, "output", None) for layer in model.layers]
    config = json.dumps(model.get_config(), default=str) if name != "constructed" else 0
    calls(model)
    for layer, attributes in zip(held, before, strict=True):
        assert vars(layer).keys() == attributes.keys()
        assert all(vars(layer)[key] is value for key, value in attributes.items())
    # A layer that is called twice has no output of its own.
    for layer, output in zip(model.layers, outputs, strict=True):
        now = getattr(layer, "output", None)
        pairs = zip(keras.tree.flatten(now), keras.tree.flatten(output), strict=True)
        assert all(a is b for a, b in pairs)
    if config:
        assert json.dumps(model.get_config(), default=str) == config


def test_a_configuration_of_an_instance_is_the_same_object():
    dense = layers.Dense(2, name="d")

    def config():
        return {"name": "d", "units": 2, "mine": 1}

    dense.get_config = config
    calls(chain(dense))
    assert dense.get_config is config


def test_a_checkpoint_saved_meanwhile_has_the_right_configuration(tmp_path):
    model = chain(*(layers.Dense(3, name=f"d{i}") for i in range(20)))
    model.save(tmp_path / "before.keras")
    done = threading.Event()
    failures = []

    def walk():
        try:
            while not done.is_set():
                calls(model)
        except Exception as error:
            failures.append(error)

    def config(path):
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))

    walker = threading.Thread(target=walk)
    walker.start()
    try:
        for i in range(5):
            model.save(tmp_path / f"{i}.keras")
    finally:
        done.set()
        walker.join()
    assert not failures
    expected = config(tmp_path / "before.keras")
    assert all(config(tmp_path / f"{i}.keras") == expected for i in range(5))
