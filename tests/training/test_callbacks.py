"""What DtScheduler changes is computed with, and SpikeSummaries show what is there."""

import warnings

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.layers import Neurons, NeuronsCell, Synapse
from tests.arrays import numpy
from tests.marks import TAKES_TURNS, slow_on_jax
from tests.training.models import JIT, TIME, currents, spiking

pytestmark = TAKES_TURNS

DeadLayers, DtScheduler = ksn.callbacks.DeadLayers, ksn.callbacks.DtScheduler
SpikeSummaries = ksn.callbacks.SpikeSummaries


# --- DtScheduler --------------------------------------------------------------------


def filtered(dt=0.001, kind="lif"):
    """Spikes through a synapse: both depend on dt."""
    model = spiking(dt=dt, neuron_type=kind)
    model.add(Synapse(nengo.Alpha(0.01), dt=dt, initial_level=0.5, name="synapse"))
    return model


def ready(model, rate=0.0):
    model.compile(keras.optimizers.SGD(rate), "mse", jit_compile=JIT)
    return model


def errors_with(dt, weights, x, y):
    """Of each item, by a model that has been made with this dt."""
    model = filtered(dt)
    model.set_weights(weights)
    return np.mean((numpy(model(x)) - y) ** 2, axis=1)


class Holding(keras.callbacks.Callback):
    """Keeps all functions that the model has had alive, as a traceback might."""

    def __init__(self):
        super().__init__()
        self.held = []

    def on_epoch_begin(self, epoch, logs=None):
        self.held += [self.model.train_function, self.model.test_function]


@pytest.mark.slow
def test_every_epoch_computes_with_its_dt_and_the_own_one_comes_back(capsys):
    model = ready(filtered())
    weights, x, y = model.get_weights(), currents(), np.full((4, 3), 5.0)
    history = model.fit(
        x,
        y,
        validation_data=(x[:2], y[:2]),
        epochs=2,
        verbose=0,
        callbacks=[Holding(), DtScheduler([0.005, 0.002], verbose=1), Holding()],
    ).history
    assert history["dt"] == [0.005, 0.002]
    own, *scheduled = [errors_with(dt, weights, x, y) for dt in (0.001, 0.005, 0.002)]
    for key, n in (("loss", 4), ("val_loss", 2)):
        expected = [errors[:n].mean() for errors in scheduled]
        assert abs(expected[0] - expected[1]) > 0.01 * expected[0]
        np.testing.assert_allclose(history[key], expected, rtol=1e-4)
    after = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(after, own.mean(), rtol=1e-4)
    shown = capsys.readouterr().out
    assert "Epoch 1: DtScheduler sets dt to 0.005 s" in shown
    assert "Epoch 2: DtScheduler sets dt to 0.002 s" in shown


def dts(model):
    return [layer.cell.dt for layer in model.layers if hasattr(layer, "cell")]


def eager(model):
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def fit(model, *callbacks, epochs=2):
    outputs = np.zeros((2, *model.output_shape[1:]))
    x = np.zeros((2, *model.input_shape[1:]))
    return model.fit(x, outputs, epochs=epochs, verbose=0, callbacks=list(callbacks))


class Saving(keras.callbacks.Callback):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        self.model.save(self.folder / f"{epoch}.keras")


@slow_on_jax
def test_a_model_saved_on_the_way_has_the_dt_of_then(tmp_path):
    model = eager(filtered(kind="relu"))
    fit(model, DtScheduler([0.004, 0.002]), Saving(tmp_path))
    saved = [keras.models.load_model(tmp_path / f"{e}.keras") for e in range(2)]
    assert [dts(one) for one in saved] == [[0.004] * 2, [0.002] * 2]
    assert dts(model) == [0.001, 0.001]


@pytest.mark.parametrize(
    "schedule",
    [
        [0.004, 0.001],
        lambda epoch: 0.004 if epoch == 0 else 0.001,
        keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.004, 0.001]),
    ],
    ids=["sequence", "function", "keras"],
)
def test_schedules_are_functions_of_the_epoch_or_sequences(schedule):
    model = eager(filtered(dt=0.003, kind="relu"))
    callback = DtScheduler(schedule, restore=False)
    np.testing.assert_allclose(
        fit(model, callback, epochs=3).history["dt"], [0.004, 0.001, 0.001]
    )
    np.testing.assert_allclose(dts(model), [0.001, 0.001])


def test_layers_may_be_named():
    model = eager(filtered(kind="relu"))
    for layers in (["synapse"], [model.layers[-1]], "synapse"):
        fit(model, DtScheduler([0.004], layers, restore=False), epochs=1)
        assert dts(model) == [0.001, 0.004]
        model.layers[-1].cell.dt = 0.001


def nested():
    """Every place in a model that Keras has for a layer."""
    inner = keras.Sequential(
        [keras.Input((TIME, 3)), Neurons(return_sequences=True, name="inner")]
    )
    cells = [NeuronsCell(), NeuronsCell("relu")]
    return keras.Sequential(
        [
            keras.Input((TIME, 3)),
            inner,
            keras.layers.Bidirectional(Neurons(return_sequences=True)),
            keras.layers.RNN(cells, return_sequences=True),
            keras.layers.RNN(NeuronsCell(), return_sequences=True),
            keras.layers.Reshape((TIME, 6, 1)),
            keras.layers.TimeDistributed(Synapse()),
        ]
    )


def cells_of(model):
    inner, both, stacked, rnn, _, distributed = model.layers
    layers = [*inner.layers, both.forward_layer, both.backward_layer, rnn]
    return [*(layer.cell for layer in layers), *stacked.cell.cells,
            distributed.layer.cell]  # fmt: skip


class Watching(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.dts = [cell.dt for cell in cells_of(self.model)]


def test_layers_within_layers_are_found():
    watching, model = Watching(), eager(nested())
    fit(model, DtScheduler([0.002]), watching, epochs=1)
    assert watching.dts == [0.002] * 7
    assert [cell.dt for cell in cells_of(model)] == [0.001] * 7


@slow_on_jax
def test_encoders_and_neurons_change_alike():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            ksn.layers.LatencyEncoder(0.02, n_steps=TIME, return_sequences=True),
            Synapse(0.01, return_sequences=True, name="synapse"),
        ]
    )
    x = np.random.RandomState(0).uniform(0.1, 1, (4, 3)).astype("float32")
    y = np.zeros((4, TIME, 3), "float32")
    schedule = DtScheduler([0.004, 0.002])
    history = ready(model).fit(x, y, epochs=2, verbose=0, callbacks=[schedule]).history
    assert dts(model) == [0.001, 0.001]
    for dt, loss in zip([0.004, 0.002], history["loss"], strict=True):
        for layer in model.layers:
            layer.cell.dt = dt
        np.testing.assert_allclose(loss, np.mean(numpy(model(x)) ** 2), rtol=1e-4)


def test_a_step_of_the_users_own_stays():
    model = eager(filtered(kind="relu"))
    own = model.train_step
    model.train_step = own
    fit(model, DtScheduler([0.002]), epochs=1)
    assert vars(model)["train_step"] is own and "test_step" not in vars(model)


def a_network():
    with nengo.Network() as net:
        nengo.Probe(nengo.Node([0.0, 0.0, 0.0]))
    return keras.Sequential([keras.Input((TIME, 3)), ksn.layers.Network(net)])


def rated():
    return spiking(forward="rate")


def triangle():
    return keras.Sequential([keras.Input((TIME, 3)), Synapse(nengo.Triangle(0.005))])


@pytest.mark.parametrize(
    ("make", "schedule", "layers", "message"),
    [
        (a_network, [0.002], None, "A NetworkCell keeps the dt=0.001 s"),
        (rated, [0.005], None, "tau_ref=0.002 s is shorter than dt=0.005 s"),
        (triangle, [0.002], None, r"state of 6 values.*and of [34] with dt=0.002 s"),
        (rated, [0.002], ["dense"], r"none in \['dense'\]"),
        (rated, [0.002], ["soma"], "no layer 'soma'.*'lif'"),
        (rated, lambda epoch: -1.0, None, "dt is the length of a step.*-1.0"),
    ],
)
def test_what_cannot_be_changed_is_refused(make, schedule, layers, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fit(eager(make()), DtScheduler(schedule, layers))


@pytest.mark.parametrize("schedule", [0.001, [], None, "0.001"])
def test_what_is_no_schedule_is_refused(schedule):
    with pytest.raises(TypeError, match="schedule is a function of the epoch"):
        DtScheduler(schedule)


def test_a_step_without_length_is_refused_at_once():
    with pytest.raises(ValueError, match="dt is the length of a step.*received -1"):
        DtScheduler([0.002, -1])


# --- SpikeSummaries -----------------------------------------------------------------


def written(folder):
    """Values by tag and step, and what TensorBoard is told of them."""
    import tensorflow as tf

    files = [str(path) for path in sorted(folder.iterdir())]
    found, kinds = {}, {}
    for record in tf.data.TFRecordDataset(files):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
            # Only the first of a tag has it.
            if value.metadata.plugin_data.plugin_name:
                kinds[value.tag] = (
                    value.metadata.plugin_data.plugin_name,
                    value.metadata.data_class,
                )
    return found, kinds


def two_layers():
    inputs = keras.Input((TIME, 3))
    first = Neurons(nengo.LIF(amplitude=0.01), seed=0, return_sequences=True, name="a")
    second = Neurons("sigmoid", dt=0.002, return_sequences=True, name="b")
    outputs = second(keras.layers.Dense(2, name="dense")(first(inputs)))
    return keras.Model(inputs, outputs)


def test_summaries_are_those_of_the_activities(tmp_path):
    import tensorflow as tf

    model = ready(two_layers(), rate=1e-6)
    x = currents(6)
    shown = SpikeSummaries(tmp_path, x, every=2)
    model.fit(x, np.zeros((6, TIME, 2)), epochs=3, batch_size=6, verbose=0,
              callbacks=[shown])  # fmt: skip
    found, kinds = written(tmp_path)
    names = [f"{layer}/{kind}" for layer in "ab"
             for kind in ("firing_rate", "firing_rates", "raster")]  # fmt: skip
    assert sorted(found) == sorted(names)
    assert all(list(found[name]) == [0, 2] for name in names)
    assert kinds["a/firing_rate"] == ("scalars", 1)
    assert kinds["a/firing_rates"] == ("histograms", 2)
    assert kinds["a/raster"] == ("images", 3)
    activities = ksn.metrics.watch(model)(x)
    rates = numpy(activities["a"]) / 0.01
    np.testing.assert_allclose(found["a/firing_rate"][2], rates.mean(), rtol=1e-5)
    means = rates.mean(axis=(0, 1))
    buckets = found["a/firing_rates"][2]
    assert buckets.shape[1] == 3 and buckets[:, 2].sum() == 3
    np.testing.assert_allclose(buckets[0, 0], means.min(), rtol=1e-5)
    np.testing.assert_allclose(buckets[-1, 1], means.max(), rtol=1e-5)
    width, height, png = found["a/raster"][2]
    image = tf.io.decode_png(png).numpy()[..., 0]
    assert image.shape == (int(height), int(width)) == (66, TIME)
    np.testing.assert_array_equal(image[::22] == 0, rates[0].T != 0)
    np.testing.assert_array_equal(image[21::22] == 255, rates[0].T == 0)
    assert found["b/firing_rate"][0] != found["b/firing_rate"][2]  # it was trained


def test_summaries_follow_a_change_of_dt(tmp_path):
    model = eager(spiking(dt=0.002))
    x = currents()
    fit(model, DtScheduler([0.01, 0.001]), SpikeSummaries(tmp_path, x, ["lif"]))
    found = written(tmp_path)[0]["lif/firing_rate"]
    for epoch, dt in enumerate([0.01, 0.001]):
        again = spiking(dt=dt)
        again.set_weights(model.get_weights())
        np.testing.assert_allclose(found[epoch], numpy(again(x)).mean(), rtol=1e-4)
    assert found[0] != found[1]


def test_states_are_left_as_they_are(tmp_path):
    finals = []
    for summaries in ([], [SpikeSummaries(tmp_path, currents(2))]):
        layer = Neurons(seed=0, return_sequences=True, stateful=True)
        model = eager(keras.Sequential([keras.Input(batch_shape=(2, TIME, 3)), layer]))
        x = currents(4)
        model.fit(x, 0 * x, batch_size=2, shuffle=False, verbose=0, callbacks=summaries)
        finals.append(numpy(list(layer.states)))
    np.testing.assert_array_equal(*finals)


def test_activities_that_are_not_numbers_are_written(tmp_path):
    model = eager(spiking("sigmoid"))
    x = currents()
    x[0, 3, 1] = np.nan
    fit(model, SpikeSummaries(tmp_path, x), epochs=1)
    found = written(tmp_path)[0]
    assert np.isnan(found["lif/firing_rate"][0])
    assert found["lif/firing_rates"][0][:, 2].sum() == 0  # a NaN into each neuron
    assert "lif/raster" in found


@pytest.mark.parametrize("every", [0, 1.5, "epoch"])
def test_an_impossible_interval_is_refused(every, tmp_path):
    with pytest.raises(ValueError, match="number of epochs"):
        SpikeSummaries(tmp_path, currents(), every=every)


def test_layers_without_an_activity_are_refused(tmp_path):
    model = eager(keras.Sequential([keras.Input((TIME, 3)), Neurons()]))
    with pytest.raises(ValueError, match="no Neurons layer that returns sequences"):
        fit(model, SpikeSummaries(tmp_path, currents()))


# --- dead layers ------------------------------------------------------------------


def test_a_layer_that_never_fires_is_told_before_training():
    stack = [Neurons(seed=0, return_sequences=True, name=name) for name in "ab"]
    silence = keras.layers.Rescaling(0.0)
    model = keras.Sequential([keras.Input((TIME, 3)), stack[0], silence, stack[1]])
    model = eager(model)
    x = np.full((2, TIME, 3), 5.0)
    with pytest.warns(
        UserWarning, match="No neuron of layer 'b' fires.*FiringRate"
    ) as w:
        model.fit(x, x, epochs=2, verbose=0, callbacks=[DeadLayers(x)])
    assert len([one for one in w if "fires" in str(one.message)]) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*fires")
        model.fit(x, x, verbose=0, callbacks=[DeadLayers(x, "a")])


def test_summaries_tell_of_a_dead_layer_once(tmp_path):
    model = eager(spiking())
    with pytest.warns(UserWarning, match="No neuron of layer 'lif' fires") as w:
        fit(model, SpikeSummaries(tmp_path, 0 * currents()), epochs=3)
    assert len([one for one in w if "fires" in str(one.message)]) == 1
