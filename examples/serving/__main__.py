"""Serve a spiking classifier: `uv run --extra serve python -m examples.serving`.

It trains the model if there is none (a minute), starts Ray with as many replicas as
asked for, listens on the loopback interface, and stops with Ctrl-C or SIGTERM after the
requests under way.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if not any(word.startswith("--address") for word in sys.argv):
    # Ray reads it when imported. Its own ports are then on the loopback interface, too,
    # as on other systems by default.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray
from ray import serve

from examples.serving.classifier import Classifier
from examples.serving.gate import LOOPBACK, environment
from examples.serving.limits import add_arguments, limits_of
from examples.serving.server import application


def main() -> None:
    options = parsed()
    limits = limits_of(options)
    folder = options.model or trained(options.data)
    try:
        Classifier(folder)
    except (OSError, ValueError) as error:
        raise SystemExit(f"Not served: {error}") from error
    variables = environment([*LOOPBACK, options.host, *options.host_name], limits)
    os.environ.update(variables)
    os.umask(0o077)  # Ray would let others read its token
    with TemporaryDirectory(prefix="ksn-ray-", ignore_cleanup_errors=True) as private:
        begin_ray(options, private)
        elsewhere = variables if options.address else {}
        app = application(folder, options.replicas, limits, elsewhere)
        serve_until_stopped(options, folder, app)


def serve_until_stopped(options: argparse.Namespace, folder: Path, app) -> None:
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    serve.start(http_options={"host": options.host, "port": options.port})
    serve.run(app, name="classifier")
    print(f"Serving {folder} with {options.replicas} replicas.")
    print(f"  page     http://{options.host}:{options.port}/")
    if not options.address:
        print(
            f"  metrics  http://{LOOPBACK[0]}:{options.metrics_port}/metrics",
            flush=True,
        )
    stopped.wait()
    print("Stopping after the requests under way.", flush=True)
    serve.delete("classifier")  # with the proxy alive, which passes on their answers
    serve.shutdown()
    ray.shutdown()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "fashion-mnist"], default="digits")
    parser.add_argument("--model", type=Path, help="a folder that model.py wrote")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--host", default=LOOPBACK[0])
    parser.add_argument(
        "--host-name",
        action="append",
        default=[],
        help="another name by which clients call the server; once for each",
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--metrics-port", type=int, default=8001)
    parser.add_argument("--address", help="of a Ray cluster, to be served by its nodes")
    add_arguments(parser)
    return parser.parse_args()


def trained(name: str) -> Path:
    """The folder of the model for a data set; another process trains it."""
    folder = Path("runs") / f"serving-{name}"
    if not (folder / "model.json").exists():
        command = [sys.executable, "-m", "examples.serving.model", "--data", name]
        subprocess.run([*command, str(folder)], check=True)
    return folder


def begin_ray(options: argparse.Namespace, private: str) -> None:
    """Starts Ray, whose logs and sockets are in a folder that others cannot enter."""
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if options.address:
        ray.init(options.address, **quiet)
        return
    ray.init(
        "local",
        num_cpus=options.replicas,
        object_store_memory=100_000_000,
        include_dashboard=False,
        _metrics_export_port=options.metrics_port,
        _temp_dir=f"{private}/ray",  # which Ray opens to all
        **quiet,
    )


if __name__ == "__main__":
    main()
