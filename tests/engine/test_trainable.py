"""What training may change in a network, and what that is called."""

import nengo
import numpy as np
import pytest
from nengo.builder import Model

import keras_spiking_nengo as ksn
from keras_spiking_nengo.engine.trainable import weights_of
from tests.cases import NETWORKS
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS


def weights(net):
    model = Model(dt=0.001)
    model.build(net)
    return {w.name: w for w in weights_of(net, model)}


def trained(net):
    return {name for name, weight in weights(net).items() if weight.trainable}


def chain():
    with nengo.Network(seed=3) as net:
        u = nengo.Node([0.0], label="u")
        a = nengo.Ensemble(8, 1, label="a")
        with nengo.Network(label="sub"):
            b = nengo.Ensemble(8, 1, label="b")
            nengo.Connection(b, b, label="loop")
        nengo.Connection(u, a, transform=[[1.0]])
        nengo.Connection(a.neurons, b.neurons, transform=np.ones((8, 8)))
        nengo.Probe(b, label="p")
        nengo.Probe(a)
        nengo.Probe(a.neurons)
    return net


def test_names_are_made_of_labels():
    assert set(weights(chain())) == {
        "a.encoders",
        "a.bias",
        "b.encoders",
        "b.bias",
        "loop.weights",
        "u_to_a.weights",
        "a.neurons_to_b.neurons.weights",
        "p.weights",
        "probe_of_a.weights",
    }


def test_probes_are_not_trained_by_default():
    net = chain()
    assert set(weights(net)) - trained(net) == {"p.weights", "probe_of_a.weights"}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.slow
def test_names_are_unique_in_every_network(name):
    net = NETWORKS[name]()
    model = Model(dt=0.001)
    model.build(net)
    found = weights_of(net, model)
    assert len({w.name for w in found}) == len(found)
    assert len({w.signal for w in found}) == len(found)


@pytest.mark.parametrize(
    "labels",
    [("x", "x"), ("x", "x", "x_1"), ("x_2", "x", "x"), ("x", "x", "x_1", "x_1")],
)
def test_equal_labels_are_made_unique(labels):
    with nengo.Network(seed=3) as net:
        for label in labels:
            nengo.Ensemble(5, 1, label=label)
    assert len(weights(net)) == 2 * len(labels)
    # The numbers do not depend on the run.
    assert list(weights(net)) == list(weights(net))


def test_unlabelled_objects_are_named_by_their_kind():
    with nengo.Network(seed=3) as net:
        a, b = nengo.Ensemble(5, 1), nengo.Ensemble(5, 1)
        nengo.Connection(a, b)
    assert set(weights(net)) == {
        "ensemble_1.encoders",
        "ensemble_1.bias",
        "ensemble_2.encoders",
        "ensemble_2.bias",
        "ensemble_to_ensemble.weights",
    }


RULES = {
    "PES": (nengo.PES(), "conn.weights"),
    "RLS": (nengo.RLS(), "conn.weights"),
    "Voja": (nengo.Voja(), "post.encoders"),
    "BCM": (nengo.BCM(), "conn.weights"),
    "list": ([nengo.BCM(), nengo.Oja()], "conn.weights"),
    "dict": ({"a": nengo.PES()}, "conn.weights"),
}


@pytest.mark.parametrize("name", RULES)
def test_what_a_rule_changes_is_not_trained(name):
    rule, changed = RULES[name]
    with nengo.Network(seed=3) as net:
        pre = nengo.Ensemble(6, 1, label="pre")
        post = nengo.Ensemble(5, 1, label="post")
        full = name in ("BCM", "list")
        nengo.Connection(
            pre,
            post,
            learning_rule_type=rule,
            label="conn",
            solver=nengo.solvers.LstsqL2(weights=full),
        )
    assert set(weights(net)) - trained(net) == {changed}


# --- configure ------------------------------------------------------------------


def test_everything_at_once():
    net = chain()
    ksn.configure(net, trainable=False)
    assert trained(net) == set()
    ksn.configure(net, trainable=True)
    assert trained(net) == set(weights(net))
    ksn.configure(net, trainable=None)
    assert set(weights(net)) - trained(net) == {"p.weights", "probe_of_a.weights"}


def test_an_object_goes_before_its_class():
    net = chain()
    ksn.configure(net, nengo.Ensemble, trainable=False)
    ksn.configure(net, net.ensembles[0], trainable=True)
    encoders = {n for n in trained(net) if n.endswith(("encoders", "bias"))}
    assert encoders == {"a.encoders", "a.bias"}


def test_several_targets():
    net = chain()
    ksn.configure(net, net.ensembles[0], nengo.Connection, trainable=False)
    assert trained(net) == {"b.encoders", "b.bias"}


def test_what_is_inside_goes_first():
    net = chain()
    (sub,) = net.networks
    ksn.configure(net, trainable=False)
    ksn.configure(sub, nengo.Connection, trainable=True)
    assert trained(net) == {"loop.weights"}
    ksn.configure(sub, sub.ensembles[0], trainable=True)
    assert trained(net) == {"loop.weights", "b.encoders", "b.bias"}


def test_an_outer_config_reaches_an_object_inside():
    net = chain()
    (sub,) = net.networks
    ksn.configure(net, sub.ensembles[0], trainable=False)
    assert not {"b.encoders", "b.bias"} & trained(net)
    assert "a.encoders" in trained(net)


def test_what_an_outer_network_says_of_an_object_holds_against_a_class_inside():
    # Only to say it once: the innermost config that says something wins.
    net = chain()
    (sub,) = net.networks
    ksn.configure(sub, nengo.Ensemble, trainable=True)
    ksn.configure(net, sub.ensembles[0], trainable=False)
    assert {"b.encoders", "b.bias"} <= trained(net)


def test_ensembles_in_ensemble_arrays():
    with nengo.Network(seed=3) as net:
        array = nengo.networks.EnsembleArray(5, n_ensembles=2)
    ksn.configure(net, array.ensembles[1], trainable=False)
    names = {n for n in set(weights(net)) - trained(net) if "encoders" in n}
    (name,) = names
    assert array.ensembles[1].label.split("/")[-1] in name or "_1" in name


def test_configuring_keeps_what_nengo_has_in_the_config():
    net = chain()
    net.config[nengo.Ensemble].radius = 2.0
    ksn.configure(net, nengo.Ensemble, trainable=False)
    with net:
        assert nengo.Ensemble(5, 1).radius == 2.0
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(2)


WRONG = {
    "a node": (lambda net: (net.nodes[0],), TypeError, "keras_node"),
    "neurons": (lambda net: (net.ensembles[0].neurons,), TypeError, "possible"),
    "a class": (lambda net: (nengo.Network,), TypeError, "possible: Ensemble"),
    "a label": (lambda net: ("a",), TypeError, "'a'"),
    "a stranger": (lambda net: (chain().ensembles[0],), ValueError, "is not in"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_targets_are_refused(name):
    targets, error, message = WRONG[name]
    net = chain()
    with pytest.raises(error, match=message):
        ksn.configure(net, *targets(net), trainable=False)


@pytest.mark.parametrize("value", ["no", 2, []])
def test_trainable_is_a_bool_or_none(value):
    with pytest.raises(ValueError, match="True, False or None"):
        ksn.configure(chain(), trainable=value)
