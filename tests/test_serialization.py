"""Every frozen object survives JSON; nothing else gets in or out."""

import json
import math
import warnings

import hypothesis
import hypothesis.extra.numpy as npst
import keras
import nengo
import numpy as np
import pytest
import scipy.sparse
from hypothesis import strategies as st
from nengo import dists, processes, solvers, synapses, transforms
from nengo.params import FrozenObject, NdarrayParam, NumberParam
from nengo.utils import least_squares_solvers as lss

from keras_spiking_nengo import serialization, types
from keras_spiking_nengo.serialization import (
    altered,
    from_config,
    register,
    supported,
    to_config,
)
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

RNG = np.random.default_rng(0)
VOLTAGE = {"voltage": dists.Uniform(0.1, 0.9)}
KERNEL = RNG.normal(size=(2, 3, 4, 6))
CSR = scipy.sparse.csr_matrix([[0, 1.5, 0], [2.5, 0, 0]])


def matrix(form):
    return getattr(CSR, f"to{form}")()


CASES = [
    nengo.AdaptiveLIF(0.5, 0.02, 0.03, 0.001, -1, 0.5),
    nengo.AdaptiveLIFRate(0.5, 0.02, 0.03, 0.001, 0.5),
    nengo.AdaptiveLIFRate(initial_state={"adaptation": dists.Choice([[0.1], [0.2]])}),
    nengo.Direct(initial_state={}),
    nengo.Izhikevich(0.1, 0.3, -60, 6, initial_state={"recovery": np.float32(0.5)}),
    nengo.LIF(0.05, 0.003, -math.inf, 2, initial_state=VOLTAGE),
    nengo.LIF(initial_state={"voltage": [0.1, 0.2], "refractory_time": np.zeros(2)}),
    nengo.LIF(tau_rc=np.float32(0.1), tau_ref=np.int64(0)),
    nengo.LIFRate(0.05, 0.003, 2),
    nengo.PoissonSpiking(nengo.LIFRate(0.07), 0.5),
    nengo.RectifiedLinear(0.1),
    nengo.RegularSpiking(nengo.Tanh(0.1), 0.5, initial_state=VOLTAGE),
    nengo.Sigmoid(0.01),
    nengo.SpikingRectifiedLinear(0.1, initial_state=VOLTAGE),
    nengo.StochasticSpiking(nengo.AdaptiveLIFRate(0.2), 0.5),
    nengo.Tanh(0.01),
    types.BoundedReLU(2, 0.1, 0.5, 3),
    types.Elementwise("elu", [0.5, -1.0]),
    types.Elementwise("softplus"),
    types.Heterogeneous(
        nengo.LIF(0.03), {"tau_rc": [0.01, 0.02]}, initial_state=VOLTAGE
    ),
    types.AdaptiveExponentialLIF(tau_w=0.2, coupling=-0.1, v_reset=0.3),
    types.AlphaLIF(0.01, tau_syn=0.01, v_threshold=2),
    types.BalancedResonateAndFire(20.0, damping=0.5, tau_q=0.05),
    types.QuadraticIntegrateAndFire(0.01, v_rest=0.1, v_peak=4.0, amplitude=2),
    types.SynapticLIF(0.01, reset="zero", initial_state={"current": [0.5]}),
    types.IntegrateAndFire(
        [0.1, 0.2], 0.3, 2, 0.1, [3, 4], 0.5, -0.5, "subtract", "euler", 2
    ),
    types.LeakyIntegrator(None, [0.1, 0.2], initial_state=VOLTAGE),
    types.LeakyReLU(0.2, 3),
    types.SoftLIFRate(0.1, 0.03, 0.001, 2),
    types.SpikingLeakyReLU(0.2, 3, initial_state=VOLTAGE),
    types.Threshold([0.5, 1.0], 2),
    nengo.Alpha(0.2, default_dt=0.002, seed=3),
    nengo.LinearFilter([1, 2], [0.1, 1, 3], analog=False, method="euler", seed=1),
    nengo.Lowpass(0.2, method="bilinear", default_size_in=4),
    nengo.Lowpass(0),
    synapses.Triangle(0.01, default_size_in=3),
    dists.Choice([[1, 2], [3, 4]], weights=[1, 3]),
    dists.CosineSimilarity(5),
    dists.Exponential(0.3, shift=-1),
    dists.Exponential(0.3, high=2.0),
    dists.Gaussian(1, 0.1),
    dists.PDF([1, 2, 4], [0.2, 0.5, 0.3]),
    dists.QuasirandomSequence(),
    dists.Samples(RNG.normal(size=(4, 3))),
    dists.ScatteredHypersphere(True, base=dists.Uniform(0, 1), method="tfww"),
    dists.SqrtBeta(4, 2),
    dists.SubvectorLength(6, 2),
    dists.Uniform(2, 10, integer=True),
    dists.UniformHypersphere(min_magnitude=0.2),
    solvers.Lstsq(True, rcond=0.1),
    solvers.LstsqDrop(True, 0.5, solvers.LstsqL2nz(reg=0.3), solvers.Lstsq()),
    solvers.LstsqL1(l1=1e-3, l2=1e-5, max_iter=77),
    solvers.LstsqL2(True, 0.2, lss.Conjgrad(0.1, 9)),
    solvers.LstsqL2nz(True, 0.2, lss.RandomizedSVD(7)),
    solvers.LstsqMultNoise(True, 0.2, lss.SVD()),
    solvers.LstsqNoise(True, 0.2, lss.LSMRScipy(1e-2)),
    solvers.Nnls(True),
    solvers.NnlsL2(True, 0.3),
    solvers.NnlsL2nz(True, 0.3),
    solvers.NoSolver(RNG.normal(size=(5, 2)), weights=True),
    solvers.NoSolver(),
    lss.BlockConjgrad(0.1, RNG.normal(size=(3, 2))),
    lss.Cholesky(True),
    lss.Conjgrad(0.1, 5, RNG.normal(size=(3, 2))),
    lss.ConjgradScipy(1e-3, 1e-6),
    lss.LSMRScipy(1e-3),
    lss.RandomizedSVD(5, 3, 1),
    lss.SVD(),
    transforms.ChannelShape((2, 5, 4), channels_last=False),
    transforms.Convolution(
        6, (8, 9, 4), (2, 3), (2, 1), "same", init=KERNEL.astype("f4")
    ),
    transforms.Convolution(
        6, (4, 8, 9), (2, 3), channels_last=False, init=dists.Gaussian(0, 1), groups=2
    ),
    transforms.ConvolutionTranspose(6, (3, 5, 4), kernel_size=(2, 3), init=KERNEL),
    transforms.ConvolutionTranspose(
        2, (3, 4, 1), output_shape=(6, 8, 2), strides=(2, 2), padding="same"
    ),
    transforms.Dense((2, 3), RNG.normal(size=(2, 3))),
    transforms.Dense((3, 3), [1, 2, 3]),
    transforms.Dense((2, 3), dists.Uniform(-1, 1)),
    transforms.NoTransform(4),
    transforms.Sparse((2, 3), init=CSR),
    transforms.Sparse((2, 3), init=matrix("dok")),
    transforms.Sparse((4, 3), [(0, 1), (3, 2)], [0.5, 1.5]),
    transforms.Sparse((4, 3), [(0, 1), (3, 2)], dists.Uniform(0, 1)),
    transforms.SparseMatrix([(0, 1), (3, 2)], [1, 2], (4, 3)),
    processes.BrownNoise(dists.Gaussian(0, 2), seed=4),
    processes.FilteredNoise(nengo.Alpha(0.1), dists.Uniform(0, 1), False, seed=4),
    processes.Piecewise({0: [1, 2], 0.5: np.array([3.5, 4]), np.float32(0.75): [5, 6]}),
    processes.Piecewise({0: 1, 1: -math.inf}, interpolation="nearest", seed=3),
    processes.PresentInput(RNG.normal(size=(3, 2, 2)), 0.1, default_dt=0.01),
    processes.WhiteNoise(dists.Exponential(1), scale=False, default_size_out=3),
    processes.WhiteSignal(2.0, 7, rms=0.3, y0=0, seed=2**32 - 1),
    nengo.BCM(1e-8, 0.01, None, nengo.Alpha(2.0)),
    nengo.Oja(1e-5, 0.01, 0.02, beta=0.5),
    nengo.PES(1e-3, pre_synapse=nengo.Alpha(0.01)),
    nengo.RLS(1e-2, pre_synapse=None),
    nengo.Voja(1e-3, post_synapse=None),
    types.STDP(1e-3, 0.01, 0.03, -1.0, -0.5, "nearest", 0, 2.5, "soft"),
    types.TripletSTDP(0.1, 0.01, 0.02, 0.2, 0.3, 1, 2, 3, 4, "nearest", -1.0),
    types.RewardModulatedSTDP(0.1, 0.01, 0.02, 0.5, max_weight=1e-3),
]
# nengo compares what these hold by identity, so not even their pickles are equal.
BY_IDENTITY = (
    solvers.LstsqL2,
    solvers.LstsqNoise,
    solvers.LstsqDrop,
    transforms.Sparse,
)
VALUES = [
    None,
    True,
    3,
    -(2**70),
    0.1,
    "text",
    [1, [2.5, None]],
    (1, (2, [3])),
    {"a": {"b": [1, (2,)]}},
    {1: "a", 0.5: "b", (1, 2): "c", None: [1]},
    {"nengo": 1},
    {"array": "not one", "x": 2},
    {"class_name": "Dense", "config": {"units": 3}},
    {},
    [],
    (),
    math.inf,
    -math.inf,
    np.float32(0.1),
    np.int8(-3),
    np.bool_(True),
    np.complex64(1 + 2j),
    np.array(3.0),
    np.zeros((0, 3)),
    np.arange(6).reshape(2, 3).T,
    np.arange(3, dtype=">f4"),
    np.array([True, False]),
]


def through_json(config):
    return json.loads(json.dumps(config, allow_nan=False))


def through_keras(config):
    return keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object({"config_of_layer": config})
    )["config_of_layer"]


def same(a, b):
    """Equality down to dtypes, where nengo looks at identity, too."""
    if type(a) is not type(b):
        return False
    if isinstance(a, FrozenObject):
        states = [{**x.__getstate__(), "_FrozenObject__argreprs": 0} for x in (a, b)]
        return same(*(dict(sorted(state.items())) for state in states))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


def csr(value):
    """The case in the one sparse format that is stored."""
    if isinstance(value, transforms.Sparse) and scipy.sparse.issparse(value.init):
        return value.init.tocsr().toarray(), value.shape
    return value


def test_every_supported_class_has_a_case():
    ours = ("nengo.", "keras_spiking_nengo.")
    missing = {name for name in supported() if name.startswith(ours)}
    missing -= {f"{type(c).__module__}.{type(c).__qualname__}" for c in CASES}
    assert len(CASES) > 50
    # Layers of Keras are equal to none: tests/test_keras_nodes.py has them.
    assert missing == {"keras_spiking_nengo.engine.keras_layers.KerasLayer"}


def test_the_table_holds_every_concrete_class_of_nengo():
    concrete = [name for name in supported() if name.startswith("nengo.")]
    assert len(concrete) >= 65
    for name in ("neurons.NeuronType", "synapses.Synapse", "base.Process"):
        assert f"nengo.{name}" not in supported()


@pytest.mark.parametrize("through", [through_json, through_keras])
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_a_frozen_object_survives(case, through):
    config = to_config(case)
    decoded = from_config(through(config))
    assert decoded is not case
    assert to_config(decoded) == config
    assert same(csr(decoded), csr(case))
    if not isinstance(case, BY_IDENTITY):
        assert decoded == case


@pytest.mark.parametrize("through", [through_json, through_keras])
@pytest.mark.parametrize("value", [*VALUES, CASES, {"nested": (CASES[0],)}], ids=repr)
def test_a_value_survives(value, through):
    config = to_config(value)
    decoded = from_config(through(config))
    assert to_config(decoded) == config
    if value is not CASES:
        assert type(decoded) is type(value)
        assert np.array_equal(decoded, value) or same(decoded, value)


def test_nan_survives():
    assert math.isnan(from_config(through_json(to_config(math.nan))))


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "dok", "lil"])
def test_a_sparse_matrix_of_any_format_survives(form):
    decoded = from_config(through_json(to_config(matrix(form))))
    assert isinstance(decoded, scipy.sparse.csr_matrix)
    assert np.array_equal(decoded.toarray(), CSR.toarray())
    assert decoded.dtype == CSR.dtype


DTYPES = [np.dtype(name) for name in serialization._DTYPES]


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    npst.arrays(st.sampled_from(DTYPES), npst.array_shapes(min_dims=0, min_side=0))
)
def test_any_array_survives_bit_for_bit(array):
    decoded = from_config(through_json(to_config(array)))
    assert decoded.shape == array.shape
    assert decoded.dtype == array.dtype
    assert decoded.tobytes() == array.tobytes()
    assert decoded.flags.writeable


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_any_nesting_survives(value):
    config = to_config(value)
    assert same(from_config(through_json(config)), value)
    assert same(from_config(through_keras(config)), value)


def test_plain_json_is_its_own_config():
    plain = {"units": 3, "names": ["a", None], "nested": {"rate": 0.5, "on": True}}
    assert to_config(plain) == plain
    assert from_config(plain) == plain


def test_a_config_reads_like_the_constructor():
    assert to_config(nengo.Lowpass(0.1)) == {
        "nengo": "nengo.synapses.Lowpass",
        "state": {
            "analog": True,
            "default_dt": 0.001,
            "default_size_in": 1,
            "default_size_out": 1,
            "method": "zoh",
            "seed": None,
            "tau": 0.1,
        },
    }


def test_repr_before_encoding_leaves_no_trace():
    lif = nengo.LIF(tau_rc=0.1)
    before = to_config(lif)
    repr(lif)
    assert to_config(lif) == before


def test_encoding_and_decoding_leave_their_argument_alone():
    process = processes.Piecewise({0: [1, 2], 0.5: [3, 4]})
    config = to_config(process)
    text = json.dumps(config)
    decoded = from_config(config)
    assert json.dumps(config) == text
    decoded.data[9] = 1
    assert 9 not in process.data


def test_what_the_constructor_derives_is_derived_again():
    spiking = from_config(to_config(nengo.RegularSpiking(nengo.Tanh())))
    assert spiking.negative is True
    matrix = transforms.SparseMatrix([(0, 1)], [2.0], (2, 2))
    matrix.toarray()
    assert from_config(to_config(matrix))._dense is None
    choice = dists.Choice([1, 2], weights=[1, 3])
    assert np.array_equal(from_config(to_config(choice)).p, [0.25, 0.75])
    linear = processes.Piecewise({0: 0, 1: 1}, interpolation="linear")
    assert same(from_config(to_config(linear)).run(1), linear.run(1))


def test_a_decoded_neuron_type_fires_alike():
    lif = nengo.AdaptiveLIF(0.1, 0.02, tau_rc=0.05, initial_state=VOLTAGE)
    with nengo.Network(seed=0) as net:
        node = nengo.Node(0.5)
        for neuron_type in (lif, from_config(through_json(to_config(lif)))):
            ens = nengo.Ensemble(20, 1, neuron_type=neuron_type, seed=1)
            nengo.Connection(node, ens)
            nengo.Probe(ens.neurons)
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.run(0.2)
    a, b = (sim.data[probe] for probe in net.probes)
    assert a.any()
    assert np.array_equal(a, b)


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c, nengo.Lowpass)])
def test_a_decoded_synapse_filters_alike(case):
    x = RNG.normal(size=(50, 2))
    decoded = from_config(through_json(to_config(case)))
    assert np.array_equal(decoded.filt(x, y0=0), case.filt(x, y0=0))


# What must not get out


class Unknown(nengo.LIFRate):
    pass


@pytest.mark.parametrize(
    "value, reason",
    [
        (Unknown(), r"Unknown.*Register its class.*Registered: .*nengo\.neurons\.LIF"),
        (lambda t: t, "callable cannot be stored"),
        (np.sin, "callable cannot be stored"),
        (nengo.LIF, "Pass an instance, such as LIF"),
        (processes.Piecewise({0: 1, 1: np.sin}), "Piecewise: .*callable"),
        (nengo.RegularSpiking(Unknown()), "RegularSpiking: .*Unknown"),
        (np.array([None]), "dtype object"),
        (np.array(["a"]), "dtype <U1"),
        (np.datetime64("2020"), "dtype datetime64"),
        (np.ma.masked_array([1, 2], [0, 1]), "unmasked"),
        (np.zeros(2, [("a", "f4")]), "stored unmasked as one of"),
        (np.longdouble(1), "stored unmasked as one of"),
        (scipy.sparse.csr_array([[1]]), "csr_array"),
        ({1, 2}, "builtins.set"),
        (b"bytes", "builtins.bytes"),
        (object(), "Pass numbers, numpy arrays"),
        (1j, "complex"),
        ([{"a": (object(),)}], "object"),
    ],
)
def test_what_is_no_data_is_refused(value, reason):
    with pytest.raises(TypeError, match=f"(?s){reason}"):
        to_config(value)


def test_a_circle_is_refused():
    circle = []
    circle.append(circle)
    with pytest.raises(ValueError, match="64 levels"):
        to_config(circle)


# What must not get in


def tampered(obj, **changes):
    config = through_json(to_config(obj))
    config["state"].update(changes)
    return config


def without(obj, key):
    config = through_json(to_config(obj))
    del config["state"][key]
    return config


def array(**changes):
    return {**to_config(np.arange(3.0)), **changes}


def csr_of(**parts):
    given = {"data": [1.0, 2.0], "indices": [1, 0], "indptr": [0, 1, 2], **parts}
    arrays = [np.array(given[k]) for k in ("data", "indices", "indptr")]
    return {"csr": to_config(arrays), "shape": [2, 3]}


def nested(depth):
    config = 1
    for _ in range(depth):
        config = [config]
    return config


SPARSE = transforms.Sparse((2, 3), init=CSR)
INDICES = transforms.Sparse((4, 3), [(0, 1), (3, 2)], [0.5, 1.5])
POISSON = nengo.PoissonSpiking(nengo.LIFRate())
CHANNELS_FIRST = transforms.ChannelShape((2, 5, 4), channels_last=False)
CONV = transforms.Convolution(6, (8, 9, 4), (2, 3), init=KERNEL)
BAD = {
    "unknown class": ({"nengo": "nengo.neurons.LIFF", "state": {}}, "LIFF.*Known: "),
    "real, but not listed": ({"nengo": "os.system", "state": {}}, "os.system.*Known"),
    "abstract": ({"nengo": "nengo.neurons.NeuronType", "state": {}}, "Known"),
    "class no string": ({"nengo": ["x"], "state": {}}, r"\['x'\]"),
    "no state": ({"nengo": "nengo.neurons.LIF"}, "keys.*'state'"),
    "state no dict": ({"nengo": "nengo.neurons.LIF", "state": [1]}, "it is a dict"),
    "extra tag": ({"nengo": "nengo.neurons.LIF", "state": {}, "x": 1}, "exactly"),
    "two tags": ({"tuple": [], "dict": []}, "exactly"),
    "missing key": (without(nengo.LIF(), "tau_rc"), r"LIF: .*lacks \['tau_rc'\]"),
    "missing argument": (without(transforms.NoTransform(2), "_size_in"), "size_in"),
    "extra key": (tampered(nengo.LIF(), step=1), r"LIF: .*\['step'\]; possible"),
    "extra dunder": (tampered(nengo.LIF(), __class__="x"), "__class__"),
    "extra private": (tampered(nengo.LIF(), _paramdict={}), "_paramdict"),
    "underscored key": (tampered(nengo.LIF(), _tau_rc=1), "_tau_rc"),
    "derived key": (tampered(nengo.Lowpass(1), num=[1]), r"\['num'\]"),
    "derived attribute": (tampered(dists.Choice([1]), p=[1]), r"\['p'\]"),
    "negative tau": (tampered(nengo.LIF(), tau_rc=-1), "tau_rc.*greater than 0"),
    "tau no number": (tampered(nengo.LIF(), tau_rc="1"), "tau_rc.*number"),
    "tau nan": (tampered(nengo.LIF(), tau_rc=math.nan), "LIF"),
    "tau none": (tampered(nengo.LIF(), tau_rc=None), "tau_rc.*not optional"),
    "tau an object": (tampered(nengo.LIF(), tau_rc=to_config(nengo.LIF())), "tau_rc"),
    "bool": (tampered(solvers.Lstsq(), weights="yes"), "weights"),
    "enum": (tampered(nengo.Lowpass(1), method="magic"), "method"),
    "unknown state variable": (tampered(nengo.LIF(), initial_state={"v": 1}), "'v'"),
    "base type": (tampered(POISSON, base_type=to_config(nengo.Alpha(1))), "base_type"),
    "max_iter": (tampered(solvers.LstsqL1(), max_iter="many"), "max_iter"),
    "size_in": (tampered(transforms.NoTransform(2), _size_in=-1), "size_in"),
    "kernel": (tampered(CONV, kernel_size=to_config((9, 9))), "[Kk]ernel"),
    "groups": (tampered(CONV, groups=5), "groups|Groups|Kernel shape"),
    "channels": (
        tampered(CONV, input_shape=to_config(CHANNELS_FIRST)),
        "channels_last",
    ),
    "channel shape": (tampered(CHANNELS_FIRST, shape=["a"]), "ChannelShape"),
    "sparse shape": (tampered(SPARSE, shape=to_config((9, 9))), "Sparse"),
    "sparse matrix shape": (tampered(INDICES, shape=to_config((9, 9))), "init"),
    "sparse no matrix": (tampered(SPARSE, init="csr"), "Sparse"),
    "period": (tampered(processes.WhiteSignal(1, 7), high=0.1), "high"),
    "pdf": (tampered(dists.PDF([1], [1.0]), p=to_config(np.ones(3))), "sum to one"),
    "piecewise sizes": (
        tampered(processes.Piecewise({0: 1}), data={"dict": [[0, 1], [1, [1, 2]]]}),
        "size 2 instead of 1",
    ),
    "piecewise text": (
        tampered(processes.Piecewise({0: 1}), data={"dict": [[0, "a"]]}),
        "Piecewise.*dtype",
    ),
    "piecewise of nothing": (
        tampered(processes.Piecewise({0: 1}), data={"dict": [[0, None]]}),
        "Piecewise.*dtype object",
    ),
    "piecewise without pieces": (
        tampered(processes.Piecewise({0: 1}), data={"dict": []}),
        "Piecewise",
    ),
    "corrupt base64": (array(array="A?=="), "array: "),
    "junk in base64": (array(array="!" + array()["array"]), "array: "),
    "base64 no string": (array(array=5), "array: "),
    "base64 not ascii": (array(array="é"), "array: "),
    "too few bytes": (array(shape=[4]), r"24 bytes for shape \(4,\).*32"),
    "bomb": (array(shape=[10**9, 10**9, 10**9]), "24 bytes"),
    "empty bomb": (array(array="", shape=[0, 10**30]), "array: "),
    "many dimensions": (array(shape=[3] + [1] * 99), "array: "),
    "negative shape": (array(shape=[-1, -3]), "integers >= 0"),
    "float shape": (array(shape=[3.0]), "integers >= 0"),
    "bool shape": (array(array="", shape=[False]), "integers >= 0"),
    "shape no list": (array(shape=3), "it is a list"),
    "dtype object": (array(dtype="|O"), r"dtype '\|O'; possible"),
    "dtype string": (array(dtype="<U6"), "dtype"),
    "dtype big endian": (array(dtype=">f8"), "dtype"),
    "dtype no string": (array(dtype=["<f8"]), "dtype"),
    "boolean of 2": (array(array="Ag==", dtype="|b1", shape=[1]), "0 and 1"),
    "scalar": ({"scalar": to_config(np.ones(2))}, r"shape \[\]"),
    "scalar no array": ({"scalar": 1.0}, r"shape \[\]"),
    "float": ({"float": "1.5"}, "possible: inf"),
    "tuple": ({"tuple": "ab"}, "it is a list"),
    "dict no list": ({"dict": {"ab": 1}}, "it is a list"),
    "dict no pairs": ({"dict": ["ab"]}, "it is a list"),
    "dict triple": ({"dict": [[1, 2, 3]]}, "dict: "),
    "dict unhashable": ({"dict": [[[], 1]]}, "unhashable"),
    "dict twice": ({"dict": [[1, 1], [1, 2]]}, "twice"),
    "csr column": (csr_of(indices=[1, 3]), "csr: .*ind"),
    "csr negative": (csr_of(indices=[1, -1]), "csr: .*ind"),
    "csr pointer": (csr_of(indptr=[0, 2, 1]), "csr: .*ind"),
    "csr rows": (csr_of(indptr=[0, 1, 1, 2]), "csr: .*ind"),
    "csr float index": (csr_of(indices=[1.0, 0.0]), "indices and indptr"),
    "csr parts": ({"csr": [], "shape": [2, 3]}, "indices and indptr"),
    "csr no arrays": ({"csr": [1, 2, 3], "shape": [2, 3]}, "csr: "),
    "csr bomb": ({**csr_of(), "shape": [10**12, 10**12]}, "csr: "),
    "not json": ((1, 2), "tuple|not plain JSON"),
    "object": (nengo.LIF(), "not plain JSON"),
    "keys": ({1: 2}, "not plain JSON"),
    "deep": (nested(65), "64 levels"),
    "very deep": (nested(100_000), "64 levels"),
}


@pytest.mark.parametrize("config, reason", BAD.values(), ids=BAD)
def test_a_bad_config_is_refused(config, reason):
    with pytest.raises(ValueError, match=f"(?s){reason}"):
        from_config(config)
    if isinstance(config, dict) and "very deep" not in reason:
        with pytest.raises(ValueError, match="(?s)" + reason):
            from_config({"inner": [config]})


def test_an_error_tells_where():
    config = to_config(solvers.LstsqDrop(solver1=solvers.LstsqL2(reg=0.3)))
    config["state"]["solver1"]["state"]["reg"] = -1
    with pytest.raises(ValueError, match=r"LstsqDrop: .*LstsqL2: .*reg"):
        from_config(config)


def test_allowed_depth_is_decoded():
    assert from_config(nested(64)) == nested(64)


# Classes of ours and of users


@register
class Scaled(nengo.LIF):
    scale = NumberParam("scale", low=0)
    table = NdarrayParam("table", shape=("*",), optional=True)

    def __init__(self, scale, note="none", table=None, offset=1):
        super().__init__(tau_rc=0.3)
        self.scale = scale
        self.table = table
        self._offset = offset
        self.note = note
        self.twice = 2 * scale


@register
class Loose(nengo.LIF):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.derived = factor * self.tau_rc


@register
class Open(nengo.LIF):
    def __init__(self, factor=1, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor


def test_a_registered_class_survives():
    case = Scaled(2, note="a", table=[1, 2], offset=5)
    config = through_json(to_config(case))
    assert config["nengo"] == f"{__name__}.Scaled"
    assert "twice" not in config["state"]
    decoded = from_config(config)
    assert decoded == case
    assert (decoded.note, decoded._offset, decoded.twice) == ("a", 5, 4)
    assert same(decoded, case)
    opened = from_config(to_config(Open(3, tau_rc=0.7)))
    assert (opened.factor, opened.tau_rc) == (3, 0.7)


def test_a_registered_class_is_checked():
    for config, reason in [
        (tampered(Scaled(2), scale=-1), "scale"),
        (tampered(Scaled(2), twice=9), r"\['twice'\]"),
        (without(Scaled(2), "note"), "note"),
    ]:
        with pytest.raises(ValueError, match=reason):
            from_config(config)


def test_what_could_not_be_restored_is_refused_when_saving():
    with pytest.raises(TypeError, match=r"Loose: .*\['factor'\]"):
        to_config(Loose(2))

    @register
    class Hidden(nengo.LIF):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.decay = math.exp(-1 / self.tau_rc)

    with pytest.raises(TypeError, match=r"\['decay'\].*\*\*kwargs"):
        to_config(Hidden())
    del serialization._TABLE[f"{__name__}.{Hidden.__qualname__}"]


def test_a_changed_copy_is_what_json_would_make():
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    for obj, changes in [
        (nengo.LIF(), {"initial_state": {"voltage": array[0]}}),
        (nengo.PoissonSpiking(nengo.LIFRate(tau_rc=0.1)), {"amplitude": 0.5}),
        (nengo.Dense((3, 2), init=np.ones((3, 2))), {"init": array}),
    ]:
        config = to_config(obj)
        config["state"] |= {name: to_config(value) for name, value in changes.items()}
        changed, expected = altered(obj, **changes), from_config(config)
        assert same(changed, expected) and changed is not obj
    # Native bytes in order, and not the memory of the caller.
    assert changed.init.flags.c_contiguous and changed.init.dtype == np.float32
    assert not np.shares_memory(changed.init, array)


@pytest.mark.parametrize("value", [np.array([None]), lambda: 1])
def test_a_change_that_is_no_data_is_refused(value):
    with pytest.raises(TypeError, match="nengo.neurons.LIF"):
        altered(nengo.LIF(), initial_state={"voltage": value})
    with pytest.raises(ValueError, match="nengo.neurons.LIF"):
        altered(nengo.LIF(), tau_rc=-1.0)


def test_a_subclass_is_not_registered_with_its_parent():
    class Child(Scaled):
        pass

    with pytest.raises(TypeError, match="Child.*Register"):
        to_config(Child(1))


def test_a_class_may_be_defined_once_more():
    def define():
        @register
        class Cell(nengo.LIF):
            pass

        return Cell

    first, second = define(), define()
    assert first is not second
    assert type(from_config(to_config(second()))) is second
    with pytest.raises(TypeError, match="Cell"):
        to_config(first())
    del serialization._TABLE[f"{__name__}.{second.__qualname__}"]


def test_the_names_of_nengo_are_taken():
    impostor = type("LIF", (nengo.LIF,), {"__module__": "nengo.neurons"})
    with pytest.raises(ValueError, match="taken"):
        register(impostor)
    with pytest.raises(TypeError, match=r"nengo\.neurons\.LIF"):
        to_config(impostor())
    assert register(nengo.LIF) is nengo.LIF


@pytest.mark.parametrize("thing", [int, keras.layers.Dense, nengo.LIF(), None])
def test_only_frozen_classes_are_registered(thing):
    with pytest.raises(TypeError, match="FrozenObject"):
        register(thing)


def test_round_trips_raise_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for case in CASES:
            from_config(to_config(case))


@pytest.mark.parametrize("size", [10**9, 2, "post", None])
def test_errors_of_a_learning_rule_have_the_size_that_it_takes(size):
    config = serialization.to_config(nengo.Voja())
    config["state"]["size_in"] = size
    with pytest.raises(ValueError, match="size_in of its errors is 1; received"):
        serialization.from_config(config)
