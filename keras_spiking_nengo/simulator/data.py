"""What a simulator shows: probed data, built parameters, signals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import nengo
import numpy as np
from nengo.builder.connection import BuiltConnection
from nengo.builder.ensemble import BuiltEnsemble

from keras_spiking_nengo.engine.signals import elements

if TYPE_CHECKING:
    from keras_spiking_nengo.simulator.simulator import Simulator

__all__ = ["Signals", "SimulationData", "written_signals"]


class SimulationData(Mapping):
    """What was probed, by probe, and what was built, by any other object.

    Built parameters are those after training, where there was some.
    """

    def __init__(self, sim: "Simulator"):
        self._sim = sim
        self._joined: dict[nengo.Probe, np.ndarray] = {}

    def reset(self) -> None:
        """Forget joined arrays."""
        self._joined.clear()

    @property
    def raw(self) -> "RawData":
        """Probed data as lists of steps, which can be cut to save memory."""
        return RawData(self)

    def cut(self, probe: nengo.Probe, steps) -> None:
        """Forget some of a probe's steps."""
        record, axis = self._sim._records[probe], self._axis
        if record:
            kept = np.delete(self[probe], steps, axis=axis)
            record[:] = [kept] if kept.shape[axis] else []
        self._joined.pop(probe, None)

    @property
    def _axis(self) -> int:
        return 1 if self._sim.minibatch_size else 0

    def __getitem__(self, key):
        records = self._sim._records
        if key not in records:
            return self._trained(key, self._sim.model.params[key])
        if not records[key]:
            return _readonly(np.zeros(0))
        if len(records[key]) > 1 or key not in self._joined:
            self._joined[key] = _readonly(self._join(records[key]))
        return self._joined[key]

    def _join(self, record: list[np.ndarray]) -> np.ndarray:
        if len(record) > 1:
            record[:] = [np.concatenate(record, axis=self._axis)]
        return record[0]

    def _trained(self, obj, built):
        values = self._sim._training.values()
        if not values or not isinstance(built, BuiltConnection | BuiltEnsemble):
            return built
        sig = self._sim.model.sig

        def now(signal, former):
            value = values.get(signal.base) if signal is not None else None
            return former if value is None else np.reshape(value, np.shape(former))

        if isinstance(built, BuiltConnection):
            return built._replace(weights=now(sig[obj]["weights"], built.weights))
        scaled = now(sig[obj]["encoders"], built.scaled_encoders)
        bias = now(sig[obj.neurons].get("bias"), built.bias)
        if built.gain is None:
            return built
        encoders = scaled * (obj.radius / built.gain)[:, None]
        return built._replace(scaled_encoders=scaled, encoders=encoders, bias=bias)

    def __iter__(self):
        return iter(self._sim.model.params)

    def __len__(self) -> int:
        return len(self._sim.model.params)

    def __repr__(self) -> str:
        return f"SimulationData({list(self)})"


class RawData(Mapping):
    """The steps of each probe: one array per step, as `nengo.Simulator` keeps them."""

    def __init__(self, data: SimulationData):
        self._data = data

    def __getitem__(self, probe: nengo.Probe) -> "Steps":
        if probe not in self._data._sim._records:
            raise KeyError(probe)
        return Steps(self._data, probe)

    def __iter__(self):
        return iter(self._data._sim._records)

    def __len__(self) -> int:
        return len(self._data._sim._records)


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
    bases = (
        signal.base
        for op in model.operators
        for signal in (*op.sets, *op.incs, *op.updates)
    )
    return {base: base for base in bases if base not in times and not base.sparse}


class Signals(Mapping):
    """Present values of signals, for as long as the simulator keeps them.

    A compiled step does not keep what nothing reads afterwards: put a probe on it.
    """

    def __init__(self, sim: "Simulator"):
        self._sim = sim
        self._written = set(written_signals(sim.model))
        last = (0, -1) if sim.minibatch_size else -1
        ports = {probe: sim.model.sig[probe]["in"] for probe in sim.model.probes}
        self._probed = sim._watched | {
            signal.base: sim.data[probe][last]
            for probe, signal in ports.items()
            if not signal.is_view and sim.data[probe].size
        }

    def __getitem__(self, signal) -> np.ndarray:
        sim, base = self._sim, signal.base
        times = {sim.model.step: sim.n_steps, sim.model.time: sim.time}
        if base in times:
            return np.array(times[base], dtype=base.dtype)
        if base not in self._written or not sim.n_steps:
            array = base.initial_value
        elif base in self._probed:
            array = self._probed[base]
        else:
            raise KeyError(f"{signal} is not kept by a compiled program: probe it.")
        if base.sparse:
            return array
        return np.asarray(array).ravel()[elements(signal)].reshape(signal.shape)

    def __iter__(self):
        bases = (s.base for op in self._sim.model.operators for s in op.all_signals)
        return iter([base for base in dict.fromkeys(bases) if self._keeps(base)])

    def _keeps(self, base) -> bool:
        written = base in self._written and bool(self._sim.n_steps)
        times = (self._sim.model.step, self._sim.model.time)
        return not written or base in self._probed or base in times

    def __len__(self) -> int:
        return len(list(iter(self)))
