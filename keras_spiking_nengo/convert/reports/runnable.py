"""What reports ask of a network beside its Keras model."""

from typing import Any, Protocol, TypeAlias

import keras
import numpy as np

from keras_spiking_nengo.convert.graph import Graph

__all__ = ["ArraysByName", "Runnable"]

ArraysByName: TypeAlias = dict[str, np.ndarray]


class Runnable(Protocol):
    """A network that Nengo's own simulator runs, such as a `NengoExport`."""

    @property
    def graph(self) -> Graph:
        """What the network was written from, or read as."""

    @property
    def model(self) -> keras.Model | None:
        """The Keras model that it is compared with."""

    @property
    def dt(self) -> float:
        """Length of a step, in seconds."""

    def arrays(self, x: Any) -> list:
        """The data of each input, in order."""

    def record(
        self,
        x: Any,
        n_steps: int | None = None,
        progress_bar: bool = False,
        watch: tuple[str, ...] = (),
    ) -> tuple[ArraysByName, ArraysByName]:
        """Outputs by name, and activity of the vertices to `watch`."""
