"""`nengo.Simulator`'s interface over a compiled program, or Nengo's own operators.

A run goes block by block, so that any number of steps runs in constant memory but for
what probes keep. `compiled` does all steps of a block in one call; `interpreted` does
one after the other, which is quicker where Python is in the loop of a small network.
`plan` says which it is.
"""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import nengo
import numpy as np
from nengo.builder import Model
from nengo.cache import get_default_decoder_cache
from nengo.exceptions import ReadonlyError, SimulatorClosed, ValidationError
from nengo.utils.numpy import maxint
from nengo.utils.progress import Progress, ProgressBar, ProgressTracker

from keras_spiking_nengo.checks import (
    check_kind,
    checked_count,
    checked_dt,
    checked_path,
    checked_seed,
    checked_switch,
    is_count,
    is_number,
    one_of,
    positive,
)
from keras_spiking_nengo.engine import without_collection
from keras_spiking_nengo.engine.frozen import freeze
from keras_spiking_nengo.engine.quick_builder import QuickBuilder
from keras_spiking_nengo.engine.signals import sampled
from keras_spiking_nengo.simulator.data_file import DataFile
from keras_spiking_nengo.simulator.frames import frames_of, node_of
from keras_spiking_nengo.simulator.records import Signals, SimulationData
from keras_spiking_nengo.simulator.saved_states import (
    arrays_in,
    check_form,
    check_notes,
    fingerprint,
    keeps_of_its_own,
    read_arrays,
    read_notes,
    with_arrays,
    write_state,
)
from keras_spiking_nengo.simulator.tiers import Plan, Tiers
from keras_spiking_nengo.simulator.training import TrainableModel, Training

__all__ = ["Simulator"]


class Simulator:
    """Runs a Nengo network, compiled.

    Drop-in for `nengo.Simulator`: same seeds, same numbers, spike for spike in
    float64. Operators that are Python functions of other signals are called back
    from the compiled program, in order; everything else runs without Python.

    It can be pickled, with its state. Loading a pickle runs code that its author chose,
    as always: take only your own. Data from strangers come as `.keras` files, which
    `keras_model.save(...)` and `ksn.from_nengo(net).save(...)` write, or as NIR; they
    hold no code.

    Unseeded random processes draw what `nengo.Simulator(..., optimize=False)` draws.
    Functions of nodes are called for one item of a minibatch after the other: what such
    a function remembers is shared by all items. `ksn.per_item(factory)`, as any
    `nengo.Process`, has a state for each.

    Args:
        network: `nengo.Network`, or None if `model` is built already.
        dt: float, seconds. Length of a step.
        seed: int. Seeds random processes. Defaults to the network's seed + 1, or a
            draw from NumPy's global generator.
        model: `nengo.builder.Model` to build into.
        progress_bar: bool or a nengo progress bar, for building and running.
        optimize: bool. False runs every operator on its own, step by step: slow,
            and equal.
        minibatch_size: int. Number of copies with inputs of their own; probes then
            have a batch axis first. Defaults to None, one copy and no such axis.
        dtype: `"float32"` or `"float64"`, in which Nengo itself computes. Defaults
            to Nengo's setting `precision.bits` where it is not left at 64, else to
            `keras.config.floatx()`, which is `"float32"`.
        independent_noise: bool. Give each item of a minibatch random processes of
            its own, instead of the same to all. Defaults to False.
        compile: `"auto"`, True, or False, which has steps done by Nengo's own operators
            in NumPy, in double precision: for single steps, for Python in the loop,
            and for a start without delay. Defaults to `"auto"`: so, too, until a run is
            so long that compiling pays for it, or the runs before have taken as long;
            then the program goes on from where they ended. See `plan`.

    Raises:
        BuildError: if connections without a synapse form a loop, or nengo's builder
            refuses the network.
        MemoryError: if the network cannot fit into this machine's memory, with what
            takes it and what would make it fit.
        ValueError: for an impossible argument; nengo's ValidationError is one.

    Example:
        >>> import nengo
        >>> with nengo.Network(seed=0) as net:
        ...     ens = nengo.Ensemble(50, 1)
        ...     probe = nengo.Probe(ens, synapse=0.01)
        >>> with Simulator(net, progress_bar=False) as sim:
        ...     sim.run(0.1)
        >>> sim.data[probe].shape
        (100, 1)
    """

    unsupported: list = []

    def __init__(
        self,
        network: nengo.Network | None,
        dt: float = 0.001,
        seed: int | None = None,
        model: Model | None = None,
        progress_bar: Any = True,
        optimize: bool = True,
        minibatch_size: int | None = None,
        dtype: str | None = None,
        independent_noise: bool = False,
        compile: bool | str = "auto",
    ):
        self.closed = True  # in case the constructor raises
        possible = "a nengo.Network, or None where model is built already"
        check_kind("network", network, (nengo.Network, type(None)), possible)
        check_kind("model", model, (Model, type(None)), "a nengo.builder.Model or None")
        self.progress_bar = _checked_bar(progress_bar)
        self.optimize = checked_switch("optimize", optimize)
        self.minibatch_size = _checked_size(minibatch_size)
        self.dtype = _checked_dtype(_default_dtype() if dtype is None else dtype)
        dt, seed = checked_dt(dt), checked_seed(seed)
        self.independent_noise = checked_switch("independent_noise", independent_noise)
        self._compiles = _checked_compile(compile, self.minibatch_size)
        self.network_given = network
        if model is None:
            model = TrainableModel(
                dt=dt,
                label=f"{network}, dt={dt:f}",
                decoder_cache=get_default_decoder_cache(),
                builder=QuickBuilder(self.minibatch_size or 1),
            )
        self.model = model
        self._training = Training(network, model, self.dtype)
        if isinstance(model, TrainableModel):
            model.attach(self._training)
        progress = ProgressTracker(progress_bar, Progress("Building", "Build"))
        with without_collection(), progress as tracker:
            if network is not None:
                stage = tracker.next_stage("Building", "Build")
                self.model.build(network, progress=stage)
            self._prepare()
        batched = minibatch_size is not None
        self.data = SimulationData(self.model, self._training.values, batched)
        if seed is None and network is not None and network.seed is not None:
            seed = network.seed + 1
        if seed is None:
            seed = np.random.randint(maxint)  # noqa: NPY002 - as nengo draws it
        self.closed = False
        self.reset(seed)

    # --- building ---------------------------------------------------------------

    def _prepare(self, inputs: tuple[nengo.Node, ...] = ()) -> None:
        self._runner = Tiers(
            self.model,
            self._compiles,
            inputs=inputs,
            dtype=self.dtype,
            batch=self.minibatch_size or 1,
            optimize=self.optimize,
            independent=self.independent_noise,
        )
        self._inputs = inputs

    def plan(self, n_steps: int | None = None) -> Plan:
        """How steps are done, and why.

        Args:
            n_steps: int. Of a run that would follow; now, by default.

        Returns:
            A `Plan`: whether they are compiled, and what a step is thought to take.
            It depends on the model, the arguments and the runs before alone.
        """
        n_steps = None if n_steps is None else checked_count("n_steps", n_steps)
        return self._runner.plan(n_steps)

    # --- training ---------------------------------------------------------------

    @property
    def keras_model(self) -> keras.Model:
        """The Keras model of the network, from its source nodes to its probes.

        Its inputs and outputs are dicts, by label. `compile` makes it anew.
        """
        return self._training.model

    def compile(
        self,
        *args,
        inputs=None,
        forward="spikes",
        surrogate=None,
        own_units: bool | None = None,
        **kwargs,
    ):
        """Make `keras_model` ready to train: as `keras.Model.compile`.

        Args:
            *args, **kwargs: of `keras.Model.compile`; losses, metrics and their
                weights may be dicts keyed by probes or their labels. A list with one
                entry for each probe is in their order; one loss, and a list of
                metrics, are those of all probes that have a loss.
            inputs: source nodes that data are given for. Defaults to those whose
                output is no function and no process. Of these, nodes whose constant is
                not 0 keep it where data leave them out.
            forward, surrogate: as in `ksn.layers.Network`.
            own_units: bool. Train what Nengo has drawn and solved (encoders, biases,
                decoders) in units of its own size, as `ksn.optimizers.in_own_units`
                says. Decoders are a thousand times smaller than one step of Adam at its
                default rate, which else loses a network that was right. Defaults to
                True for an optimizer that is named, as "adam", and for one of Keras
                whose step does not depend on the size of gradients, such as
                `keras.optimizers.Adam()`, `RMSprop()`, `Lion()` and their kinds; to
                False for others that are given, such as `keras.optimizers.SGD(rate)`.
                False is right for a rate that was chosen for weights as they are.
        """
        self._training.compile(
            *args,
            inputs=inputs,
            forward=forward,
            surrogate=surrogate,
            own_units=own_units,
            **kwargs,
        )

    def fit(self, x=None, y=None, *, n_steps: int | None = None, **kwargs):
        """Train: as `keras.Model.fit`.

        Args:
            x: dict from source nodes, or their labels, to `(items, steps, size)`; a
                list in their order; an array where there is one such node; None, with
                `n_steps`, without. Or a data set of `(x, y[, sample_weight])`, each as
                here: a `keras.utils.PyDataset`, a generator or a `tf.data.Dataset`,
                whose dicts have labels as keys.
            y: the same for probes. Losses of Keras that compare values take targets in
                the shape of the output.
            n_steps: int. Length of each item where no node is given data.
            **kwargs: of `keras.Model.fit`; `validation_data` and `sample_weight` are
                keyed as `x` and `y`, and so is `class_weight` where several probes
                have a loss. Weights of classes hold at each step that has a label; a
                `tf.data.Dataset` takes none.
        """
        return self._training.fit(x, y, n_steps=n_steps, **kwargs)

    def evaluate(self, x=None, y=None, *, n_steps: int | None = None, **kwargs):
        """Measure losses and metrics: as `keras.Model.evaluate`, keyed as `fit`."""
        return self._training.evaluate(x, y, n_steps=n_steps, **kwargs)

    def predict(self, x=None, *, n_steps: int | None = None, **kwargs):
        """What the probes show from the start: a dict from each probe to an array."""
        return self._training.predict(x, n_steps=n_steps, **kwargs)

    def network(self) -> nengo.Network:
        """A Nengo network with the trained values, for any Nengo backend."""
        return freeze(self.network_given, self.model, self._training.values())[0]

    # --- interface of nengo -----------------------------------------------------

    @property
    def dt(self) -> float:
        """Length of a step, in seconds."""
        return self.model.dt

    @dt.setter
    def dt(self, _):
        raise ReadonlyError(attr="dt", obj=self)

    @property
    def signals(self) -> "Signals":
        """Arrays of the signals that outlive a step: constants, time, and probes."""
        watched = self._runner.watched()
        return Signals(self.model, self.data, watched, lambda: self._n_steps)

    @property
    def n_steps(self) -> int:
        """Number of steps done."""
        return self._n_steps

    @property
    def time(self) -> float:
        """Time simulated, in seconds."""
        return self._n_steps * self.dt

    def reset(self, seed: int | None = None) -> None:
        """Go back to the start.

        Args:
            seed: int. New seed of random processes; the built network stays.
        """
        if self.closed:
            raise SimulatorClosed("Cannot reset closed Simulator.")
        if seed is not None:
            self.seed = self._training.seed = checked_seed(seed)
        self._n_steps = 0
        values = self._training.values()
        # As nengo's: the numbers that are left once all operators have theirs.
        self.rng = np.random.RandomState(self.seed)
        self._runner.reset(self.rng)
        if values:
            self._runner.take(values)
        self.clear_probes()

    def clear_probes(self) -> None:
        """Forget what was probed."""
        self.data.reset()

    def close(self) -> None:
        """Free what the simulator holds; probed data stay."""
        self.closed = self._training.closed = True
        self._runner.close()
        if self.data.file is not None:
            self.data.file.close()

    def step(self) -> None:
        """Advance by one step."""
        self._runner.expect(1)
        self._steps(1, self._frames({}, 1))

    def run(self, time_in_seconds: float, progress_bar: Any = None, data=None) -> None:
        """Simulate for a length of time, rounded to whole steps.

        Args:
            time_in_seconds: float >= 0.
            progress_bar: bool or a nengo progress bar; the simulator's by default.
            data: as for `run_steps`.
        """
        if not (is_number(time_in_seconds) and 0 <= time_in_seconds < math.inf):
            raise ValidationError(
                f"Must be positive, and finite (got {time_in_seconds!r})",
                attr="time_in_seconds",
            )
        steps = int(np.round(float(time_in_seconds) / self.dt))
        if steps == 0:
            warnings.warn(
                f"{time_in_seconds} results in running for 0 timesteps. Simulator "
                f"still at time {self.time}.",
                stacklevel=2,
            )
            return
        self.run_steps(steps, progress_bar=progress_bar, data=data)

    def run_steps(self, steps: int, progress_bar: Any = None, data=None) -> None:
        """Simulate a number of steps.

        Args:
            steps: int >= 0.
            progress_bar: bool or a nengo progress bar; the simulator's by default.
            data: dict from source nodes, or their labels, to values in the place of
                their output, `(steps, size)` or `(minibatch, steps, size)`.
        """
        if progress_bar is None:
            progress_bar = self.progress_bar
        progress_bar = _checked_bar(progress_bar)
        if not is_number(steps) or steps != 0:
            steps = checked_count("steps", steps)
        possible = "a dict from source nodes, or their labels, to arrays; or None"
        check_kind("data", data, (Mapping, type(None)), possible)
        frames = self._frames(data or {}, steps)
        runner = self._runner
        runner.expect(steps)
        if steps == 1:  # too short for a bar
            self._steps(1, frames)
            return
        progress = Progress("Simulating", "Simulation", max(steps, 1))
        with ProgressTracker(progress_bar, progress) as tracker:
            for start in range(0, steps, runner.longest):
                length = min(runner.longest, steps - start)
                part = [v[:, start : start + length] for v in frames]
                self._steps(length, part)
                tracker.total_progress.step(length)

    def record_to(self, path: str | Path, append: bool = False) -> None:
        """Write what probes show to a file as the simulation runs, and not to memory.

        The file is HDF5, for `h5py` and whatever else reads that: a dataset for each
        probe, by its label, of shape `(steps, size)` or `(items, steps, size)`. It is
        up to date after each block of steps. `data[probe]` reads it, whole; a
        part is read by `h5py.File(path)[label][start:stop]`. What was probed before is
        forgotten; `reset`, `clear_probes` and `load_state` end it, and leave the file.

        A run that may be stopped in the middle saves its state from time to time. Who
        loads that state and records with `append=True` has one file, as if nothing had
        happened.

        Args:
            path: of the file.
            append: go on in a file that is there, from the present step on; what it has
                of later steps is cut off. Defaults to False.

        Raises:
            FileExistsError: if there is a file already, without `append`.
            ValueError: if it is another network's, or has not all steps before.

        Example:
            >>> import nengo, tempfile
            >>> with nengo.Network(seed=0) as net:
            ...     probe = nengo.Probe(nengo.Ensemble(20, 1))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     with Simulator(net, progress_bar=False) as sim:
            ...         sim.record_to(folder + "/data.h5")
            ...         sim.run_steps(30)
            ...         sim.data[probe].shape
            (30, 1)
        """
        if self.closed:
            raise SimulatorClosed("A closed Simulator records nothing.")
        path = checked_path("path", path)
        checked_switch("append", append)
        self.clear_probes()
        sig, lead = self.model.sig, (self.minibatch_size,) * bool(self.minibatch_size)
        shapes = {probe: sig[probe]["in"].shape for probe in self.model.probes}
        self.data.file = DataFile(
            path, shapes, self.dt, self._n_steps, lead, self.dtype, append
        )

    def save_state(self, path: str | Path) -> None:
        """Write where the simulation is, so that `load_state` goes on from there.

        The file holds arrays and numbers, and no code; it is there whole or not at all.
        It holds neither what probes have shown nor what was trained: see `record_to`,
        and `keras_model.save_weights`.

        Args:
            path: of the file, `.npz` by custom.

        Warns:
            UserWarning: of functions that may remember something that Nengo does not
                see, such as objects with `__call__`: that is not in the file.

        Example:
            >>> import nengo, tempfile
            >>> with nengo.Network(seed=0) as net:
            ...     probe = nengo.Probe(nengo.Ensemble(20, 1))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     with Simulator(net, progress_bar=False) as sim:
            ...         sim.run_steps(30)
            ...         sim.save_state(folder + "/state.npz")
            ...     with Simulator(net, progress_bar=False) as again:
            ...         again.load_state(folder + "/state.npz")
            ...         again.n_steps
            30
        """
        if self.closed:
            raise SimulatorClosed("The state of a closed Simulator is gone.")
        path = checked_path("path", path)
        own = [str(op) for op in self.model.operators if keeps_of_its_own(op)]
        if own:
            warnings.warn(
                f"What these remember is not saved: {', '.join(own[:3])}"
                f"{' and others' * (len(own) > 3)}. Save it beside the state.",
                stacklevel=2,
            )
        compiled, memory = self._runner.memory()
        notes = self._identity() | {
            "seed": self.seed,
            "n_steps": self._n_steps,
            "compiled": compiled,
            "form": self._runner.begin(compiled),
        }
        write_state(path, notes, list(arrays_in(memory)))

    def load_state(self, path: str | Path) -> None:
        """Go on from a state that `save_state` wrote, with equal spikes.

        What probes have shown so far is forgotten, and `data` of later runs are those
        of the steps after the state: the last of `trange()`. After an error the
        simulator is at the start.

        Args:
            path: of the file. Of strangers, too: reading it runs no code.

        Raises:
            ValueError: if it is no such file, was cut off or changed, or is that of
                another network, built with another seed or other weights, or with
                other arguments.
        """
        if self.closed:
            raise SimulatorClosed("A closed Simulator cannot go on.")
        path = checked_path("path", path)
        notes = read_notes(path)
        check_notes(notes, self._identity())
        self.reset(notes["seed"])
        check_form(notes, self._runner.begin(notes["compiled"]))
        compiled, memory = self._runner.memory()
        arrays = read_arrays(path, notes, list(arrays_in(memory)))
        restored = with_arrays(memory, iter(arrays))
        self._runner.restore((compiled, restored), notes["n_steps"], replay=True)
        self._n_steps = notes["n_steps"]

    def _identity(self) -> dict[str, Any]:
        """What a state is bound to."""
        return {
            "network": fingerprint(self.model, self._training.values()),
            "inputs": len(self._inputs),
            "dt": self.dt,
            "dtype": self.dtype,
            "minibatch_size": self.minibatch_size,
            "optimize": self.optimize,
            "independent_noise": self.independent_noise,
        }

    def trange(self, dt=None, sample_every: float | None = None) -> np.ndarray:
        """Times of the steps done, or of those that a probe sampled.

        Args:
            dt: former name of `sample_every`.
            sample_every: float, seconds. Period of the probe.
        """
        if dt is not None:
            if sample_every is not None:
                raise ValidationError(
                    "Cannot specify both `dt` and `sample_every`. Use `sample_every`"
                    " only.",
                    attr="dt",
                    obj=self,
                )
            warnings.warn(
                "`dt` is deprecated. Use `sample_every` instead.",
                DeprecationWarning,
                stacklevel=2,
            )
            sample_every = dt
        if sample_every is not None:
            positive("sample_every" if dt is None else "dt", sample_every, "s")
        steps = np.arange(1, self.n_steps + 1)
        return self.dt * steps[sampled(steps, sample_every, self.dt)]

    def __getstate__(self) -> dict:
        if self.data.file is not None:
            raise TypeError(
                f"A simulator that records to {self.data.file.path} cannot be pickled:"
                " call save_state(path)."
            )
        names = ["model", "seed", "progress_bar", "optimize", "minibatch_size"]
        names += ["dtype", "independent_noise"]
        arguments = {name: getattr(self, name) for name in names}
        return {
            "arguments": arguments | {"compile": self._compiles},
            "inputs": self._inputs,
            "trained": list(self._training.values().items()),
            "memory": self._runner.memory(),
            "n_steps": self._n_steps,
            "records": self.data.records,
            "closed": self.closed,
        }

    def __setstate__(self, state: dict) -> None:
        # Processes begin a new sequence of random numbers, as nengo's do.
        self.__init__(None, **state["arguments"])  # type: ignore[misc]
        if state["inputs"]:
            self._prepare(state["inputs"])
            self.reset()
        self._training.keep(dict(state["trained"]))
        self._runner.restore(state["memory"], state["n_steps"])
        self._n_steps = state["n_steps"]
        self.data.records = state["records"]
        if state["closed"]:
            self.close()

    def __enter__(self) -> "Simulator":
        if self.closed:
            raise SimulatorClosed("Cannot re-open after simulator is closed")
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self):
        if not getattr(self, "closed", True):
            warnings.warn(
                f"Simulator with model={self.model} was deallocated while open. Please"
                " close simulators manually to ensure resources are properly freed.",
                ResourceWarning,
                stacklevel=2,
            )

    # --- running ----------------------------------------------------------------

    def _steps(self, n_steps: int, frames=()) -> None:
        if self.closed:
            raise SimulatorClosed("Simulator cannot run because it is closed.")
        values = self._training.values()
        if values:  # run with what training has made of the parameters
            self._runner.take(values)
        try:
            self._runner.advance(self._n_steps, n_steps, frames)
        finally:
            done, shown = self._runner.collected()
            self._n_steps += done
            if not self.minibatch_size:
                shown = {probe: rows[0] for probe, rows in shown.items()}
            self.data.append(shown)

    def _frames(self, data: Mapping, steps: int) -> list[np.ndarray]:
        """Values of the program's input nodes, each `(batch or 1, steps, size)`."""
        if not (data or self._inputs):
            return []
        nodes = {node_of(key, self.network_given): value for key, value in data.items()}
        missing = [node for node in nodes if node not in self._inputs]
        if missing and self._n_steps:
            raise ValidationError(
                f"{missing[0]} was not given data from the start. Call reset()"
                " before you give it some.",
                attr="data",
                obj=self,
            )
        batch, inputs = self.minibatch_size or 1, (*self._inputs, *missing)
        frames = [frames_of(node, nodes.get(node), batch, steps) for node in inputs]
        if missing:
            self._prepare(inputs)
            self.reset()
        return frames


def _checked_compile(value, size) -> bool | str:
    one_of("compile", value, ("auto", True, False))
    if value is False and (size or 1) > 1:
        raise ValidationError(
            f"compile=False steps one copy of a network; received minibatch_size={size}"
            '. Leave it at "auto".',
            attr="compile",
        )
    return value


def _checked_size(size):
    if size is not None and not is_count(size):
        raise ValidationError(
            f"minibatch_size is a whole number above 0, or None; received {size!r}.",
            attr="minibatch_size",
        )
    return size


def _checked_bar(value):
    """A progress bar of Nengo's, or whether to show one."""
    if value is not None and not isinstance(value, bool | np.bool_ | ProgressBar):
        raise TypeError(
            "progress_bar is True, False, None or a nengo.utils.progress.ProgressBar;"
            f" received {value!r}."
        )
    return value


def _default_dtype() -> str:
    bits = nengo.rc["precision"]["bits"]
    return keras.config.floatx() if str(bits) == "64" else f"float{bits}"


def _checked_dtype(dtype) -> str:
    try:
        name = np.dtype(dtype).name
    except TypeError:  # no name of a dtype at all
        name = ""
    if name not in ("float32", "float64"):
        raise ValidationError(
            f"dtype is 'float32' or 'float64'; received {dtype!r}. Half precision loses"
            " spikes.",
            attr="dtype",
        )
    return name
