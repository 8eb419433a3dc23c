"""Files that are written are whole, or not there, whatever happens on the way."""

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.files import written_whole
from keras_spiking_nengo.serving.file_formats import FILE_FORMATS

EXPORTING = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras cannot export from torch"
)


ARCHIVE = "keras_spiking_nengo.serving.saved_model.Archive.write"


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def model():
    layer = ksn.layers.Neurons("lif", seed=0, return_sequences=True)
    return keras.Sequential([keras.Input((None, 64)), keras.layers.Dense(64), layer])


def test_folders_above_are_made_and_files_beside_come_along(tmp_path):
    path = tmp_path / "new" / "m.xml"
    for text in ("first", "second"):
        with written_whole(path) as unfinished:
            unfinished.write_text(text)
            unfinished.with_suffix(".bin").write_text(text)
    assert names(path.parent) == ["m.bin", "m.xml"]
    assert path.read_text() == path.with_suffix(".bin").read_text() == "second"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_what_was_there_stays_if_writing_fails(error, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_text("old")
    with pytest.raises(type(error)) as caught, written_whole(path) as unfinished:
        unfinished.write_text("ne")
        raise error
    assert caught.value is error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["m.onnx"]


@pytest.mark.parametrize("fails_at", range(4))
def test_what_was_there_stays_if_one_of_several_files_cannot_move(
    fails_at, tmp_path, monkeypatch
):
    path = tmp_path / "m.xml"
    for file in (path, path.with_suffix(".bin")):
        file.write_text("old")
    replace, moves = type(path).replace, []

    def refuses(self, target):
        moves.append(target)
        if len(moves) == fails_at + 1:
            raise OSError(errno.EROFS, "read-only")
        return replace(self, target)

    monkeypatch.setattr(type(path), "replace", refuses)
    with pytest.raises(OSError, match="read-only"), written_whole(path) as unfinished:
        unfinished.write_text("new")
        unfinished.with_suffix(".bin").write_text("new")
    assert path.read_text() == path.with_suffix(".bin").read_text() == "old"
    assert names(tmp_path) == ["m.bin", "m.xml"]


def test_a_folder_that_takes_no_files_says_so(tmp_path, monkeypatch):
    def refuses(*args, **kwargs):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr("tempfile.mkdtemp", refuses)
    with pytest.raises(OSError, match="read-only"), written_whole(tmp_path / "m"):
        raise AssertionError("nothing is written")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError), written_whole(tmp_path / "file" / "m"):
        raise AssertionError("nothing is written")


@EXPORTING
@pytest.mark.parametrize("trouble", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("way", ["savedmodel", "streaming", "onnx"])
def test_an_export_that_fails_leaves_what_was_there(
    way, trouble, tmp_path, monkeypatch
):
    """The system's error, nothing half written, and an old file as it was."""
    if way == "onnx" and keras.backend.backend() != "tensorflow":
        pytest.skip("files are written from TensorFlow")
    path = tmp_path / f"m{FILE_FORMATS[way].suffix if way in FILE_FORMATS else ''}"

    def half(path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
        raise OSError(trouble, os.strerror(trouble))

    if way == "onnx":
        path.write_text("old")
        failing = replace(
            FILE_FORMATS[way], needs=(), write=lambda program, path: half(path)
        )
        monkeypatch.setitem(FILE_FORMATS, way, failing)
    else:
        name = {"savedmodel": "keras.Model.export", "streaming": ARCHIVE}[way]
        monkeypatch.setattr(name, lambda self, *args, **_: half(Path(args[-1]) / "a"))
    before = names(tmp_path)
    with pytest.raises(OSError) as caught:
        ksn.export(model(), path, format=way)
    assert caught.value.errno == trouble
    assert names(tmp_path) == before
    assert before == [] or path.read_text() == "old"


# --- in a process that dies, or has no room -------------------------------------------

PROGRAM = """
import resource, sys, time
from pathlib import Path
import keras_spiking_nengo as ksn
from keras_spiking_nengo.serving import agreement, formats, streaming, saved_model
from tests.test_files import model

way, path, trouble = sys.argv[1:]
def slow(*args, **kwargs):
    print("written", flush=True)
    time.sleep(600)
if trouble == "slow":
    agreement.require_same_stream = formats._verify_saved_model = slow
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
made = model()
if way == "save" and trouble == "slow":
    made.save = slow
try:
    ksn.save(made, path) if way == "save" else ksn.export(made, path, format=way)
except OSError as error:
    print(error.errno, flush=True)
"""
WAYS = ("savedmodel", "streaming", "save")
NAMES = {"save": "m.keras"}


def process(way, path, trouble):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, way, str(path), trouble],
        stdout=subprocess.PIPE,
        text=True,
    )


@EXPORTING
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_who_is_killed_leaves_no_part_under_the_name_and_the_next_is_not_in_the_way(
    way, tmp_path
):
    path = tmp_path / NAMES.get(way, "m")
    with process(way, path, "slow") as running:
        assert running.stdout.readline() == "written\n"
        running.send_signal(signal.SIGKILL)
    (left,) = names(tmp_path)
    assert left.startswith(f".{path.name}.unfinished-")
    if way == "save":
        ksn.save(model(), path)
    else:
        ksn.export(model(), path, format=way)
    assert names(tmp_path) == [left, path.name]


@EXPORTING
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_is_told_by_the_systems_own_error(way, tmp_path):
    with process(way, tmp_path / NAMES.get(way, "m"), "full") as running:
        assert running.stdout.read() == f"{errno.EFBIG}\n"
    assert names(tmp_path) == []


# --- models and graphs ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["model", "graph"])
def test_a_file_is_saved_whole_and_an_old_one_outlives_trouble(
    kind, tmp_path, monkeypatch
):
    nir = pytest.importorskip("nir")
    made = keras.Sequential([keras.Input((None, 3)), keras.layers.Dense(2)])
    path = tmp_path / "new" / {"model": "m.keras", "graph": "m.nir"}[kind]
    saved = made if kind == "model" else ksn.to_nir(made)
    ksn.save(saved, str(path))
    load = keras.models.load_model if kind == "model" else ksn.from_nir
    assert load(path).count_params() == made.count_params()
    before = path.read_bytes()

    def half(path, *_):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(nir, "write", half)
    monkeypatch.setattr(keras.Model, "save", lambda self, path: half(path))
    with pytest.raises(OSError, match="full"):
        ksn.save(saved, path)
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_what_is_saved_is_a_model_or_a_graph(tmp_path):
    with pytest.raises(TypeError, match=r"a keras\.Model or a nir\.NIRGraph"):
        ksn.save(keras.layers.Dense(2), tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"ends in \.keras; received .*m\.h5"):
        ksn.save(model(), tmp_path / "m.h5")
    with pytest.raises(TypeError, match="path is the path"):
        ksn.save(model(), 3)
