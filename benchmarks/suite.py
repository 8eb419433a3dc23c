"""What all suites share: the options that were chosen, and tables, shown and kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from peers.report import console
from rich.table import Table

__all__ = ["BACKENDS", "Options", "shown"]

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX"}


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Attributes:
        quick: small sizes and few repeats; no targets.
        backends: Keras backends that we run on.
        without: names of peers that are left out.
        minutes: after which a peer is stopped.
        only: models of the suite `loops`, structures of `growth`; all by default.
        sizes: numbers of neurons, or of ensembles, of those.
    """

    quick: bool = False
    backends: tuple[str, ...] = tuple(BACKENDS)
    without: frozenset[str] = frozenset()
    minutes: float = 30.0
    only: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()

    def wants(self, peer: str) -> bool:
        return peer not in self.without


def shown(title: str, columns: Sequence[str], rows: Sequence[Sequence]) -> dict:
    """Print a table, and return it as it is written to JSON and to the documentation.

    Args:
        title: of the table.
        columns: heads; numbers stand to the right.
        rows: cells, as text or numbers, which get three digits.
    """
    cells = [[_text(cell) for cell in row] for row in rows]
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        numeric = any(isinstance(row[i], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in cells:
        table.add_row(*row)
    console.print(table)
    return {"title": title, "columns": list(columns), "rows": cells}


def _text(cell) -> str:
    if cell is None:
        return ""
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)
