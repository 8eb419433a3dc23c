"""Data sets whose elements are changed on their way to Keras."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
from nengo.exceptions import ValidationError

__all__ = ["is_data_set", "with_elements"]


def is_data_set(x: Any) -> bool:
    """Whether `x` gives batches: no array, and nothing that holds some."""
    if isinstance(x, dict | list | tuple | str | bytes | type) or hasattr(x, "shape"):
        return False
    return any(hasattr(x, way) for way in ("__iter__", "__getitem__", "__next__"))


def with_elements(data_set: Any, change: Callable[[Any], tuple], argument: str) -> Any:
    """A data set of the same kind, with each element as `change` returns it.

    Args:
        data_set: `keras.utils.PyDataset`, `tf.data.Dataset`, or what gives its elements
            one after the other, such as a generator.
        change: from an element, `x` or `(x, [y, [sample_weight]])`, to such a tuple.
        argument: whose value the data set is, for messages.
    """
    if isinstance(data_set, keras.utils.PyDataset):
        return _ChangedBatches(data_set, change)
    if hasattr(data_set, "element_spec") and hasattr(data_set, "map"):
        return _mapped(data_set, change)
    if isinstance(data_set, Iterator):
        return (change(element) for element in data_set)
    raise ValidationError(
        "a data set is a keras.utils.PyDataset, a tf.data.Dataset or a generator, each"
        f" of (x, y[, sample_weight]); received a {type(data_set).__name__}.",
        attr=argument,
    )


def _mapped(data_set: Any, change: Callable[[Any], tuple]) -> Any:
    """Of TensorFlow's, whose elements are symbols when they are changed."""
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert
    def changed(*parts):
        return change(parts if len(parts) > 1 else parts[0])

    return data_set.map(changed)


class _ChangedBatches(keras.utils.PyDataset):
    """Another data set, with its elements changed."""

    def __init__(self, batches: keras.utils.PyDataset, change: Callable[[Any], tuple]):
        super().__init__(
            workers=batches.workers,
            use_multiprocessing=batches.use_multiprocessing,
            max_queue_size=batches.max_queue_size,
        )
        self._batches, self._change = batches, change

    @property
    def num_batches(self):
        return self._batches.num_batches

    def __getitem__(self, index):
        return self._change(self._batches[index])

    def on_epoch_begin(self):
        self._batches.on_epoch_begin()

    def on_epoch_end(self):
        self._batches.on_epoch_end()
