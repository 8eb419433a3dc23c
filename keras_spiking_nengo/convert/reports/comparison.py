"""Activations of a Keras model beside the activity of the neurons that stand for them.

What neurons say is their mean over time, `a = height n / T` for `n` spikes in the
time `T`; what they should say is the activation `f`. Both are compared over the data
and all neurons of a layer.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops
from rich.table import Table

from keras_spiking_nengo import layers
from keras_spiking_nengo.checks import checked_count
from keras_spiking_nengo.convert.reports.runnable import ArraysByName, Runnable
from keras_spiking_nengo.convert.spiking.calibration import highest_rate, rate_half
from keras_spiking_nengo.convert.spiking.forms import form_of
from keras_spiking_nengo.dynamics.neurons import neuron
from keras_spiking_nengo.engine.functions import half_times_half
from keras_spiking_nengo.engine.keras_layers import KerasLayer
from keras_spiking_nengo.models.calls import Call, Calls, calls
from keras_spiking_nengo.models.data import arrays_of
from keras_spiking_nengo.models.predictions import traced_ahead
from keras_spiking_nengo.models.replay import Replay
from keras_spiking_nengo.models.temporal import temporal
from keras_spiking_nengo.names import keras_name
from keras_spiking_nengo.tables import table_of, text_of

__all__ = ["Comparison", "LayerComparison", "OutputComparison", "compare"]

# Shares of neurons, and a correlation, beyond which advice is given.
_DEAD, _SATURATED, _CORRELATION = 0.2, 0.02, 0.9
_COLUMNS_COMPARED = (
    *("", "correlation", "error", "mean Hz", "99 % Hz", "dead", "saturated", "spikes"),
    "same class",
)
_SILENT = (
    "its activations are 0 on all of these data, in the first model too. Show data on"
    " which it is active; if there are none, train the model again, with a smaller"
    " learning rate or another start."
)
# Points of a layer that a figure shows.
_POINTS = 2000


@dataclass(frozen=True)
class LayerComparison:
    """How the neurons of one layer follow an activation.

    Attributes:
        name: of the layer.
        correlation: of activations and mean activity, over data and neurons; NaN where
            one of them is constant.
        error: root mean square difference, as a share of the root mean square
            activation.
        mean_rate, high_rate: mean and 99th percentile of firing rates, in Hz.
        dead: share of neurons that never fire on the data, of those that should.
        saturated: share of rates within 5 % of what a refractory period, or one spike
            per step, allows the neurons; 0 where they may fire any number.
        spikes: mean number of spikes of a neuron for one item.
        advice: what to change, or "".
    """

    name: str
    correlation: float
    error: float
    mean_rate: float
    high_rate: float
    dead: float
    saturated: float
    spikes: float
    advice: str
    points: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class OutputComparison:
    """How one output agrees.

    Attributes:
        name: of the output.
        correlation, error: as for layers.
        max_difference: largest absolute difference.
        same: share of items whose largest element is the same one; None for outputs of
            one element.
    """

    name: str
    correlation: float
    error: float
    max_difference: float
    same: float | None


@dataclass(frozen=True)
class Comparison:
    """What `ksn.compare` found. Print it for a table.

    Attributes:
        layers: one `LayerComparison` per layer of spiking neurons.
        outputs: one `OutputComparison` per output.
        hosted: names of layers that a Python node of a Nengo network computes.

    Example:
        >>> report = Comparison(layers=(), outputs=(), hosted=("norm",))
        >>> print(report)  # doctest: +ELLIPSIS
        Activations and spikes...
        In Python nodes: norm
        <BLANKLINE>
    """

    layers: tuple[LayerComparison, ...]
    outputs: tuple[OutputComparison, ...]
    hosted: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> LayerComparison:
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def advice(self) -> tuple[str, ...]:
        """What to change, a sentence per layer that needs it."""
        return tuple(f"{row.name}: {row.advice}" for row in self.layers if row.advice)

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain data, without the points of the figure."""
        values = asdict(self)
        for row in values["layers"]:
            del row["points"]
        return values

    @property
    def table(self) -> Table:
        """The numbers as a `rich` table."""
        rows = [
            (
                *(row.name, f"{row.correlation:.3f}", f"{row.error:.1%}"),
                *(f"{row.mean_rate:.1f}", f"{row.high_rate:.1f}", f"{row.dead:.1%}"),
                *(f"{row.saturated:.1%}", f"{row.spikes:.2f}", ""),
            )
            for row in self.layers
        ]
        for out in self.outputs:
            same = "" if out.same is None else f"{out.same:.1%}"
            agreement = (out.name, f"{out.correlation:.3f}", f"{out.error:.1%}")
            rows.append((*agreement, "", "", "", "", "", same))
        return table_of("Activations and spikes", _COLUMNS_COMPARED, rows)

    def __str__(self) -> str:
        hosted = [f"In Python nodes: {', '.join(self.hosted)}"] if self.hosted else []
        return text_of(self.table, *self.advice, *hosted)

    def figure(self):
        """A `matplotlib` figure: activity against activation, a panel per layer.

        Raises:
            ImportError: without matplotlib, the extra `plots`.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError(
                "Figures need matplotlib: pip install keras-spiking-nengo[plots]."
            ) from error
        rows = self.layers
        columns = max(min(len(rows), 4), 1)
        lines = max(-(-len(rows) // columns), 1)
        figure = Figure(figsize=(3 * columns, 3 * lines), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for ax, row in zip(axes, rows, strict=False):
            wanted, actual = row.points
            top = max(np.max(wanted, initial=0), np.max(actual, initial=0)) or 1.0
            ax.plot([0, top], [0, top], color="0.7", linewidth=1)
            ax.plot(wanted, actual, ".", markersize=3, alpha=0.4, color="#0072B2")
            ax.set_title(f"{row.name}\n{row.mean_rate:.0f} Hz", fontsize=9)
            ax.set_xlabel("activation", fontsize=8)
            ax.set_ylabel("mean of spikes", fontsize=8)
            ax.tick_params(labelsize=7)
        for ax in axes[len(rows) :]:
            ax.set_visible(False)
        return figure


def compare(
    model: keras.Model,
    other: keras.Model | Runnable,
    x: Any,
    n_steps: int | None = None,
    batch_size: int = 32,
) -> Comparison:
    """Compares a Keras model with the spiking one made of it, layer by layer.

    Args:
        model: the model whose activations are wanted.
        other: what `ksn.to_spiking(model)` made of it, or what `ksn.to_nengo` made of
            that, which Nengo's own simulator runs.
        x: inputs of `model`: an array, or a list or dict of them.
        n_steps: int. Steps to repeat `x` for, if only `other` has time.
        batch_size: int. Items that are run at once.

    Returns:
        A `Comparison`: per layer, how mean activity follows activations, firing rates,
        and what to change. Print it for a table; `figure()` draws it.

    Raises:
        TypeError: for other kinds of models.
        ValueError: if no layer of neurons in `other` is named after one of `model`.

    Warns:
        UserWarning: if no neuron of a layer fires, with what to change.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((4,)), keras.layers.Dense(8, "relu", name="hidden"),
        ...     keras.layers.Dense(3, name="logits")])
        >>> x = np.random.RandomState(0).uniform(size=(16, 4))
        >>> spiking = ksn.to_spiking(model, scale_firing_rates="calibrate",
        ...                          calibration_data=x, n_steps=50)
        >>> report = ksn.compare(model, spiking, x)
        >>> report["hidden"].correlation > 0.9
        True
    """
    if n_steps is not None:
        n_steps = checked_count("n_steps", n_steps)
    batch_size = checked_count("batch_size", batch_size)
    spiking = _model_of(other)
    called, spiking_calls = calls(model), calls(spiking)
    pairs = dict(_pairs(called, spiking_calls))
    if not pairs:
        raise ValueError(
            f"No layer of neurons in {spiking.name!r} has the name of a layer with an"
            f" activation in {model.name!r}, and '_neurons' after it: make it by"
            " ksn.to_spiking(model, ...)."
        )
    inputs = arrays_of(called, x, finite=True)
    longer = _repeated(inputs, called, spiking_calls, n_steps)
    over_time = temporal(called)
    timed = {call.name for call in called if over_time.of(call)}
    wanted = _means(model, called, inputs, tuple(pairs), timed, batch_size)
    names = tuple(call.name for call, _ in pairs.values())
    if isinstance(other, keras.Model):
        actual = _means(other, spiking_calls, longer, names, names, batch_size)
        outputs = _outputs_of(other, spiking_calls, longer, batch_size)
    else:
        actual, outputs = _in_nengo(other, longer, names, n_steps)
    first, _ = next(iter(pairs.values()))
    steps = first.symbols[0].shape[1] or longer[0].shape[1]
    rows = tuple(
        _compared(name, call, wanted[name], actual[call.name], height, steps)
        for name, (call, height) in pairs.items()
    )
    _warn_of_dead(rows)
    return Comparison(
        rows,
        tuple(_outputs(_outputs_of(model, called, inputs, batch_size), outputs)),
        _hosted(other),
    )


def _warn_of_dead(rows: tuple[LayerComparison, ...]) -> None:
    for row in rows:
        if row.spikes == 0:
            warnings.warn(
                f"No neuron of layer {row.name!r} fires on these data: {row.advice}",
                stacklevel=3,
            )


def _model_of(other: Any) -> keras.Model:
    model = other if isinstance(other, keras.Model) else getattr(other, "model", None)
    if not isinstance(model, keras.Model):
        raise TypeError(
            "other is a keras.Model, or a NengoExport of one; received"
            f" {type(other).__name__}."
        )
    return model


def _pairs(called: Calls, spiking: Calls) -> Iterator[tuple[str, tuple[Call, Any]]]:
    """Calls with activations, those of neurons for them, and what scales these."""
    by_layer = {call.operation.name: call for call in spiking}
    for call in called:
        is_neurons = isinstance(call.operation, layers.Neurons)
        if not is_neurons and form_of(call.operation) is None:
            continue
        name = keras_name(call.name)
        neurons = by_layer.get(name if is_neurons else f"{name}_neurons")
        if neurons is not None and isinstance(neurons.operation, layers.Neurons):
            height = by_layer.get(f"{name}_height")
            scale = 1.0 if height is None else np.asarray(height.operation.scale)
            yield call.name, (neurons, scale)


# --- running ----------------------------------------------------------------------


def _repeated(inputs, called: Calls, spiking: Calls, n_steps) -> list[np.ndarray]:
    """The data for the other model, with time if only that has."""
    ranks = [
        [len(symbol.shape) for symbol in each.inputs.values()]
        for each in (called, spiking)
    ]
    if ranks[0] == ranks[1]:
        return inputs
    if n_steps is None:
        raise ValueError(
            "The other model takes sequences, and the first does not: say n_steps, or"
            " make it by ksn.to_spiking(model, n_steps=...)."
        )
    return [np.repeat(value[:, None], n_steps, axis=1) for value in inputs]


def _by_parts(
    run: Callable[[list], ArraysByName], inputs: list[np.ndarray], size: int
) -> ArraysByName:
    """What `run` makes of all inputs, that many items at once."""
    starts = range(0, len(inputs[0]), size)
    parts = [run([value[at : at + size] for value in inputs]) for at in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _means(model, called: Calls, inputs, names, timed, batch_size) -> ArraysByName:
    """Means over time of what calls send, `(items, *features)`.

    Args:
        names: of the calls.
        timed: those that send sequences.
    """

    def mean(name: str, value):
        return ops.mean(value, axis=1) if name in timed else value

    seen = Replay(called, names, mean, name="seen", dtype=model.dtype_policy)
    with traced_ahead(seen):
        return _by_parts(seen.predict_on_batch, inputs, batch_size)


def _outputs_of(model, called: Calls, inputs, batch_size) -> ArraysByName:
    """Outputs by name, the last axis that of classes."""

    def run(part: list) -> ArraysByName:
        x: Any = part if len(part) > 1 else part[0]
        if called.takes_dict:
            x = dict(zip(called.inputs, part, strict=True))
        values = model.predict_on_batch(x)
        if isinstance(values, dict):
            return {name: values[name] for name in called.outputs}
        return dict(zip(called.outputs, keras.tree.flatten(values), strict=True))

    with traced_ahead(model):
        return _by_parts(run, inputs, batch_size)


def _in_nengo(
    export: Runnable, inputs: list[np.ndarray], names: tuple[str, ...], n_steps
) -> tuple[ArraysByName, ArraysByName]:
    """The same by Nengo's own simulator; outputs are means over time."""
    graph = export.graph
    vertex = {name: v.name for v in graph.vertices for name in (v.name, *v.layers)}
    watch = {name: vertex[name] for name in names}
    ports = [port.name for port in graph.inputs]
    x = dict(zip(ports, inputs, strict=True)) if len(ports) > 1 else inputs[0]
    outputs, activity = export.record(x, n_steps, watch=tuple(watch.values()))
    means = {name: np.mean(activity[v], axis=1) for name, v in watch.items()}
    for port in graph.outputs:
        if port.temporal:
            outputs[port.name] = np.mean(outputs[port.name], axis=1)
    return means, outputs


def _hosted(other) -> tuple[str, ...]:
    graph = getattr(other, "graph", None)
    vertices = () if graph is None else graph.vertices
    return tuple(
        vertex.layers[0]
        for vertex in vertices
        if vertex.subnet is not None
        and any(_stands_for_layer(node) for node in vertex.subnet.net.all_nodes)
    )


def _stands_for_layer(node) -> bool:
    output = node.output
    return isinstance(output, KerasLayer) or output is half_times_half


# --- numbers ----------------------------------------------------------------------


def _compared(name, call: Call, wanted, actual, height, steps) -> LayerComparison:
    """The row of a layer, from activations and mean activity of its neurons."""
    cell = call.operation.cell
    kind, duration = cell.neuron_type, steps * cell.dt
    once = neuron(kind).max_spikes == 1
    limit = 1 / cell.dt if once else math.inf
    # Where such a curve ends, so does the activation.
    if not isinstance(rate_half(kind), nengo.Sigmoid | nengo.Tanh):
        limit = min(highest_rate(kind), limit)
    wanted = np.reshape(wanted, (len(wanted), -1)).astype(float)
    said = np.reshape(actual * height, wanted.shape).astype(float)
    rates = np.abs(actual) / getattr(kind, "amplitude", 1.0)
    rates = np.reshape(rates, wanted.shape).astype(float)
    active = np.any(wanted > 1e-3 * np.max(np.abs(wanted), initial=0), axis=0)
    silent = ~np.any(rates[:, active] > 0, axis=0)
    dead = float(np.mean(silent)) if active.any() else 0.0
    saturated = float(np.mean(rates >= 0.95 * limit))
    correlation, error = _agreement(wanted, said)
    chosen = np.random.RandomState(0).permutation(wanted.size)[:_POINTS]
    points = np.stack([wanted.ravel()[chosen], said.ravel()[chosen]])
    mean_rate, high_rate = float(np.mean(rates)), float(np.percentile(rates, 99))
    spikes = mean_rate * duration
    numbers = correlation, error, mean_rate, high_rate, dead, saturated, spikes
    advice = _advice(correlation, dead, saturated, high_rate, duration)
    if not spikes and not active.any():
        advice = _SILENT
    return LayerComparison(name, *numbers, advice, points)


def _agreement(wanted: np.ndarray, said: np.ndarray) -> tuple[float, float]:
    scale = float(np.sqrt(np.mean(wanted**2)))
    error = float(np.sqrt(np.mean((wanted - said) ** 2)))
    correlation = math.nan
    if np.ptp(wanted) and np.ptp(said):
        correlation = float(np.corrcoef(wanted.ravel(), said.ravel())[0, 1])
    return correlation, error / scale if scale else error


def _advice(correlation, dead, saturated, high, duration) -> str:
    if high * duration < 5:
        factor = 20 / max(high * duration, 0.1)
        return (
            f"its fastest neurons fire {high * duration:.1f} spikes in the"
            f" {1000 * duration:g} ms shown. Scale rates up by about {factor:.0f}"
            ' (scale_firing_rates, or "calibrate"), or show more steps.'
        )
    if saturated > _SATURATED:
        return (
            f"{saturated:.0%} of its rates are at the limit. Scale them down, raise the"
            " percentile, or lower target_rate."
        )
    if dead > _DEAD:
        return (
            f"{dead:.0%} of its neurons never fire where they should. Calibrate with"
            " per_channel=True, or show more steps."
        )
    if not correlation >= _CORRELATION:
        return (
            "its rates follow the activations badly. Show more steps, add a synapse,"
            " or train with the neurons' own rate curve (forward='rate')."
        )
    return ""


def _outputs(wanted: ArraysByName, said: ArraysByName) -> Iterator[OutputComparison]:
    for (name, one), two in zip(wanted.items(), said.values(), strict=True):
        if two.ndim == one.ndim + 1:
            two = np.mean(two, axis=1)
        if one.ndim == two.ndim + 1 and one.size > two.size:
            # What Nengo ran is a mean over time.
            one = np.mean(one, axis=1)
        one, two = one.astype(float), np.reshape(two, one.shape).astype(float)
        same = None
        if one.shape[-1] > 1:
            same = float(np.mean(np.argmax(one, -1) == np.argmax(two, -1)))
        yield OutputComparison(
            name, *_agreement(one, two), float(np.max(np.abs(one - two))), same
        )
