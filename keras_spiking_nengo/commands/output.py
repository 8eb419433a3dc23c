"""How commands say what they found."""

import json
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["Finding", "reported", "table"]

MENDABLE = (
    *(ImportError, NotImplementedError, OSError, TypeError, ValueError),
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Finding:
    """What a command found.

    Attributes:
        values: as JSON has it.
        tables: as people read it.
        notes: lines below the tables.
    """

    values: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def table(title: str, *columns: str, numbers: int = 0) -> Table:
    """An empty table, whose last columns hold so many numbers."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        right = i >= len(columns) - numbers
        shown.add_column(column, justify="right" if right else "left", overflow="fold")
    return shown


@contextmanager
def reported(as_json: bool, debug: bool = False) -> Iterator[Callable[[Finding], None]]:
    """What takes a finding, to be shown in the end.

    What libraries print on the way goes to standard error. An error that a user can
    mend becomes one line; a fault of ours says its type and the way to see more. With
    `debug` there is a traceback before. The exit code is 1.
    """
    findings: list[Finding] = []
    try:
        with redirect_stdout(sys.stderr):
            yield findings.append
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        text = _message(error)
        if as_json:
            print(json.dumps({"error": text}))
        else:
            typer.echo(f"ksn: {text}", err=True)
        raise typer.Exit(1) from error
    for finding in findings:
        _show(finding, as_json)


def _message(error: Exception) -> str:
    """What a user reads of an error."""
    if isinstance(error, MENDABLE) and (
        not isinstance(error, TypeError | ValueError) or _on_purpose(error)
    ):
        return str(error)
    return (
        f"{type(error).__name__}: {error}. This is a fault of ours, not of what was"
        " given. Please report it with the traceback that --debug shows."
    )


def _on_purpose(error: Exception) -> bool:
    """Whether a `raise` made it, and not Python or NumPy where a value was wrong."""
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].line or "").startswith("raise")


def _show(finding: Finding, as_json: bool) -> None:
    if as_json:
        print(json.dumps(finding.values, indent=1))
        return
    console = Console(markup=False, highlight=False)  # of '[jax]', rich makes nothing
    for each in finding.tables:
        console.print(each)
    for note in finding.notes:
        console.print(note)
