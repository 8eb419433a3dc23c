"""Nengo's first four models as Keras layers.

(a) a communication channel: two ensembles and a synapse, in a functional model
(b) an integrator, in a plain `keras.layers.RNN`
(c) an oscillator whose frequency is an input
(d) a function learned online, by PES, inside `predict`

Run it with `uv run examples/ensembles.py`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes

import keras
import nengo
import numpy as np

import keras_spiking_nengo as ksn

DT = 0.001
TIME = np.arange(1, 2001) * DT  # two seconds


def sequences(*columns) -> np.ndarray:
    """One item of a batch, `(1, time, columns)`."""
    return np.stack(columns, axis=-1)[None].astype("float32")


def rms(x) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def channel() -> float:
    """What went in comes out, a little later and with noise of spikes."""
    x = keras.Input((None, 1))
    sent = ksn.layers.Ensemble(100, 1, seed=0, return_sequences=True)(x)
    carried = ksn.layers.Synapse(0.005, return_sequences=True)(sent)
    received = ksn.layers.Ensemble(100, 1, seed=1, return_sequences=True)(carried)
    smooth = ksn.layers.Synapse(0.02, return_sequences=True)(received)
    model = keras.Model(x, smooth)
    sine = sequences(np.sin(2 * np.pi * TIME))
    late = sequences(np.sin(2 * np.pi * (TIME - 0.025)))
    return rms(model.predict(sine, verbose=0) - late)


def integrator() -> float:
    """Input and feedback share the time constant tau, and the input is times tau."""
    tau = 0.1
    cell = ksn.layers.EnsembleCell(
        500,
        1,
        recurrent=True,
        recurrent_synapse=tau,
        synapse=tau,
        transform=tau,
        seed=0,
    )
    model = keras.Sequential(
        [
            keras.Input((None, 1)),
            keras.layers.RNN(cell, return_sequences=True),
            ksn.layers.Synapse(0.02, return_sequences=True),
        ]
    )
    pulse = sequences(np.where((TIME > 0.2) & (TIME < 0.7), 1.0, 0.0))
    held = model.predict(pulse, verbose=0)[:, 800:]
    return rms(held - 0.5)


def oscillator() -> dict[float, float]:
    """Two dimensions turn at a speed that is the third; found from its phase."""
    tau, fastest = 0.1, 10.0  # radians per second at an input of 1

    def turn(x):
        angle = tau * fastest * x[2]
        return x[0] - angle * x[1], x[1] + angle * x[0]

    layer = ksn.layers.Ensemble(
        800,
        3,
        radius=1.7,
        recurrent=turn,
        recurrent_synapse=tau,
        recurrent_transform=np.eye(3)[:, :2],
        seed=0,
        return_sequences=True,
    )
    model = keras.Sequential(
        [keras.Input((None, 3)), layer, ksn.layers.Synapse(0.02, return_sequences=True)]
    )
    found = {}
    kick = np.where(TIME < 0.1, 1.0, 0.0)
    for speed in (0.5, 1.0):
        control = np.full_like(TIME, speed)
        y = model.predict(sequences(kick, 0 * TIME, control), verbose=0)[0, 500:]
        phase = np.unwrap(np.arctan2(y[:, 1], y[:, 0]))
        found[speed * fastest] = (phase[-1] - phase[0]) / (len(phase) * DT)
    return found


def learner() -> tuple[float, float]:
    """Decoders begin at zero, and learn the square of the input from its target."""
    ensemble = ksn.layers.Ensemble(
        100,
        1,
        function=lambda x: 0 * x,
        learning_rule=nengo.PES(0.002),
        teacher="target",
        seed=0,
        return_sequences=True,
    )
    inputs = {name: keras.Input((None, 1), name=name) for name in ("input", "target")}
    smooth = ksn.layers.Synapse(0.02, return_sequences=True)(ensemble(inputs))
    model = keras.Model(inputs, smooth)
    x = sequences(np.sin(4 * np.pi * TIME))
    y = model.predict({"input": x, "target": x**2}, verbose=0)
    # The target as late as the smoothing makes it.
    error = (y - nengo.Lowpass(0.02).filt(x**2, axis=1, y0=0))[0, :, 0]
    return rms(error[:200]), rms(error[-500:])


def main() -> None:
    print(f"(a) channel: rms error {channel():.3f}")
    print(f"(b) integrator: rms error of what it holds {integrator():.3f}")
    for asked, found in oscillator().items():
        print(f"(c) oscillator: {asked:.0f} radians/s asked, {found:.1f} found")
    before, after = learner()
    print(f"(d) PES: rms error {before:.3f} in the first 0.2 s, {after:.3f} at the end")


if __name__ == "__main__":
    main()
