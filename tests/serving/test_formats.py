"""`ksn.export`: one way to all formats, which says what it cannot do."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import keras
import nengo
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.serving import file_formats, formats
from tests.conftest import BACKEND

FROM_TENSORFLOW = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="made of TensorFlow's graph"
)


def spiking(neuron_type=None):
    neuron_type = neuron_type or nengo.LIF(tau_rc=0.003)
    return keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.Dense(4),
            ksn.layers.Neurons(neuron_type, seed=1, return_sequences=True),
        ]
    )


@pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot export from torch")
def test_a_saved_model_is_what_it_makes_unless_told(tmp_path):
    path = ksn.export(spiking(), tmp_path / "m")
    assert (path / "saved_model.pb").is_file()
    with pytest.raises(FileExistsError, match="there already"):
        ksn.export(spiking(), path)


@FROM_TENSORFLOW
def test_nothing_is_said_that_nobody_need_know(tmp_path, caplog):
    """Trained, and so with gradients of our own, which a SavedModel leaves out."""
    import tensorflow as tf

    model = spiking()
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 20, 3)), np.ones((2, 20, 4)), verbose=0)
    path = ksn.export(model, tmp_path / "m")
    ksn.serving.Stream(ksn.export_streaming(model, tmp_path / "stream"))
    assert "custom gradients" not in caplog.text
    tf.saved_model.load(str(path))
    assert "custom gradients" in caplog.text


@pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot export from torch")
def test_exporting_a_stateful_model_leaves_its_state(tmp_path):
    inputs = keras.Input(batch_shape=(2, 16, 3))
    layer = ksn.layers.Synapse(0.01, stateful=True, return_sequences=True)
    model = keras.Model(inputs, layer(inputs))
    model(np.ones((2, 16, 3), "float32"))
    before = keras.ops.convert_to_numpy(layer.states[0])
    ksn.export(model, tmp_path / "m")
    assert np.any(before)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.states[0]), before)


ODD = {
    "format": ({"format": "pickle"}, "m", ValueError, "'savedmodel'.*'pickle'"),
    "sizes": ({"n_steps": 3}, "m", ValueError, "takes no n_steps"),
    "suffix": ({"format": "onnx"}, "m", ValueError, "end in '.onnx'.*m"),
}


@FROM_TENSORFLOW
@pytest.mark.parametrize("name", ODD)
def test_odd_arguments_are_named(name, tmp_path):
    options, path, kind, message = ODD[name]
    with pytest.raises(kind, match=message):
        ksn.export(spiking(), tmp_path / path, **options)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="it is exported from there")
def test_files_from_other_backends_are_refused_with_the_way(tmp_path):
    with pytest.raises(NotImplementedError, match="model.save.*KERAS_BACKEND=tensorf"):
        ksn.export(spiking(), tmp_path / "m.onnx", format="onnx")


@FROM_TENSORFLOW
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(formats.importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r"keras_spiking_nengo\[openvino\]"):
        ksn.export(spiking(), tmp_path / "m.xml", format="openvino")


@pytest.fixture
def litert():
    pytest.importorskip("ai_edge_litert")


@FROM_TENSORFLOW
def test_litert_asks_for_sizes(tmp_path, litert):
    with pytest.raises(ValueError, match="fixed sizes.*n_steps.*step=True"):
        ksn.export(spiking(), tmp_path / "m.tflite", format="litert")


@FROM_TENSORFLOW
def test_what_a_format_lacks_is_said_and_no_file_is_left(tmp_path, litert):
    poisson = nengo.PoissonSpiking(nengo.LIFRate())
    with pytest.raises(NotImplementedError, match="litert.*Erfinv.*savedmodel"):
        ksn.export(spiking(poisson), tmp_path / "m.tflite", format="litert", step=True)
    assert list(tmp_path.iterdir()) == []


@FROM_TENSORFLOW
def test_a_file_with_other_numbers_is_told_and_not_left(tmp_path, monkeypatch):
    """As OpenVINO gave, where it computed in bfloat16."""
    kind = file_formats.FILE_FORMATS["onnx"]
    wrong = file_formats.Format(
        kind.suffix,
        kind.extra,
        (),
        lambda program, path: path.write_bytes(b"model"),
        lambda path, inputs: {"y": np.full((*inputs["x"].shape[:2], 4), 7.0)},
    )
    monkeypatch.setitem(file_formats.FILE_FORMATS, "onnx", wrong)
    with pytest.raises(ValueError, match="other numbers than the model"):
        ksn.export(spiking(), tmp_path / "m.onnx", format="onnx")
    assert list(tmp_path.iterdir()) == []


@FROM_TENSORFLOW
def test_a_file_of_one_step_has_its_states_beside_it(tmp_path, litert):
    path = ksn.export(spiking(), tmp_path / "m.tflite", format="litert", step=True)
    states = np.load(path.with_suffix(".state.npz"), allow_pickle=False)
    assert sorted(name.rsplit("_", 1)[1] for name in states) == [
        *("refractory", "voltage"),
    ]


# --- what goes wrong ------------------------------------------------------------------


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def other_format(monkeypatch, write=None, run=None):
    """Makes "onnx" a format that needs no package."""
    kind = file_formats.Format(
        ".onnx",
        "onnx",
        (),
        write or (lambda program, path: path.write_bytes(b"model")),
        run or full,
    )
    monkeypatch.setitem(file_formats.FILE_FORMATS, "onnx", kind)


@FROM_TENSORFLOW
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), MemoryError("much"), KeyError("a bug")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("stage", ["write", "run"])
def test_only_what_a_format_lacks_is_called_so(stage, error, tmp_path, monkeypatch):
    def fails(*args):
        raise error

    other_format(monkeypatch, **{stage: fails})
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(type(error)) as caught:
        ksn.export(spiking(), path, format="onnx")
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@FROM_TENSORFLOW
def test_what_a_runtime_refuses_is_said_without_the_folder(tmp_path, monkeypatch):
    def refuses(path, inputs):
        raise file_formats.Lacking(f"Fail: odd node in {path}")

    other_format(monkeypatch, run=refuses)
    with pytest.raises(
        NotImplementedError, match="runtime refuses it: .*in m.onnx. It"
    ):
        ksn.export(spiking(), tmp_path / "m.onnx", format="onnx")
    assert list(tmp_path.iterdir()) == []


@FROM_TENSORFLOW
def test_litert_on_a_full_disk_says_so(tmp_path, litert, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        ksn.export(spiking(), tmp_path / "m.tflite", format="litert", step=True)
    assert list(tmp_path.iterdir()) == []


@FROM_TENSORFLOW
def test_a_fault_of_a_converter_stays_what_it_is(tmp_path, litert, monkeypatch):
    import tensorflow as tf

    class Faulty:
        target_spec = SimpleNamespace()

        def convert(self):
            raise RuntimeError("a fault")

    monkeypatch.setattr(
        tf.lite.TFLiteConverter, "from_saved_model", lambda *args, **kwargs: Faulty()
    )
    with pytest.raises(RuntimeError, match="a fault"):
        ksn.export(spiking(), tmp_path / "m.tflite", format="litert", step=True)
