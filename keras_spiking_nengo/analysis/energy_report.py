"""What a model costs, as numbers and as a table."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from keras_spiking_nengo.analysis.devices import Device
from keras_spiking_nengo.tables import table_of, text_of

__all__ = ["EnergyReport", "LayerEnergy"]


@dataclass(frozen=True)
class LayerEnergy:
    """One call of a layer. Numbers are per inference, the mean over the data.

    Attributes:
        name: path of the layer, with a number from its second call on.
        kind: class of the layer.
        dense: synaptic operations, zeros included.
        macs: effective ones with a real-valued input.
        acs: effective ones with a spike as input, and additions.
        updates: of neurons with a state and of synaptic filters.
        spikes: that the layer sends.
        units: values of neurons and activation functions.
        zeros: of these, those that are 0.
        weights: number of connection weights.
        zero_weights: of these, those that are 0.
        weight_bytes: memory of all weights, initial states of neurons among them.
        state_bytes: memory of the states of one item.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.ReLU()])
        >>> report = ksn.analysis.energy(model, np.array([[1.0, -1.0]]))
        >>> report.layers[0].activation_sparsity
        0.5
    """

    name: str
    kind: str
    dense: float
    macs: float
    acs: float
    updates: float
    spikes: float
    units: float
    zeros: float
    weights: int
    zero_weights: int
    weight_bytes: int
    state_bytes: int

    @property
    def activation_sparsity(self) -> float | None:
        """Share of activities that are 0, or None for a layer without."""
        return self.zeros / self.units if self.units else None

    @property
    def connection_sparsity(self) -> float | None:
        """Share of connection weights that are 0, or None for a layer without."""
        return self.zero_weights / self.weights if self.weights else None


@dataclass(frozen=True)
class EnergyReport:
    """What a model costs, by layer and in all. Printed, it is a table.

    Attributes:
        model: its name.
        items: of data that were run.
        layers: one for each call of a layer, in order.
        unique: positions in `layers` of the first call of each layer: a shared layer
            works in every call, and is stored once.
        devices: that energies are given for.
        notes: what was not counted.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> report = ksn.analysis.energy(model, np.ones((1, 2)), ["cpu", "loihi"])
        >>> list(report.joules), report.footprint
        (['cpu', 'loihi'], 36)
    """

    model: str
    items: int
    layers: tuple[LayerEnergy, ...]
    unique: tuple[int, ...]
    devices: tuple[Device, ...]
    notes: tuple[str, ...]

    @property
    def total(self) -> LayerEnergy:
        """The sum of all layers."""
        calls, stored = self.layers, [self.layers[i] for i in self.unique]
        worked = ("dense", "macs", "acs", "updates", "spikes", "units", "zeros")
        memory = ("weights", "zero_weights", "weight_bytes", "state_bytes")
        sums = {name: sum(getattr(c, name) for c in calls) for name in worked}
        sums |= {name: sum(getattr(c, name) for c in stored) for name in memory}
        return LayerEnergy("total", "", **sums)

    @property
    def footprint(self) -> int:
        """Bytes of all weights, and of the states of one item."""
        return self.total.weight_bytes + self.total.state_bytes

    @property
    def joules(self) -> dict[str, float]:
        """Energy of one inference, by device."""
        total = self.total
        numbers = total.dense, total.macs, total.acs, total.updates
        return {device.name: device.joules(*numbers) for device in self.devices}

    def to_dict(self) -> dict[str, Any]:
        """All numbers, as plain Python."""
        return {
            "model": self.model,
            "items": self.items,
            "layers": [_described(layer) for layer in self.layers],
            "total": _described(self.total),
            "footprint": self.footprint,
            "joules": self.joules,
            "devices": {d.name: asdict(d) for d in self.devices},
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        notes = [f"Note: {note}" for note in self.notes]
        tables = self._operations(), self._energies()
        return text_of(*tables, *notes, width=118).rstrip()

    def _operations(self) -> Table:
        title = f"{self.model}: operations per inference"
        rows = [[f"{one.name} ({one.kind})", *_cells(one)] for one in self.layers]
        table = table_of(title, ["layer", *_LAYER_COLUMNS], rows, ["layer"])
        table.columns[0].overflow = "fold"
        table.add_section()
        table.add_row("total", *_cells(self.total))
        return table

    def _energies(self) -> Table:
        rows = []
        for device in self.devices:
            counted = "nonzero" if device.skips_zeros else "all"
            energy = _engineering(self.joules[device.name]) + "J"
            rows.append([device.name, energy, counted, device.source])
        columns = ["device", "energy", "counted", "source"]
        words = {"device", "counted", "source"}
        return table_of("energy per inference", columns, rows, words)


# --- printing -----------------------------------------------------------------

_LAYER_COLUMNS = (
    "dense",
    "MACs",
    "ACs",
    "updates",
    "spikes",
    "zero outputs",
    "zero weights",
    "bytes",
)
_PREFIXES = {
    -15: "f",
    -12: "p",
    -9: "n",
    -6: "\N{MICRO SIGN}",
    -3: "m",
    0: "",
    3: "k",
    6: "M",
}


def _cells(layer: LayerEnergy) -> list[str]:
    numbers = (layer.dense, layer.macs, layer.acs, layer.updates, layer.spikes)
    shares = (layer.activation_sparsity, layer.connection_sparsity)
    memory = layer.weight_bytes + layer.state_bytes
    return [
        *(_number(n) for n in numbers),
        *("" if s is None else f"{s:.1%}" for s in shares),
        _number(memory),
    ]


def _number(value: float) -> str:
    if not value:
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _engineering(value: float) -> str:
    value = float(f"{value:.3g}")  # or 999.7 would be rounded to 1e+03
    if not value:
        return "0 "
    exponent = int(np.clip(3 * np.floor(np.log10(value) / 3), -15, 6))
    return f"{value / 10.0**exponent:.3g} {_PREFIXES[exponent]}"


def _described(layer: LayerEnergy) -> dict[str, Any]:
    return {
        **asdict(layer),
        "activation_sparsity": layer.activation_sparsity,
        "connection_sparsity": layer.connection_sparsity,
    }
