"""A graphics card beside the processors of its machine, on JAX.

Each case runs in a process of its own, once with `JAX_PLATFORMS=cuda` and once with
`cpu`, on the same numbers (`peers/card.py`): layers of LIF neurons forward and in a
step of training, recurrent neurons, long filters, whole networks as layers and in a
simulator. Outputs of both have to agree; in float32 a spike may come a step later, so
those of spiking neurons are compared by their sums. *x processors*: their time over the
card's, of calls that are compiled.

The floor of a card: to start a step of a loop takes 5 to 20 us whatever it computes,
so that small networks are no faster there, and synapses take whole sequences in blocks.
"""

import json
import time

import numpy as np
from peers.environment import Unavailable
from peers.process import report_of
from peers.report import console
from suite import Options, shown

TITLE = "A graphics card"
CASES = {
    "LIF, 16 x 500 x 512": {"kind": "forward", "units": 512},
    "LIF, 16 x 500 x 16,384": {"kind": "forward", "units": 16_384},
    "Dense and LIF, train, 512": {"kind": "train", "units": 512},
    "Dense and LIF, train, 4,096": {"kind": "train", "units": 4_096},
    "recurrent LIF, train, 512": {"kind": "recurrent", "units": 512},
    "recurrent LIF, train, 2,048": {"kind": "recurrent", "units": 2_048},
    "lowpass, 16 x 10,000 x 512": {"kind": "synapse", "units": 512},
    "a network of 2,000, train": {"kind": "network", "units": 2_000},
    "a simulator of 2,000 x 64": {"kind": "simulator", "units": 2_000},
    "a simulator of 100,000": {"kind": "simulator", "units": 100_000},
}
QUICK = ("LIF, 16 x 500 x 512", "a network of 2,000, train")
# Seconds after which no other case begins.
ENOUGH = 420.0
# Largest difference, as part of the largest number.
TOLERANCE = 0.02


def run(options: Options) -> dict:
    end = time.monotonic() + ENOUGH
    rows, checks, skipped = [], [], {}
    for name in QUICK if options.quick else CASES:
        if time.monotonic() > end:
            skipped[name] = "time was up"
            continue
        try:
            row = {"case": name} | _both(CASES[name])
        except Unavailable as reason:
            skipped[name] = str(reason)
            break
        rows.append(row)
        console.print(f"{name}: {row['ratio']:.2f} x processors")
        outputs = [np.array(row[where].pop("output")) for where in ("cuda", "cpu")]
        largest = max(float(np.abs(outputs[1]).max()), 1e-9)
        found = float(np.abs(outputs[0] - outputs[1]).max()) / largest
        check = {"name": f"{name}: card and processors"}
        check |= {"wanted": f"<= {TOLERANCE:g}", "found": f"{found:.1e}"}
        checks.append(check | {"ok": found <= TOLERANCE})
    cells = [
        (
            row["case"],
            1e3 * row["cpu"]["seconds"],
            1e3 * row["cuda"]["seconds"],
            row["cuda"]["first"],
            row["ratio"],
        )
        for row in rows
    ]
    heads = ("case", "processors ms", "card ms", "first call s", "x processors")
    cards = sorted({row["cuda"]["device"] for row in rows})
    table = shown(f"JAX on {', '.join(cards) or 'no card'}", heads, cells)
    return {
        "tables": [table] if rows else [],
        "rows": rows,
        "checks": checks,
        "targets": [],
        "skipped": skipped,
    }


def _both(work: dict) -> dict:
    row: dict = {}
    for where in ("cuda", "cpu"):
        with console.status(f"{work}, {where}"):
            row[where] = report_of(
                "card.py", json.dumps(work), where, backend="jax", minutes=4
            )
    return row | {"ratio": row["cpu"]["seconds"] / row["cuda"]["seconds"]}
