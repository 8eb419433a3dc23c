"""A Keras model and its Nengo network, compared step by step and spike by spike."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from keras_spiking_nengo.convert.graph import Vertex
from keras_spiking_nengo.dynamics.neurons import NEURONS, neuron
from keras_spiking_nengo.models.calls import Calls, calls
from keras_spiking_nengo.models.replay import Replay

if TYPE_CHECKING:
    from keras_spiking_nengo.convert.export import NengoExport

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
    """

    name: str
    max_difference: float
    scale: float
    ok: bool
    compared: bool


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
        rows: list[OutputReport | SpikeReport] = [*self.outputs, *self.spikes]
        return all(row.ok for row in rows if row.compared)

    @property
    def table(self) -> Table:
        """The report as a `rich` table."""
        table = Table(title=f"Keras and Nengo, rtol={self.rtol:g}, atol={self.atol:g}")
        for column in ("", "max difference", "largest", "spikes differ", "spikes", ""):
            table.add_column(column, justify="right" if column else "left")
        for out in self.outputs:
            difference = f"{out.max_difference:.2e}"
            row = (out.name, difference, f"{out.scale:.4g}", "", "")
            table.add_row(*row, _verdict(out))
        for spike in self.spikes:
            row = (spike.name, "", "", str(spike.differing), str(spike.total))
            table.add_row(*row, _verdict(spike))
        return table

    def __str__(self) -> str:
        console = Console(width=100, file=None, color_system=None)
        with console.capture() as capture:
            console.print(self.table)
        return capture.get()


def _verdict(row: OutputReport | SpikeReport) -> str:
    if not row.compared:
        return "random"
    return "ok" if row.ok else "DIFFERENT"


def verified(
    export: "NengoExport",
    x: Any,
    rtol: float,
    atol: float,
    raise_on_failure: bool,
    n_steps: int | None = None,
) -> VerifyReport:
    """As `NengoExport.verify`; `n_steps` where there is no input to say it."""
    model = export.model
    if model is None:
        raise ValueError(
            "This export has no Keras model to compare with. Make it with"
            " ksn.to_nengo(model)."
        )
    if rtol < 0 or atol < 0:
        raise ValueError(f"rtol and atol are at least 0; received {rtol}, {atol}.")
    found = calls(model)
    # A vertex that was made of a call has its name; one that it was made of, a layer.
    made = {
        vertex.name: next((n for n in (vertex.name, *vertex.layers) if n in found), "")
        for vertex in export.graph.vertices
        if _spiking(vertex.neuron_type)
    }
    made = {name: call for name, call in made.items() if call}
    random = export.graph.after(v.name for v in export.graph.vertices if _random(v))
    outputs, nengo_spikes = export.record(x, n_steps, watch=tuple(made))
    given = export.arrays(x) or [np.ones((1, n_steps or 1, 1))]
    watched = tuple(made.values())
    keras_spikes = _activity(model, found, given, watched) if made else {}
    names = list(export.inputs) if found.takes_dict else []
    values = _named(_predict(model, given, names), list(outputs))
    report = VerifyReport(
        outputs=tuple(
            _output(
                port.name,
                values[port.name],
                outputs[port.name],
                (rtol, atol),
                port.vertex not in random,
            )
            for port in export.graph.outputs
        ),
        spikes=tuple(
            _spikes(
                name,
                keras_spikes[call],
                nengo_spikes[name],
                export.dt / getattr(export.graph[name].neuron_type, "amplitude", 1.0),
                name not in random,
            )
            for name, call in made.items()
        ),
        rtol=rtol,
        atol=atol,
    )
    if raise_on_failure and not report.ok:
        raise AssertionError(f"Keras and Nengo differ:\n{report}")
    return report


def _spiking(neuron_type) -> bool:
    return neuron_type is not None and neuron_type.spiking


def _random(vertex: Vertex) -> bool:
    kinds = [] if vertex.neuron_type is None else [vertex.neuron_type]
    if vertex.subnet is not None:
        kinds += [ens.neuron_type for ens in vertex.subnet.net.all_ensembles]
    return any(kind in NEURONS and neuron(kind).random for kind in kinds)


def _predict(model: keras.Model, given: list, names: list[str]):
    """The model's own outputs, for the data of each input, by names if any."""
    x: Any = given
    if names:
        x = dict(zip(names, given, strict=True))
    elif len(given) == 1:
        (x,) = given
    return model.predict(x, verbose=0)


def _named(values, names: list[str]) -> dict[str, np.ndarray]:
    if isinstance(values, dict):
        return values
    return dict(zip(names, keras.tree.flatten(values), strict=True))


def _output(name, value, expected, tolerances, compared) -> OutputReport:
    rtol, atol = tolerances
    value = np.reshape(np.asarray(value, np.float64), expected.shape)
    difference = float(np.max(np.abs(value - expected)))
    scale = float(np.max(np.abs(expected)))
    return OutputReport(
        name=name,
        max_difference=difference,
        scale=scale,
        ok=difference <= atol + rtol * scale,
        compared=compared,
    )


def _spikes(name, value, expected, unit, compared) -> SpikeReport:
    one, other = (np.rint(np.asarray(a, float) * unit) for a in (value, expected))
    return SpikeReport(
        name=name,
        differing=int(np.sum(np.abs(one - other))),
        total=int(np.sum(np.abs(other))),
        compared=compared,
    )


def _activity(model, found: Calls, given: list, names) -> dict[str, np.ndarray]:
    """Activity of layers inside a Keras model, `(batch, time, *features)`."""
    watched = Replay(found, names, name="watched", dtype=model.dtype_policy)
    return watched.predict(given, verbose=0)
