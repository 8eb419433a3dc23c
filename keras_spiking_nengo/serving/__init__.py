"""Models that leave Python: streams, and files for other runtimes."""

from keras_spiking_nengo.serving.formats import export
from keras_spiking_nengo.serving.model_files import save
from keras_spiking_nengo.serving.step import Step
from keras_spiking_nengo.serving.stream import Stream
from keras_spiking_nengo.serving.streaming import export_streaming
from keras_spiking_nengo.serving.tensors import NamedTensor
from keras_spiking_nengo.serving.tensors import NamedTensor as Port  # the old name

__all__ = [
    "NamedTensor",
    "Port",
    "Step",
    "Stream",
    "export",
    "export_streaming",
    "save",
]
