"""What streams may run is what they are made of, and nothing else."""

import re

import pytest

from keras_spiking_nengo.serving import stream
from tests.conftest import BACKEND
from tests.serving import operations

# The others are of TensorFlow.
FROM_JAX = {"PreventGradient", "XlaCallModule"}
# TensorFlow calls these stateful: weights, calls, and what is not known at once.
STATEFUL = {
    *("Placeholder", "ReadVariableOp", "StatefulPartitionedCall", "VarHandleOp"),
    *("While", "XlaCallModule"),
}


def test_what_may_run_has_no_effect():
    op_def_registry = pytest.importorskip("tensorflow.python.framework.op_def_registry")
    definitions = {name: op_def_registry.get(name) for name in stream.ALLOWED}
    stateful = {name for name, each in definitions.items() if each.is_stateful}
    assert stateful <= STATEFUL
    reaching = re.compile(
        "Py|File|Restore|Save|Dataset|Iterator|Send|Recv|Proto|Custom"
    )
    assert not [name for name in stream.ALLOWED if reaching.search(name)]


@pytest.mark.export
@pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot export from torch")
def test_what_may_run_is_what_exports_are_made_of():
    union = {kind: set() for kind in operations.KINDS}
    for _, parts in operations.found():
        for kind, part in parts.items():
            union[kind] |= part
    ours, texts, calls = union.values()
    assert ours <= stream.ALLOWED
    assert texts <= stream.TEXTS
    assert calls <= stream.CUSTOM_CALLS
    if BACKEND == "jax":
        assert ours >= FROM_JAX
        assert calls == stream.CUSTOM_CALLS
    else:
        assert ours == stream.ALLOWED - FROM_JAX
