"""What is done around the epochs of `fit`: steps are changed, spikes are looked at."""

import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.checks import (
    check_float,
    checked_count,
    checked_dt,
    checked_path,
    checked_switch,
    is_number,
    one_of,
    positive,
)
from keras_spiking_nengo.layers import Neurons, NeuronsCell, SynapseCell
from keras_spiking_nengo.layers.base import Cell
from keras_spiking_nengo.layers.encoders.encoder import EncoderCell
from keras_spiking_nengo.layers.trained_delays import TrainedDelays
from keras_spiking_nengo.models.predictions import traced_ahead
from keras_spiking_nengo.training.metrics import chosen_layers, listed, watch

__all__ = ["DeadLayers", "DtScheduler", "NarrowDelays", "SpikeSummaries"]

Layers = Iterable[keras.Layer | str] | None
# Cells that take another dt after they were built.
_CHANGEABLE = (EncoderCell, NeuronsCell, SynapseCell)


class DtScheduler(keras.callbacks.Callback):
    """Changes the length of a step between epochs.

    With large steps a neuron fires in most of them, with low spikes: its output is
    nearly a rate, and is trained easily. Towards the end of training the steps become
    what they will be. The number of steps stays: with `dt` a sequence changes its
    duration.

    Each new `dt` compiles the model's functions anew, so a schedule of few values is
    best. The schedule's value is in the logs and the history as `"dt"`. What is saved
    during training has the present `dt`. After training, each layer gets back the `dt`
    that it had before, which is to be the true one, unless `restore=False`. If training
    is interrupted, the last `dt` stays: put `layer.cell.dt` back yourself.

    Other models that share the layers keep the `dt` that their functions were compiled
    with: call their `make_predict_function(force=True)`, and so on, for the present
    one.

    Args:
        schedule: function of the epoch, from 0 on, that gives `dt` in seconds, such as
            a `keras.optimizers.schedules.LearningRateSchedule`; or a sequence, whose
            last value holds for all later epochs.
        layers: layers, or their names, with `Neurons`, `Synapse` or encoder cells.
            Defaults to all of the model and of models and wrappers in it; a layer of
            your own that has such layers inside is not looked into.
        verbose: 1 to print each change. Defaults to 0.
        restore: whether layers get their `dt` back. Defaults to True.

    Raises:
        TypeError: if `schedule` is neither function nor sequence.
        ValueError: for a sequence with what is no step length; when training begins, if
            there is no layer to change, or one that cannot change, as a `Network`,
            whose `dt` is in what Nengo built; when a value of the schedule is refused
            by a layer.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((10, 3)), ksn.layers.Neurons(dt=0.001),
        ... ])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(
        ...     np.ones((2, 10, 3)), np.zeros((2, 3)), epochs=2, verbose=0,
        ...     callbacks=[ksn.callbacks.DtScheduler([0.01, 0.001])],
        ... )
        >>> history.history["dt"]
        [0.01, 0.001]

    Reference:
        Voelker, Rasmussen and Eliasmith (2020), *A spike in performance: training
        hybrid-spiking neural networks with quantized activation functions*,
        arXiv:2002.03553.
    """

    def __init__(
        self,
        schedule: Callable[[int], Any] | Sequence[float],
        layers: Layers = None,
        verbose: int = 0,
        restore: bool = True,
    ):
        super().__init__()
        if not callable(schedule):
            text = isinstance(schedule, str | bytes)
            several = isinstance(schedule, Sequence) and not text
            if not several or not schedule:
                raise TypeError(
                    "schedule is a function of the epoch, or a sequence of one or more"
                    f" step lengths in seconds; received {schedule!r}."
                )
            schedule = [_checked_step(dt) for dt in schedule]
        self.schedule = schedule
        self.layers = None if layers is None else listed(layers)
        self.verbose = one_of("verbose", verbose, (0, 1, 2, False, True))
        self.restore = checked_switch("restore", restore)
        self._before: list[tuple[Cell, float]] = []

    def on_train_begin(self, logs=None):
        cells = _cells_to_change(self.model, self.layers)
        self._before = [(cell, cell.dt) for cell in cells]

    def on_epoch_begin(self, epoch, logs=None):
        self._dt = self._at(epoch)
        self._set((cell, self._dt) for cell, _ in self._before)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: DtScheduler sets dt to {self._dt:g} s.")

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["dt"] = self._dt

    def on_train_end(self, logs=None):
        if self.restore:
            self._set(self._before)

    def _at(self, epoch: int) -> float:
        if callable(self.schedule):
            return _checked_step(float(ops.convert_to_numpy(self.schedule(epoch))))
        return self.schedule[min(epoch, len(self.schedule) - 1)]

    def _set(self, values: Iterable[tuple[Cell, float]]) -> None:
        changed = [(cell, dt) for cell, dt in values if cell.dt != dt]
        for cell, dt in changed:
            cell.dt = dt
        if changed:
            _forget_compiled(self.model)


def _checked_step(dt) -> float:
    try:
        return checked_dt(dt)
    except ValueError as error:
        raise ValueError(f"schedule has a value that is no step: {error}") from error


_STEPS = ("train_step", "test_step")


def _forget_compiled(model) -> None:
    """Make the model's functions anew, to be compiled at their next call."""
    overrides = {name: vars(model)[name] for name in _STEPS if name in vars(model)}
    for name in _STEPS:
        # JAX takes a function for compiled if it equals one that is, as methods of a
        # model do; a partial equals itself only.
        setattr(model, name, functools.partial(getattr(model, name)))
    model.make_train_function(force=True)
    model.make_test_function(force=True)
    model.make_predict_function(force=True)
    for name in _STEPS:
        delattr(model, name)
    vars(model).update(overrides)


def _cells_to_change(model, layers: Layers) -> list[Cell]:
    chosen = _layers_named(model, layers)
    within = _layers_within(model, layers)
    cells = list({id(x): x for x in within if _has_step(x)}.values())
    for cell in cells:
        if not isinstance(cell, _CHANGEABLE):
            raise ValueError(
                f"A {type(cell).__name__} keeps the dt={cell.dt:g} s that it was made"
                " with. Name the layers to change, layers=[...], and make the others"
                " with the dt that is to hold."
            )
    if not cells:
        names = [layer.name for layer in chosen]
        raise ValueError(
            "DtScheduler changes Neurons, Synapse and encoder layers; there is none in"
            f" {names}."
        )
    return cells


class NarrowDelays(keras.callbacks.Callback):
    """Narrows the delays of layers while they are trained.

    Each delay is a Gaussian over steps (`ksn.layers.DelayedDense`), wide at first, so
    that it finds out where to go. From epoch to epoch its standard deviation is
    multiplied by the same factor, from what it is when training begins to `end`; then
    it stays. It is in the logs and the history as `"sigma"`, of the first such layer.

    Args:
        epochs: int. Epochs until the end is reached. Defaults to None, three quarters
            of those of `fit`.
        end: float, seconds. Defaults to None, half a step of each layer.
        layers: layers, or their names. Defaults to all with delays that are trained, of
            the model and of models and wrappers in it.
        round_at_end: bool. Whether delays become whole steps when training ends, as
            with `round_delays()`. Defaults to False.

    Raises:
        ValueError: if `epochs` or `end` is not positive; when training begins, if there
            is no layer whose delays are trained, or one that has been rounded.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((10, 3)),
        ...     ksn.layers.DelayedDense(2, max_delay=0.004, return_sequences=True),
        ... ])
        >>> model.compile("adam", "mse")
        >>> history = model.fit(
        ...     np.ones((2, 10, 3)), np.ones((2, 10, 2)), epochs=4, verbose=0,
        ...     callbacks=[ksn.callbacks.NarrowDelays(round_at_end=True)],
        ... )
        >>> np.round(history.history["sigma"], 6).tolist()
        [0.002, 0.001, 0.0005, 0.0005]

    Reference:
        Hammouamri, Khalfaoui-Hassani and Masquelier (2024), *Learning delays in spiking
        neural networks using dilated convolutions with learnable spacings*, ICLR.
    """

    def __init__(
        self,
        epochs: int | None = None,
        end: float | None = None,
        layers: Layers = None,
        round_at_end: bool = False,
    ):
        super().__init__()
        self.epochs = None if epochs is None else checked_count("epochs", epochs)
        self.end = None if end is None else positive("end", end, "s")
        self.layers = None if layers is None else listed(layers)
        self.round_at_end = checked_switch("round_at_end", round_at_end)
        self._starts: list[tuple[TrainedDelays, float]] = []

    def on_train_begin(self, logs=None):
        chosen = _delays_in(_layers_within(self.model, self.layers))
        if not chosen:
            raise ValueError(
                "NarrowDelays narrows delays that are trained, as of DelayedDense;"
                f" there are none in {[layer.name for layer in self.model.layers]}."
            )
        if any(delays.rounded for delays in chosen):
            raise ValueError(
                "NarrowDelays narrows delays that are trained; received layers with"
                " delays that are rounded. Name the others, layers=[...], or give"
                " delays a width: layer.cell.delays.narrow(sigma)."
            )
        self._starts = [(x, float(ops.convert_to_numpy(x.sigma))) for x in chosen]

    def on_epoch_begin(self, epoch, logs=None):
        epochs = self.epochs or max(1, int(0.75 * self.params["epochs"]))
        share = min(1.0, epoch / max(1, epochs - 1))
        for delays, start in self._starts:
            end = min(start, self.end or delays.dt / 2)
            delays.narrow(start * (end / start) ** share)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["sigma"] = float(ops.convert_to_numpy(self._starts[0][0].sigma))

    def on_train_end(self, logs=None):
        if self.round_at_end:
            for delays, _ in self._starts:
                delays.round()


def _delays_in(layers: Iterable[keras.Layer]) -> list[TrainedDelays]:
    """Of layers and cells, once each."""
    found = [getattr(layer, "delays", None) for layer in layers]
    return list({id(x): x for x in found if isinstance(x, TrainedDelays)}.values())


def _has_step(layer) -> bool:
    return isinstance(layer, Cell) and hasattr(layer, "dt")


def _layers_named(model, layers: Layers) -> list[keras.Layer]:
    """Layers from themselves or their names; those of the model for None."""
    if layers is None:
        return list(model.layers)
    named = {layer.name: layer for layer in _layers_in(model)}
    return [_layer_named(named, x) if isinstance(x, str) else x for x in layers]


def _layers_within(model, layers: Layers) -> list[keras.Layer]:
    """Chosen layers, and all that are in them."""
    return [layer for top in _layers_named(model, layers) for layer in _layers_in(top)]


def _layer_named(layers: dict[str, keras.Layer], name: str) -> keras.Layer:
    if name not in layers:
        raise ValueError(f"There is no layer {name!r}; there are {sorted(layers)}.")
    return layers[name]


def _layers_in(layer) -> Iterator[keras.Layer]:
    """A layer and all that are in it."""
    yield layer
    for inner in _inner(layer):
        yield from _layers_in(inner)


def _inner(layer) -> list[keras.Layer]:
    if isinstance(layer, keras.Model):
        return layer.layers
    if isinstance(layer, keras.layers.Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    if isinstance(layer, keras.layers.Wrapper):
        return [layer.layer]
    if isinstance(layer, keras.layers.StackedRNNCells):
        return layer.cells
    return [layer.cell] if isinstance(layer, keras.layers.RNN) else []


class _Observer(keras.callbacks.Callback):
    """Runs the model on data, and looks at the activity of its layers."""

    def __init__(self, x: Any, layers: Layers):
        super().__init__()
        self.x = _checked_data(x)
        self.layers = None if layers is None else listed(layers)

    def on_train_begin(self, logs=None):
        self._chosen = chosen_layers(self.model, self.layers)
        self._watched = watch(self.model, self._chosen)
        self._compiled_for: list[float] = []
        self._dead: set[str] = set()

    def _activities(self) -> dict[str, np.ndarray]:
        """By layer, `(batch, time, *features)`; warns of what is dead, once."""
        steps = [x.dt for x in _layers_in(self._watched) if _has_step(x)]
        if steps != self._compiled_for:
            # A DtScheduler has changed what is computed.
            self._watched.make_predict_function(force=True)
            self._compiled_for = steps
        outputs = _predicted(self._watched, self.x)
        activities = {layer.name: outputs[layer.name] for layer in self._chosen}
        dead = {name for name, activity in activities.items() if not np.any(activity)}
        for name in sorted(dead - self._dead):
            warnings.warn(_DEAD_LAYER.format(name), stacklevel=2)
        self._dead |= dead
        return activities


_DEAD_LAYER = (
    "No neuron of layer {!r} fires on x, so that nothing after it has an input. Make"
    " its currents larger (weights and biases before it, a Rescaling), show more steps,"
    " or give it activity_regularizer=ksn.regularizers.FiringRate((5, 200), l1=0.01),"
    " which pushes silent neurons up."
)


class DeadLayers(_Observer):
    """Warns, before the first batch of `fit`, of layers in which no neuron fires.

    Such a layer sends nothing on, and learns only as far as the surrogate gradient
    reaches. The states of stateful layers are as before, and `x` has to be one of their
    batches.

    Args:
        x: input data, as for `model.predict`; a first batch is enough.
        layers: layers, or their names, as in `ksn.metrics.watch`. Defaults to all
            `ksn.layers.Neurons` that return sequences.

    Raises:
        TypeError: for `x` or `layers` of another kind.
        ValueError: when training begins, for layers that `watch` refuses.

    Warns:
        UserWarning: for each such layer, with what to change.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((10, 3)), ksn.layers.Neurons(return_sequences=True),
        ... ])
        >>> model.compile("sgd", "mse")
        >>> x = np.full((2, 10, 3), 5.0)
        >>> history = model.fit(
        ...     x, x, callbacks=[ksn.callbacks.DeadLayers(x)], verbose=0)

    Reference:
        Eshraghian et al. (2023), *Training spiking neural networks using lessons from
        deep learning*, Proceedings of the IEEE 111(9) (dead neurons).
    """

    def __init__(self, x: Any, layers: Layers = None):
        super().__init__(x, layers)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._activities()


class SpikeSummaries(_Observer):
    """Writes what neurons do on given data, for TensorBoard.

    At the end of an epoch, of each layer: `<layer>/firing_rate`, the mean rate, in Hz;
    `<layer>/firing_rates`, a histogram of the neurons' mean rates over the data; and
    `<layer>/raster`, an image of the first item of the data, time to the right, a row
    for each neuron (the first 256), black for the highest activity.

    Only TensorFlow is needed to write, on any backend of Keras; `tensorboard` shows.
    The states of stateful layers are as before, and `x` has to be one of their batches.

    Args:
        log_dir: folder for the event files.
        x: input data, as for `model.predict`. The same at each epoch, and few: all of
            the activities are held in memory.
        layers: layers, or their names, as in `ksn.metrics.watch`. Defaults to all
            `ksn.layers.Neurons` that return sequences. Rates of others than `Neurons`
            are the means of what they put out.
        every: int. Epochs from one summary to the next. Defaults to 1.

    Raises:
        ValueError: if `every` is not positive; when training begins, for layers that
            `watch` refuses.

    Warns:
        UserWarning: for a layer in which no neuron fires, as `DeadLayers`.

    Example:
        >>> import keras, numpy as np, tempfile, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((10, 3)), ksn.layers.Neurons(return_sequences=True),
        ... ])
        >>> model.compile("sgd", "mse")
        >>> x, folder = np.ones((2, 10, 3)), tempfile.mkdtemp()
        >>> summaries = ksn.callbacks.SpikeSummaries(folder, x)
        >>> history = model.fit(x, x, callbacks=[summaries], verbose=0)

    Reference:
        TensorBoard's scalars, histograms and images, www.tensorflow.org/tensorboard.
    """

    def __init__(
        self, log_dir: str | os.PathLike, x: Any, layers: Layers = None, every: int = 1
    ):
        super().__init__(x, layers)
        self.log_dir = str(checked_path("log_dir", log_dir))
        self.every = checked_count("every", every, "It is a number of epochs.")
        self._writer: Any = None

    def on_train_begin(self, logs=None):
        import tensorflow as tf

        super().on_train_begin(logs)
        self._writer = tf.summary.create_file_writer(self.log_dir)

    def on_epoch_end(self, epoch, logs=None):
        if epoch % self.every:
            return
        activities = self._activities()
        with self._writer.as_default(step=epoch):
            for layer in self._chosen:
                activity = activities[layer.name].astype("float32")
                _write(layer.name, np.abs(activity) / _amplitude(layer))
        self._writer.flush()

    def on_train_end(self, logs=None):
        self._writer.close()


def _checked_data(x):
    """Data that a model may take: whether this one does is known when it is trained."""
    leaves = keras.tree.flatten(x)
    arrays = [leaf for leaf in leaves if hasattr(leaf, "shape") or is_number(leaf)]
    if not arrays or len(arrays) < len(leaves) or is_number(x):
        raise TypeError(
            "x is input data, as for model.predict: an array, or a list or dict of"
            f" them; received {x!r}."
        )
    for array in arrays:
        check_float("x", getattr(array, "dtype", float))
    return x


def _predicted(model, x) -> dict[str, np.ndarray]:
    """The model's outputs, with its states as they were."""
    states = [
        variable
        for layer in _layers_in(model)
        if getattr(layer, "stateful", False)
        for variable in keras.tree.flatten(layer.states)
    ]
    before = [ops.convert_to_numpy(variable) for variable in states]
    with traced_ahead(model):
        outputs = model.predict(x, verbose=0)
    for variable, value in zip(states, before, strict=True):
        variable.assign(value)
    return outputs


def _amplitude(layer) -> np.ndarray | float:
    if not isinstance(layer, Neurons):
        return 1.0
    return ops.convert_to_numpy(layer.cell.parameters().get("amplitude", 1.0))


# TensorBoard's formats: name of the plugin that shows it, and DataClass.
_SCALAR, _HISTOGRAM, _IMAGE = ("scalars", 1), ("histograms", 2), ("images", 3)
_BINS = 30
_ROWS, _HEIGHT = 256, 64


def _write(name: str, rates: np.ndarray) -> None:
    """Summaries of `(batch, time, *features)` in Hz."""
    means = rates.mean(axis=(0, 1)).ravel()
    _summary(f"{name}/firing_rate", means.mean(), _SCALAR)
    # Training that has diverged is to be seen, and not to end here.
    counts, edges = np.histogram(means[np.isfinite(means)], _BINS)
    buckets = np.stack([edges[:-1], edges[1:], counts], axis=1)
    _summary(f"{name}/firing_rates", buckets.astype("float64"), _HISTOGRAM)
    _summary(f"{name}/raster", _png(_raster(rates[0])), _IMAGE)


def _raster(rates: np.ndarray) -> np.ndarray:
    """`(time, *features)` as a grey image `(rows, time, 1)`."""
    rows = np.nan_to_num(rates.reshape(len(rates), -1).T[:_ROWS])
    dark = rows / max(rows.max(), 1e-9)
    thick = -(-_HEIGHT // len(rows))
    image = 255 * (1 - np.repeat(dark, thick, axis=0))
    return np.round(image).astype("uint8")[..., None]


def _png(image: np.ndarray) -> list:
    """Width, height and file, as TensorBoard has images."""
    import tensorflow as tf

    height, width, _ = image.shape
    return [str(width), str(height), tf.io.encode_png(image).numpy()]


def _summary(tag: str, value: Any, kind: tuple[str, int]) -> None:
    # Not tf.summary.scalar and its like, which need TensorBoard to be installed.
    import tensorflow as tf

    plugin, data_class = kind
    metadata = tf.compat.v1.SummaryMetadata(data_class=data_class)
    metadata.plugin_data.plugin_name = plugin
    tf.summary.write(tag, value, metadata=metadata)
