"""The design of an ensemble layer, and the Nengo network that is built from it.

    input --encoders--> neurons --decoders of f--> f(x), for each function f
                        neurons <--- recurrent

What teaches a learning rule enters by a node of its own, as the error of a function's
output or as the target that the output is compared with.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import InitVar, dataclass, fields
from typing import Any

import nengo
import numpy as np
from nengo.learning_rules import LearningRuleType

from keras_spiking_nengo import serialization
from keras_spiking_nengo.budgets import spend
from keras_spiking_nengo.checks import (
    check_kind,
    checked_array,
    checked_count,
    checked_dt,
    checked_switch,
    is_count,
    one_of,
    positive,
)
from keras_spiking_nengo.engine.demands import spend_on
from keras_spiking_nengo.layers.parameters import checked_synapse
from keras_spiking_nengo.types import neuron_type as to_neuron_type

__all__ = ["Design", "VectorFunction", "ensemble_network"]

VectorFunction = Callable | np.ndarray | None

# Arguments of `nengo.Ensemble` that are passed on where there are any.
_OPTIONAL = (
    *("encoders", "max_rates", "intercepts", "gain", "bias", "eval_points"),
    *("n_eval_points", "noise"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """What a configuration stores of an ensemble; its functions are in its decoders.

    Attributes:
        *: the arguments of `ksn.layers.Ensemble`.

    Args:
        encoded: whether they are as `to_config` gives them.
    """

    neuron_type: Any
    encoders: Any
    max_rates: Any
    intercepts: Any
    gain: Any
    bias: Any
    eval_points: Any
    n_eval_points: int | None
    noise: Any
    radius: float
    normalize_encoders: bool
    solver: Any
    output: str
    recurrent_synapse: Any
    recurrent_transform: Any
    recurrent_solver: Any
    synapse: Any
    transform: Any
    learning_rule: Any
    teacher: str

    encoded: InitVar[bool] = False

    def __post_init__(self, encoded: bool):
        for name, value in self._values().items() if encoded else ():
            object.__setattr__(self, name, serialization.from_config(value))
        for name, value in self._values().items():
            if isinstance(value, np.ndarray | list | dict):
                # The user may go on changing it; the network is built once.
                object.__setattr__(self, name, copy(value))
        object.__setattr__(self, "neuron_type", to_neuron_type(self.neuron_type))
        on = checked_switch("normalize_encoders", self.normalize_encoders)
        object.__setattr__(self, "normalize_encoders", on)  # Nengo takes no 1
        _check_numbers(self)

    def to_config(self) -> dict[str, Any]:
        """As JSON."""
        config = serialization.to_config
        return {name: config(value) for name, value in self._values().items()}

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def ensemble_network(
    design: Design,
    n_neurons: int,
    dimensions: int,
    function,
    recurrent,
    seed: int,
    dt: float,
) -> dict[str, Any]:
    """The network of one ensemble, and its inputs and outputs for a `NetworkCell`.

    Args:
        design: of the ensemble.
        n_neurons, dimensions, function, recurrent, seed, dt: as for
            `ksn.layers.Ensemble`.

    Raises:
        ValueError, TypeError: for what is not possible.
    """
    _check_design(design, dimensions, function, recurrent)
    functions = function if isinstance(function, Mapping) else {"": function}
    rules = _rules_by_name(design.learning_rule, functions, recurrent)
    with nengo.Network(label="ensemble", seed=seed) as net:
        source = _input_node(design, dimensions)
        ensemble = nengo.Ensemble(
            n_neurons,
            dimensions,
            neuron_type=design.neuron_type,
            radius=design.radius,
            normalize_encoders=design.normalize_encoders,
            seed=seed,
            label="ensemble",
            **_chosen_ones(**{name: getattr(design, name) for name in _OPTIONAL}),
        )
        options = {
            "transform": design.transform,
            "learning_rule_type": rules.get("input"),
        }
        nengo.Connection(
            *(source, ensemble),
            synapse=design.synapse,
            label="input",
            **_chosen_ones(**options),
        )
        if recurrent is not None and recurrent is not False:
            _add_recurrence(ensemble, recurrent, design, rules.get("recurrent"))
        if design.output == "neurons":
            probes = {"": nengo.Probe(ensemble.neurons, label="neurons")}
            teachers: dict = {}
        else:
            probes, teachers = _add_decoders(ensemble, functions, design, rules)
    for obj in net.all_objects:
        spend_on(obj, checked_dt(dt))
    return {
        "net": net,
        "inputs": {"input": source, **teachers} if teachers else source,
        "outputs": probes if isinstance(function, Mapping) else probes[""],
    }


def _input_node(design: Design, dimensions: int) -> nengo.Node:
    size = _size_in(design, dimensions)
    if is_count(size):
        spend(8 * size, f"An ensemble with inputs of {size} dimensions")
    return nengo.Node(np.zeros(size), label="input")


def _add_decoders(
    ensemble, functions: Mapping, design: Design, rules
) -> tuple[dict, dict]:
    """The probe of each function, and the nodes that teach, by name."""
    probes, teachers = {}, {}
    for name, image in functions.items():
        label = name or "decoded"
        node = nengo.Node(size_in=_size_out(image, ensemble.dimensions), label=label)
        connection = nengo.Connection(
            ensemble,
            node,
            synapse=None,
            label=name or "decoders",
            **_mapping(image, design.eval_points),
            **_chosen_ones(solver=design.solver, learning_rule_type=rules.get(name)),
        )
        probes[name] = nengo.Probe(node, label=label)
        if name in rules:
            key = design.teacher + (f"_{name}" if name else "")
            teachers[key] = _teach(connection, node, design.teacher, key)
    return probes, teachers


def _add_recurrence(ensemble, recurrent, design: Design, rule) -> None:
    image = None if recurrent is True else recurrent
    nengo.Connection(
        ensemble,
        ensemble,
        synapse=design.recurrent_synapse,
        label="recurrent",
        **_mapping(image, design.eval_points),
        **_chosen_ones(
            transform=design.recurrent_transform,
            solver=design.recurrent_solver or design.solver,
            learning_rule_type=rule,
        ),
    )


def _teach(connection, node, teacher: str, key: str) -> nengo.Node:
    """The node whose values teach a connection."""
    lesson = nengo.Node(np.zeros(node.size_in), label=key)
    if teacher == "error":
        nengo.Connection(lesson, connection.learning_rule, synapse=None, label="error")
        return lesson
    error = nengo.Node(size_in=node.size_in, label=f"error of {node.label}")
    nengo.Connection(node, error, synapse=None, label="actual")
    nengo.Connection(lesson, error, transform=-1, synapse=None, label="target")
    nengo.Connection(error, connection.learning_rule, synapse=None, label="error")
    return lesson


# --- arguments ------------------------------------------------------------------


def _chosen_ones(**arguments) -> dict[str, Any]:
    """Those that are not None, for which Nengo has defaults."""
    return {name: value for name, value in arguments.items() if value is not None}


def _mapping(image, eval_points) -> dict[str, Any]:
    points = eval_points if isinstance(image, np.ndarray) else None
    return _chosen_ones(function=image, eval_points=points)


def _size_out(image, dimensions: int) -> int:
    """Number of values of a function."""
    if image is None:
        return dimensions
    if isinstance(image, np.ndarray):
        return image.shape[1]
    return np.size(image(np.zeros(dimensions)))


def _size_in(design: Design, dimensions: int) -> int:
    transform = design.transform
    if isinstance(transform, nengo.transforms.Transform):
        return transform.size_in
    return np.shape(transform)[1] if np.ndim(transform) == 2 else dimensions


def _rules_by_name(rule, functions: Mapping, recurrent) -> dict[str, Any]:
    """Learning rules, by "input", "recurrent" or the name of a function."""
    if rule is None:
        return {}
    if isinstance(rule, Mapping):
        unknown = sorted(set(rule) - set(functions))
        if unknown:
            raise ValueError(
                f"learning_rule names {unknown}; the functions are {sorted(functions)}."
            )
        return {name: r for name, r in rule.items() if r is not None}
    rules: dict[str, Any] = {}
    for one in rule if isinstance(rule, list | tuple) else [rule]:
        if not isinstance(one, LearningRuleType):
            raise TypeError(
                "learning_rule is a nengo learning rule such as nengo.PES(), a list of"
                f" them, or a dict from names of functions; received {one!r}."
            )
        if one.modifies == "encoders":
            rules["input"] = one
        elif one.modifies == "decoders":
            rules |= dict.fromkeys(functions, one)
        elif recurrent is None or recurrent is False:
            raise ValueError(
                f"{one} changes the weights between neurons, and the ensemble has no"
                " recurrent connection. Give it recurrent=True, and"
                " recurrent_solver=nengo.solvers.LstsqL2(weights=True)."
            )
        elif one.size_in:
            raise ValueError(
                f"{one} is taught by a reward, for which learning_rule has no input"
                " here. Use ksn.layers.Network, with a node that is connected to the"
                " connection's learning_rule."
            )
        else:
            rules["recurrent"] = one
    return rules


def _check_numbers(design: Design) -> None:
    """Refuses values that Nengo refuses in words of its own, or not at all."""
    for name in ("encoders", "max_rates", "intercepts", "gain", "bias", "eval_points"):
        value = getattr(design, name)
        if value is not None and not isinstance(value, nengo.dists.Distribution):
            checked_array(name, value, advice="A nengo.dists.Distribution is possible.")
    positive("radius", design.radius)
    for name in ("synapse", "recurrent_synapse"):
        checked_synapse(name, getattr(design, name))
    if design.n_eval_points is not None:
        checked_count("n_eval_points", design.n_eval_points)
    for name in ("solver", "recurrent_solver"):
        kinds = (nengo.solvers.Solver, type(None))
        check_kind(name, getattr(design, name), kinds, "a nengo.solvers.Solver")
    for name in ("transform", "recurrent_transform"):
        value = getattr(design, name)
        if value is not None and not isinstance(value, nengo.transforms.Transform):
            advice = "A matrix (outputs, inputs) or a nengo.transforms.Transform, too."
            if np.ndim(checked_array(name, value, advice=advice)) > 2:
                raise ValueError(
                    f"{name} has {np.ndim(value)} axes; received {value!r}. {advice}"
                )


def _check_design(design: Design, dimensions: int, function, recurrent) -> None:
    one_of("output", design.output, ("decoded", "neurons"))
    one_of("teacher", design.teacher, ("error", "target"))
    if design.output == "neurons" and function is not None:
        raise ValueError(
            "output='neurons' gives the activity of the neurons, and no function of"
            f" what they represent; received function={function!r}. Leave one of them"
            " out."
        )
    if isinstance(function, Mapping) and not function:
        raise ValueError("function is an empty dict, so there would be no output.")
    for name, image in {
        **(function if isinstance(function, Mapping) else {"function": function}),
        "recurrent": None if isinstance(recurrent, bool) else recurrent,
    }.items():
        _check_function(name, image, design.eval_points, dimensions)


def _check_function(name: str, image, eval_points, dimensions: int) -> None:
    is_array = isinstance(image, np.ndarray) and image.ndim == 2
    if image is not None and not callable(image) and not is_array:
        raise TypeError(
            f"{name} is a function of a vector, an array of its values at"
            f" eval_points, or None for the identity; received {image!r}."
        )
    if is_array and eval_points is None:
        raise ValueError(
            f"{name} is an array of values: give eval_points, the points that they"
            " belong to, too."
        )
    if callable(image):
        try:
            image(np.zeros(dimensions))
        except TypeError as error:
            raise TypeError(
                f"{name} is a function of a vector of {dimensions} numbers; called with"
                f" one, {image!r} raised: {error}."
            ) from error
