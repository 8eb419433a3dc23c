"""What each primitive of NIR is in Keras: the table that both directions use.

NIR's images have their channels first and Keras's last: all arrays of rank 2 and more
are turned. A spike is 1 in NIR and `amplitude / dt` here, so that what is read has an
amplitude of `dt`, and a `Scale` follows what is written with another one.

Reference:
    Pedersen et al. (2024), *Neuromorphic intermediate representation: a unified
    instruction set for interoperable brain-inspired computing*, Nature Communications
    15.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_spiking_nengo.types import IntegrateAndFire, LeakyIntegrator, Threshold

__all__ = [
    "MEMBRANES",
    "PRIMITIVES",
    "Membrane",
    "channels_first",
    "channels_last",
    "number_or_array",
]


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """NIR's shape as Keras has it."""
    return (*shape[1:], *shape[:1])


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Keras's shape as NIR has it."""
    return (*shape[-1:], *shape[:-1])


def number_or_array(value: Any) -> Any:
    """An array of NIR's as one of a neuron type's; a number where all are equal."""
    array = np.moveaxis(np.asarray(value, float), 0, -1) if np.ndim(value) else value
    flat = np.ravel(np.asarray(array, float))
    return float(flat[0]) if np.all(flat == flat[0]) else flat


@dataclass(frozen=True)
class Membrane:
    """A neuron of NIR's as a neuron type of ours.

    Attributes:
        kind: `LeakyIntegrator` or `IntegrateAndFire`.
        names: from NIR's names of the parameters to ours.
    """

    kind: type
    names: Mapping[str, str]

    @property
    def absent(self) -> frozenset[str]:
        """The time constants that it lacks."""
        return frozenset({"tau_mem", "tau_syn"} - {*self.names.values()})

    def read(self, node, **options):
        """The neuron type of a node."""
        given = {
            ours: number_or_array(getattr(node, theirs))
            for theirs, ours in self.names.items()
        }
        return self.kind(**dict.fromkeys(self.absent), **given, **options)


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_LEAK = {"tau": "tau_mem"} | _same("r", "v_leak")
_CURRENT = _same("tau_syn", "tau_mem", "r", "v_leak", "w_in")
_FIRES = _same("v_threshold", "v_reset")
MEMBRANES: dict[str, Membrane] = {
    "I": Membrane(LeakyIntegrator, _same("r")),
    "LI": Membrane(LeakyIntegrator, _LEAK),
    "CubaLI": Membrane(LeakyIntegrator, _CURRENT),
    "IF": Membrane(IntegrateAndFire, _same("r") | _FIRES),
    "LIF": Membrane(IntegrateAndFire, _LEAK | _FIRES),
    "CubaLIF": Membrane(IntegrateAndFire, _CURRENT | _FIRES),
}

# What stands for each primitive, as the documentation says it.
PRIMITIVES: dict[str, str] = {
    "Input": "`keras.Input`",
    "Output": "an output of the model",
    "Affine": "`keras.layers.Dense`",
    "Linear": "`keras.layers.Dense(use_bias=False)`",
    "Scale": "`keras.layers.Rescaling`",
    "Conv1d": "`ZeroPadding1D` and `Conv1D`, each in a `ksn.layers.PerStep`",
    "Conv2d": "`ZeroPadding2D` and `Conv2D`, each in a `ksn.layers.PerStep`",
    "SumPool2d": "as `AvgPool2d`, and a `Rescaling` by the size of the window",
    "AvgPool2d": "`ZeroPadding2D` and `AveragePooling2D`, each in a `PerStep`",
    "Flatten": "`Flatten` or `Reshape` in a `PerStep`; the kernel that follows is"
    " permuted, or a `Permute` comes before",
    "Delay": "`ksn.layers.Delay`",
    "Threshold": f"`ksn.layers.Neurons(ksn.types.{Threshold.__name__}(...))`",
    **{
        name: f"`ksn.layers.Neurons(ksn.types.{membrane.kind.__name__}(...))`"
        + (
            f" with `{'=None`, `'.join(sorted(membrane.absent))}=None`"
            if membrane.absent
            else ""
        )
        for name, membrane in MEMBRANES.items()
    },
    "NIRGraph": "its nodes, whose names begin with that of the graph",
    "a cycle": "one `ksn.layers.Network`",
}
