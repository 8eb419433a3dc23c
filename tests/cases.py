"""The one catalogue of what the tests run over; its files are in `tests/catalogue`.

Every dictionary holds cases by name. `tests/test_cases.py` asserts that none is empty,
and that whatever has a rule has a case.
"""

from tests.catalogue.architectures import (
    ARCHITECTURES,
    HOSTED_ARCHITECTURES,
    batch_norm_net,
    spiking_images,
)
from tests.catalogue.dynamics import CONVOLUTIONS, NEURONS, RANDOM, SYNAPSES, TRANSFORMS
from tests.catalogue.generated import generated_models, generated_networks
from tests.catalogue.keras_layers import (
    ACTIVATIONS,
    CHANNELS_FIRST,
    CURVED_LAYERS,
    HOSTED_LAYERS,
    IMAGE,
    JOINED,
    LINEAR_LAYERS,
    POOLS,
    RECURRENT_LAYERS,
    SIGNAL,
    SINGLE_PRECISION,
    STATIC_LAYERS,
    channels_first,
    training_only,
)
from tests.catalogue.layers import LAYERS
from tests.catalogue.loops import LOOPS, VECTORISED_LOOPS
from tests.catalogue.models import MODELS, make
from tests.catalogue.networks import NETWORKS, RANDOM_NETWORKS

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "CHANNELS_FIRST",
    "CONVOLUTIONS",
    "CURVED_LAYERS",
    "HOSTED_ARCHITECTURES",
    "HOSTED_LAYERS",
    "IMAGE",
    "JOINED",
    "LAYERS",
    "LINEAR_LAYERS",
    "LOOPS",
    "MODELS",
    "NETWORKS",
    "NEURONS",
    "POOLS",
    "RANDOM",
    "RANDOM_NETWORKS",
    "RECURRENT_LAYERS",
    "SIGNAL",
    "SINGLE_PRECISION",
    "STATIC_LAYERS",
    "SYNAPSES",
    "TRANSFORMS",
    "VECTORISED_LOOPS",
    "batch_norm_net",
    "channels_first",
    "generated_models",
    "generated_networks",
    "make",
    "spiking_images",
    "training_only",
]
