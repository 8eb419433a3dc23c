"""A recurrence over a whole sequence, on whichever backend runs.

`scan` runs `y[t], s[t+1] = step(parameters, x[t], s[t])` over axis 1. Backward,
it runs the adjoint of `step` from the last step to the first: only the states
`s[t]` are kept, and what `step` computes from them is computed again. That is
the same for every recurrence, so a rule for new dynamics is a `step` alone.

Nothing outside this package knows which backend runs. Two primitives are needed of
TensorFlow and JAX (`tensorflow`, `jax`): a loop that stacks what its body emits, and
the vector-Jacobian product of one step. Torch records an ordinary Python loop
(`unrolled`). `host` calls Python from a compiled program, `stores` keep state for
functions that are called step by step, and `backends` has what else differs from one to
the other.
"""

from keras_spiking_nengo.dynamics.loops.backends import (
    array_of,
    backend_name,
    becomes_tensorflow,
    compiled,
    gather,
    loops_are_fast,
    precise,
    precision,
    rounded,
    weight_name,
)
from keras_spiking_nengo.dynamics.loops.host import (
    call_host,
    host_is_near,
    not_exported,
)
from keras_spiking_nengo.dynamics.loops.recurrence import (
    scan,
    static_length,
)
from keras_spiking_nengo.dynamics.loops.stores import store

__all__ = [
    "array_of",
    "backend_name",
    "becomes_tensorflow",
    "call_host",
    "compiled",
    "gather",
    "host_is_near",
    "loops_are_fast",
    "not_exported",
    "precise",
    "precision",
    "rounded",
    "scan",
    "static_length",
    "store",
    "weight_name",
]
