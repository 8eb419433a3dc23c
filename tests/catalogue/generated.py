"""Networks and models drawn by hypothesis: any shape that a conversion may meet."""

import keras
import nengo
import numpy as np
from hypothesis import strategies as st
from keras import layers

import keras_spiking_nengo as ksn

_NEURONS = [
    nengo.LIF(tau_rc=0.005),
    nengo.LIFRate(),
    nengo.RectifiedLinear(),
    nengo.SpikingRectifiedLinear(),
    nengo.AdaptiveLIF(tau_n=0.02),
    nengo.Direct(),
]
_SYNAPSES = [None, 0, 0.005, nengo.Alpha(0.01), nengo.LinearFilter([1], [0.02, 1])]


def _square(x):
    return x**2


def _first(x):
    return x[:1]


def _slice(draw, size):
    if size == 1 or draw(st.booleans()):
        return slice(None)
    start = draw(st.integers(0, size - 1))
    kinds = [slice(start, size), slice(0, start + 1), [start, 0] if start else [0]]
    return draw(st.sampled_from(kinds))


def _matrix(draw, rows, columns):
    rng = np.random.RandomState(draw(st.integers(0, 1000)))
    return rng.uniform(-1, 1, (rows, columns))


def _transform(draw, rows, columns):
    """Of any kind, from `columns` to `rows`."""
    kinds = ["dense", "sparse"] + ["number", "diagonal", "none"] * (rows == columns)
    kind = draw(st.sampled_from(kinds))
    if kind == "none":
        return None
    if kind == "number":
        return draw(st.sampled_from([0.5, -1.0, 2.0]))
    if kind == "diagonal":
        return nengo.Dense((rows, rows), init=_matrix(draw, 1, rows)[0])
    if kind == "dense":
        return _matrix(draw, rows, columns)
    places = [[i % rows, i % columns] for i in range(max(rows, columns))]
    init = _matrix(draw, 1, len(places))[0]
    return nengo.Sparse((rows, columns), indices=places, init=init)


def _connect(draw, pre, post, synapses):
    pre_slice, post_slice = _slice(draw, pre.size_out), _slice(draw, post.size_in)
    source, target = pre[pre_slice], post[post_slice]
    own, size = {}, source.size_out
    neural = isinstance(pre, nengo.Ensemble)
    if neural and draw(st.booleans()):
        own["function"] = draw(st.sampled_from([_square, _first]))
        size = 1 if own["function"] is _first else size
    transform = _transform(draw, target.size_in, size)
    if neural and isinstance(transform, nengo.Sparse):
        transform = transform.init.toarray()  # Nengo takes no other with decoders
    if transform is not None:
        own["transform"] = transform
    nengo.Connection(source, target, synapse=draw(st.sampled_from(synapses)), **own)


@st.composite
def generated_networks(draw):
    """A network with inputs, ensembles, nodes and probes, and maybe a recurrence."""
    with nengo.Network(seed=draw(st.integers(0, 99))) as net:
        objects = [
            nengo.Node(np.zeros(draw(st.integers(1, 3))), label=f"input{i}")
            for i in range(draw(st.integers(1, 2)))
        ]
        for i in range(draw(st.integers(1, 4))):
            kind = draw(st.sampled_from(["ensemble", "ensemble", "neurons", "node"]))
            size = draw(st.integers(1, 3))
            if kind == "node":
                made = nengo.Node(size_in=size, label=f"node{i}")
            else:
                neuron_type = draw(
                    st.sampled_from(_NEURONS[: 5 if kind[0] == "n" else 6])
                )
                made = nengo.Ensemble(
                    draw(st.integers(2, 9)),
                    size,
                    neuron_type=neuron_type,
                    radius=draw(st.sampled_from([1.0, 2.5])),
                    label=f"ens{i}",
                )
            post = made.neurons if kind == "neurons" else made
            for _ in range(draw(st.integers(1, 2))):
                _connect(draw, draw(st.sampled_from(objects)), post, _SYNAPSES)
            neural = isinstance(made, nengo.Ensemble)
            direct = neural and made.neuron_type == nengo.Direct()
            # What Direct computes in a circle may grow without bounds.
            if not direct and draw(st.integers(0, 4)) == 0:
                _connect(draw, made, made, _SYNAPSES[1:])
            objects.append(made)
            if neural and not direct:
                objects.append(made.neurons)
        shown = [objects[-1], *draw(st.lists(st.sampled_from(objects), max_size=2))]
        for i, obj in enumerate(shown):
            target = obj[_slice(draw, obj.size_out)]
            synapse = draw(st.sampled_from(_SYNAPSES))
            nengo.Probe(target, synapse=synapse, label=f"probe{i}")
    return net


# --- Keras models -----------------------------------------------------------------


def _neurons(draw, x):
    kind = draw(st.sampled_from(_NEURONS[:5]))
    return ksn.layers.Neurons(kind, return_sequences=True, seed=1)(x)


def _synapse(draw, x):
    kind = draw(st.sampled_from(_SYNAPSES))
    delay = draw(st.booleans()) if kind else True
    return ksn.layers.Synapse(kind, delay=int(delay), return_sequences=True)(x)


def _dense(draw, x):
    activation = draw(st.sampled_from([None, "relu", "sigmoid"]))
    use_bias = draw(st.booleans())
    return layers.Dense(
        draw(st.integers(1, 4)), activation, use_bias, bias_initializer=_BIASES
    )(x)


def _linear(draw, x):
    rows, columns = draw(st.integers(1, 4)), x.shape[-1]
    places = [[i % rows, i % columns] for i in range(max(rows, columns))]
    init = _matrix(draw, 1, len(places))[0]
    transform = nengo.Sparse((rows, columns), indices=places, init=init)
    use_bias = draw(st.booleans())
    return ksn.layers.Transform(transform, use_bias=use_bias)(x)


def _encoded(draw, x):
    return ksn.layers.Ensemble(
        draw(st.integers(3, 9)),
        x.shape[-1],
        function=draw(st.sampled_from([None, _square, _first])),
        neuron_type=draw(st.sampled_from(_NEURONS[:4])),
        recurrent=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
        return_sequences=True,
    )(x)


def _averaged(x):
    size = x.shape[-1]
    for layer in (
        layers.Reshape((size, 1)),
        layers.AveragePooling1D(size),
        layers.Flatten(),
    ):
        x = layers.TimeDistributed(layer)(x)
    return x


def _shaped(draw, x):
    kinds = [layers.Dropout(0.5), layers.Identity(), layers.ReLU()]
    if x.shape[-1] > 1:
        kinds.append(_averaged)
    return draw(st.sampled_from(kinds))(x)


_BIASES = keras.initializers.RandomUniform(-1, 1, seed=3)
_LAYERS = [_neurons, _synapse, _dense, _dense, _linear, _encoded, _shaped]


@st.composite
def generated_models(draw):
    """A functional model over time with inputs, outputs, branches and joints."""
    inputs = [
        keras.Input((None, draw(st.integers(1, 3))))
        for _ in range(draw(st.integers(1, 2)))
    ]
    pool = list(inputs)
    for _ in range(draw(st.integers(1, 5))):
        x = draw(st.sampled_from(pool))
        join = draw(st.integers(0, 4))
        alike = [y for y in pool if y is not x and y.shape == x.shape]
        if join == 0 and alike:
            y = layers.Add()([x, draw(st.sampled_from(alike))])
        elif join == 1 and len(pool) > 1:
            y = layers.Concatenate()([x, draw(st.sampled_from(pool))])
        else:
            y = draw(st.sampled_from(_LAYERS))(draw, x)
        pool.append(y)
    # All inputs lead to an output.
    last = layers.Concatenate()([pool[-1], *inputs])
    others = draw(st.lists(st.sampled_from(pool[len(inputs) :]), max_size=2))
    return keras.Model(inputs, [last, *others] if others else last)
