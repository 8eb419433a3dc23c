"""What probes show, in a file that grows while the simulation runs."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import h5py
import nengo
import numpy as np

from keras_spiking_nengo.engine.signals import sampled
from keras_spiking_nengo.simulator.keys import named_by_label

__all__ = ["DataFile"]

# Bytes that are written, and read, at once.
_CHUNK = 2**18


class DataFile:
    """An HDF5 file with a dataset for each probe.

    Args:
        path: of the file.
        probes: what is recorded, with the shape of what each shows in a step.
        dt: float, seconds.
        n_steps: number of steps that were done before.
        lead: `(items,)` of a minibatch, which comes first; or `()`.
        dtype: of what is recorded.
        append: go on in a file that is there, after the rows of these steps; what
            comes after them in it is cut off.

    Raises:
        FileExistsError: if there is a file already, and `append` is False.
        ValueError: if it is another network's.
    """

    def __init__(
        self,
        path: str | Path,
        probes: dict[nengo.Probe, tuple[int, ...]],
        dt: float,
        n_steps: int,
        lead: tuple[int, ...],
        dtype: str,
        append: bool,
    ):
        self.path, self._axis = Path(path), len(lead)
        self.names = {probe: name for name, probe in named_by_label(probes).items()}
        self._file = self._opened(append)
        try:
            if not append:
                self._file.attrs.update({"dt": dt, "first_step": n_steps})
            first = int(self._file.attrs["first_step"])
            steps = np.arange(first + 1, n_steps + 1)
            for probe, shape in probes.items():
                period = probe.sample_every
                rows = int(np.count_nonzero(sampled(steps, period, dt)))
                full = (*lead, rows, *shape)
                if append:
                    self._check(self.names[probe], full, dtype, first, n_steps)
                    self._dataset(probe).resize(full)
                else:
                    self._make(self.names[probe], full, dtype, period or dt)
        except BaseException:
            self._file.close()
            raise

    def _opened(self, append: bool) -> h5py.File:
        if append:
            try:
                return h5py.File(self.path, "r+")
            except FileNotFoundError:
                raise
            except OSError as error:
                raise ValueError(f"{self.path} is no HDF5 file: {error}.") from error
        if self.path.exists():
            raise FileExistsError(
                f"{self.path} is there already. Give another name, or append=True to go"
                " on in it."
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return h5py.File(self.path, "x")

    def _make(self, name: str, full: tuple, dtype: str, period: float) -> None:
        bytes_of_step = np.dtype(dtype).itemsize * math.prod(_others(full, self._axis))
        chunks, most = list(full), list[int | None](full)
        chunks[self._axis] = max(1, _CHUNK // max(1, bytes_of_step))
        most[self._axis] = None
        dataset = self._file.create_dataset(
            name, full, dtype, maxshape=tuple(most), chunks=tuple(chunks)
        )
        dataset.attrs["sample_every"] = period

    def _check(
        self, name: str, full: tuple, dtype: str, first: int, n_steps: int
    ) -> None:
        # Other links lead to files that nobody named.
        linked = isinstance(self._file.get(name, getlink=True), h5py.HardLink)
        dataset = self._file[name] if linked else None
        if not isinstance(dataset, h5py.Dataset) or not _holds_such(
            dataset, full, dtype, self._axis
        ):
            raise ValueError(
                f"{self.path} has no data of this network: no {name!r} of {dtype},"
                f" {full} but for the number of steps."
            )
        if n_steps < first or dataset.shape[self._axis] < full[self._axis]:
            raise ValueError(
                f"append=True goes on in {self.path} after step {n_steps}. It has"
                f" {name!r} from step {first} on, in {dataset.shape[self._axis]} rows:"
                f" steps up to {n_steps} are missing. Load the state that was saved"
                " while it was written."
            )

    def _dataset(self, probe: nengo.Probe) -> h5py.Dataset:
        return self._file[self.names[probe]]

    def append(self, probe: nengo.Probe, rows: np.ndarray) -> None:
        """Write some more steps."""
        dataset, axis = self._dataset(probe), self._axis
        before = dataset.shape[axis]
        dataset.resize(before + rows.shape[axis], axis=axis)
        dataset[(slice(None),) * axis + (slice(before, None),)] = rows

    def flush(self) -> None:
        """See to it that whoever reads the file finds all that was written."""
        self._file.flush()

    def read(self, probe: nengo.Probe, rows: slice = slice(None)) -> np.ndarray:
        """What the file has of a probe."""
        where = (slice(None),) * self._axis + (rows,)
        if self._file:
            return self._dataset(probe)[where]
        with h5py.File(self.path, "r") as file:
            return file[self.names[probe]][where]

    def close(self) -> None:
        """Leave the file; it can still be read."""
        with contextlib.suppress(ValueError):
            self._file.close()


def _holds_such(dataset: h5py.Dataset, full: tuple, dtype: str, axis: int) -> bool:
    """Whether it holds numbers of that type and shape, but for the number of steps."""
    if dataset.is_virtual or dataset.external or dataset.dtype != np.dtype(dtype):
        return False
    return _others(dataset.shape, axis) == _others(full, axis)


def _others(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i != axis)
