"""What is installed, what runs, and how to get what is missing."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from keras_spiking_nengo.commands.output import Finding, table
from keras_spiking_nengo.dynamics.loops import backend_name

__all__ = ["diagnose"]

DISTRIBUTION = "keras-spiking-nengo"
BACKENDS = ("tensorflow", "jax", "torch")
LAYER = """
import keras, keras_spiking_nengo as ksn
y = ksn.layers.Neurons("lif", return_sequences=True, seed=0)(keras.ops.ones((1, 3, 2)))
assert tuple(y.shape) == (1, 3, 2)
"""
LIST_DEVICES = {
    "tensorflow": "import tensorflow as tf\n"
    "d = [d.name.removeprefix('/device:') for d in tf.config.list_logical_devices()]",
    "jax": "import jax\nd = jax.devices()",
    "torch": "import torch\nd = ['cpu'] + [torch.cuda.get_device_name(i)"
    " for i in range(torch.cuda.device_count())]",
}


def diagnose() -> Finding:
    """Versions, backends in processes of their own, and extras."""
    packages = {name: found(name) for name in ("keras", "nengo", "numpy", DISTRIBUTION)}
    packages["python"] = platform.python_version()
    backends = {name: run_a_layer(name) for name in BACKENDS}
    extras = {name: missing(name) for name in names_of_extras()}
    chosen = backend_name()
    ok = backends[chosen]["ok"]
    values = {
        "ok": ok,
        "backend": chosen,
        "packages": packages,
        "backends": backends,
        "extras": extras,
    }
    return Finding(values, [_packages(values), _backends(values), _extras(values)])


def found(name: str) -> str | None:
    """Version of a distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def run_a_layer(backend: str) -> dict:
    """Whether a layer runs on a backend, in a process of its own, and where."""
    installed = found(backend)
    if installed is None:
        extra = f"[{backend}]" if backend != "tensorflow" else ""
        get = f"pip install '{DISTRIBUTION}{extra}'"
        return {"version": None, "ok": False, "devices": [], "problem": get}
    code = f"{LAYER}{LIST_DEVICES[backend]}\nprint('|'.join(map(str, d)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    ok = done.returncode == 0
    return {
        "version": installed,
        "ok": ok,
        "devices": done.stdout.splitlines()[-1].split("|") if ok else [],
        "problem": "" if ok else (done.stderr.strip().splitlines() or ["failed"])[-1],
    }


def names_of_extras() -> list[str]:
    """Extras of this package that are no backends."""
    lines = requires(DISTRIBUTION) or []
    markers = [Requirement(line).marker for line in lines]
    names = {str(m).split('"')[1] for m in markers if m and "extra" in str(m)}
    return sorted(names - set(BACKENDS))


def missing(extra: str) -> list[str]:
    """Packages of an extra that are not installed."""

    def wanted(requirement: Requirement, extra: str) -> bool:
        return not requirement.marker or requirement.marker.evaluate({"extra": extra})

    lines = map(Requirement, requires(DISTRIBUTION) or [])
    of_extra = [r.name for r in lines if wanted(r, extra) and not wanted(r, "")]
    return [name for name in of_extra if found(name) is None]


def _packages(values):
    shown = table("packages", "package", "version")
    for name, number in sorted(values["packages"].items()):
        shown.add_row(name, number or "not installed")
    return shown


def _backends(values):
    shown = table("backends", "backend", "version", "runs", "devices, or what to do")
    for name, row in values["backends"].items():
        label = f"{name} (chosen)" if name == values["backend"] else name
        what = ", ".join(row["devices"]) or row["problem"]
        shown.add_row(label, row["version"] or "", "yes" if row["ok"] else "no", what)
    return shown


def _extras(values):
    shown = table("extras", "extra", "missing", "how to get it")
    for name, lacking in values["extras"].items():
        get = f"pip install '{DISTRIBUTION}[{name}]'" if lacking else ""
        shown.add_row(name, ", ".join(lacking) or "nothing", get)
    return shown
