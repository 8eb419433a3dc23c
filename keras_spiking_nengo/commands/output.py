"""How commands say what they found."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["Finding", "reported", "table"]


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
    made = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        right = i >= len(columns) - numbers
        made.add_column(column, justify="right" if right else "left", overflow="fold")
    return made


@contextmanager
def reported(as_json: bool) -> Iterator[Callable[[Finding], None]]:
    """What takes a finding, to be shown in the end.

    What libraries print on the way goes to standard error. Errors that a user can mend
    become one line, and exit code 1.
    """
    findings: list[Finding] = []
    try:
        with redirect_stdout(sys.stderr):
            yield findings.append
    except (ImportError, NotImplementedError, OSError, TypeError, ValueError) as error:
        if as_json:
            print(json.dumps({"error": str(error)}))
        else:
            typer.echo(f"ksn: {error}", err=True)
        raise typer.Exit(1) from error
    for finding in findings:
        _show(finding, as_json)


def _show(finding: Finding, as_json: bool) -> None:
    if as_json:
        print(json.dumps(finding.values, indent=1))
        return
    console = Console(markup=False, highlight=False)  # of '[jax]', rich makes nothing
    for each in finding.tables:
        console.print(each)
    for note in finding.notes:
        console.print(note)
