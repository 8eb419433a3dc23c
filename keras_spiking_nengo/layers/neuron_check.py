"""A neuron type's dynamics, compared with the type itself."""

from dataclasses import dataclass

import keras
import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.checks import (
    check_kind,
    check_switches,
    checked_count,
    checked_dt,
    positive,
)
from keras_spiking_nengo.dynamics.loops import precision
from keras_spiking_nengo.layers.neurons import Neurons
from keras_spiking_nengo.tables import table_of, text_of

__all__ = ["NeuronReport", "check_neuron"]

_N_NEURONS = 50
# Of a step of gradient descent, against what the loss becomes.
_NEAR = 1e-2
_RATE = 1e-6


@dataclass(frozen=True)
class NeuronReport:
    """What `check_neuron` found. Print it for a table.

    Attributes:
        rows: of what was checked, what was found, and whether it is right.
    """

    rows: tuple[tuple[str, str, bool], ...]

    @property
    def ok(self) -> bool:
        """Whether all is right."""
        return all(right for _, _, right in self.rows)

    def __str__(self) -> str:
        cells = [(*row[:2], "ok" if row[2] else "WRONG") for row in self.rows]
        columns = ("checked", "found", "")
        title = "A neuron type's rule, against the type"
        return text_of(table_of(title, columns, cells, left=columns))


def check_neuron(
    neuron_type: nengo.neurons.NeuronType,
    dt: float = 0.001,
    n_steps: int = 500,
    largest: float = 5.0,
    raise_on_failure: bool = False,
) -> NeuronReport:
    """Compares what a rule says of a neuron type with the type's own `step`.

    In float64, with constant and with noisy currents: all spikes have to be equal, and
    rates to 1e-9; a layer that is saved and loaded, and one that XLA compiles, have to
    give the same; a step of gradient descent has to change all that can be trained, to
    finite numbers, and where there are no spikes the loss by as much as it says.
    Everything is done on the present backend; run it once on each that you use.

    Args:
        neuron_type: `nengo.neurons.NeuronType` with a rule (`ksn.neuron_rule`).
        dt: float, seconds. Length of a step.
        n_steps: int. Number of steps.
        largest: float. Currents go from minus half of it to this. Neurons that do not
            fire at them have no gradients.
        raise_on_failure: bool. Raise if the report is not `ok`.

    Returns:
        A `NeuronReport`.

    Raises:
        TypeError: if `neuron_type` is none.
        NotImplementedError: if it has no rule.
        AssertionError: on request, if something is wrong.

    Example:
        >>> import nengo
        >>> check_neuron(nengo.LIF(tau_rc=0.05)).ok
        True
    """
    possible = "an instance of a nengo.neurons.NeuronType"
    check_kind("neuron_type", neuron_type, nengo.neurons.NeuronType, possible)
    check_switches(raise_on_failure=raise_on_failure)
    dt, n_steps = checked_dt(dt), checked_count("n_steps", n_steps)
    largest = positive("largest", largest)
    with precision("float64"):
        layer = Neurons(neuron_type, dt, seed=0, return_sequences=True, dtype="float64")
        J = _currents(n_steps, largest)
        rows = [
            *(_as_nengo(layer, name, each) for name, each in J.items()),
            _saved_row(layer, J["noisy"]),
            _compiled_row(layer, J["noisy"]),
            *_training_rows(neuron_type, dt, J["noisy"]),
        ]
    report = NeuronReport(tuple(rows))
    if raise_on_failure and not report.ok:
        raise AssertionError(str(report))
    return report


def _currents(n_steps: int, largest: float) -> dict[str, np.ndarray]:
    constant = np.linspace(-largest / 2, largest, _N_NEURONS) * np.ones((n_steps, 1))
    noise = np.random.RandomState(0).normal(size=constant.shape, scale=largest / 5)
    both = {"constant": constant, "noisy": constant + noise}
    # As numbers that Keras does not round where it takes data.
    return {name: J.astype("float32").astype("float64") for name, J in both.items()}


def _sent_by(layer, J: np.ndarray) -> np.ndarray:
    return np.array(ops.convert_to_numpy(layer(J[None]))[0])


def _as_nengo(layer: Neurons, name: str, J: np.ndarray) -> tuple[str, str, bool]:
    """The layer against the type's own step, from the same states."""
    kind, rng = layer.cell.neuron_type, np.random.RandomState(0)
    base = getattr(kind, "base_type", None)
    halves = isinstance(kind, nengo.neurons.RatesToSpikesNeuronType)
    # As a layer draws them: those of a base first.
    rates = {} if base is None else base.make_state(_N_NEURONS, rng=rng, dtype=float)
    state = kind.make_state(_N_NEURONS, rng=rng, dtype=float)
    expected, found = np.zeros_like(J), _sent_by(layer, J)
    for now, output in zip(J, expected, strict=True):
        if base is not None and halves:
            rate = np.zeros(_N_NEURONS)
            base.step(layer.cell.dt, now, rate, **rates)
            now = rate
        kind.step(layer.cell.dt, now, output, **state)
    title = f"{name} currents, against Nengo's step"
    if layer.cell.sends_spikes:
        number = int(np.sum(~np.isclose(found, expected)))
        total = np.count_nonzero(expected)
        if not total and not number:
            return title, "no spikes: raise `largest`", True
        return title, f"{number} of {total} spikes differ", number == 0
    difference = float(np.max(np.abs(found - expected)))
    near = np.allclose(found, expected, rtol=1e-9, atol=1e-9)
    return title, f"largest difference {difference:.2g}", bool(near)


def _saved_row(layer: Neurons, J: np.ndarray) -> tuple[str, str, bool]:
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    again.build((None, *J[None].shape[1:]))
    again.set_weights(layer.get_weights())
    same = np.array_equal(_sent_by(again, J), _sent_by(layer, J))
    return "saved and loaded", "the same" if same else "other outputs", same


def _compiled_row(layer: Neurons, J: np.ndarray) -> tuple[str, str, bool]:
    model = keras.Sequential([keras.Input(J.shape, dtype="float64"), layer])
    model.compile()  # by XLA, where Keras can
    y, expected = model.predict(J[None], verbose=0)[0], _sent_by(layer, J)
    same = bool(np.allclose(y, expected, rtol=1e-9, atol=1e-9))
    return "compiled", "the same" if same else "other outputs", same


def _training_rows(kind, dt: float, J: np.ndarray):
    """What one step of gradient descent does to inputs and parameters."""
    names = Neurons(kind, dt).cell.dynamics.trainable
    layer = Neurons(
        *(kind, dt),
        trainable_parameters=dict.fromkeys(names, "unit"),
        return_sequences=True,
        dtype="float64",
        seed=0,
    )
    scale = keras.layers.Rescaling(1.0, dtype="float64")
    dense = keras.layers.Dense(
        _N_NEURONS, kernel_initializer="identity", dtype="float64"
    )
    model = keras.Sequential(
        [keras.Input(J.shape, dtype="float64"), scale, dense, layer]
    )
    sent = _sent_by(model, J)
    unit = 1 / max(1.0, float(np.max(np.abs(sent))))
    x, y = J[None], np.zeros((1, *J.shape))
    model.compile(keras.optimizers.SGD(_RATE), "mse", loss_weights=[unit])
    before = [np.array(ops.convert_to_numpy(w)) for w in model.trainable_weights]
    model.train_on_batch(x, y)
    after = [np.array(ops.convert_to_numpy(w)) for w in model.trainable_weights]
    moved = [new - old for new, old in zip(after, before, strict=True)]
    titles = ["kernel before it", "bias before it", *names]
    for title, move in zip(titles, moved, strict=True):
        finite = bool(np.all(np.isfinite(move)))
        found = "finite" if finite else "not finite"
        yield (
            f"gradient of {title}",
            found if np.any(move) else "zero",
            finite and bool(np.any(move)),
        )
    if not layer.cell.sends_spikes:
        fall = sum(float(np.sum(move**2)) for move in moved) / _RATE
        # Not Keras's own sums, which are in single precision.
        fell = unit * float(np.mean(sent**2 - _sent_by(model, J) ** 2))
        ratio = fell / fall if fall else 0.0
        near = abs(ratio - 1) < _NEAR
        yield "fall of the loss, of what it says", f"{ratio:.4f}", near
