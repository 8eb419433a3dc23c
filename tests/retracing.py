"""What users do again and again in one process; prints what TensorFlow says of it."""

import logging

import keras
import nengo
import numpy as np

import keras_spiking_nengo as ksn
from tests.layers.nets import small

AGAIN = 6
X = np.ones((2, 2), "float32")


class _Said(logging.Handler):
    """Prints warnings of "retracing", each after what was done."""

    now = ""

    def emit(self, record):
        if "retracing" in record.getMessage():
            print("RETRACING", self.now)


def mlp():
    hidden = keras.layers.Dense(3, "relu", name="hidden")
    return keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(2)])


def simulate():
    for length in (0.003, 0.004):
        with ksn.Simulator(small(), progress_bar=False, compile=True) as sim:
            sim.run(length)


def predict_with_simulators():
    net = small()
    with ksn.Simulator(net, progress_bar=False) as sim:
        sim.predict({net.all_nodes[0]: np.ones((2, 4, 2))}, verbose=0)


def verify():
    ksn.to_nengo(mlp()).verify(X, raise_on_failure=False)


def read_and_verify():
    net = small()
    x = np.ones((2, 3, 2), "float32")
    ksn.verify(ksn.from_nengo(net), net, x)


def to_spiking():
    ksn.to_spiking(mlp(), n_steps=4, scale_firing_rates="calibrate", calibration_data=X)


def compare():
    model = mlp()
    ksn.compare(model, ksn.to_spiking(model, n_steps=4), X, n_steps=4)


def call():
    layer = ksn.layers.Neurons(nengo.LIF(), return_sequences=True)
    for time in (2, 3, 110, 120):
        layer(np.ones((1, time, 2), "float32"))


def predict_several_lengths(model=[]):  # noqa: B006 - one for all
    if not model:
        neurons = ksn.layers.Neurons(nengo.LIF(), return_sequences=True)
        model.append(keras.Sequential([keras.Input((None, 2)), neurons]))
        model.append(iter(range(2, 99)))
    model[0].predict(np.ones((1, next(model[1]), 2), "float32"), verbose=0)


def predict_many_models():
    """Of which Keras itself makes TensorFlow warn, so that a warning is seen here."""
    mlp().predict(X, verbose=0)


if __name__ == "__main__":
    said = _Said()
    logging.getLogger("tensorflow").addHandler(said)
    for function in (
        simulate,
        predict_with_simulators,
        verify,
        read_and_verify,
        to_spiking,
        compare,
        call,
        predict_several_lengths,
        predict_many_models,
    ):
        said.now = function.__name__
        for _ in range(AGAIN):
            function()
