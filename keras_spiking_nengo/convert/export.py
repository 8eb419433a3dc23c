"""A Keras model as a Nengo network, which can be run and checked."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import nengo
import numpy as np

from keras_spiking_nengo.checks import (
    check_switches,
    checked_array,
    checked_count,
    checked_items,
)
from keras_spiking_nengo.convert.graph import Graph, Port
from keras_spiking_nengo.convert.reports.comparison import Comparison, compare
from keras_spiking_nengo.convert.reports.runnable import ArraysByName
from keras_spiking_nengo.convert.reports.verification import VerifyReport, verified
from keras_spiking_nengo.engine.signals import sampled

__all__ = ["NengoExport", "NengoObject"]

NengoObject: TypeAlias = nengo.Ensemble | nengo.Node | nengo.Connection


@dataclass(frozen=True, eq=False)
class NengoExport:
    """A Nengo network that computes what a Keras model does.

    Attributes:
        net: `nengo.Network`; runs in any Nengo simulator, with a step of `dt`.
        inputs: node of each input of the model, by its Keras name. It holds zeros:
            set its `output` before you build a simulator of your own.
        outputs: unfiltered probe of each output, by its Keras name. It records every
            step; an output that Keras gives once is its last one.
        layers: the objects that a layer became, by its Keras name, as a tuple. A
            layer in a submodel is found as `"submodel/layer"`. Layers that became
            one connection share it.
        graph: what was written, as plain data.
        vertices: ensemble or node of each of the graph's vertices, by name.
        model: the Keras model, for `verify`.

    Example:
        >>> import keras, nengo, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((None, 4), name="x"), keras.layers.Dense(8, name="in"),
        ...     ksn.layers.Neurons(return_sequences=True, name="spikes")])
        >>> export = ksn.to_nengo(model)
        >>> export.layers["spikes"][0] is export.net.ensembles[0]
        True
        >>> export.run(np.ones((2, 10, 4))).shape
        (2, 10, 8)
    """

    net: nengo.Network
    inputs: dict[str, nengo.Node]
    outputs: dict[str, nengo.Probe]
    layers: dict[str, tuple[NengoObject, ...]]
    graph: Graph = field(repr=False)
    vertices: dict[str, nengo.Ensemble | nengo.Node] = field(repr=False)
    model: keras.Model | None = field(default=None, repr=False)

    @property
    def dt(self) -> float:
        """Length of a step, in seconds."""
        return self.graph.dt

    def run(
        self, x: Any, n_steps: int | None = None, progress_bar: bool = False
    ) -> Any:
        """Outputs of Nengo's reference simulator, as Keras gives them.

        The network is built once; each item of the batch starts from its initial
        state.

        Args:
            x: array, or list or dict of arrays for several inputs: `(batch, time,
                *features)` for a sequence, `(batch, *features)` for a value that is
                presented at every step.
            n_steps: int. Number of steps. Defaults to the data's, else to that of
                the model's `Repeat`, else to 1.
            progress_bar: bool. Show Keras's progress bar over the batch.

        Returns:
            Array, or list or dict of arrays as the model's outputs are, in float64:
            `(batch, time, *features)`, or the last step `(batch, *features)`, or the
            mean, maximum or sum over time in which a model ends.

        Raises:
            ValueError: if `x` does not fit the inputs or is not finite, or `n_steps`
                does not fit the data.
        """
        outputs, _ = self.record(x, n_steps, progress_bar)
        if self.graph.keyed:
            return outputs
        values = list(outputs.values())
        return values[0] if len(values) == 1 else values

    def record(
        self,
        x: Any,
        n_steps: int | None = None,
        progress_bar: bool = False,
        watch: tuple[str, ...] = (),
    ) -> tuple[ArraysByName, ArraysByName]:
        """As `run`: outputs by name, and activity of the vertices to `watch`.

        Args:
            x, n_steps, progress_bar: as for `run`.
            watch: names of vertices with neurons.

        Returns:
            Two dicts of arrays by name; activity is `(batch, time, *features)`.
        """
        check_switches(progress_bar=progress_bar)
        self._check_watched(watch)
        frames = self._frames(x)
        steps = self._n_steps(frames, n_steps)
        batch = len(next(iter(frames.values()))) if frames else 1
        watched = tuple(Port(name, name, True) for name in watch)
        bar = keras.utils.Progbar(batch, unit_name="item") if progress_bar else None
        with self._simulator(frames) as (sim, select):
            records = [
                _Record(sim, signal, port, (batch, steps))
                for port, signal in self._signals(sim, watched)
            ]
            for item in range(batch):
                select(item)
                sim.reset()
                for step in range(steps):
                    sim.step()
                    for record in records:
                        record.take(item, step)
                if bar is not None:
                    bar.update(item + 1)
        ports = (*self.graph.outputs, *watched)
        values = [
            record.values.reshape(*record.lead, *self.graph[port.vertex].shape)
            for port, record in zip(ports, records, strict=True)
        ]
        activity = dict(zip(watch, values[len(self.outputs) :], strict=True))
        outputs = dict(zip(self.outputs, values, strict=False))
        for name, probe in self.outputs.items():
            if probe.sample_every is not None:
                due = sampled(np.arange(1, steps + 1), probe.sample_every, self.dt)
                outputs[name] = outputs[name][:, due]
        return outputs, activity

    def verify(
        self,
        x: Any,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        raise_on_failure: bool = False,
    ) -> VerifyReport:
        """Runs the Keras model and Nengo's reference simulator, and compares.

        In float32 a membrane within rounding of its threshold can fire a step
        earlier or later than in Nengo, which computes in float64. Where layers do, too
        (`keras.config.set_dtype_policy("float64")`), all spikes are equal.

        Args:
            x: as for `run`.
            rtol, atol: floats. An output agrees if no element differs by more than
                `atol + rtol * scale`, with `scale` its largest absolute value.
            raise_on_failure: bool. Raise if the report is not `ok`.

        Returns:
            A `VerifyReport`: per output the largest difference, and per layer of
            spiking neurons the number of spikes and of those that differ. What
            comes after random neurons is shown, and not compared.

        Raises:
            ValueError: if `x` does not fit, or the export has no Keras model.
            AssertionError: on request, if they differ.
        """
        return verified(self, x, rtol, atol, raise_on_failure)

    def report(
        self, x: Any, model: keras.Model | None = None, n_steps: int | None = None
    ) -> Comparison:
        """Firing rates and activations, layer by layer: `ksn.compare(model, self, x)`.

        Args:
            x: inputs of `model`.
            model: whose activations are wanted, such as what `ksn.to_spiking` was
                given. Defaults to the model that was exported.
            n_steps: int. Steps to repeat `x` for, if only the export has time.

        Returns:
            A `Comparison`, with the layers that Python nodes run as `hosted`.

        Raises:
            ValueError: if `x` does not fit, or there is no such model.
        """
        model = self.model if model is None else model
        if model is None:
            raise ValueError("This export has no Keras model; say model.")
        return compare(model, self, x, n_steps)

    # --- data -----------------------------------------------------------------

    def _check_watched(self, watch) -> None:
        spiking = [v.name for v in self.graph.vertices if v.neuron_type is not None]
        names = checked_items("watch", watch, f"names among {spiking}")
        if not all(isinstance(name, str) and name in spiking for name in names):
            raise ValueError(f"watch has names among {spiking}; received {watch!r}.")

    def _frames(self, x) -> dict[str, np.ndarray]:
        """Inputs by vertex, `(batch, time or 1, size)`."""
        ports = self.graph.inputs
        values = {
            port: checked_array(f"x, for input {port.name!r},", value, finite=False)
            for port, value in zip(ports, self.arrays(x), strict=True)
        }
        pairs = values.items()
        for port, value in pairs:
            shape = self.graph[port.vertex].shape
            lead = value.ndim - len(shape)
            if lead != 1 + port.temporal or value.shape[lead:] != shape:
                axes = ("batch", "time")[: 1 + port.temporal]
                expected = ", ".join((*axes, *map(str, shape)))
                raise ValueError(
                    f"x: Input {port.name!r} needs an array of shape ({expected});"
                    f" received {value.shape}."
                )
            if not np.all(np.isfinite(value)):
                raise ValueError(
                    f"x: Input {port.name!r} has values that are not finite, which"
                    " Nengo's simulator does not take. Replace them before."
                )
        sizes = {len(value) for value in values.values()}
        if len(sizes) > 1 or 0 in sizes:
            raise ValueError(
                "x: Inputs need one batch size, of at least 1; received"
                f" {sorted(sizes)}."
            )
        steps = {port: value.shape[1] if port.temporal else 1 for port, value in pairs}
        if 0 in steps.values():
            raise ValueError("x: Sequences need at least one step; received none.")
        return {port.vertex: v.reshape(len(v), steps[port], -1) for port, v in pairs}

    def arrays(self, x: Any) -> list:
        """The data of each input, in order."""
        names = [port.name for port in self.graph.inputs]
        if x is None and not names:
            return []
        if isinstance(x, Mapping):
            if set(x) != set(names):
                raise ValueError(
                    f"x: The inputs are called {names}; received a dict with the keys"
                    f" {sorted(map(str, x))}."
                )
            return [x[name] for name in names]
        # A list of numbers is data for the one input, a list of arrays is not.
        several = isinstance(x, list | tuple) and x and hasattr(x[0], "shape")
        x = list(x) if several else [x]
        if len(x) != len(names):
            raise ValueError(
                f"x: The inputs are {names}; received {len(x)} arrays. Pass a dict by"
                " name, or a list in this order."
            )
        return x

    def _n_steps(self, frames, n_steps: int | None) -> int:
        ports = [port for port in self.graph.inputs if port.temporal]
        lengths = {port.name: frames[port.vertex].shape[1] for port in ports}
        if n_steps is not None:
            lengths["n_steps"] = checked_count("n_steps", n_steps)
        elif self.graph.n_steps is not None:
            lengths["the model"] = self.graph.n_steps
        if len(set(lengths.values())) > 1:
            numbers = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            raise ValueError(f"All need one number of steps: {numbers}.")
        return next(iter(lengths.values()), 1)

    # --- simulator ------------------------------------------------------------

    @contextmanager
    def _simulator(self, frames) -> Iterator[tuple[nengo.Simulator, Callable]]:
        """A simulator whose inputs are `frames`, and a function to choose an item."""
        feeds = {self.vertices[name]: _Feed(v, self.dt) for name, v in frames.items()}
        before = {node: node.output for node in feeds}
        try:
            for node, feed in feeds.items():
                node.output = feed
            # Nengo warns about rates and intercepts, which these ensembles ignore.
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                sim = nengo.Simulator(self.net, dt=self.dt, progress_bar=False)
        finally:
            for node, output in before.items():
                node.output = output

        def select(item: int) -> None:
            for feed in feeds.values():
                feed.item = item

        with sim:
            yield sim, select

    def _signals(self, sim: nengo.Simulator, watched: tuple[Port, ...]):
        """Each output and watched vertex, with its array in the simulator."""
        for port in self.graph.outputs:
            yield port, sim.model.sig[self.outputs[port.name]]["in"]
        for port in watched:
            yield port, sim.model.sig[self.vertices[port.vertex].neurons]["out"]


class _Feed:
    """Output of an input node: the frame of the present step.

    Time is rounded to whole steps: cut off, as by `nengo.processes.PresentInput`, it
    would pick a neighbouring frame now and then.
    """

    def __init__(self, frames: np.ndarray, dt: float):
        self.frames = frames
        self.dt = dt
        self.item = 0

    def __call__(self, t: float) -> np.ndarray:
        frames = self.frames[self.item]
        step = max(round(t / self.dt) - 1, 0)
        return frames[min(step, len(frames) - 1)]


class _Record:
    """What a signal was, at every step or at the last one, or over all of them.

    Attributes:
        lead: shape before the features, `(batch, time)` or `(batch,)`.
        values: `(*lead, size)`.
    """

    def __init__(self, sim: nengo.Simulator, signal, port: Port, lead: tuple[int, int]):
        self.sim = sim
        self.signal = signal
        self.port = port
        self.lead = lead if port.temporal else lead[:1]
        start = -np.inf if port.over == "max" else 0.0
        self.values = np.full((*self.lead, signal.size), start)
        self._weight = 1 / lead[1] if port.over == "mean" else 1.0

    def take(self, item: int, step: int) -> None:
        """Notes the present value; that of the last step stays."""
        where = (item, step) if self.port.temporal else (item,)
        present = self.sim.signals[self.signal]
        if self.port.over == "max":
            present = np.maximum(self.values[where], present)
        elif self.port.over:
            present = self.values[where] + self._weight * present
        self.values[where] = present
