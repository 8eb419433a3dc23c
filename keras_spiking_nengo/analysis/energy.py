"""Operations, sparsity, memory and energy of a model.

The metrics are those of NeuroBench: synaptic operations (dense, and effective ones as
multiply-accumulates or accumulates), membrane updates, activation and connection
sparsity, footprint. Energies are numbers of operations times what one costs.

Reference:
    Yik et al. (2025), *The NeuroBench framework for benchmarking neuromorphic
    computing algorithms and systems*, Nature Communications 16, 1545.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.analysis.counter import Counter
from keras_spiking_nengo.analysis.devices import DEVICES, Device, chosen
from keras_spiking_nengo.analysis.energy_report import EnergyReport, LayerEnergy
from keras_spiking_nengo.analysis.operation_counts import LayerSignal
from keras_spiking_nengo.checks import check_switches, checked_count
from keras_spiking_nengo.models.calls import calls
from keras_spiking_nengo.models.data import arrays_of
from keras_spiking_nengo.models.replay import replay
from keras_spiking_nengo.models.states import states_restored

__all__ = ["EnergyReport", "LayerEnergy", "energy"]

CAUTION = (
    "Not counted: fetching weights and states from memory, sending spikes between"
    " cores, input and output, idle power, biases, activation functions. On real"
    " devices the memory traffic is often the larger part."
)
_CHIPS = [d for d in DEVICES.values() if d.skips_zeros and d.mac == d.ac]
REAL = (
    "{} take spikes only. Here their energies count each MAC, an operation with a"
    " real-valued input, as one synaptic operation."
)


def energy(
    model: keras.Model,
    x: Any,
    devices: str | Device | Iterable[str | Device] | None = None,
    steps: int = 1,
    batch_size: int = 32,
    strict: bool = True,
) -> EnergyReport:
    """Count what a model does with data, and what that costs.

    Effective operations are those that data and weights ask for: a zero input or a
    zero weight is none. What comes from spiking neurons and encoders counts as spikes,
    whatever their height; so does any input whose values that are not 0 have one
    magnitude. All else is real-valued. A sequence is one inference, of all its steps;
    those that a mask has taken out count, too: with what a layer puts out there, which
    is no spike, and of rates the last output again unless it has
    `zero_output_for_mask=True`, or as any others
    in a layer that returns its last output only.

    Args:
        model: functional or `keras.Sequential`, of layers that have a rule. Nested
            models and `TimeDistributed` are taken apart; a layer that is used twice
            is counted twice, and stored once.
        x: as_numpy, or a list or dict of arrays, as for `model.predict`.
        devices: names from `DEVICES`, or `Device` objects. Defaults to all that are
            named.
        steps: int. Calls of the model that make one inference, for a model that takes
            a single step of time. Defaults to 1.
        batch_size: int. Items that are run at once. Defaults to 32, or to that of the
            model.
        strict: bool. Whether a layer without a rule is refused. If not, it is counted
            as nothing, and a warning says so. Defaults to True.

    Returns:
        `EnergyReport`: numbers per inference.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not built, if `x` does not fit it, if spikes are not whole
            or not finite, or for an unknown device, number of steps or batch size.
        NotImplementedError: for a layer without a rule, or a model with a call of its
            own.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> report = energy(model, np.array([[0.5, 0.0, 0.25, 0.0]]), "45nm")
        >>> report.total.dense, report.total.macs
        (12.0, 6.0)
        >>> f"{report.joules['45nm']:.3g}"
        '2.76e-11'

    Reference:
        Yik et al. (2025), *The NeuroBench framework for benchmarking neuromorphic
        computing algorithms and systems*, Nature Communications 16, 1545.
    """
    layer_calls = calls(model)
    steps = checked_count("steps", steps)
    batch_size = checked_count("batch_size", batch_size)
    check_switches(strict=strict)
    compared = chosen(devices)
    arrays = arrays_of(layer_calls, x)
    counter = Counter(layer_calls, strict)
    with states_restored(model):
        for batch in _batched(model, arrays, batch_size):
            signals = list(map(_input_signal, batch, model.inputs))
            replay(layer_calls, signals, counter)
    items = len(arrays[0])
    energies = [count.report(steps / items) for count in counter.counts.values()]
    chips = [d.name for d in compared if d in _CHIPS]
    mixed = any(layer.macs for layer in energies) and bool(chips)
    return EnergyReport(
        model=model.name,
        items=items,
        layers=tuple(energies),
        unique=counter.unique(),
        devices=compared,
        notes=(CAUTION, *[REAL.format(", ".join(chips))] * mixed, *counter.notes()),
    )


def _input_signal(values: np.ndarray, symbol) -> LayerSignal:
    return LayerSignal(ops.convert_to_tensor(values, dtype=symbol.dtype))


def _batched(model, arrays, batch_size: int):
    fixed = model.inputs[0].shape[0]
    size = fixed or batch_size
    items = len(arrays[0])
    if fixed and items % fixed:
        raise ValueError(
            f"{model.name!r} has a fixed batch size of {fixed}, which does not divide"
            f" the {items} items of x. Give a multiple of it."
        )
    for start in range(0, items, size):
        yield [part[start : start + size] for part in arrays]
