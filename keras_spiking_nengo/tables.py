"""Tables of what was found, which look the same everywhere."""

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table

__all__ = ["table_of", "text_of"]


def table_of(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Collection[str] = ("",),
) -> Table:
    """A table with a title.

    Args:
        title: above the table.
        columns: their heads.
        rows: a text for each column.
        left: heads of the columns that hold words; numbers end at the right.
    """
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right")
    for row in rows:
        table.add_row(*row)
    return table


def text_of(*parts: Table | str, width: int = 100) -> str:
    """Tables and lines of text, one below the other, without colours.

    Args:
        *parts: from above.
        width: of tables, in characters.

    Example:
        >>> print(text_of("one", "two"), end="")
        one
        two
    """
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for part in parts:
            if isinstance(part, Table):
                console.print(part)
            else:
                console.print(part, soft_wrap=True, markup=False, highlight=False)
    return capture.get()
