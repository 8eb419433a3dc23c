"""Many simulations of Nengo networks at once: points and seeds mapped over Ray.

    uv run --extra ray python -m examples.sweep_ray

How well does an integrator remember, for so many neurons and such a time constant?
Each point is a network of its own, built and run by a `ksn.Simulator` in a worker of
Ray; add `--address` to use a cluster. Rows go to Parquet files as they are done, from
where they are read as an `xarray.Dataset` with a dimension for each parameter.
"""

import argparse
import itertools
import logging
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray

GRID = {"neurons": [50, 100, 200, 400], "tau": [0.05, 0.1, 0.2]}
PULSE, SECONDS = 0.2, 1.0


def points(seeds: int) -> list[dict]:
    values = itertools.product(*GRID.values(), range(seeds))
    return [dict(zip((*GRID, "seed"), point, strict=True)) for point in values]


def simulate(point: dict) -> dict:
    """One point of the sweep, with what was decoded and how far that is off."""
    import nengo

    import keras_spiking_nengo as ksn

    tau = float(point["tau"])
    with nengo.Network(seed=int(point["seed"])) as net:
        pulse = nengo.Node(lambda t: 1.0 / PULSE if t <= PULSE else 0.0)
        integrator = nengo.Ensemble(int(point["neurons"]), 1, radius=1.2)
        nengo.Connection(pulse, integrator, transform=tau, synapse=tau)
        nengo.Connection(integrator, integrator, synapse=tau)
        probe = nengo.Probe(integrator, synapse=0.02, sample_every=0.01)
    with ksn.Simulator(net, progress_bar=False) as sim:
        sim.run(SECONDS)
        times, decoded = sim.trange(sample_every=0.01), sim.data[probe][:, 0]
    wanted = np.minimum(times / PULSE, 1.0)
    rmse = float(np.sqrt(np.mean((decoded - wanted)[times > PULSE] ** 2)))
    return {**point, "time": times, "decoded": decoded, "rmse": rmse}


def read(folder: Path):
    """Everything that was written, with a dimension for each parameter and for time."""
    import pandas as pd

    table = pd.read_parquet(folder).set_index([*GRID, "seed"]).sort_index()
    found = table[["rmse"]].to_xarray()
    shape = tuple(found.sizes.values())
    decoded = np.stack(table["decoded"]).reshape(*shape, -1)
    found["decoded"] = ((*found.dims, "time"), decoded)
    return found.assign_coords(time=("time", table["time"].iloc[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/sweep"))
    parser.add_argument("--address", help="of a Ray cluster")
    options = parser.parse_args()
    ray.init(options.address or "local", logging_level=logging.ERROR)
    todo = ray.data.from_items(points(options.seeds))
    todo.map(simulate, num_cpus=1).write_parquet(str(options.out), mode="overwrite")
    ray.shutdown()
    found = read(options.out)
    print("root mean square error, mean over seeds")
    print(found["rmse"].mean("seed").to_pandas().round(3).to_string())


if __name__ == "__main__":
    main()
