"""A feed-forward Nengo network as ordinary layers, and as one layer.

Two networks of five layers in a row. *Decoded*: ensembles of 200 LIF neurons and 2
dimensions, so that little passes between layers. *Dense*: 512 LIF neurons per layer,
each connected to all of the next, as in a deep network. 1,000 steps, float32, compiled
by XLA, `predict_on_batch` on data that is there; batches of 1 and 16. *Layers* is what
`ksn.from_nengo(net)` makes; *one layer*, with `layered=False`, a program that does all
steps at once what it can; *looped* is `keras.layers.RNN(ksn.layers.NetworkCell(net))`,
which takes one step after the other. In float64, 200 steps of all three must be the
same; in float32 a rounding moves a spike now and then, and with it those after it.

The floor: neuron steps and products are as many in all three. Layers save the loop, and
of products of one item, which read their matrix at each step, the reading.
"""

from peers.process import report_of
from peers.report import console, judged
from suite import BACKENDS, Options, shown

TITLE = "Imported networks"
TARGET = 2.0


def run(options: Options) -> dict:
    tables, checks, targets, rows = [], [], [], {}
    for backend in () if options.quick else options.backends:
        with console.status(f"imported, {backend}"):
            report = report_of("imported.py", backend=backend)
        rows[backend] = report["rows"]
        checks += report["checks"]
        tables.append(table_of(backend, rows[backend]))
        targets += targets_of(backend, rows[backend])
    return {
        "tables": tables,
        "rows": rows,
        "checks": checks,
        "targets": targets,
        "skipped": {},
    }


def looped(rows: list[dict], row: dict) -> float:
    """Seconds of the loop over the network and batch of `row`."""
    return next(
        other["seconds"]
        for other in rows
        if other["model"] == "looped"
        and all(other[k] == row[k] for k in ("network", "batch"))
    )


def table_of(backend: str, rows: list[dict]) -> dict:
    cells = [
        (
            *(row[k] for k in ("network", "batch", "model")),
            1e3 * row["seconds"],
            looped(rows, row) / row["seconds"],
        )
        for row in rows
    ]
    columns = ("network", "batch", "model", "ms", "x looped")
    return shown(f"1,000 steps, {BACKENDS[backend]}", columns, cells)


def targets_of(backend: str, rows: list[dict]) -> list[dict]:
    return [
        judged(
            {
                "claim": f"{backend}, {row['network']}: layers, x looped,"
                f" batch {row['batch']}",
                "ratio": looped(rows, row) / row["seconds"],
                "at least": TARGET,
            }
        )
        for row in rows
        if row["model"] == "layers"
    ]
