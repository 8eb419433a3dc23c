"""A worker in a process of its own."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from peers.environment import Unavailable, environment

# glibc gives large arrays back to the system, and each of their pages has to be made
# anew at the next call. With these it keeps them.
KEEP_PAGES = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
PEERS = Path(__file__).parent
ROOT = PEERS.parents[1]


def report_of(
    script: str,
    *arguments: str,
    backend: str | None = None,
    peer: str | None = None,
    minutes: float | None = None,
    threads: int | None = None,
    keep_pages: bool = False,
) -> dict:
    """The report of a worker, the last line that it prints.

    Args:
        script: file name in this folder.
        arguments: of its command line.
        backend: Keras backend, for our own workers. Defaults to TensorFlow.
        peer: whose environment it runs in. Defaults to ours.
        minutes: after which it is stopped. Defaults to none.
        threads: of NumPy's products. Defaults to OpenBLAS's choice, all cores.
        keep_pages: whether memory that is freed stays with the process.

    Raises:
        Unavailable: if a backend is not installed, a peer does not run, or time is up.
        RuntimeError: if a worker of ours fails.
    """
    if backend and not find_spec(backend):
        raise Unavailable(f"{backend} is not installed here")
    python = environment(peer) if peer else sys.executable
    variables = _peer_variables() if peer else _our_variables(backend)
    if threads:
        variables["OPENBLAS_NUM_THREADS"] = str(threads)
    if keep_pages:
        variables |= KEEP_PAGES
    try:
        done = subprocess.run(
            (python, PEERS / script, *arguments),
            capture_output=True,
            text=True,
            env=variables,
            timeout=minutes and 60 * minutes,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"not done after {minutes:g} minutes") from error
    if done.returncode and not peer:
        raise RuntimeError(f"{script} {' '.join(arguments)} failed:\n{done.stderr}")
    if done.returncode:
        reason = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise Unavailable(reason[-1])
    return json.loads(done.stdout.splitlines()[-1])


def _our_variables(backend: str | None) -> dict[str, str]:
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    return _quiet() | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "KERAS_BACKEND": backend or "tensorflow",
    }


def _peer_variables() -> dict[str, str]:
    variables = _quiet()
    variables.pop("PYTHONPATH", None)
    return variables


def _quiet() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
