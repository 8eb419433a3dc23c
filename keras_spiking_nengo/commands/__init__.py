"""The commands of `ksn`: what is in a file, other formats, speed, and what is missing.

Results go to standard output, as tables or with `--json`; all else goes to standard
error. The exit code is 0, 1 if something failed, or 2 for a command line that is wrong.
"""

from pathlib import Path
from typing import Annotated

import typer

from keras_spiking_nengo.commands import bench as benching
from keras_spiking_nengo.commands import convert as converting
from keras_spiking_nengo.commands import doctor as diagnosing
from keras_spiking_nengo.commands import info as describing
from keras_spiking_nengo.commands.output import reported

__all__ = ["app"]

app = typer.Typer(
    name="ksn",
    help="Nengo's neurons, synapses and networks as Keras layers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A .keras or .nir file, or a stream.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a file holds: layers, shapes, neurons, weights, states."""
    with reported(json, debug) as show:
        show(describing.describe(path))


@app.command("convert")
def write_as(
    source: Annotated[Path, typer.Argument(help="A .keras or .nir file.")],
    target: Annotated[Path, typer.Argument(help="File or folder to write.")],
    to: Annotated[
        str,
        typer.Option(
            help=f"One of {', '.join(converting.TARGETS)}; by default what the suffix"
            " of the target says, or savedmodel."
        ),
    ] = "",
    step: Annotated[
        bool, typer.Option("--step", help="Write a single step, with its states.")
    ] = False,
    n_steps: Annotated[
        int | None, typer.Option(help="Steps of a sequence, where they are fixed.")
    ] = None,
    dt: Annotated[
        float | None, typer.Option(help="Seconds of a step, from or to NIR.")
    ] = None,
    strict: Annotated[
        bool, typer.Option(help="Refuse what a format can express nearly only.")
    ] = True,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a model in another format, and compare what it computes there."""
    with reported(json, debug) as show:
        show(converting.convert(source, target, to, step, n_steps, dt, strict))


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time a layer of LIF neurons and a network on this machine and backend."""
    with reported(json, debug) as show:
        show(benching.measure(quick))


@app.command()
def doctor(json: Json = False, debug: Debug = False) -> None:
    """Show versions, backends, devices and extras, and how to get what is missing."""
    with reported(json, debug) as show:
        finding = diagnosing.diagnose()
        show(finding)
    if not finding.values["ok"]:
        raise typer.Exit(1)
