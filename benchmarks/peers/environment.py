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
}


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
    _uv("venv", "--python", sys.executable, str(folder))
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
    try:
        subprocess.run(
            ("uv", "--quiet", *arguments),
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
