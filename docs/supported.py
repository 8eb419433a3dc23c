"""Writes what the registries know: `supported.md`, and the table of `nir.md`.

Run `python docs/supported.py`.
"""

from collections.abc import Iterable
from pathlib import Path

import keras
from nengo.builder import Operator
from nengo.learning_rules import LearningRuleType

from keras_spiking_nengo import layers, serialization, types
from keras_spiking_nengo.convert import LAYERS
from keras_spiking_nengo.convert.nir import PRIMITIVES, STRUCTURES
from keras_spiking_nengo.convert.rules.arithmetic import OPERATIONS as KERAS_OPERATIONS
from keras_spiking_nengo.dynamics.neurons import NEURONS, RATES_TO_SPIKES
from keras_spiking_nengo.dynamics.synapses import SYNAPSES
from keras_spiking_nengo.engine import OPERATORS

FILE = Path(__file__).with_name("supported.md")
NIR = Path(__file__).with_name("nir.md")
MARKS = "<!-- table -->\n", "<!-- end of table -->\n"


# Whoever imports this may have registered classes of its own.
KNOWN = ("keras", "keras_spiking_nengo", "nengo")


def named(classes: Iterable[type]) -> list[str]:
    """Names as users write them."""
    found = []
    for cls in classes:
        top, _, _ = cls.__module__.partition(".")
        if top not in KNOWN:
            continue
        ours = top == "keras_spiking_nengo"
        if issubclass(cls, keras.layers.Layer):
            top = "ksn.layers" if ours else "keras.layers"
        elif ours and issubclass(cls, Operator):
            continue  # what Nengo is built to run a type of ours
        elif ours:
            top = "ksn.types"
        found.append(f"`{top}.{cls.__name__}`")
    return sorted(found)


def text() -> str:
    spiking, rates = [], []
    for cls in NEURONS:
        (spiking if getattr(cls, "spiking", False) else rates).append(cls)
    means = {cls for cls in LAYERS if LAYERS[cls].option}
    sections = {
        "Layers": [f"`ksn.layers.{name}`" for name in sorted(layers.__all__)],
        "Spiking neuron types": named([*spiking, *RATES_TO_SPIKES]),
        "Rate neuron types": named(rates),
        "Synapses": named(SYNAPSES),
        "Learning rules of our own": named(
            cls
            for cls in vars(types).values()
            if isinstance(cls, type) and issubclass(cls, LearningRuleType)
        ),
        "Nengo's operators, compiled": named(OPERATORS),
        "Keras layers that become Nengo objects (`to_nengo`)": named(
            cls for cls in LAYERS if cls not in means
        ),
        "Keras layers that become means with `max_to_avg_pool=True`": named(means),
        "Keras operations in functional models that become Nengo objects": [
            f"`{name}`" for name in sorted(KERAS_OPERATIONS)
        ],
        "Frozen objects that are stored as JSON": [
            f"`{name}`"
            for name in serialization.supported()
            if name.partition(".")[0] in KNOWN and not name.endswith("KerasLayer")
        ],
    }
    lines = [
        "# What is supported",
        "",
        "Written by `python docs/supported.py` from the registries; a test compares.",
        "",
        "Any other Nengo operator runs as Nengo's own Python, called back from the",
        "compiled program. `from_nengo` takes any network: what is no layer by itself",
        "becomes a `ksn.layers.Network`. `to_nengo` refuses any other Keras layer by",
        "name; with `strict=False`, Keras runs it in a Python node.",
    ]
    for title, names in sections.items():
        lines += [
            "",
            f"## {title}",
            "",
            *(f"- {name}" for name in dict.fromkeys(names)),
        ]
    return "\n".join(lines) + "\n"


def nir_text() -> str:
    """`nir.md` with a table of the primitives."""
    before, _, rest = NIR.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    becomes = {name: row.layer for name, row in PRIMITIVES.items()} | STRUCTURES
    rows = ["| NIR | Keras |", "|---|---|"]
    rows += [
        f"| {f'`{name}`' if name[0].isupper() else name} | {what} |"
        for name, what in becomes.items()
    ]
    table = "\n".join(rows) + "\n"
    return f"{before}{MARKS[0]}{table}{MARKS[1]}{after}"


if __name__ == "__main__":
    FILE.write_text(text())
    NIR.write_text(nir_text())
