"""Small spiking models to train."""

import keras
import numpy as np

import keras_spiking_nengo as ksn

__all__ = ["JIT", "TIME", "currents", "fitted", "spiking"]

# Keras on torch compiles with another compiler, which we make no use of.
JIT = keras.backend.backend() != "torch"
TIME = 12


def currents(batch=4, size=3, seed=0):
    rng = np.random.RandomState(seed)
    return rng.uniform(0, 4, (batch, TIME, size)).astype("float32")


def spiking(neuron_type="lif", **arguments):
    """Inputs, weights and neurons: activity `(batch, time, 3)`."""
    # So that all of them fire.
    positive = keras.initializers.RandomUniform(0.2, 1, seed=0)
    return keras.Sequential(
        [
            keras.Input((TIME, 3)),
            keras.layers.Dense(3, kernel_initializer=positive, name="dense"),
            ksn.layers.Neurons(
                neuron_type, seed=0, return_sequences=True, name="lif", **arguments
            ),
        ]
    )


def fitted(model, loss, y, **options):
    """Losses of two epochs, and whether each weight has moved."""
    model.compile(keras.optimizers.SGD(0.01), loss, jit_compile=JIT)
    before = [w.numpy() for w in model.trainable_weights]
    x = currents(len(y))
    history = model.fit(x, y, epochs=2, batch_size=2, verbose=0, **options).history
    after = [w.numpy() for w in model.trainable_weights]
    moved = [np.any(a != b) for a, b in zip(before, after, strict=True)]
    assert np.all(np.isfinite(np.concatenate([w.ravel() for w in after])))
    return history["loss"], moved
