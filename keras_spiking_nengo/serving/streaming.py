"""Models as servers of streams: one step, or many, with all states outside."""

import warnings
from pathlib import Path

import keras

from keras_spiking_nengo.checks import check_switches, checked_path
from keras_spiking_nengo.files import written_whole
from keras_spiking_nengo.models.building import check_built
from keras_spiking_nengo.serving import agreement, saved_model
from keras_spiking_nengo.serving.step import Step
from keras_spiking_nengo.serving.stream import Stream, unusual

__all__ = ["export_streaming"]


def export_streaming(model: keras.Model, path: str | Path, verify: bool = True) -> Path:
    """Write a SavedModel that runs `model` step by step, and keeps no state.

    Signatures, all with an open batch size:

    - `initial_state(batch_size)` gives all states, `state_<layer>_<name>`;
    - `step(x, *states)` takes `(batch, *features)`, gives `y` and the states;
    - `sequence(x, *states)`, the default, takes `(batch, time, *features)`, and runs
      `step` in a loop: the same numbers to the last bit.

    With several inputs or outputs, these have Keras's names. An output of the last step
    (`return_sequences=False`) is that of the last step so far.

    The stream starts at `Repeat`, `RepeatVector` or an encoder with `n_steps`: the
    static value comes with every step, may change from step to step, and the number of
    steps is forgotten.

    Args:
        model: functional or Sequential `keras.Model` of layers that treat each step by
            itself, and of layers over time (`keras.layers.RNN` and its kinds, all of
            `ksn.layers`). States begin at the initial values, also of a layer that is
            `stateful`.
        path: folder to make.
        verify: whether to load it, and to compare its numbers with the model's.

    Returns:
        The path.

    Raises:
        NotImplementedError: for a layer that needs the whole sequence, by name and with
            what to do instead; on a backend other than TensorFlow and JAX.
        TypeError: for a model that is neither functional nor Sequential.
        FileExistsError: if `path` is there already.
        ValueError: if what was written gives other numbers than the model.

    Example:
        >>> import tempfile, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((None, 3)),
        ...     keras.layers.Dense(4),
        ...     ksn.layers.Neurons("lif", seed=0, return_sequences=True),
        ... ])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     stream = ksn.serving.Stream(ksn.export_streaming(model, folder + "/m"))
        >>> y, state = stream.step(np.ones((2, 3)), stream.initial_state(2))
        >>> sorted(state)
        ['state_neurons_refractory', 'state_neurons_voltage']
    """
    saved_model.check_backend("A stream", ("tensorflow", "jax"))
    check_built(model)
    path = checked_path("path", path)
    check_switches(verify=verify)
    saved_model.check_free(path)
    step = Step(model)
    with written_whole(path) as unfinished:
        archive = saved_model.Archive(model)
        archive.write(_signatures(archive, step), unfinished)
        saved_model.write_manifest(unfinished)
        allow = unusual(unfinished)
        if verify:
            agreement.require_same_stream(Stream(unfinished, allow), step)
    if allow:
        warnings.warn(
            f"{path} has the operations {allow}, which are of layers of your own. It"
            f" is read with ksn.serving.Stream(path, allow={allow}).",
            stacklevel=2,
        )
    return path


def _signatures(archive: saved_model.Archive, step: Step) -> dict:
    import tensorflow as tf

    n = len(step.inputs)
    ports = [*step.inputs, *step.states]
    states = [port.name for port in step.states]
    names = [*[port.name for port in step.outputs], *states]

    def one(*tensors):
        outputs, after = step(list(tensors[:n]), list(tensors[n:]))
        return (*outputs, *after)

    def begin(batch_size):
        return tuple(step.initial_state(batch_size))

    # One program of a step, also within the loop: its numbers are the same.
    one = archive.traced(one, saved_model.specs_of(ports))
    many = saved_model.looped(one, n, step.outputs)
    size = tf.TensorSpec((), "int32", name="batch_size")
    return {
        "sequence": saved_model.named(many, names, saved_model.specs_of(ports, time=n)),
        "step": saved_model.named(one, names, saved_model.specs_of(ports)),
        "initial_state": saved_model.named(saved_model.of_batch(begin), states, [size]),
    }
