"""What a simulator shows: probed data, built parameters, signals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import nengo
import numpy as np
from nengo.builder import Model
from nengo.builder.connection import BuiltConnection
from nengo.builder.ensemble import BuiltEnsemble

from keras_spiking_nengo.engine.signals import elements, written_bases
from keras_spiking_nengo.simulator.data_file import DataFile

__all__ = ["Signals", "SimulationData", "written_signals"]


class SimulationData(Mapping):
    """What was probed, by probe, and what was built, by any other object.

    Built parameters are those after training, where there was some.

    Args:
        model: what Nengo has built.
        trained: gives the present values of the signals that were trained.
        batched: whether what is probed has a batch axis first.

    Attributes:
        records: of each probe, arrays of some steps each, one after the other.
        file: where what is probed goes instead, or None.
    """

    def __init__(
        self, model: Model, trained: Callable[[], Mapping[Any, np.ndarray]], batched
    ):
        self._model, self._trained = model, trained
        self._axis = 1 if batched else 0
        self.records: dict[nengo.Probe, list[np.ndarray]] = {}
        self.file: DataFile | None = None
        self._joined: dict[nengo.Probe, np.ndarray] = {}
        self._buffers: dict[nengo.Probe, np.ndarray] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was probed; a file keeps it, and gets no more."""
        if self.file is not None:
            self.file.close()
            self.file = None
        self.records = {probe: [] for probe in self._model.probes}
        self._joined.clear()
        self._buffers.clear()

    def append(self, shown: Mapping[nengo.Probe, np.ndarray]) -> None:
        """Keep what probes showed in some steps."""
        axis = self._axis
        for probe, rows in shown.items():
            if rows.shape[axis] and self.file is not None:
                self.file.append(probe, np.asarray(rows))
            elif rows.shape[axis]:
                self.records[probe].append(rows)
        if self.file is not None:
            self.file.flush()

    def last(self, probe: nengo.Probe) -> np.ndarray | None:
        """What the probe showed last, of the first item of a batch."""
        if self.file is None:
            values = self[probe]
        else:
            values = self.file.read(probe, slice(-1, None))
        return values[(0, -1) if self._axis else -1] if values.size else None

    @property
    def raw(self) -> "RawData":
        """Probed data as lists of steps, which can be cut to save memory."""
        return RawData(self)

    def cut(self, probe: nengo.Probe, steps) -> None:
        """Forget some of a probe's steps."""
        if self.file is not None:
            raise NotImplementedError(
                f"What {probe} showed is in {self.file.path}, which keeps all of it."
            )
        record, axis = self.records[probe], self._axis
        if record:
            rest = np.delete(self[probe], steps, axis=axis)
            record[:] = [rest] if rest.shape[axis] else []
        self._joined.pop(probe, None)

    def __getitem__(self, key):
        if key not in self.records:
            built = self._model.params[key]
            return _after_training(self._trained(), self._model.sig, key, built)
        if self.file is not None:
            return _readonly(self.file.read(key))
        record = self.records[key]
        if not record:
            return _readonly(np.zeros(0))
        if len(record) > 1 or key not in self._joined:
            if len(record) > 1:
                record[:] = [self._appended(key, record)]
            record[0] = np.asarray(record[0])  # no bytes any more
            self._joined[key] = _readonly(record[0])
        return self._joined[key]

    def _appended(self, key, record: list[np.ndarray]) -> np.ndarray:
        """The arrays as one, in a buffer that doubles: steps are copied but twice."""
        first, *others = map(np.asarray, record)
        rest = np.concatenate(others, axis=self._axis)
        lead, steps = first.shape[: self._axis], first.shape[self._axis]
        total = steps + rest.shape[self._axis]
        buffer = self._buffers.get(key)
        if buffer is None or first.base is not buffer or len(buffer) < total:
            tail = first.shape[self._axis + 1 :]
            buffer = np.empty((2 * total, *lead, *tail), first.dtype)
            buffer[:steps] = np.moveaxis(first, self._axis, 0)
            self._buffers[key] = buffer
        buffer[steps:total] = np.moveaxis(rest, self._axis, 0)
        return np.moveaxis(buffer[:total], 0, self._axis)

    def __iter__(self):
        return iter(self._model.params)

    def __len__(self) -> int:
        return len(self._model.params)

    def __repr__(self) -> str:
        return f"SimulationData({list(self)})"


def _after_training(values: Mapping, sig, obj, built):
    """What was built of an object, with the values that were trained since."""
    if not values or not isinstance(built, BuiltConnection | BuiltEnsemble):
        return built

    def now(signal, former):
        value = values.get(signal.base) if signal is not None else None
        return former if value is None else _readonly(np.reshape(value, former.shape))

    if isinstance(built, BuiltConnection):
        return built._replace(weights=now(sig[obj]["weights"], built.weights))
    if built.gain is None:
        return built
    scaled = now(sig[obj]["encoders"], built.scaled_encoders)
    bias = now(sig[obj.neurons].get("bias"), built.bias)
    return _encoding(obj, built, scaled, bias)


def _encoding(ens, built: BuiltEnsemble, scaled: np.ndarray, bias) -> BuiltEnsemble:
    """What nengo would say of an ensemble with other encoders and biases.

    By `scaled_encoders = gain * encoders / radius`, in which the length is the gain's.
    """
    encoders, gain = built.encoders, built.gain
    if not np.allclose(scaled, built.scaled_encoders, rtol=1e-6, atol=0):
        length = np.linalg.norm(scaled, axis=1)
        gain = length * ens.radius
        unit = scaled / np.where(length == 0, 1, length)[:, None]
        encoders = np.where(length[:, None] == 0, encoders, unit)
    with np.errstate(divide="ignore", invalid="ignore"):  # of neurons without a gain
        rates, intercepts = ens.neuron_type.max_rates_intercepts(gain, bias)
    return built._replace(
        scaled_encoders=scaled,
        encoders=encoders,
        gain=gain,
        bias=bias,
        max_rates=rates,
        intercepts=intercepts,
    )


class RawData(Mapping):
    """The steps of each probe: one array per step, as `nengo.Simulator` keeps them."""

    def __init__(self, data: SimulationData):
        self._data = data

    def __getitem__(self, probe: nengo.Probe) -> "Steps":
        if probe not in self._data.records:
            raise KeyError(probe)
        return Steps(self._data, probe)

    def __iter__(self):
        return iter(self._data.records)

    def __len__(self) -> int:
        return len(self._data.records)


class Steps(Sequence):
    """What a probe showed, step by step; `del` forgets steps."""

    def __init__(self, data: SimulationData, probe: nengo.Probe):
        self._data, self._probe = data, probe

    def _arrays(self) -> np.ndarray:
        values = self._data[self._probe]
        return np.moveaxis(values, self._data._axis, 0) if values.size else values

    def __len__(self) -> int:
        return len(self._arrays())

    def __getitem__(self, steps):
        values = self._arrays()[steps]
        return list(values) if isinstance(steps, slice) else values

    def __delitem__(self, steps) -> None:
        self._data.cut(self._probe, steps)


def _readonly(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.setflags(write=False)
    return view


def written_signals(model) -> dict:
    """The base signals that operators write, each as its own key."""
    times = {model.step, model.time}
    bases = written_bases(model.operators)
    return {base: base for base in bases if base not in times and not base.sparse}


class Signals(Mapping):
    """Present values of signals, for as long as the simulator keeps them.

    A compiled step does not keep what nothing reads afterwards: put a probe on it.

    Args:
        model: what Nengo has built.
        data: what was probed.
        watched: values of base signals that are kept without a probe.
        clock: gives the number of steps done.
    """

    def __init__(
        self,
        model: Model,
        data: SimulationData,
        watched: Mapping[Any, np.ndarray],
        clock: Callable[[], int],
    ):
        self._model, self._clock = model, clock
        self._written = set(written_signals(model))
        values = {
            signal.base: data.last(probe)
            for probe in model.probes
            if not (signal := model.sig[probe]["in"]).is_view
        }
        probed = {base: array for base, array in values.items() if array is not None}
        # What a probe showed last may be some steps old.
        self._values = {**probed, **watched}

    def __getitem__(self, signal) -> np.ndarray:
        model, base, steps = self._model, signal.base, self._clock()
        times = {model.step: steps, model.time: steps * model.dt}
        if base in times:
            return np.array(times[base], dtype=base.dtype)
        if base not in self._written or not steps:
            array = base.initial_value
        elif base in self._values:
            array = self._values[base]
        else:
            raise KeyError(f"{signal} is not kept by a compiled program: probe it.")
        if base.sparse:
            return array
        return np.asarray(array).ravel()[elements(signal)].reshape(signal.shape)

    def __iter__(self):
        bases = (s.base for op in self._model.operators for s in op.all_signals)
        return iter([base for base in dict.fromkeys(bases) if self._keeps(base)])

    def _keeps(self, base) -> bool:
        written = base in self._written and bool(self._clock())
        times = (self._model.step, self._model.time)
        return not written or base in self._values or base in times

    def __len__(self) -> int:
        return len(list(iter(self)))
