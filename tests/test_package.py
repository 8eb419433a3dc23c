"""What the package shows to whoever imports it."""

import doctest
import importlib
import importlib.util
import inspect
import logging
import os
import pkgutil
import re
import sys
from pathlib import Path

import keras
import pytest
from nengo.cache import DecoderCache

import keras_spiking_nengo as ksn
from keras_spiking_nengo import start_up
from keras_spiking_nengo.convert import LAYERS
from tests.marks import TAKES_TURNS, slow_on_jax
from tests.processes import printed

pytestmark = TAKES_TURNS

# Modules that are imported by one backend alone, which may not be installed.
LOOPS = f"{ksn.__name__}.dynamics.loops"
OF_BACKENDS = {
    f"{LOOPS}.jax": "jax",
    f"{LOOPS}.stacks": "tensorflow",
    f"{LOOPS}.tensorflow": "tensorflow",
}
MODULES = sorted(
    name
    for name in [
        ksn.__name__,
        *(m.name for m in pkgutil.walk_packages(ksn.__path__, f"{ksn.__name__}.")),
    ]
    if name not in OF_BACKENDS or importlib.util.find_spec(OF_BACKENDS[name])
)
# What torch runs: it cannot export.
RUNNING = [
    name if ".serving" in name else pytest.param(name, marks=pytest.mark.torch)
    for name in MODULES
]
# What users import: the package, and the modules in it that it names.
PUBLIC = [ksn, *(x for x in map(vars(ksn).get, ksn.__all__) if inspect.ismodule(x))]
OBJECTS = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in PUBLIC
    for name in module.__all__
    if callable(getattr(module, name))
}


SECTION = re.compile(r"^([A-Z][a-z]+(?: [a-z]+)?):\n", re.MULTILINE)
ENTRY = re.compile(r"^    (\*{0,2}\w+(?:,\s+\*{0,2}\w+)*):", re.MULTILINE)
SHAPED = (keras.layers.Layer, keras.losses.Loss, keras.metrics.Metric)
ABOUT_FILES = {"analysis", "serialization", "serving"}
# All that computes is from somewhere; the rest is about files and models.
COMPUTING = [
    name
    for name, value in OBJECTS.items()
    if inspect.isclass(value)
    and name.count(".") > 1
    and name.split(".")[1] not in ABOUT_FILES
]


def test_there_are_modules_and_public_objects():
    assert len(MODULES) > 10
    assert len(COMPUTING) > 10
    assert {f"{ksn.__name__}.layers.{n}" for n in ksn.layers.__all__} <= set(OBJECTS)


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", [name for name in ksn.__all__ if inspect.ismodule(getattr(ksn, name))]
)
def test_modules_are_imported_by_the_names_that_the_package_shows(name):
    module = importlib.import_module(f"{ksn.__name__}.{name}")
    assert module is getattr(ksn, name)


@pytest.mark.torch
@pytest.mark.parametrize("name", MODULES)
def test_all_that_is_named_exists_once_with_a_docstring(name):
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    assert module.__doc__
    for public in names:
        value = getattr(module, public)
        assert inspect.getdoc(value) or not callable(value), public


def sections(name: str) -> dict[str, str]:
    """Of a docstring, by their headings."""
    _, *parts = SECTION.split(inspect.getdoc(OBJECTS[name]))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def arguments(name: str) -> set[str]:
    """What is called an argument or attribute in a docstring."""
    said = sections(name)
    lines = ENTRY.findall(said.get("Args", "") + said.get("Attributes", ""))
    return {entry.strip("* \n") for line in lines for entry in line.split(",")}


@pytest.mark.parametrize("name", OBJECTS)
def test_docstrings_say_what_goes_in_and_what_goes_wrong(name):
    value, said = OBJECTS[name], sections(name)
    assert "Example" in said
    assert "Raises" in said or "Args" not in said
    taken = set(inspect.signature(value).parameters) - {"args", "kwargs"}
    if "kwargs" in arguments(name):  # they lead to another docstring
        assert re.search(r"\*\*kwargs: .*`", said["Args"])
    else:
        assert not taken - arguments(name)


@pytest.mark.parametrize("name", OBJECTS)
def test_docstrings_say_what_comes_out(name):
    value, said = OBJECTS[name], sections(name)
    if inspect.isclass(value):
        assert not issubclass(value, SHAPED) or {
            "Call arguments",
            "Output shape",
        } <= set(said)
    else:
        assert "Returns" in said or value.__annotations__["return"] is None


@pytest.mark.parametrize("name", COMPUTING)
def test_docstrings_say_where_it_is_from(name):
    assert sections(name)["Reference"].strip()


@pytest.mark.parametrize("name", RUNNING)
def test_examples_do_what_they_say(name, monkeypatch):
    # What an example registers goes with it.
    monkeypatch.setattr(LAYERS, "_rules", dict(LAYERS._rules))
    # Classes of examples are not the package's.
    module, names = importlib.import_module(name), {"__name__": "__main__"}
    failed, _ = doctest.testmod(module, extraglobs=names)
    assert not failed


@slow_on_jax
def test_extras_are_imported_only_where_used():
    script = (
        "import sys, keras, nengo; before = set(sys.modules)\n"
        "import keras_spiking_nengo\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*new)"
    )
    new = set(printed("-c", script).split())
    assert "keras_spiking_nengo" in new
    heavy = {"jax", "torch", "tensorflow", "nir", "matplotlib", "onnxruntime", "ray"}
    assert not new & heavy


def readme_code() -> list[str]:
    text = (Path(ksn.__file__).parents[1] / "README.md").read_text()
    return [part.split("```")[0] for part in text.split("```python\n")[1:]]


def test_the_readmes_first_model_spikes_and_is_exported(tmp_path, monkeypatch, capsys):
    code, _ = readme_code()
    assert len(code.splitlines()) < 25
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code.replace("epochs=10", "epochs=2"), names)
    model, x = names["model"], names["x"]
    assert model.history.history["loss"][1] < model.history.history["loss"][0]
    assert (tmp_path / "digits" / "saved_model.pb").exists()
    assert capsys.readouterr().out
    (spikes,) = ksn.to_nengo(model).verify(x[:8]).spikes
    # In float32 a rounding moves a spike now and then.
    assert spikes.differing <= 0.01 * spikes.total > 0


def test_the_readmes_network_is_trained():
    _, code = readme_code()
    assert len(code.splitlines()) < 15
    names: dict = {}
    exec(code, names)
    net, trained = names["net"], names["trained"]
    assert len(trained.ensembles) == len(net.ensembles)
    loss = names["sim"].keras_model.history.history["loss"]
    assert loss[-1] < loss[0]


def test_the_tables_of_what_is_supported_are_up_to_date():
    path = Path(__file__).parents[1] / "docs" / "supported.py"
    spec = importlib.util.spec_from_file_location("supported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.FILE.read_text() == module.text(), "run: python docs/supported.py"
    assert module.NIR.read_text() == module.nir_text(), "run: python docs/supported.py"


def test_nothing_is_said_of_a_cache_that_is_new(tmp_path, caplog):
    """With a handler for all loggers, Nengo's message would show, and a traceback."""
    with caplog.at_level(logging.WARNING), DecoderCache(cache_dir=tmp_path / "new"):
        pass
    assert not caplog.records
    logging.getLogger("nengo.cache").error("corrupted", exc_info=ValueError())
    assert "corrupted" in caplog.text


# Imports Keras in a process whose standard error another program reads.
STARTING = """
import os, subprocess, sys
env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
env |= {"TF_CPP_MIN_LOG_LEVEL": sys.argv[1]} if sys.argv[1:] else {}
program = "import keras_spiking_nengo as ksn; ksn.layers.Neurons('lif')"
done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True)
sys.stdout.buffer.write(done.stderr)
"""


@pytest.mark.parametrize("level", [(), ("3",)], ids=["of itself", "in a child process"])
def test_starting_says_nothing(level):
    assert printed("-c", STARTING, *level) == ""


def test_what_is_no_note_is_shown(capfd):
    with start_up._without_notes():
        os.write(2, b"I0 cudart_stub.cc:31] Could not find cuda drivers\nA fault\n")
    os.write(2, b"More\n")
    assert capfd.readouterr().err == "A fault\nMore\n"


def test_who_asks_for_notes_gets_them(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.setattr(start_up, "_without_notes", pytest.fail)
    start_up.start_quietly()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
