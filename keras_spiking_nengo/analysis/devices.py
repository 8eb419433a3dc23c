"""What an operation costs on a device.

The energy of a model is `macs * mac + acs * ac + updates * update`, with the effective
numbers of operations on a device that skips zeros, and else with all operations as
multiply-accumulates. Nothing here stands for moving data: weights and states fetched
from memory, spikes sent between cores, input and output. On real devices that is often
the larger part, so these figures bound from below and compare orders of magnitude.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from keras_spiking_nengo.checks import (
    check_kind,
    check_switches,
    checked_items,
    checked_number,
)

__all__ = ["DEVICES", "Device", "chosen", "device"]


@dataclass(frozen=True)
class Device:
    """Joules per operation on a device.

    Args:
        name: of the device.
        mac: joules of a multiply-accumulate: a connection with a real-valued input.
        ac: joules of an accumulate: a connection that a spike passes.
        update: joules of one update of a neuron or of a synaptic filter.
        skips_zeros: whether zero inputs and zero weights cost nothing.
        source: where the figures are from.

    Raises:
        ValueError: for energies that are no finite numbers from 0 on.

    Example:
        >>> chip = Device("my chip", mac=2e-12, ac=0.5e-12, update=5e-12)
        >>> chip.joules(dense=100, macs=10, acs=20, updates=2)
        4e-11
    """

    name: str
    mac: float
    ac: float
    update: float
    skips_zeros: bool = True
    source: str = "given by the user"

    def __post_init__(self):
        check_kind("name", self.name, str, "the name of a device")
        check_kind("source", self.source, str, "text that says where figures are from")
        check_switches(skips_zeros=self.skips_zeros)
        for field in ("mac", "ac", "update"):
            name, value = f"{field} of {self.name!r}", getattr(self, field)
            advice = "A picojoule is 1e-12."
            energy = checked_number(name, value, 0, unit="J", advice=advice)
            object.__setattr__(self, field, energy)

    def joules(self, dense: float, macs: float, acs: float, updates: float) -> float:
        """Energy of numbers of operations.

        Args:
            dense: all synaptic operations, zeros included.
            macs, acs: effective multiply-accumulates and accumulates.
            updates: of neurons and synaptic filters.
        """
        numbers = {"dense": dense, "macs": macs, "acs": acs, "updates": updates}
        for name, number in numbers.items():
            checked_number(name, number, 0)
        if not self.skips_zeros:
            return dense * self.mac + updates * self.update
        return macs * self.mac + acs * self.ac + updates * self.update


_HOROWITZ = (
    "Horowitz (2014), Computing's energy problem (and what we can do about it), ISSCC:"
    " 45 nm, 0.9 V, float32 multiply 3.7 pJ, add 0.9 pJ; an update as one multiply-add"
)
_DEGNAN = (
    "Degnan, Marr and Hasler (2016), Assessing trends in performance per watt for"
    " signal processing applications, IEEE Trans. VLSI Systems 24(1), as in the"
    " documentation of KerasSpiking: an operation or update as one multiply-accumulate"
)
_LOIHI = (
    "Davies et al. (2018), Loihi: a neuromorphic manycore processor with on-chip"
    " learning, IEEE Micro 38(1), table 2, simulated before there was silicon: synaptic"
    " operation at least 23.6 pJ, update of an active neuron 81 pJ (of an inactive one"
    " 52 pJ)"
)
_SPINNAKER = (
    "Hoeppner et al. (2019), Dynamic power management for neuromorphic many-core"
    " systems, IEEE Trans. Circuits and Systems I 66(8), arXiv:1903.08941, as in the"
    " documentation of KerasSpiking"
)

# A chip for spikes has no multiply-accumulate. A connection with a real-valued input is
# taken for one synaptic operation, the least that it would need there.
DEVICES = {
    device.name: device
    for device in (
        Device("cpu", 8.6e-9, 8.6e-9, 8.6e-9, False, f"Intel i7-4960X; {_DEGNAN}"),
        Device(
            "gpu", 0.3e-9, 0.3e-9, 0.3e-9, False, f"Nvidia GTX Titan Black; {_DEGNAN}"
        ),
        Device("arm", 0.9e-9, 0.9e-9, 0.9e-9, False, f"ARM Cortex-A; {_DEGNAN}"),
        Device("45nm", 4.6e-12, 0.9e-12, 4.6e-12, True, _HOROWITZ),
        Device("loihi", 23.6e-12, 23.6e-12, 81e-12, True, _LOIHI),
        Device("spinnaker", 13.3e-9, 13.3e-9, 26e-9, True, _SPINNAKER),
        Device("spinnaker2", 450e-12, 450e-12, 2.19e-9, True, _SPINNAKER),
    )
}


def device(value: "str | Device") -> Device:
    """A device from an instance or a name in `DEVICES`.

    Raises:
        ValueError: if the name is unknown.
        TypeError: if `value` is neither.

    Example:
        >>> device("loihi").ac
        2.36e-11
    """
    if isinstance(value, Device):
        return value
    if isinstance(value, str):
        if value in DEVICES:
            return DEVICES[value]
        raise ValueError(
            f"devices: Unknown device {value!r}. Known: {', '.join(DEVICES)}. For"
            " another one pass ksn.analysis.Device(name, mac=..., ac=..., update=...)."
        )
    raise TypeError(
        f"Each of devices is a name or a ksn.analysis.Device; received {value!r} of"
        f" type {type(value).__name__}."
    )


def chosen(
    value: "str | Device | Iterable[str | Device] | None",
) -> tuple[Device, ...]:
    """Devices from one, several, or None for all that are known.

    Raises:
        ValueError: if a name is unknown, or there twice.
        TypeError: for what is no device.
    """
    if value is None:
        return tuple(DEVICES.values())
    if isinstance(value, Device):
        value = (value,)
    possible = "names, ksn.analysis.Device objects, or None for all that are known"
    devices = tuple(map(device, checked_items("devices", value, possible)))
    names = [one.name for one in devices]
    if len(set(names)) < len(names):
        raise ValueError(f"Devices need names of their own; received {names}.")
    return devices
