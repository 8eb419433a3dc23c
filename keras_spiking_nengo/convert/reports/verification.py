"""A Keras model and its Nengo network, compared step by step and spike by spike."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from rich.table import Table

from keras_spiking_nengo.checks import check_switches, checked_number
from keras_spiking_nengo.convert.graph import Graph, Port, Vertex
from keras_spiking_nengo.convert.reports.runnable import ArraysByName, Runnable
from keras_spiking_nengo.dynamics.neurons import NEURONS, neuron
from keras_spiking_nengo.models.calls import Calls, calls
from keras_spiking_nengo.models.predictions import traced_ahead
from keras_spiking_nengo.models.replay import Replay
from keras_spiking_nengo.tables import table_of, text_of

__all__ = ["OutputReport", "SpikeReport", "VerifyReport", "verified"]


@dataclass(frozen=True)
class OutputReport:
    """How one output agrees.

    Attributes:
        name: of the output.
        max_difference: largest absolute difference.
        scale: largest absolute value that Nengo gave.
        ok: whether all is within tolerance.
        compared: False if it depends on random neurons.
        over: `"mean"`, `"max"` or `"sum"` where that of all steps is read, or "".
    """

    name: str
    max_difference: float
    scale: float
    ok: bool
    compared: bool
    over: str = ""


@dataclass(frozen=True)
class SpikeReport:
    """How the spikes of one layer agree.

    Attributes:
        name: of the layer.
        differing: number of spikes that only one of the two has.
        total: number of spikes in Nengo.
        compared: False if the layer depends on random neurons.
    """

    name: str
    differing: int
    total: int
    compared: bool

    @property
    def ok(self) -> bool:
        """Whether all spikes are equal."""
        return self.differing == 0


@dataclass(frozen=True)
class VerifyReport:
    """What `NengoExport.verify` found. Print it for a table.

    Attributes:
        outputs: one `OutputReport` per output.
        spikes: one `SpikeReport` per layer of spiking neurons.
        rtol, atol: the tolerances of the outputs.
    """

    outputs: tuple[OutputReport, ...]
    spikes: tuple[SpikeReport, ...]
    rtol: float
    atol: float

    @property
    def ok(self) -> bool:
        """Whether all that can be compared agrees, spikes exactly."""
        return all(row.ok for row in self._reports if row.compared)

    @property
    def _reports(self) -> list[OutputReport | SpikeReport]:
        return [*self.outputs, *self.spikes]

    @property
    def table(self) -> Table:
        """The report as a `rich` table."""
        outputs = [
            (_name_of_row(out), f"{out.max_difference:.2e}", f"{out.scale:.4g}", "", "")
            for out in self.outputs
        ]
        spikes = [
            (row.name, "", "", str(row.differing), str(row.total))
            for row in self.spikes
        ]
        verdicts = [(_verdict(row),) for row in self._reports]
        cells = zip([*outputs, *spikes], verdicts, strict=True)
        return table_of(
            f"Keras and Nengo, rtol={self.rtol:g}, atol={self.atol:g}",
            ("", "max difference", "largest", "spikes differ", "spikes", ""),
            [row + verdict for row, verdict in cells],
        )

    def __str__(self) -> str:
        return text_of(self.table)


def _name_of_row(row: OutputReport) -> str:
    return f"{row.name}, {row.over} over time" if row.over else row.name


def _verdict(row: OutputReport | SpikeReport) -> str:
    if not row.compared:
        return "random"
    return "ok" if row.ok else "DIFFERENT"


def verified(
    export: Runnable,
    x: Any,
    rtol: float,
    atol: float,
    raise_on_failure: bool,
    n_steps: int | None = None,
) -> VerifyReport:
    """As `NengoExport.verify`; `n_steps` where there is no input to say it."""
    model = _model_beside(export)
    rtol, atol = checked_number("rtol", rtol, 0), checked_number("atol", atol, 0)
    check_switches(raise_on_failure=raise_on_failure)
    model_calls = calls(model)
    spiking = _spiking_calls(export.graph, model_calls)
    random = export.graph.after(v.name for v in export.graph.vertices if _random(v))
    outputs, activity = export.record(x, n_steps, watch=tuple(spiking))
    inputs = export.arrays(x) or [np.ones((1, n_steps or 1, 1))]
    watched = _activity_of(model, model_calls, inputs, tuple(spiking.values()))
    ports = export.graph.inputs if model_calls.takes_dict else ()
    names = [port.name for port in ports]
    values = _by_name(_predict(model, inputs, names), list(outputs))
    near = rtol, atol
    of_outputs = tuple(
        _output_report(port, values[port.name], outputs[port.name], near, random)
        for port in export.graph.outputs
    )
    kinds = {name: export.graph[name].neuron_type for name in spiking}
    units = {n: export.dt / getattr(k, "amplitude", 1.0) for n, k in kinds.items()}
    of_spikes = tuple(
        _spike_report(
            name, watched[call], activity[name], units[name], name not in random
        )
        for name, call in spiking.items()
    )
    report = VerifyReport(of_outputs, of_spikes, rtol, atol)
    if raise_on_failure and not report.ok:
        raise AssertionError(f"Keras and Nengo differ:\n{report}")
    return report


def _model_beside(export: Runnable) -> keras.Model:
    if export.model is None:
        raise ValueError(
            "This export has no Keras model to compare with. Make it with"
            " ksn.to_nengo(model)."
        )
    return export.model


def _spiking_calls(graph: Graph, model_calls: Calls) -> dict[str, str]:
    """The call that each vertex of spiking neurons was made of, or became."""
    names = {}
    for vertex in graph.vertices:
        if _spiking(vertex.neuron_type):
            # A vertex has the name of its call; a layer made of one is in `layers`.
            for name in (vertex.name, *vertex.layers):
                if name in model_calls:
                    names[vertex.name] = name
                    break
    return names


def _spiking(neuron_type) -> bool:
    return neuron_type is not None and neuron_type.spiking


def _random(vertex: Vertex) -> bool:
    kinds = [] if vertex.neuron_type is None else [vertex.neuron_type]
    if vertex.subnet is not None:
        kinds += [ens.neuron_type for ens in vertex.subnet.net.all_ensembles]
    return any(kind in NEURONS and neuron(kind).random for kind in kinds)


def _predict(model: keras.Model, inputs: list, names: list[str]):
    """The model's own outputs, for the data of each input, by names if any."""
    x: Any = inputs
    if names:
        x = dict(zip(names, inputs, strict=True))
    elif len(inputs) == 1:
        (x,) = inputs
    with traced_ahead(model):
        return model.predict(x, verbose=0)


def _by_name(values, names: list[str]) -> ArraysByName:
    if isinstance(values, dict):
        return values
    return dict(zip(names, keras.tree.flatten(values), strict=True))


def _output_report(port: Port, value, expected, tolerances, random) -> OutputReport:
    rtol, atol = tolerances
    value = np.reshape(np.asarray(value, np.float64), expected.shape)
    difference = float(np.max(np.abs(value - expected)))
    scale = float(np.max(np.abs(expected)))
    near = difference <= atol + rtol * scale
    compared = port.vertex not in random
    return OutputReport(port.name, difference, scale, near, compared, port.over)


def _spike_report(name, value, expected, unit, compared) -> SpikeReport:
    one, other = (np.rint(np.asarray(a, float) * unit) for a in (value, expected))
    differing, total = int(np.sum(np.abs(one - other))), int(np.sum(np.abs(other)))
    return SpikeReport(name, differing, total, compared)


def _activity_of(model, model_calls: Calls, inputs: list, names) -> ArraysByName:
    """Activity of layers inside a Keras model, `(batch, time, *features)`."""
    if not names:
        return {}
    watched = Replay(model_calls, names, name="watched", dtype=model.dtype_policy)
    with traced_ahead(watched):
        return watched.predict(inputs, verbose=0)
