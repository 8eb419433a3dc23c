"""A Nengo network: simulated, trained by gradient descent, saved, and handed back.

The network holds a value in memory. Nengo solves its decoders for a perfect
integrator, which spikes only approximate; training the spiking network itself makes
it better. Run it with `uv run examples/nengo_network.py`.
"""

import keras_spiking_nengo as ksn  # first: TensorFlow then starts quietly

# isort: split
import tempfile
from pathlib import Path

import keras
import nengo
import numpy as np

STEPS = 200  # of 1 ms


def memory() -> nengo.Network:
    """An integrator of 30 spiking neurons."""
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0], label="stimulus")
        ensemble = nengo.Ensemble(30, 1, label="memory")
        nengo.Connection(stimulus, ensemble, transform=0.1, synapse=0.1)
        nengo.Connection(ensemble, ensemble, synapse=0.1, label="feedback")
        probe = nengo.Probe(ensemble, synapse=0.02, label="estimate")
    # Decoders are trained, tuning curves stay; those of probes must be asked for.
    ksn.configure(net, nengo.Ensemble, trainable=False)
    ksn.configure(net, probe, trainable=True)
    return net


def episodes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Pulses to integrate, and their filtered integrals."""
    rng = np.random.default_rng(n)
    pulses = np.zeros((n, STEPS, 1))
    pulses[:, 20:70] = rng.uniform(-15, 15, size=(n, 1, 1))
    wanted = np.cumsum(pulses, axis=1) * 0.001
    return pulses, nengo.Lowpass(0.02).filt(wanted, axis=1, y0=0)


def error(found, wanted) -> float:
    return float(np.sqrt(np.mean((found - wanted) ** 2)))


def main() -> None:
    net = memory()
    (stimulus,), (probe,) = net.all_nodes, net.all_probes
    x, y = episodes(64)
    x_test, y_test = episodes(32)

    # As a simulator: Nengo's interface, 32 episodes at once.
    with ksn.Simulator(net, minibatch_size=32, progress_bar=False) as sim:
        sim.run_steps(STEPS, data={stimulus: x_test})
        print(f"as Nengo solves it  {error(sim.data[probe], y_test):.4f}")

        # Trained through its spikes and its recurrence, at a rate for its decoders.
        sim.compile(
            keras.optimizers.Adam(1e-5),
            loss={probe: "mse"},
            own_units=False,
            jit_compile=True,
        )
        sim.fit({stimulus: x}, {probe: y}, batch_size=16, epochs=40, verbose=0)
        sim.reset()
        sim.run_steps(STEPS, data={stimulus: x_test})
        print(f"trained             {error(sim.data[probe], y_test):.4f}")

        # As a Keras model: saved and loaded without the code above.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "memory.keras"
            sim.keras_model.save(path)
            loaded = keras.models.load_model(path)
        again = loaded.predict({"stimulus": x_test.astype("float32")}, verbose=0)
        print(f"saved and loaded    {error(again['estimate'], y_test):.4f}")
        trained = sim.network()

    # As a Nengo network, for any backend.
    (stimulus,), (probe,) = trained.all_nodes, trained.all_probes
    stimulus.output = lambda t: x_test[0, min(round(t / 0.001), STEPS) - 1]
    with nengo.Simulator(trained, progress_bar=False) as sim:
        sim.run_steps(STEPS)
    print(f"one episode, Nengo  {error(sim.data[probe], y_test[0]):.4f}")
    print(f"one episode, Keras  {error(again['estimate'][0], y_test[0]):.4f}")


if __name__ == "__main__":
    main()
