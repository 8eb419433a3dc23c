"""A Legendre memory unit whose memory is not fed back, at once and step by step.

784 steps (a pixel of 28 x 28 after the other), a window of as many, a memory of one or
of eight channels, and a Dense hidden part; float32, compiled by XLA. *At once* is
`ksn.layers.LMU`; *loop* is the same layer in our own loop, as it runs where something
is fed back; *keras.layers.RNN* is Keras's loop around `ksn.layers.LMUCell`. *Last*: the
result is read from the last step, as in sequential MNIST; *all*: from all steps, whose
hidden outputs are averaged. Forward is `predict_on_batch`, train `train_on_batch`, on
data that is there. Before timing, all three must give the same numbers.

The floor: of all steps the products of the memory are as many for blocks as for single
steps, and a processor is as busy with either: what is saved is the loop. For the last
step alone one product is left of them. Targets are for the last step; the numbers for
all of them are shown without.
"""

from peers.process import report_of
from peers.report import console, judged
from suite import BACKENDS, Options, shown

TITLE = "Legendre memory units"
BASE, TARGET = "at once", 5.0


def run(options: Options) -> dict:
    tables, checks, targets, rows = [], [], [], {}
    for backend in options.backends:
        arguments = ("quick",) if options.quick else ()
        with console.status(f"LMU, {backend}"):
            report = report_of("memory.py", *arguments, backend=backend)
        rows[backend] = report["rows"]
        checks += report["checks"]
        cells = [
            (*(row[k] for k in COLUMNS[:4]), 1e3 * row["seconds"], row["ratio"])
            for row in rows[backend]
        ]
        tables.append(shown(f"784 steps, {BACKENDS[backend]}", COLUMNS, cells))
        targets += [] if options.quick else targets_of(backend, rows[backend])
    return {
        "tables": tables,
        "rows": rows,
        "checks": checks,
        "targets": targets,
        "skipped": {},
    }


COLUMNS = ("size", "steps", "kind", "layer", "ms", f"x {BASE}")


def targets_of(backend: str, rows: list[dict]) -> list[dict]:
    return [
        judged(
            {
                "claim": f"{backend}, {row['size']}, last step, {row['kind']}:"
                f" {row['layer']} / {BASE}",
                "ratio": row["ratio"],
                "at least": TARGET,
            }
        )
        for row in rows
        if row["steps"] == "last" and row["layer"] != BASE
    ]
