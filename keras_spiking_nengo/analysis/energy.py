"""Operations, sparsity, memory and energy of a model.

The metrics are those of NeuroBench: synaptic operations (dense, and effective ones as
multiply-accumulates or accumulates), membrane updates, activation and connection
sparsity, footprint. Energies are numbers of operations times what one costs.

Reference:
    Yik et al. (2025), *The NeuroBench framework for benchmarking neuromorphic
    computing algorithms and systems*, Nature Communications 16, 1545.
"""

import io
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from rich.console import Console
from rich.table import Table

from keras_spiking_nengo.analysis.calls import check, data, run, submodel
from keras_spiking_nengo.analysis.devices import Device, chosen
from keras_spiking_nengo.analysis.operations import PER_STEP, RULES, Rule, refusal
from keras_spiking_nengo.analysis.recurrent import CELLS
from keras_spiking_nengo.analysis.work import Signal, Work, array, unmoved
from keras_spiking_nengo.layers.base import Cell

__all__ = ["EnergyReport", "LayerEnergy", "energy"]

CAUTION = (
    "Not counted: fetching weights and states from memory, sending spikes between"
    " cores, input and output, idle power, biases, activation functions. On real"
    " devices the memory traffic is often the larger part."
)
REAL = (
    "{} take spikes only. Here their energies count each MAC, an operation with a"
    " real-valued input, as one synaptic operation."
)


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
        weight_bytes: memory of all weights.
        state_bytes: memory of the states of one item.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.ReLU()])
        >>> energy(model, np.array([[1.0, -1.0]])).layers[0].activation_sparsity
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
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> report = energy(model, np.ones((1, 2)), ["cpu", "loihi"])
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
        file = io.StringIO()
        console = Console(file=file, width=118, color_system=None)
        console.print(self._operations())
        console.print(self._energies())
        for note in self.notes:
            console.print(f"Note: {note}", markup=False, highlight=False)
        return file.getvalue().rstrip()

    def _operations(self) -> Table:
        table = Table(title=f"{self.model}: operations per inference", title_style="")
        table.add_column("layer", overflow="fold")
        for name in _COLUMNS:
            table.add_column(name, justify="right")
        for layer in self.layers:
            table.add_row(f"{layer.name} ({layer.kind})", *_cells(layer))
        table.add_section()
        table.add_row("total", *_cells(self.total))
        return table

    def _energies(self) -> Table:
        table = Table(title="energy per inference", title_style="")
        table.add_column("device")
        table.add_column("energy", justify="right")
        table.add_column("counted")
        table.add_column("source", overflow="fold")
        for device in self.devices:
            counted = "nonzero" if device.skips_zeros else "all"
            energy = _engineering(self.joules[device.name]) + "J"
            table.add_row(device.name, energy, counted, device.source)
        return table


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
    magnitude. All else is real-valued. A sequence is one inference, of all its steps.

    Args:
        model: functional or `keras.Sequential`, of layers that have a rule. Nested
            models and `TimeDistributed` are taken apart; a layer that is used twice
            is counted twice, and stored once.
        x: array, or a list or dict of arrays, as for `model.predict`.
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
        ValueError: if it is not built, if `x` does not fit it, or for an unknown device
            or number of steps.
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
    check(model)
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"steps is an integer of at least 1; received {steps!r}.")
    compared = chosen(devices)
    arrays = data(model, x)
    counter = _Counter(strict)
    with unmoved(model):
        for batch in _batches(model, arrays, batch_size):
            counter.position = 0
            run(model, list(map(_signal, batch, model.inputs)), counter)
    items = len(arrays[0])
    found = [call.report(steps / items) for call in counter.calls]
    chips = [d.name for d in compared if d.skips_zeros and d.mac == d.ac]
    mixed = any(call.macs for call in found) and bool(chips)
    return EnergyReport(
        model=model.name,
        items=items,
        layers=tuple(found),
        unique=counter.unique(),
        devices=compared,
        notes=(CAUTION, *[REAL.format(", ".join(chips))] * mixed, *counter.notes()),
    )


# --- counting -----------------------------------------------------------------


class _Call:
    """One call of a layer, over all batches."""

    def __init__(self, name: str, layer, rule: Rule):
        self.name, self.layer, self.rule = name, layer, rule
        self.work = Work()

    def report(self, factor: float) -> LayerEnergy:
        work = self.work * factor
        kernels = list(map(array, self.rule.kernels(self.layer)))
        variables = getattr(self.layer, "weights", [])
        return LayerEnergy(
            name=self.name,
            kind=type(self.layer).__name__,
            **asdict(work),
            weights=sum(kernel.size for kernel in kernels),
            zero_weights=sum(int(np.sum(kernel == 0)) for kernel in kernels),
            weight_bytes=sum(_bytes(v.shape, v.dtype) for v in variables),
            state_bytes=_state_bytes(self.layer),
        )


class _Counter:
    """Runs the calls of a model, and counts their work.

    Args:
        strict: whether to refuse what has no rule.

    Attributes:
        calls: in order.
        position: of the next call.
    """

    def __init__(self, strict: bool):
        self.strict = strict
        self.calls: list[_Call] = []
        self.position = 0
        self.uncounted: dict[str, str] = {}

    def __call__(self, name: str, operation, args, kwargs):
        if isinstance(operation, PER_STEP):
            return self._per_step(name, operation, args)
        inputs = keras.tree.flatten(args)
        rule = self._rule(name, operation, inputs, kwargs)
        values = _values((args, kwargs))
        outputs = operation(*values[0], **values[1])
        flat = keras.tree.flatten(outputs)
        call = self._call(name, operation, rule)
        try:
            call.work = call.work + rule.work(operation, inputs, flat)
        except NotImplementedError as error:
            if self.strict:
                raise
            self._uncounted(name, str(error))
        first, *rest = flat
        signals = [rule.signal(operation, inputs, first), *map(Signal, rest)]
        return keras.tree.pack_sequence_as(outputs, signals)

    def _rule(self, name, operation, inputs, kwargs) -> Rule:
        given = [key for key, value in kwargs.items() if _is_given(value)]
        known = _known(operation) and inputs
        if known and not given and all(isinstance(s, Signal) for s in inputs):
            return RULES[operation]
        error = refusal(name, operation)
        if known:
            error = NotImplementedError(
                f"{name} ({type(operation).__name__}) is called with"
                f" {', '.join(given) or 'what is no tensor'}. It can be counted with"
                " the tensors that it acts on only."
            )
        if self.strict:
            raise error
        self._uncounted(name, str(error))
        return Rule()

    def _uncounted(self, name: str, reason: str) -> None:
        if name not in self.uncounted:
            self.uncounted[name] = reason
            warnings.warn(f"{name} counts as nothing. {reason}", stacklevel=2)

    def _call(self, name, operation, rule) -> _Call:
        if self.position == len(self.calls):
            self.calls.append(_Call(name, operation, rule))
        self.position += 1
        return self.calls[self.position - 1]

    def _per_step(self, name: str, wrapper, args):
        """Steps are further items of the batch."""
        inputs = keras.tree.flatten(args)
        lead = tuple(inputs[0].value.shape[:2])
        folded = keras.tree.map_structure(_folded, args)
        inner = wrapper.layer
        if submodel(inner):
            made = run(inner, keras.tree.flatten(folded), self, f"{name}/")
        else:
            made = self(name, inner, folded, {})
        return keras.tree.map_structure(lambda s: _unfolded(s, lead), made)

    def unique(self) -> tuple[int, ...]:
        """Positions of the first call of each layer."""
        first = {id(call.layer): i for i, call in reversed(list(enumerate(self.calls)))}
        return tuple(sorted(first.values()))

    def notes(self) -> list[str]:
        return [f"{name} counts as nothing." for name in self.uncounted]


def _known(operation) -> bool:
    if operation not in RULES:
        return False
    if isinstance(operation, layers.Bidirectional):
        return _known(operation.forward_layer) and _known(operation.backward_layer)
    return not isinstance(operation, layers.RNN) or operation.cell in CELLS


def _is_given(value) -> bool:
    return not (value is None or value is False)


def _values(structure):
    return keras.tree.map_structure(
        lambda leaf: leaf.value if isinstance(leaf, Signal) else leaf, structure
    )


def _folded(signal: Signal) -> Signal:
    height, shape = signal.height, tuple(signal.value.shape)
    if height is not None:
        height = height.reshape((1,) * (len(shape) - height.ndim) + height.shape)
        alike = height.shape[:2] == (1, 1)
        height = height[:, 0] if alike else np.broadcast_to(height, shape)
        height = height if alike else height.reshape(-1, *shape[2:])
    value = ops.reshape(signal.value, (-1, *shape[2:]))
    return Signal(value, height, signal.linear)


def _unfolded(signal: Signal, lead: tuple[int, int]) -> Signal:
    height, shape = signal.height, tuple(signal.value.shape)
    if height is not None and height.ndim == len(shape):
        first = lead if len(height) > 1 else (1, 1)
        height = height.reshape(*first, *height.shape[1:])
    value = ops.reshape(signal.value, (*lead, *shape[1:]))
    return Signal(value, height, signal.linear)


# --- data and memory ----------------------------------------------------------


def _signal(values: np.ndarray, symbol) -> Signal:
    return Signal(ops.convert_to_tensor(values, dtype=symbol.dtype))


def _batches(model, arrays, batch_size: int):
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


def _bytes(shape, dtype) -> int:
    size = keras.backend.standardize_dtype(dtype)
    width = 1 if size == "bool" else int("".join(filter(str.isdigit, size))) // 8
    return int(np.prod(shape)) * width


def _state_bytes(layer) -> int:
    """Of one item."""
    if not isinstance(layer, layers.RNN):
        return 0
    cell = layer.cell
    if isinstance(cell, Cell):
        pairs = zip(cell.state_shapes(), cell.state_dtypes(), strict=True)
        return sum(_bytes(shape, dtype) for shape, dtype in pairs)
    sizes = keras.tree.flatten(cell.state_size)
    return sum(_bytes((size,), layer.compute_dtype) for size in sizes)


# --- printing -----------------------------------------------------------------

_COLUMNS = (
    "dense",
    "MACs",
    "ACs",
    "updates",
    "spikes",
    "silent",
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
