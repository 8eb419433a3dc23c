"""What every layer over time must be able to do: all that an LSTM can."""

import json

import keras
import numpy as np
from keras import ops

from tests.arrays import numpy

TIME = 12
# Reordered sums differ in the last digits; spikes are equal or wrong by their height.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def currents(features, batch=2, time=TIME, seed=0):
    rng = np.random.RandomState(seed)
    return rng.uniform(0, 8, size=(batch, time, *features)).astype("float32")


class check_layer:
    """Runs the whole contract of a layer.

    Args:
        cls: layer class.
        arguments: none of them at its default, so that one which is dropped from
            the configuration shows in the outputs.
        features: shape of the features.
        only: names of the checks to run; all of them if not given.
    """

    def __init__(self, cls, arguments: dict, features: tuple, only=()):
        self.cls, self.arguments, self.features = cls, arguments, features
        self.x = currents(features)
        self.layer = self.make(return_sequences=True)
        self.y = numpy(self.layer(self.x))
        for name in only or [n for n in dir(self) if n.startswith("check_")]:
            getattr(self, name)()

    def make(self, **flags):
        layer = self.cls(**self.arguments, **flags)
        layer.build((2, TIME, *self.features))
        if hasattr(self, "layer"):
            layer.set_weights(self.layer.get_weights())
        return layer

    def model(self, *layers, time=None, **options):
        inputs = keras.Input((time, *self.features), **options)
        outputs = inputs
        for layer in layers:
            outputs = layer(outputs)
        return keras.Model(inputs, outputs)

    def check_shapes(self):
        assert self.y.shape == self.layer.compute_output_shape(self.x.shape)
        model = self.model(self.make(return_sequences=True, return_state=True))
        symbolic, *states = model.outputs
        assert symbolic.shape == (None, None, *self.y.shape[2:])
        actual, *final = keras.tree.flatten(model(self.x))
        for expected, tensor in zip(states, final, strict=True):
            assert expected.shape[1:] == tensor.shape[1:]
            assert expected.dtype == keras.backend.standardize_dtype(tensor.dtype)
        np.testing.assert_allclose(numpy(actual), self.y, **CLOSE)
        # Another batch size and another length through the same model.
        shorter = numpy(keras.tree.flatten(model(self.x[:1, :5]))[0])
        np.testing.assert_allclose(shorter, self.y[:1, :5], **CLOSE)

    def check_last_step(self):
        np.testing.assert_allclose(numpy(self.make()(self.x)), self.y[:, -1], **CLOSE)

    def check_config(self):
        config = self.layer.get_config()
        assert json.loads(json.dumps(config)) == config
        for argument in self.arguments:
            assert argument in config
        again = self.cls.from_config(config)
        again.build(self.x.shape)
        again.set_weights(self.layer.get_weights())
        assert again.get_config() == config
        np.testing.assert_array_equal(numpy(again(self.x)), self.y)

    def check_halves_are_the_whole(self):
        layer = self.make(return_sequences=True, return_state=True)
        first, *state = layer(self.x[:, :5])
        second, *_ = layer(self.x[:, 5:], initial_state=state)
        whole = np.concatenate([numpy(first), numpy(second)], axis=1)
        np.testing.assert_allclose(whole, self.y, **CLOSE)

    def check_stateful(self):
        layer = self.make(return_sequences=True, stateful=True)
        model = self.model(layer, time=6, batch_size=2)
        halves = [self.x[:, :6], self.x[:, 6:]]
        for _ in range(2):
            whole = np.concatenate(
                [model.predict(h, batch_size=2, verbose=0) for h in halves], axis=1
            )
            np.testing.assert_allclose(whole, self.y, **CLOSE)
            layer.reset_state()

    def check_backwards(self):
        y = numpy(self.make(return_sequences=True, go_backwards=True)(self.x[:, ::-1]))
        np.testing.assert_allclose(y, self.y, **CLOSE)

    def check_mask(self):
        mask = np.ones((2, TIME), bool)
        mask[1, 3:5] = mask[1, 8:] = False
        layer = self.make(return_sequences=True, return_state=True)
        y, *state = numpy(layer(self.x, mask=ops.convert_to_tensor(mask)))
        np.testing.assert_allclose(y[0], self.y[0], **CLOSE)
        kept = layer.call(ops.convert_to_tensor(self.x[:, mask[1]]))
        expected, *end = numpy(kept)
        np.testing.assert_allclose(y[1][mask[1]], expected[1], **CLOSE)
        for ours, theirs in zip(state, end, strict=True):
            np.testing.assert_allclose(ours[1], theirs[1], **CLOSE)
        sent = not layer.cell.sends_spikes
        np.testing.assert_array_equal(y[1, 3:5], sent * np.stack([y[1, 2]] * 2))
        np.testing.assert_array_equal(y[1, 8:], sent * np.stack([y[1, 7]] * (TIME - 8)))
        last = numpy(self.make()(self.x, mask=ops.convert_to_tensor(mask)))
        np.testing.assert_array_equal(last[1], y[1, 7])
        layer = self.make(return_sequences=True, zero_output_for_mask=True)
        y = numpy(layer(self.x, mask=ops.convert_to_tensor(mask)))
        assert not np.any(y[1][~mask[1]])

    def check_unroll(self):
        y = numpy(self.make(return_sequences=True, unroll=True)(self.x))
        np.testing.assert_allclose(y, self.y, **CLOSE)

    def check_plain_rnn(self):
        cell = self.layer.cell
        rnn = keras.layers.RNN(cell, return_sequences=True)
        np.testing.assert_allclose(numpy(rnn(self.x)), self.y, **CLOSE)

    def check_compiled(self):
        layer = self.make(return_sequences=True)
        model = self.model(layer, keras.layers.Flatten(), time=TIME)
        model = keras.Model(model.inputs, [model.outputs[0], model.layers[-2].output])
        model.compile(jit_compile=keras.backend.backend() != "torch")
        y = model.predict(self.x, verbose=0)[1]
        np.testing.assert_allclose(y, self.y, **CLOSE)

    def check_mixed_precision(self):
        arguments = {**self.arguments, "dtype": "mixed_float16"}
        layer = self.cls(**arguments, return_sequences=True, return_state=True)
        y, *state = layer(ops.cast(self.x, "float16"))
        assert keras.backend.standardize_dtype(y.dtype) == "float16"
        for tensor in state:
            dtype = keras.backend.standardize_dtype(tensor.dtype)
            assert dtype in ("float32", "int32")
        layer.set_weights(self.layer.get_weights())
        y = numpy(layer(ops.cast(self.x, "float16"))[0])
        rounded = numpy(self.layer(self.x.astype("float16").astype("float32")))
        np.testing.assert_allclose(y, rounded, rtol=2e-3, atol=2e-3)

    def check_wrappers(self):
        both = keras.layers.Bidirectional(self.make(return_sequences=True))
        y = numpy(both(self.x))
        assert y.shape == (2, TIME, *self.y.shape[2:-1], 2 * self.y.shape[-1])
        clips = keras.layers.TimeDistributed(self.make())
        y = numpy(clips(np.stack([self.x, self.x], axis=1)))
        np.testing.assert_allclose(y[:, 1], self.y[:, -1], **CLOSE)

    def check_training(self):
        backend = keras.backend.backend()
        for jit in (False, True)[: 1 if backend == "torch" else 2]:
            dense = keras.layers.Dense(self.features[-1], kernel_initializer="identity")
            layers = dense, self.make(return_sequences=True), keras.layers.Flatten()
            model = self.model(*layers, keras.layers.Dense(1), time=TIME)
            model.compile("adam", "mse", jit_compile=jit)
            before = [w.numpy().copy() for w in model.trainable_weights]
            # JAX compiles anew in every call of a function that it does not compile.
            batch, epochs = (2, 1) if backend == "jax" and not jit else (5, 2)
            x, y = currents(self.features, batch), np.ones((batch, 1), "float32")
            history = model.fit(x, y, batch_size=2, epochs=epochs, verbose=0)
            assert np.all(np.isfinite(history.history["loss"]))
            for weight, old in zip(model.trainable_weights, before, strict=True):
                assert np.any(weight.numpy() != old), weight.path

    def check_saving(self, tmp="/tmp"):
        import tempfile

        model = self.model(self.make(return_sequences=True))
        with tempfile.TemporaryDirectory() as folder:
            model.save(f"{folder}/model.keras")
            again = keras.models.load_model(f"{folder}/model.keras")
            model.save_weights(f"{folder}/model.weights.h5")
            clone = keras.models.clone_model(model)
            clone.load_weights(f"{folder}/model.weights.h5")
        for other in (again, clone):
            np.testing.assert_array_equal(numpy(other(self.x)), numpy(model(self.x)))
            assert other.layers[-1].get_config() == model.layers[-1].get_config()
