"""Exported streams: equal to the bit, without Keras, and refused when they are odd."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.serving import Stream
from keras_spiking_nengo.serving.saved_model import write_manifest
from keras_spiking_nengo.serving.stream import unusual
from tests.conftest import BACKEND
from tests.marks import slow_on_jax
from tests.serving import matrix
from tests.test_saving import hybrid

pytestmark = pytest.mark.skipif(
    BACKEND == "torch", reason="streams are written from TensorFlow and JAX"
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model's stream, its calls, and what the model answers."""
    folder = tmp_path_factory.mktemp("streams") / "0"
    folder.mkdir()
    model = hybrid()
    calls = matrix.calls_of(model, "streaming")
    expected = [matrix.answers(model, call) for call in calls]
    path = ksn.export_streaming(model, folder / "m")
    matrix.write_calls(folder, model, calls)
    return path, calls, expected


@pytest.fixture(scope="module")
def stream(exported):
    return Stream(exported[0])


@pytest.fixture
def copy(exported, tmp_path):
    return Path(shutil.copytree(exported[0], tmp_path / "copy"))


@slow_on_jax
def test_served_without_keras_a_stream_is_the_model_and_its_steps_to_the_bit(exported):
    path, _, expected = exported
    # The other process compares each step with the sequence, bit by bit.
    matrix.run("stream", [str(path)], step=False)
    assert matrix.compared(path, expected) == ""


def test_a_stream_in_pieces_is_the_whole(stream, exported):
    (x,) = exported[1][0]
    whole, end = stream.sequence(x, stream.initial_state(2))
    first, state = stream.sequence(x[:, :7], stream.initial_state(2))
    second, state = stream.sequence(x[:, 7:], state)
    assert np.any(whole)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)
    for name in end:
        np.testing.assert_array_equal(state[name], end[name])


def test_signatures_name_what_goes_in_and_comes_out(stream):
    assert stream.inputs == {"x": ((6,), "float32")}
    assert stream.outputs == {"y": ((3,), "float32")}
    kinds = [name.rsplit("_", 1)[1] for name in stream.states]
    assert dict(zip(kinds, stream.states.values(), strict=True)) == {
        "voltage": ((8,), "float32"),
        "refractory": ((8,), "float32"),
        "filter": ((2, 8), "float32"),
    }
    assert all(name.startswith("state_") for name in stream.states)


def test_a_model_of_the_last_step_gives_that_so_far(tmp_path):
    spikes = ksn.layers.Synapse(0.01)
    model = keras.Sequential([keras.Input((None, 2)), spikes])
    stream = Stream(ksn.export_streaming(model, tmp_path / "m", verify=False))
    x = np.ones((1, 3, 2), "float32")
    y, _ = stream.sequence(x, stream.initial_state(1))
    np.testing.assert_allclose(y, keras.ops.convert_to_numpy(model(x)), rtol=1e-5)


# --- odd calls ------------------------------------------------------------------

X = np.ones((2, 6), "float32")
ODD_CALLS = {
    "another size": (X[:, :5], {}, r"x has the shape \(batch, 6\).*\(2, 5\)"),
    "a sequence": (X[:, None], {}, r"x has the shape \(batch, 6\).*\(2, 1, 6\)"),
    "complex": (X + 1j, {}, "x takes float32.*complex"),
    "text": (np.full((2, 6), "a"), {}, "x takes float32"),
    "another name": ({"z": X}, {}, r"keys \['x'\].*\['z'\]"),
    "another batch": (X[:1], {}, "one batch size.*initial_state"),
    "no item": (X[:0], {}, "batch size"),
    "state missing": (X, {"drop": True}, "state is a dict with the keys.*Begin with"),
    "state of another shape": (X, {"shape": (2, 7)}, r"state_.*\(batch, 8\).*\(2, 7\)"),
}


@pytest.mark.parametrize("name", ODD_CALLS)
def test_odd_calls_are_refused_with_what_is_taken(name, stream):
    x, change, message = ODD_CALLS[name]
    state = stream.initial_state(2)
    (first,) = (name for name in state if name.endswith("voltage"))
    if "drop" in change:
        del state[first]
    if "shape" in change:
        state[first] = np.zeros(change["shape"])
    with pytest.raises(ValueError, match=f"(?s){message}"):
        stream.step(x, state)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None])
def test_a_batch_has_a_whole_size(size, stream):
    with pytest.raises(ValueError, match="batch_size is an integer"):
        stream.initial_state(size)


# --- odd files ------------------------------------------------------------------


def flipped(path):
    file = path / "variables" / "variables.data-00000-of-00001"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncated(path):
    file = path / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-100])


def added(path):
    (path / "more.txt").write_text("more")


def removed(path):
    (path / "variables" / "variables.index").unlink()


def without_notes(path):
    (path / "assets.extra" / "stream.json").unlink()


def odd_notes(path):
    (path / "assets.extra" / "stream.json").write_text("[]")


ODD_FILES = {
    flipped: "changed.*variables.data",
    truncated: "truncated.*saved_model.pb",
    added: "more.txt",
    removed: "missing.*variables.index",
    without_notes: "stream.json.*not written by",
    odd_notes: "stream.json cannot be read",
}


@pytest.mark.parametrize("change", ODD_FILES, ids=lambda change: change.__name__)
def test_files_that_are_not_whole_are_refused(change, copy):
    change(copy)
    with pytest.raises(ValueError, match=f"(?s){ODD_FILES[change]}"):
        Stream(copy)


def test_a_truncated_graph_with_new_digests_is_refused(copy):
    truncated(copy)
    shutil.rmtree(copy / "assets.extra")
    write_manifest(copy)
    with pytest.raises(ValueError, match="cannot be read|cannot be loaded"):
        Stream(copy)


def test_no_folder_is_told_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        Stream(tmp_path / "none")


def other_model(path, function, **signatures):
    """A SavedModel of someone else's, with digests as they should be."""
    import tensorflow as tf

    module = tf.Module()
    module.function = tf.function(
        function, input_signature=[tf.TensorSpec((None, 2), name="x")], autograph=False
    )
    traced = module.function.get_concrete_function()
    names = signatures or {"step": 1, "sequence": 1, "initial_state": 1}
    tf.saved_model.save(module, str(path), dict.fromkeys(names, traced))
    write_manifest(path)
    return path


def test_a_graph_that_would_write_a_file_is_refused_and_not_run(tmp_path):
    import tensorflow as tf

    mark = tmp_path / "mark"

    def writes(x):
        with tf.control_dependencies([tf.io.write_file(str(mark), "was here")]):
            return {"y": tf.identity(x)}

    path = other_model(tmp_path / "m", writes)
    with pytest.raises(ValueError, match="WriteFile.*beyond"):
        Stream(path)
    assert not mark.exists()


def test_a_graph_that_would_call_python_is_refused(tmp_path):
    import tensorflow as tf

    path = other_model(
        tmp_path / "m", lambda x: {"y": tf.numpy_function(np.sin, [x], tf.float32)}
    )
    with pytest.raises(ValueError, match="PyFunc.*beyond"):
        Stream(path)


def changed(copy, change):
    """Changes a stream's graph, with digests as they should be."""
    from tensorflow.core.protobuf import saved_model_pb2

    file, saved = copy / "saved_model.pb", saved_model_pb2.SavedModel()
    saved.ParseFromString(file.read_bytes())
    change(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())
    shutil.rmtree(copy / "assets.extra")
    write_manifest(copy)
    return copy


# Each reads or writes a file, runs other code, or ends the process.
REACHING = (
    *("Abort", "DecodeProtoV2", "EagerPyFunc", "FixedUnigramCandidateSampler"),
    *(
        "GenerateVocabRemapping",
        "ImmutableConst",
        "LoadAndRemapMatrix",
        "MatchingFiles",
    ),
    *("ReadFile", "RemoteCall", "RestoreV2", "SaveV2", "XlaCustomCall", "Unheard"),
)


def running(graph):
    """A function of the graph that runs the model, and does not save it."""
    functions = graph.graph_def.library.function
    saves = "__inference__traced"
    return next(f for f in functions if not f.signature.name.startswith(saves))


@pytest.mark.parametrize("operation", REACHING)
def test_an_operation_that_is_not_known_is_refused_by_name(operation, copy):
    def change(graph):
        running(graph).node_def.add(name="odd", op=operation)

    with pytest.raises(ValueError, match=f"'odd' is a {operation}, .*beyond"):
        Stream(changed(copy, change))


def test_an_operation_is_refused_wherever_it_stands(copy):
    def in_the_graph(graph):
        graph.graph_def.node.add(name="odd", op="ReadFile")

    def in_a_function_that_nobody_calls(graph):
        function = graph.graph_def.library.function.add()
        function.signature.name = "AddV2"  # as if it were an operation
        function.node_def.add(name="odd", op="ReadFile")

    def in_what_saves(graph):
        function = graph.graph_def.library.function.add()
        function.signature.name = "__inference__traced_save_1"
        function.node_def.add(name="odd", op="ReadFile")

    for change in (in_the_graph, in_a_function_that_nobody_calls, in_what_saves):
        with pytest.raises(ValueError, match="'odd' is a ReadFile"):
            Stream(changed(copy, change))


@pytest.mark.parametrize("listed", [False, True])
def test_functions_that_save_are_called_by_no_other(listed, copy):
    def change(graph):
        value = running(graph).node_def.add(name="odd", op="PartitionedCall").attr["f"]
        reference = value.list.func.add() if listed else value.func
        reference.name = "__inference__traced_save_1"

    with pytest.raises(ValueError, match="'odd' is a PartitionedCall of the checkpoin"):
        Stream(changed(copy, change))


def _many_inputs(node):
    node.op = "Pack"
    node.attr["N"].i = 2**31


def _many_parts(node):
    node.op = "Split"
    node.attr["num_split"].i = 2**31


def _many_values(node):
    node.op = "Const"
    value = node.attr["value"].tensor
    value.float_val.append(1.0)
    for size in (2**20, 2**20):
        value.tensor_shape.dim.add().size = size


@pytest.mark.parametrize("grow", [_many_inputs, _many_parts, _many_values])
def test_a_node_that_lays_out_more_than_the_file_holds_is_refused(grow, copy):
    def change(graph):
        grow(running(graph).node_def.add(name="odd"))

    with pytest.raises(ValueError, match="'odd' is a .* of .*(2147483648|1048576)"):
        Stream(changed(copy, change))


@pytest.mark.parametrize("listed", [False, True])
def test_an_attribute_with_a_path_is_refused(listed, copy):
    def change(graph):
        node = running(graph).node_def.add(name="odd", op="Abs")
        value = node.attr["memory_region_name"]
        if listed:
            value.list.s.append(b"/etc/passwd")
        else:
            value.s = b"/etc/passwd"

    with pytest.raises(ValueError, match="'odd' is a Abs with text in .'memory_region"):
        Stream(changed(copy, change))


class Odd(layers.Layer):
    """Brings an operation that no layer of ours has."""

    def call(self, x):
        if BACKEND == "jax":
            square = keras.ops.expand_dims(x, -1) * keras.ops.eye(2) + keras.ops.eye(2)
            return keras.ops.diagonal(keras.ops.cholesky(square), axis1=-2, axis2=-1)
        return keras.ops.arctan2(x, 2.0)

    def compute_output_shape(self, input_shape):
        return input_shape


def test_an_operation_of_a_users_layer_runs_if_it_is_allowed(tmp_path):
    inputs = keras.Input((None, 2))
    model = keras.Model(inputs, ksn.layers.PerStep(Odd())(inputs))
    with pytest.warns(UserWarning, match=r"Stream\(path, allow="):
        # TensorFlow has none of JAX's LAPACK.
        path = ksn.export_streaming(model, tmp_path / "m", verify=BACKEND != "jax")
    (name,) = unusual(path)
    assert name.startswith("lapack_spotrf" if BACKEND == "jax" else "Atan2")
    with pytest.raises(ValueError, match=f"{name}.*beyond the graph.*allow="):
        Stream(path)
    stream = Stream(path, allow=[name])
    if BACKEND == "jax":
        return
    x = np.ones((1, 3, 2), "float32")
    y, _ = stream.sequence(x, stream.initial_state(1))
    np.testing.assert_allclose(y, keras.ops.convert_to_numpy(model(x)), rtol=1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX compiles modules")
@pytest.mark.parametrize("module", [b"", b"module {}", "cut", "half"])
def test_a_module_that_cannot_be_read_is_refused(module, copy):
    def change(graph):
        functions = graph.graph_def.library.function
        nodes = [n for f in functions for n in f.node_def if n.op == "XlaCallModule"]
        value = nodes[0].attr["module"]
        whole = value.s
        value.s = {"cut": whole[:-1], "half": whole[: len(whole) // 2]}.get(
            module, module
        )

    with pytest.raises(ValueError, match="No StableHLO module that can be read"):
        Stream(changed(copy, change))


def test_a_graph_without_objects_is_refused(copy):
    with pytest.raises(ValueError, match="no objects"):
        Stream(changed(copy, lambda graph: graph.ClearField("object_graph_def")))


def test_other_signatures_are_named(tmp_path):
    path = other_model(tmp_path / "m", lambda x: {"y": x}, serve=1)
    with pytest.raises(ValueError, match=r"\['serve'\].*initial_state"):
        Stream(path)


def test_what_is_there_is_not_overwritten(copy):
    with pytest.raises(FileExistsError, match="there already"):
        ksn.export_streaming(hybrid(), copy)


def test_an_export_that_gives_other_numbers_is_told_and_not_left(tmp_path):
    class Doubled(layers.SimpleRNN):
        """Its call does more than its cell."""

        def call(self, sequences, initial_state=None, mask=None, training=False):
            return 2 * super().call(sequences, initial_state, mask, training)

    model = keras.Sequential(
        [keras.Input((None, 3)), Doubled(2, return_sequences=True)]
    )
    with pytest.raises(ValueError, match="other numbers than the model"):
        ksn.export_streaming(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_a_stream_is_python_or_a_pickle(exported):
    files = [file for file in exported[0].rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {
        *(".pb", ".json", ".index", ".data-00000-of-00001"),
    }
    notes = json.loads((exported[0] / "assets.extra" / "stream.json").read_text())
    assert len(notes["sha256"]) == len(files) - 1
