"""An environment of its own for each peer, made by uv and kept in a cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path.home() / ".cache" / "keras_spiking_nengo" / "bench"
TORCH = ("torch==2.13.0", "numpy==2.4.6")

# Two steps: with their dependencies, then without. SpikingJelly and Norse ask for
# torchvision (and torchaudio), which their neurons never import.
REQUIREMENTS = {
    "spikingjelly": ((*TORCH, "loguru==0.7.3"), ("spikingjelly==2.0.0",)),
    "snntorch": ((*TORCH, "snntorch==1.0.0"), ()),
    "norse": ((*TORCH, "nir==1.0.8", "nirtorch==2.6"), ("norse==1.1.0",)),
    "spyx": (("jax==0.10.2", "numpy==2.4.6", "spyx==1.0.0"), ()),
    "ocl": (
        (
            *("nengo==4.1.0", "nengo-ocl==3.0.0", "numpy<2", "setuptools<81"),
            "pocl-binary-distribution==3.0",
        ),
        (),
    ),
    "nengodl": (
        (
            *("tensorflow==2.12.1", "numpy==1.24.3", "nengo==3.2.0", "scipy<1.12"),
            *("h5py<3.12", "matplotlib<3.9", "contourpy<1.3", "scikit-learn<1.6"),
            *("setuptools<64", "wheel", "click", "jinja2", "packaging", "progressbar2"),
        ),
        ("--no-build-isolation", "nengo-dl==3.6.0", "keras-spiking==0.3.0"),
    ),
}

# Where the peer does not run on every Python that we run on.
PYTHON = {"nengodl": "3.11"}


class Unavailable(Exception):
    """Why a peer cannot be had here."""


def environment(peer: str) -> Path:
    """The interpreter of `peer`'s environment, made on first use."""
    folder = CACHE / peer
    python, stamp = folder / "bin" / "python", folder / "requirements"
    wanted = "\n".join([sys.version, *map(str, REQUIREMENTS[peer])])
    if stamp.exists() and stamp.read_text() == wanted:
        return python

    if not shutil.which("uv"):
        raise Unavailable("uv is not installed: pip install uv")
    print(f"making the environment of {peer} in {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    _uv("venv", "--python", PYTHON.get(peer, sys.executable), str(folder))
    install = ("pip", "install", "--python", str(python), *_torch_source())
    complete, bare = REQUIREMENTS[peer]
    _uv(*install, *complete)
    if bare:
        _uv(*install, "--no-deps", *bare)
    stamp.write_text(wanted)
    return python


def _torch_source() -> tuple[str, ...]:
    """Where torch comes without CUDA: a folder of wheels, else PyTorch's index."""
    folders = os.environ.get("PIP_FIND_LINKS", "").split()
    if folders:
        return tuple(part for folder in folders for part in ("--find-links", folder))
    return ("--torch-backend", "cpu")


def _uv(*arguments: str) -> None:
    """Run uv outside this project, whose constraints are not the peer's."""
    try:
        subprocess.run(
            ("uv", "--quiet", *arguments),
            cwd=CACHE,
            check=True,
            capture_output=True,
            text=True,
            timeout=900,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"uv {arguments[0]} took more than 15 minutes") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines() or ["no message"]
        raise Unavailable(f"uv {arguments[0]}: {reason[-1]}") from error
