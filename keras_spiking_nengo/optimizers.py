"""Optimizers that train weights in units of their own size.

Adam and its kin move every number by about the learning rate in each step, however
large it is. That is made for weights of 0.05 to 1. Decoders of Nengo are a thousand
times smaller: a step of 0.001 is many times what they are, and a network that was right
is lost after the first. With `u` the size of an array `w`, its root mean square,

    v = w / u,    v <- v + step(dL/dv) = v + step(u dL/dw),    w = u v

is the same step for all of them, relative to what they are. Sizes are rounded to powers
of two, so that going from `w` to `v` and back rounds nothing.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.checks import check_kind, checked_items, from_keras
from keras_spiking_nengo.saving import registered

__all__ = ["in_own_units"]

# Those of Keras whose step is about the learning rate, whatever the size of gradients
# and weights, or is so in its first steps, and their kinds. Not among them: SGD. Not
# helped: Ftrl, which makes weights from gradients alone, whatever they were before.
_STEPS_ALIKE = (
    *(keras.optimizers.Adadelta, keras.optimizers.Adafactor, keras.optimizers.Adagrad),
    *(keras.optimizers.Adam, keras.optimizers.AdamW, keras.optimizers.Adamax),
    *(keras.optimizers.Ftrl, keras.optimizers.Lamb, keras.optimizers.Lion),
    *(keras.optimizers.Muon, keras.optimizers.Nadam, keras.optimizers.RMSprop),
    keras.optimizers.ScheduleFreeAdamW,
)


def in_own_units(
    optimizer: str | keras.optimizers.Optimizer,
    model: keras.Model,
    weights: Iterable[keras.Variable] | None = None,
) -> keras.optimizers.Optimizer:
    """Makes an optimizer train weights of a model in units of their own size.

    Weights stay what they are, in models and files; only steps are measured in other
    units, which are those of now, and are saved with the optimizer. Gradients are
    clipped in these units.

    Args:
        optimizer: of Keras, or its name. It is changed itself, and keeps its state.
        model: that it will train.
        weights: which of its trainable variables. Defaults to all. An array of zeros,
            and one with a constraint, keeps the unit 1, as do those left out.

    Returns:
        The optimizer.

    Raises:
        TypeError: for what is no optimizer or no model.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> model.set_weights([0.001 * w for w in model.get_weights()])
        >>> model.compile(in_own_units("adam", model), "mse")

    Reference:
        Kingma and Ba (2015), *Adam: a method for stochastic optimization*, ICLR (steps
        do not depend on the size of gradients); You et al. (2020), *Large batch
        optimization for deep learning*, ICLR (steps relative to the size of weights).
    """
    check_kind("model", model, keras.Model, "a keras.Model")
    optimizer = checked_optimizer("optimizer", optimizer)
    variables = model.trainable_variables
    said = "some of the model's trainable variables, or None"
    weights = checked_items("weights", variables if weights is None else weights, said)
    for weight in weights:
        check_kind("weights", weight, keras.Variable, said)
    chosen = {id(weight) for weight in weights}
    sizes = [_size(v) if id(v) in chosen else 1.0 for v in variables]
    optimizer = _with_units(optimizer, sizes)
    optimizer.name_units(variables)
    return optimizer


def checked_optimizer(name: str, value: Any) -> keras.optimizers.Optimizer:
    """An optimizer, of Keras or by its name.

    Raises:
        TypeError, ValueError: for anything else.
    """
    optimizer = from_keras(name, keras.optimizers.get, value)
    possible = "a keras.optimizers.Optimizer or its name"
    check_kind(name, optimizer, keras.optimizers.Optimizer, possible)
    return optimizer


def steps_alike(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the step of an optimizer does not depend on the size of gradients.

    Example:
        >>> steps_alike(keras.optimizers.Adam()), steps_alike(keras.optimizers.SGD())
        (True, False)
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return steps_alike(optimizer.inner_optimizer)
    return isinstance(optimizer, _STEPS_ALIKE)


def _size(weight: keras.Variable) -> float:
    """Root mean square, as the power of two nearest to it."""
    array = np.asarray(ops.convert_to_numpy(weight), "float64")
    size = float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0
    if weight.constraint is not None or not 0 < size < math.inf:
        return 1.0
    return 2.0 ** round(math.log2(size))


def _with_units(optimizer: Any, sizes: Sequence[float]) -> Any:
    """The optimizer, which knows the units of a model's trainable variables."""
    if not isinstance(optimizer, InOwnUnits):
        # Not a new one: whoever made it may hold it, to change its learning rate.
        base: Any = type(optimizer)
        optimizer.__class__ = _over(base)
    # Past Keras, which would track them.
    object.__setattr__(optimizer, "sizes", tuple(sizes))
    object.__setattr__(optimizer, "units", {})
    return optimizer


@functools.cache
def _over(base: Any) -> type:
    """A class of optimizers in their own units over one of Keras's or the user's."""
    # All are one class in files, where `from_config` finds the base.
    return registered()(type("InOwnUnits", (InOwnUnits, base), {}))


@registered()
class InOwnUnits(keras.optimizers.Optimizer):
    """What `in_own_units` makes of the class of an optimizer, which is its second base.

    Attributes:
        sizes: units of the trainable variables of a model, in order.
        units: of those variables whose unit is not 1, by path.
    """

    sizes: tuple[float, ...]
    units: dict[str, float]
    _variables_built_on: tuple = ()

    def name_units(self, variables: Sequence[keras.Variable]) -> None:
        """Say whose the `sizes` are."""
        paths = [variable.path for variable in variables]
        if len(paths) != len(self.sizes):
            raise ValueError(
                f"This optimizer has units of {len(self.sizes)} weights, and is to"
                f" train {len(paths)}: {paths}. Give the model another one, by"
                " in_own_units(optimizer, model), when what is trained has changed."
            )
        pairs = zip(paths, self.sizes, strict=True)
        self.units.update({path: size for path, size in pairs if size != 1})

    def build(self, variables):
        variables = tuple(variables)
        if not self.units and any(size != 1 for size in self.sizes):
            self.name_units(variables)  # it is from a file, and they are made anew
        # In units, as some optimizers begin with copies of the weights.
        units = [self.units.get(variable.path, 1.0) for variable in variables]
        _multiply(variables, [1 / u for u in units])
        super().build(variables)
        _multiply(variables, units)
        object.__setattr__(self, "_variables_built_on", variables)

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                self.build(trainable_variables)
        variables = trainable_variables or self._variables_built_on
        units = [self.units.get(variable.path, 1.0) for variable in variables]
        pairs = zip(grads, units, strict=True)
        grads = [g if u == 1 or g is None else g * u for g, u in pairs]
        _multiply(variables, [1 / u for u in units])
        super().apply(grads, trainable_variables)
        _multiply(variables, units)

    def finalize_variable_values(self, var_list):
        super().finalize_variable_values(var_list)
        if self.use_ema:  # the averages, which it has put in their place, are in units
            _multiply(var_list, [self.units.get(v.path, 1.0) for v in var_list])

    def get_config(self):
        base = type(self).__bases__[1]
        plain: Any = object.__new__(base)
        vars(plain).update(vars(self))
        config = keras.optimizers.serialize(plain)
        return {"optimizer": config, "sizes": list(self.sizes)}

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        base = keras.optimizers.deserialize(config["optimizer"], custom_objects)
        return _with_units(base, config["sizes"])


def _multiply(variables: Iterable[Any], factors: Iterable[float]) -> None:
    for variable, factor in zip(variables, factors, strict=True):
        if factor != 1:
            variable.assign(variable * factor)
