"""A model in another format."""

from pathlib import Path

import keras

from keras_spiking_nengo.commands.info import load
from keras_spiking_nengo.commands.output import Finding
from keras_spiking_nengo.convert import from_nir, to_nir
from keras_spiking_nengo.serving import export, file_formats, save

__all__ = ["TARGETS", "convert"]

EXPORTED = ("savedmodel", "streaming", *file_formats.FILE_FORMATS)
TARGETS = ("keras", "nir", *EXPORTED)
SUFFIXES = {
    ".keras": "keras",
    ".nir": "nir",
    "": "savedmodel",
    **{kind.suffix: name for name, kind in file_formats.FILE_FORMATS.items()},
}


def convert(
    source: Path,
    target: Path,
    to: str = "",
    step: bool = False,
    n_steps: int | None = None,
    dt: float | None = None,
    strict: bool = True,
) -> Finding:
    """Write the model of `source` to `target`, and say what was written.

    Raises:
        ValueError: for a format that is unknown, or options that it has no use for.
    """
    to = to or _format_of(target)
    if to not in TARGETS:
        raise ValueError(f"--to is one of {', '.join(TARGETS)}; received {to!r}.")
    if to not in EXPORTED and (step or n_steps):
        raise ValueError(f"--step and --n-steps are not for --to {to}.")
    if target.exists():
        raise ValueError(f"{target} exists; choose another name, or remove it.")
    model = read_model(source, dt)
    if to == "keras":
        save(model, target)
    elif to == "nir":
        save(to_nir(model, dt, strict), target)
    else:
        export(model, target, to, step=step, n_steps=n_steps)
    checked = "" if to in ("keras", "nir") else ", compared with the model"
    values = {"source": str(source), "target": str(target), "format": to}
    return Finding(values, notes=[f"{target}: {to}{checked}"])


def read_model(source: Path, dt: float | None) -> keras.Model:
    """The Keras model of a `.keras` or a `.nir` file."""
    if source.suffix == ".nir":
        return from_nir(source, dt)
    return load(source)


def _format_of(target: Path) -> str:
    if target.suffix not in SUFFIXES:
        raise ValueError(
            f"{target.suffix!r} is the suffix of no format; give --to, one of"
            f" {', '.join(TARGETS)}."
        )
    return SUFFIXES[target.suffix]
