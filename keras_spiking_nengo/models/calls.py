"""Every call of every layer of a Keras model, in order.

Keras itself walks a functional model when it clones one: `keras.models.clone_model`
says how each layer and each operation, such as `a + b`, is called. Here they are called
on symbols, and that is noted down; the layers themselves keep no trace of it. Models
within the model, and `TimeDistributed`, are taken apart.

Nothing is judged here: what a call means, and whether it can be had, is said above.
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import keras

from keras_spiking_nengo.graphs import unused
from keras_spiking_nengo.layers import PerStep
from keras_spiking_nengo.models.building import check_built

__all__ = ["Call", "Calls", "Symbol", "calls", "is_opaque", "symbols_in"]

Symbol: TypeAlias = keras.KerasTensor


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one layer or operation.

    Attributes:
        operation: the layer; or an operation, such as that of `a + b`; or a model that
            cannot be taken apart.
        name: unique in the model: the path, and a number from the second call on.
        path: of the layer, such as `"encoder/dense"`.
        args, kwargs: what it is called with: structures that hold symbols. A mask is an
            argument as others are, also one that a model in the model was called with;
            `training` is there only if a model sets it.
        outputs: structure of symbols.
        wrappers: the `TimeDistributed` layers that it is within, outermost first. Its
            symbols have the axes that these fold into the batch.
        called: what the model calls: the layer, or a wrapper around it alone.
        n_folded: number of axes that wrappers around whole models fold before.
        turn: when Keras makes it: its number among the calls of the model, and in each
            of the models that it is within. `Calls` are in the order of layers.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> (call,) = calls(model)
        >>> call.inputs[0].shape, call.symbols[0].shape
        ((None, 3), (None, 2))
    """

    operation: Any
    name: str
    path: str
    args: tuple
    kwargs: dict[str, Any]
    outputs: Any
    wrappers: tuple[keras.layers.TimeDistributed, ...]
    called: Any
    n_folded: int
    turn: tuple[int, ...]

    @cached_property
    def inputs(self) -> list[Symbol]:
        """The symbols that it takes, in the order of its arguments."""
        return symbols_in((self.args, self.kwargs))

    @cached_property
    def symbols(self) -> list[Symbol]:
        """Those that it gives."""
        return symbols_in(self.outputs)

    @property
    def per_step(self) -> bool:
        """Whether it is applied to every step of time by itself."""
        return bool(self.wrappers)


@dataclass(frozen=True, eq=False)
class Calls:
    """The calls of a model, sources first.

    Attributes:
        model: the model.
        inputs, outputs: symbols by the names that Keras gives them.
        calls: in order.

    Example:
        >>> x = keras.Input((3,), name="x")
        >>> found = calls(keras.Model(x, keras.layers.Dense(2, name="y")(x) + 1))
        >>> list(found.inputs), [call.name for call in found], list(found.outputs)
        (['x'], ['y', 'add'], ['add'])
    """

    model: keras.Model
    inputs: dict[str, Symbol]
    outputs: dict[str, Symbol]
    calls: tuple[Call, ...]

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def __getitem__(self, name: str) -> Call:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, Call]:
        return {call.name: call for call in self.calls}

    @cached_property
    def makers(self) -> dict[int, Call]:
        """By the `id` of a symbol, the call that gives it; inputs have none."""
        return {id(symbol): call for call in self.calls for symbol in call.symbols}

    @property
    def takes_dict(self) -> bool:
        """Whether the model takes its inputs by name."""
        return isinstance(_structure_at(self.model, "input"), dict)

    @property
    def gives_dict(self) -> bool:
        """Whether it gives its outputs by name."""
        return isinstance(_structure_at(self.model, "output"), dict)

    @cached_property
    def last_uses(self) -> dict[str, tuple[int, ...]]:
        """By the name of a call, `id`s of the symbols that nothing takes after it."""
        last: dict[int, str] = {}
        for call in self.calls:
            for symbol in (*call.symbols, *call.inputs):
                last[id(symbol)] = call.name
        for symbol in self.outputs.values():
            last.pop(id(symbol), None)
        uses: dict[str, tuple[int, ...]] = {}
        for key, name in last.items():
            uses[name] = (*uses.get(name, ()), key)
        return uses


def calls(model: keras.Model, nested: bool = True) -> Calls:
    """The calls of a model.

    Args:
        model: functional or `keras.Sequential`, or of a class without a call of its
            own that is one of these.
        nested: whether models in it are taken apart, too.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not built, so that its shapes are not known.
        NotImplementedError: if it has a call of its own.
    """
    check_built(model)
    if is_opaque(model):
        raise NotImplementedError(
            f"Model {model.name!r} ({type(model).__name__}) has a call of its own,"
            " whose layers cannot be told apart. Build it with keras.Model(inputs,"
            " outputs) or keras.Sequential from layers."
        )
    walk = _Walk(nested)
    inputs, outputs = walk.model(model)
    names = _input_names(model)
    ends: dict[str, Symbol] = {}
    for key, (name, symbol) in zip(_output_keys(model), outputs, strict=True):
        # What the model returns as it came has the name of the input.
        place = [i for i, source in enumerate(inputs) if source is symbol]
        ends[unused(key or name or names[place[0]], ends, ":")] = symbol
    sources = dict(zip(names, inputs, strict=True))
    return Calls(model, sources, ends, tuple(walk.calls.values()))


def is_opaque(operation: Any) -> bool:
    """Whether an operation is a model with a call of its own, or no shapes."""
    if not isinstance(operation, keras.Model):
        return False
    own = [k for k in type(operation).__mro__ if k.__module__.split(".")[0] != "keras"]
    called = any("call" in vars(klass) for klass in own)
    return called or not getattr(operation, "inputs", ())


def symbols_in(structure: Any) -> list[Symbol]:
    """The symbols in a structure, in order."""
    return [
        leaf
        for leaf in keras.tree.flatten(structure)
        if isinstance(leaf, keras.KerasTensor)
    ]


def _structure_at(model: keras.Model, end: str) -> Any:
    """`input` or `output` of a functional model; a `Sequential` has one."""
    return None if isinstance(model, keras.Sequential) else getattr(model, end)


def _input_names(model: keras.Model) -> list[str]:
    structure = _structure_at(model, "input")
    if isinstance(structure, dict) and len(structure) == len(model.inputs):
        return sorted(structure)  # as Keras flattens it
    if isinstance(model, keras.Sequential):
        # `layers` of a Sequential leaves out its input.
        first = keras.Model.layers.fget(model)[0]
        return [first.name if isinstance(first, keras.layers.InputLayer) else "input"]
    layers = [x for x in model.layers if isinstance(x, keras.layers.InputLayer)]
    names = {id(layer.output): layer.name for layer in layers}
    return [names.get(id(symbol), symbol.name) for symbol in model.inputs]


def _output_keys(model: keras.Model) -> list[str]:
    """Names of the outputs, "" for those that are named after their layers."""
    structure = _structure_at(model, "output")
    if isinstance(structure, dict):
        return [
            str(key)
            for key in sorted(structure)
            for _ in keras.tree.flatten(structure[key])
        ]
    return [""] * len(model.outputs)


class _Noted(keras.Operation):
    """Stands for an operation that is not to be called itself, which would show."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def compute_output_spec(self, *args, **kwargs):
        return self.operation.compute_output_spec(*args, **kwargs)

    def call(self, *args, **kwargs):
        return self.operation(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class _Note:
    """A call in the trace of one model."""

    called: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: Any
    turn: tuple[int, ...]

    @property
    def results(self) -> list[Symbol]:
        return symbols_in(self.outputs)


def _parameters(operation) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(type(operation).call).parameters


def _chosen(operation, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keywords of a call without `training`, if the model leaves that open.

    Keras writes down the default of the layer, and goes by the model's own.
    """
    if "training" not in kwargs:
        return kwargs
    parameter = _parameters(operation).get("training")
    default = None if parameter is None else parameter.default
    if any(kwargs["training"] is value for value in (None, False, default)):
        return {name: value for name, value in kwargs.items() if name != "training"}
    return kwargs


def _in_order(notes: list[_Note], operations: list) -> list[_Note]:
    """Notes in the order of a model's operations, as far as sources come first."""
    place = {id(operation): i for i, operation in enumerate(operations)}
    maker = {id(y): i for i, note in enumerate(notes) for y in note.results}
    needs = [
        {maker[id(x)] for x in symbols_in((n.args, n.kwargs)) if id(x) in maker}
        for n in notes
    ]
    waiting = sorted(range(len(notes)), key=lambda i: place[id(notes[i].called)])
    waiting.reverse()
    order: dict[int, _Note] = {}
    while waiting:
        i = waiting[-1]
        missing = [need for need in needs[i] if need not in order]
        if i not in order and not missing:
            order[i] = notes[i]
        if missing:
            waiting += sorted(missing, reverse=True)
        else:
            waiting.pop()
    return list(order.values())


@dataclass
class _Walk:
    """Notes the calls of a model, and of the models in it.

    Each model is traced on symbols of its own, without the axes that wrappers fold into
    the batch. What is noted are the symbols of the outermost model instead, or others
    that have these axes.

    Attributes:
        nested: whether models in the model are taken apart.
        calls: by name, in order.
        noted: by the `id` of a symbol of a trace, what is noted in its place.
        masks: by the `id` of what is noted, its mask, within and after a model that is
            called with one: Keras writes down only those that layers of a model make.
        alive: the symbols of all traces, so that no `id` is used twice.
    """

    nested: bool = True
    calls: dict[str, Call] = field(default_factory=dict)
    noted: dict[int, Symbol] = field(default_factory=dict)
    masks: dict[int, Symbol] = field(default_factory=dict)
    alive: list[Any] = field(default_factory=list)

    def model(
        self,
        model,
        sources=None,
        prefix: str = "",
        wrappers: tuple = (),
        turn: tuple = (),
        training: bool | None = None,
    ):
        """Notes the calls of a model.

        Args:
            model: that can be taken apart.
            sources: the symbols of its inputs, in this trace, or None for fresh ones.
            prefix: of paths.
            wrappers, turn: of the model, as of a `Call`.
            training: what it is called with.

        Returns:
            Its inputs; and of each output the name of the layer, or "" if it is an
            input, and what is noted for it.
        """
        notes: list[_Note] = []

        def note(operation, *args, **kwargs):
            outputs = _Noted(operation)(*args, **kwargs)
            if training is not None and "training" in _parameters(operation):
                kwargs["training"] = training
            kwargs, place = _chosen(operation, kwargs), (*turn, len(notes))
            notes.append(_Note(operation, args, kwargs, outputs, place))
            return outputs

        # Without what the model was compiled with, which would be cloned, too.
        bare = keras.Model(model.inputs, model.outputs)
        clone = keras.models.clone_model(
            bare,
            input_tensors=sources,
            clone_function=lambda operation: operation,
            call_function=note,
        )
        self.alive.append((clone, notes))
        for one in _in_order(notes, bare.operations):
            self.operation(one, prefix, wrappers)
        names = {id(y): one.called.name for one in notes for y in one.results}
        ends = [(names.get(id(y), ""), self._of(y)) for y in clone.outputs]
        return clone.inputs, ends

    def operation(self, note: _Note, prefix: str, outer: tuple) -> None:
        """Notes what the call of one operation stands for."""
        path, operation, wrappers = prefix + note.called.name, note.called, outer
        while _folds(operation):
            wrappers = (*wrappers, operation)
            operation = operation.layer
        is_model = self.nested and isinstance(operation, keras.Model)
        if is_model and _comes_apart(operation, note):
            n_axes = len(wrappers) - len(outer)
            self._nested(operation, note, f"{path}/", wrappers, n_axes)
            return
        args, kwargs = keras.tree.map_structure(self._of, (note.args, note.kwargs))
        kwargs = self._with_mask(note.called, args, kwargs)
        self._unfold(note.outputs, symbols_in((args, kwargs)), len(outer))
        name = unused(path, self.calls, ":")
        self.calls[name] = Call(
            operation=operation,
            name=name,
            path=path,
            args=args,
            kwargs=kwargs,
            outputs=keras.tree.map_structure(self._of, note.outputs),
            wrappers=wrappers,
            called=note.called,
            n_folded=len(outer),
            turn=note.turn,
        )
        self._mask_outputs(self.calls[name], prefix)

    def _nested(self, model, note: _Note, prefix, wrappers, n_axes: int) -> None:
        """Notes the calls of a model in the model.

        Args:
            n_axes: number of axes that are folded into its batch.
        """
        tensors = symbols_in(note.args)
        masks = keras.tree.flatten(note.kwargs.get("mask"))
        for tensor, mask in zip(tensors, masks, strict=False):
            if mask is not None:
                self.masks[id(self._of(tensor))] = self._of(mask)
        sources = [self._source(tensor, n_axes) for tensor in tensors]
        place = prefix, wrappers, note.turn
        _, ends = self.model(model, sources, *place, note.kwargs.get("training"))
        for symbol, (_, end) in zip(symbols_in(note.outputs), ends, strict=True):
            self.noted[id(symbol)] = end

    def _source(self, tensor: Symbol, n_axes: int = 0) -> Symbol:
        """A fresh symbol, without axes that are folded, for a trace to begin with."""
        shape = (tensor.shape[0], *tensor.shape[1 + n_axes :])
        source = keras.Input(batch_shape=shape, dtype=tensor.dtype)
        self.noted[id(source)] = self._of(tensor)
        self.alive.append(source)
        return source

    def _mask(self, leaf):
        return self.masks.get(id(leaf))

    def _with_mask(self, operation, args: tuple, kwargs: dict) -> dict[str, Any]:
        """Keywords of a call, with the mask that the one tensor it takes has."""
        masks = keras.tree.map_structure(self._mask, args[:1])
        if (
            "mask" not in _parameters(operation)
            or symbols_in((args[1:], kwargs))
            or not symbols_in(masks)
        ):
            return kwargs
        return kwargs | {"mask": masks[0]}

    def _mask_outputs(self, call: Call, prefix: str) -> None:
        """Notes the masks of what a layer gives, and the operations that make them."""
        inputs = call.args[:1]
        masks = keras.tree.map_structure(self._mask, inputs)
        if not symbols_in(masks) or not getattr(call.called, "supports_masking", False):
            return
        fresh = keras.tree.map_structure(
            lambda leaf: leaf if leaf is None else self._source(leaf), (inputs, masks)
        )
        made = call.called.compute_mask(fresh[0][0], fresh[1][0])
        pairs = zip(call.symbols, keras.tree.flatten(made), strict=False)
        for symbol, mask in pairs:
            if mask is None:
                continue
            sources, turn = symbols_in(fresh), (*call.turn, len(self.calls))
            maker = keras.Model(sources, mask)
            _, ((_, end),) = self.model(maker, sources, prefix, call.wrappers, turn)
            self.masks[id(symbol)] = end

    def _of(self, leaf):
        """What is noted in the place of a symbol of a trace."""
        return self.noted.get(id(leaf), leaf)

    def _unfold(self, outputs, inputs: list[Symbol], n_folded: int) -> None:
        """Gives outputs of a trace the axes that are folded in it."""
        if not n_folded:
            return
        axes = tuple(inputs[0].shape[1 : 1 + n_folded])
        for symbol in symbols_in(outputs):
            first, *features = symbol.shape
            shape = (first, *axes, *features)
            self.noted[id(symbol)] = Symbol(shape, dtype=symbol.dtype)


def _folds(operation) -> bool:
    """Whether it applies a layer to every step, and does nothing else."""
    kind = keras.layers.TimeDistributed
    return isinstance(operation, kind) and type(operation).call in (
        kind.call,
        PerStep.call,
    )


def _comes_apart(model, note: _Note) -> bool:
    """Whether the calls of a model's layers are all that a call of it is."""
    known = set() if _folds(note.called) else {"mask", "training"}
    # Keras writes down a mask of None for each input of a model.
    further = any(
        not (value is None or value is False)
        for name, argument in note.kwargs.items()
        if name not in known
        for value in keras.tree.flatten(argument)
    )
    if is_opaque(model) or further or len(note.args) != 1:
        return False
    # To integers a model rounds what it is called with.
    kinds = [
        [keras.backend.is_float_dtype(x.dtype) for x in symbols]
        for symbols in (symbols_in(note.args), model.inputs)
    ]
    return kinds[0] == kinds[1]
