"""How commands say what they found."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """What shows a finding; errors that a user can mend become one line and exit 1."""
    try:
        yield lambda finding: _show(finding, as_json)
    except (ImportError, NotImplementedError, OSError, TypeError, ValueError) as error:
        if as_json:
            print(json.dumps({"error": str(error)}))
        else:
            Console(stderr=True).print(f"ksn: {error}", markup=False, highlight=False)
        raise typer.Exit(1) from error


def _show(finding: Finding, as_json: bool) -> None:
    if as_json:
        print(json.dumps(finding.values, indent=1))
        return
    console = Console()
    for each in finding.tables:
        console.print(each)
    for note in finding.notes:
        console.print(note, markup=False, highlight=False)
