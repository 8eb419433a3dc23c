"""Hyper-parameters of a spiking classifier, searched for with Ray Tune.

    uv run --extra ray python -m examples.search_ray

Trials train with `fit`; those that are behind after some epochs are stopped early
(ASHA). `--address` uses a cluster.
"""

import argparse
import logging
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import tune

SPACE = {
    "learning_rate": tune.loguniform(3e-4, 3e-2),
    "tau": tune.choice([0.005, 0.01, 0.02, 0.05]),
    "tau_rc": tune.choice([0.01, 0.02, 0.05]),
    "units": tune.choice([32, 64, 128]),
}


def trial(config: dict) -> None:
    """One point of the space, trained until it is stopped."""
    import keras
    import nengo

    import keras_spiking_nengo as ksn
    from examples import data

    (x, y), _ = data.load(config["data"])
    keras.utils.set_random_seed(0)
    neurons = nengo.LIF(tau_rc=config["tau_rc"], amplitude=0.01)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(config["units"], bias_initializer="ones"),
            ksn.layers.Repeat(30),
            ksn.layers.Neurons(neurons, return_sequences=True),
            ksn.layers.Synapse(config["tau"]),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.Adam(config["learning_rate"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,
    )
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: tune.report(
            {"accuracy": logs["val_accuracy"], "epoch": epoch + 1}
        )
    )
    model.fit(
        *(x, y),
        batch_size=64,
        epochs=config["epochs"],
        validation_split=0.2,
        callbacks=[told],
        verbose=0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "fashion-mnist"], default="digits")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--address", help="of a Ray cluster")
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    options = parser.parse_args()
    ray.init(options.address or "local", logging_level=logging.ERROR)
    early = tune.schedulers.ASHAScheduler(max_t=options.epochs, grace_period=2)
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={**SPACE, "data": options.data, "epochs": options.epochs},
        tune_config=tune.TuneConfig(
            metric="accuracy", mode="max", num_samples=options.trials, scheduler=early
        ),
        run_config=tune.RunConfig(storage_path=str(options.out.resolve()), verbose=0),
    )
    results = tuner.fit()
    table = results.get_dataframe().sort_values("accuracy", ascending=False)
    columns = ["accuracy", "epoch", *(f"config/{name}" for name in SPACE)]
    print(table[columns].round(4).to_string(index=False))


if __name__ == "__main__":
    main()
