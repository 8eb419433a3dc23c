"""A value of every wrong kind, for every parameter of every public name.

Each ends in an error of ours that names the parameter, or is a value that the parameter
takes: `LEGAL` says of which kinds.
"""

import inspect
import math
import re
import traceback
import warnings
from pathlib import Path

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

ROOT = Path(ksn.__file__).parent

KINDS = {
    "none": None,
    "text": "no such thing",
    "bytes": b"no",
    "true": True,
    "zero": 0,
    "negative": -1,
    "half": 0.5,
    "nan": math.nan,
    "infinite": math.inf,
    "complex": 1j,
    "list": [1.0, "a"],
    "empty": [],
    "dict": {"a": 1},
    "object": object(),
    "class": object,
    "function": lambda: None,
    "texts": np.array(["a"]),
    "nans": np.array([math.nan]),
    "array": np.ones((2, 3, 4)),
}

NONE, SWITCH, ITEMS = {"none"}, {"true", "zero"}, {"text", "list", "empty", "dict"}
POSITIVE = {"half"}
NOT_NEGATIVE = POSITIVE | {"zero"}
NUMBER = NOT_NEGATIVE | {"negative"}
SEED = {"none", "zero"}
ARRAY = NUMBER | {"true", "array"}  # True is a number among many
ANY = {*KINDS}
SPIKES = ARRAY | {"empty", "nan", "nans", "infinite"}  # any numbers
NUMBERS_OF_NENGO = {"half", "true"}
JSON = ITEMS | NONE | NUMBER | {"true", "nan", "infinite"}
KERAS = NONE | {"function"}  # what `keras.initializers.get` takes, and its like

# Kinds of values that are legal, by the parameter, or by name and parameter.
LEGAL = {
    "activity_regularizer": KERAS,
    "amplitude": POSITIVE,
    "atol": NOT_NEGATIVE,
    "axis": NONE | {"zero", "negative"},
    "ax": NONE,
    "activations": NONE,
    "bias": NONE,
    "bias_initializer": KERAS,
    "bias_regularizer": KERAS,
    "built": NONE,
    "calibration_data": NONE,
    "checkpoint": NONE | {"true"},
    "currents": NONE,
    "delay": SWITCH - {"true"},
    "devices": NONE | {"empty"},
    "direction": NONE,
    "dt": POSITIVE,
    "dtype": NONE,
    "encoders": NONE,
    "eval_points": NONE,
    "function": NONE,
    "gain": NONE,
    "hidden_cell": NONE | {"empty"},
    "independent_noise": SWITCH,
    "initial_parameters": NONE,
    "initial_level": ARRAY,
    "initial_state": NONE,
    "inputs": NONE | {"zero", "empty"},
    "intercepts": NONE,
    "kernel_initializer": KERAS,
    "kernel_regularizer": KERAS,
    "learning_rule": NONE | {"empty"},
    "l1": NOT_NEGATIVE,
    "l2": NOT_NEGATIVE,
    "layers": NONE,
    "max_rate": POSITIVE,
    "max_rates": NONE,
    "minibatch_size": NONE,
    "Simulator.model": NONE,
    "layers.Network.model": NONE,
    "n_eval_points": NONE,
    "n_steps": NONE,
    "name": NONE | {"text"},
    "network": NONE,
    "noise": NONE,
    "outputs": NONE | {"zero"},
    "percentile": POSITIVE,
    "radius": POSITIVE,
    "recurrent": NONE | {"true"},
    "recurrent_initializer": KERAS,
    "recurrent_constraint": KERAS,
    "recurrent_regularizer": KERAS,
    "self_connections": SWITCH,
    "use_recurrent_gradient": SWITCH,
    "recurrent_solver": NONE,
    "recurrent_synapse": NONE | NOT_NEGATIVE,
    "recurrent_transform": NONE | NUMBER | {"true"},
    "reduction": NONE,
    "regularizers.FiringRate.percentile": NONE | NOT_NEGATIVE,
    "regularizers.FiringRate.target": NOT_NEGATIVE,
    "rtol": NOT_NEGATIVE,
    "types.BoundedReLU.max_value": NUMBERS_OF_NENGO | {"zero", "infinite"},
    "types.BoundedReLU.threshold": NUMBERS_OF_NENGO | {"zero"},
    "types.Elementwise.alpha": NONE | ARRAY - {"array"},
    "types.Elementwise.function": {},
    "types.IntegrateAndFire.v_reset": NUMBER,
    "types.IntegrateAndFire.v_threshold": NUMBERS_OF_NENGO,
    "types.Threshold.threshold": ARRAY - {"array"},
    **{f"types.{name}.amplitude": NUMBERS_OF_NENGO for name in ksn.types.__all__},
    **{
        f"types.{name}.{parameter}": kinds
        for name in ("IntegrateAndFire", "LeakyIntegrator")
        for parameter, kinds in {
            "r": ARRAY - {"array"},
            "tau_mem": NONE | NUMBERS_OF_NENGO,
            "tau_syn": NONE | NUMBERS_OF_NENGO,
            "v_leak": ARRAY - {"array"},
            "w_in": ARRAY - {"array"},
        }.items()
    },
    **{
        f"types.{name}.{parameter}": kinds
        for name in ("STDP", "TripletSTDP", "RewardModulatedSTDP")
        for parameter, kinds in {
            "learning_rate": NUMBERS_OF_NENGO | {"zero"},
            "min_weight": NONE | NUMBER | {"true"},
            "max_weight": NONE | NUMBER | {"true"},
        }.items()
    },
    **dict.fromkeys(("a_plus", "a_minus", "a3_plus", "a3_minus"), NUMBER | {"true"}),
    **dict.fromkeys(
        ("tau_plus", "tau_minus", "tau_x", "tau_y", "tau_eligibility"),
        NUMBERS_OF_NENGO,
    ),
    # Nengo takes True for 1, where a bound does not.
    **{
        f"types.{name}.{parameter}": NUMBERS_OF_NENGO | further
        for name, numbers in {
            "AdaptiveExponentialLIF": {
                **dict.fromkeys(("tau_mem", "tau_w", "slope_factor"), set()),
                **dict.fromkeys(("coupling", "inc_w", "v_reset"), NUMBER),
            },
            "AlphaLIF": dict.fromkeys(("tau_mem", "tau_syn", "v_threshold"), set()),
            "BalancedResonateAndFire": {
                **dict.fromkeys(("omega", "tau_q", "v_threshold"), set()),
                "damping": {"zero"},
            },
            "QuadraticIntegrateAndFire": {
                "tau_mem": set(),
                "v_critical": {"zero"},
                "v_rest": {"zero", "negative"},
            },
            "SynapticLIF": dict.fromkeys(("tau_mem", "tau_syn", "v_threshold"), set()),
        }.items()
        for parameter, further in numbers.items()
    },
    "types.AdaptiveExponentialLIF.v_peak": set(),
    "types.QuadraticIntegrateAndFire.v_peak": set(),
    "types.QuadraticIntegrateAndFire.v_reset": {"zero", "negative"},
    "types.SynapticLIF.reset": set(),
    "layers.ParallelSpikingNeurons.order": NONE,
    "layers.ParallelSpikingNeurons.masking": NOT_NEGATIVE,
    "layers.SlidingParallelSpikingNeurons.order": set(),
    "threshold_initializer": KERAS,
    "negative_slope": NUMBERS_OF_NENGO | {"zero"},
    "sigma": NUMBERS_OF_NENGO,
    "tau_rc": NUMBERS_OF_NENGO,
    "tau_ref": NUMBERS_OF_NENGO | {"zero"},
    "serialization.altered.frozen": {},
    "serialization.from_config.config": JSON,
    "serialization.to_config.obj": JSON | {"array", "nans"},
    "scale_firing_rates": NONE | POSITIVE,
    "seed": SEED,
    "solver": NONE,
    "surrogate": NONE,
    "synapse": NONE | NOT_NEGATIVE,
    "target_rate": NONE | POSITIVE,
    "tau": POSITIVE,
    "temperature": POSITIVE,
    "theta": POSITIVE,
    "threshold": POSITIVE,
    "trainable": {"true"},
    "trainable_parameters": {"empty"},
    "transform": NONE | NUMBER | {"true"},
    "width": POSITIVE,
    "window": NONE,
    "NengoExport.record.watch": {"empty"},
    "NengoExport.report.model": NONE,
    "Simulator.compile": {"true"},
    "check_neuron.largest": POSITIVE,
    "per_item.factory": {"class", "function"},
    "per_item.size_in": {"zero"},
    "check_neuron.n_steps": set(),
    "Simulator.compile.inputs": NONE | {"empty"},
    "Simulator.compile.own_units": NONE | SWITCH,
    "from_nir.max_bytes": NONE,
    "optimizers.in_own_units.weights": NONE | {"empty"},
    "sample_weight": NONE | {"nans"},
    "class_weight": NONE,
    "validation_data": NONE,
    "loss": KERAS | {"empty"},
    "loss_weights": NONE | NUMBER | {"empty"},
    "metrics": KERAS | {"empty"},
    "weighted_metrics": KERAS | {"empty"},
    "Simulator.load_state.path": {"text"},
    "Simulator.progress_bar": NONE | {"true"},
    "Simulator.record_to.append": SWITCH,
    "Simulator.record_to.path": {"text"},
    "Simulator.run.data": NONE,
    "Simulator.run.progress_bar": NONE | {"true"},
    "Simulator.run.time_in_seconds": NOT_NEGATIVE,
    "Simulator.run_steps.data": NONE,
    "Simulator.run_steps.progress_bar": NONE | {"true"},
    "Simulator.run_steps.steps": {"zero"},
    "Simulator.save_state.path": {"text"},
    "Simulator.trange.dt": NONE | POSITIVE,
    "Simulator.trange.sample_every": NONE | POSITIVE,
    "analysis.Device.joules.acs": NOT_NEGATIVE,
    "analysis.Device.joules.dense": NOT_NEGATIVE,
    "analysis.Device.joules.macs": NOT_NEGATIVE,
    "analysis.Device.joules.updates": NOT_NEGATIVE,
    "analysis.plots.overview.item": {"zero", "negative"},
    "analysis.plots.raster.values": {"array"},
    "analysis.plots.rates.values": {"array"},
    "analysis.plots.rates.x": NONE,
    "analysis.plots.response_curves.currents": NONE | ARRAY,
    "analysis.plots.response_curves.time": POSITIVE,
    "analysis.plots.tuning_curves.sim": NONE,
    "export.batch_size": NONE,
    "export.path": {"text"},
    "export.step": {"zero"},
    "export_streaming.path": {"text"},
    "from_nir.dt": NONE | POSITIVE,
    "from_nir.graph": {"text"},
    "metrics.watch.layers": NONE | {"empty"},
    "serving.Stream.allow": {"empty", "dict", "texts"},
    "serving.Stream.path": {"text"},
    "to_nir.dt": NONE | POSITIVE,
    "verify.inputs": NONE | {"zero"},
    "analysis.Device.ac": NOT_NEGATIVE,
    "analysis.Device.mac": NOT_NEGATIVE,
    "analysis.Device.name": {"text"},
    "analysis.Device.source": {"text"},
    "analysis.Device.update": NOT_NEGATIVE,
    "analysis.spikes.common_height.values": SPIKES,
    "analysis.spikes.count.height": NUMBER | {"true"},
    "analysis.spikes.count.values": SPIKES - {"half", "nan", "nans", "infinite"},
    "analysis.spikes.rates.axis": {"zero", "negative"},
    "analysis.spikes.rates.values": {"empty", "array", "nans"},
    "analysis.spikes.sparsity.values": SPIKES,
    "callbacks.DtScheduler.schedule": {"function", "class"},
    "callbacks.DeadLayers.layers": NONE | {"text", "texts", "empty", "dict"},
    "callbacks.DeadLayers.x": {"dict", "array", "nans"},
    "callbacks.DtScheduler.layers": NONE | {"text", "texts", "empty", "dict"},
    "callbacks.DtScheduler.verbose": SWITCH,
    "callbacks.SpikeSummaries.layers": NONE | {"text", "texts", "empty", "dict"},
    "callbacks.SpikeSummaries.log_dir": {"text"},
    "callbacks.SpikeSummaries.x": {"dict", "array", "nans"},
    "configure.trainable": NONE | {"true"},
    "keras_node.label": {"text", "none"},
    "keras_node.shape_in": {},
    "layer_rule.classes": {},
    "losses.TemporalCrossEntropy.target": NUMBER,
    "losses.TemporalCrossEntropy.weight": NOT_NEGATIVE,
    "regularizers.FiringRate.l1": POSITIVE,  # l2 is 0
    "tensor_function.function": {"function"},
    "initializers.KerasDistribution.initializer": {"function"},
    "layers.Delay.delay": ARRAY - {"negative"},
    "layers.Delay.dt": {},  # the delay is whole steps
    "layers.DelayedDense.dt": POSITIVE,
    "layers.DelayedDense.sigma": NONE | POSITIVE,
    "layers.DelayedDense.units": {},
    "max_delay": POSITIVE,
    "max_recurrent_delay": NONE | POSITIVE,
    "recurrent_delay": NONE | POSITIVE | {"true", "array"},
    "callbacks.NarrowDelays.end": NONE | POSITIVE,
    "callbacks.NarrowDelays.epochs": NONE,
    "callbacks.NarrowDelays.layers": NONE | {"text", "texts", "empty", "dict"},
    "delay_initializer": KERAS,
    "delay_regularizer": KERAS,
    "bias_constraint": KERAS,
    "kernel_constraint": KERAS,
    "layers.DeltaEncoder.initial_level": NUMBER,
    "layers.LMU.hidden_to_memory": {"zero"},  # without a hidden part
    "layers.Repeat.n_steps": {},
    "layers.Transform.transform": {},
    "layers.Network.trained": NONE | {"text", "texts", "empty", "dict"},
    "layers.Ensemble.trained": NONE | {"text", "texts", "empty", "dict"},
    **dict.fromkeys(
        (
            *("return_sequences", "return_state", "go_backwards", "stateful"),
            *("unroll", "zero_output_for_mask", "save_state", "split", "use_bias"),
            *("hidden_to_memory", "memory_to_memory", "input_to_hidden", "verify"),
            *("trainable_theta", "normalize_encoders", "optimize", "layered"),
            *("strict", "max_to_avg_pool", "raise_on_failure", "per_channel"),
            *("progress_bar", "skips_zeros", "restore", "step"),
            "round_at_end",
        ),
        SWITCH,
    ),
}


def public_names(module=ksn, prefix=""):
    """All that `ksn` shows and that can be called, by its path."""
    for name in module.__all__:
        value, path = getattr(module, name), prefix + name
        if inspect.ismodule(value):
            yield from public_names(value, f"{path}.")
        elif callable(value):
            yield path, value


def complaint(call, value, words: str) -> str | None:
    """What is wrong with what a call makes of a value; None if it is refused well."""
    try:
        call(value)
    except (TypeError, ValueError, NotImplementedError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        if not Path(last).is_relative_to(ROOT) and not _is_nengo_s(error):
            return f"raised in {last}: {error!r}"
        named = re.search(rf"\b{words}\b", str(error))
        return None if named else f"{words!r} not named: {error!r}"
    except OSError:
        return "accepted"  # a path, where there is another file or none
    except Exception as error:
        return f"{error!r}"
    return "accepted"


def _show(wrong: dict) -> None:
    assert not wrong, "\n" + "\n".join(f"{key}: {said}" for key, said in wrong.items())


def _is_nengo_s(error) -> bool:
    """Whether Nengo's own description of a parameter refuses a value, by its name."""
    return isinstance(error, nengo.exceptions.ValidationError)


def complaints(
    name: str, call, arguments: dict, further=(), words=None, legal=True
) -> dict:
    """By parameter and kind of value, what is wrong.

    Args:
        name: in `LEGAL`.
        call: what is called.
        arguments: that it needs.
        further: parameters that its signature has not.
        words: for parameters that messages call otherwise.
        legal: whether to try what is legal, too, which may take long.
    """
    wrong = {}
    parameters = inspect.signature(call).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    names = [n for n in names if n != "args"]  # of Keras
    several = {p.name for p in parameters if p.kind is p.VAR_POSITIONAL}
    first = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    for parameter in (*names, *further):
        takes = LEGAL.get(f"{name}.{parameter}", LEGAL.get(parameter, set()))
        named = (words or {}).get(parameter, parameter)
        for kind, value in KINDS.items():
            if kind in takes and not legal:
                continue

            def called(value, parameter=parameter):
                if parameter in several:
                    before = [arguments[name] for name in first]
                    after = {k: v for k, v in arguments.items() if k not in first}
                    return call(*before, value, **after)
                return call(**{**arguments, parameter: value})

            said = complaint(called, value, named)
            if kind in takes:
                said = None if said == "accepted" else said or "refused"
            if said is not None:
                wrong[f"{parameter} <- {kind}"] = said
    return wrong


# --- what is made of arguments alone ------------------------------------------------


def _small_network() -> nengo.Network:
    with nengo.Network(seed=0) as net:
        node = nengo.Node([0.5], label="u")
        ens = nengo.Ensemble(5, 1, label="e")
        nengo.Connection(node, ens)
        nengo.Probe(ens, label="p")
    return net


NET = _small_network()

# Arguments that a call needs.
NEEDED = {
    "Simulator": {"network": NET, "progress_bar": False},
    "analysis.Device": {"name": "chip", "mac": 1e-12, "ac": 1e-12, "update": 1e-12},
    "analysis.spikes.common_height": {"values": [0.0, 1.0]},
    "analysis.spikes.count": {"values": [0.0, 1.0], "height": 1.0},
    "analysis.spikes.rates": {"values": [0.0, 1.0]},
    "analysis.spikes.sparsity": {"values": [0.0, 1.0]},
    "callbacks.DeadLayers": {"x": np.ones((1, 2, 3))},
    "callbacks.DtScheduler": {"schedule": [0.001]},
    "callbacks.NarrowDelays": {},
    "callbacks.SpikeSummaries": {"log_dir": "runs", "x": np.ones((1, 2, 3))},
    "configure": {"net": NET, "trainable": True},
    "constraints.Mean": {},
    "initializers.Distribution": {"dist": nengo.dists.Uniform(0, 1)},
    "initializers.KerasDistribution": {},
    "keras_node": {"layer": keras.layers.Dense(2), "shape_in": 3},
    "layer_rule": {},
    "per_item": {"factory": object},
    "neuron_rule": {},
    "check_neuron": {"neuron_type": nengo.RectifiedLinear(), "n_steps": 5},
    "layers.BernoulliEncoder": {},
    "layers.Delay": {},
    "layers.DelayedDense": {"units": 2, "max_delay": 2.0, "dt": 0.5},
    "layers.DeltaEncoder": {},
    "layers.Ensemble": {"n_neurons": 5, "dimensions": 1, "seed": 0},
    "layers.LMU": {"memory_d": 1, "order": 2, "theta": 5.0},
    "layers.LatencyEncoder": {},
    "layers.Network": {"net": NET},
    "layers.Neurons": {},
    "layers.ParallelSpikingNeurons": {"order": 2},
    "layers.PerStep": {"layer": keras.layers.Dense(2)},
    "layers.PoissonEncoder": {},
    "layers.Quantized": {"layer": keras.layers.Dense(2)},
    "layers.Repeat": {"n_steps": 3},
    "layers.RecurrentNeurons": {},
    "layers.RecurrentNeuronsCell": {},
    "layers.SlidingParallelSpikingNeurons": {},
    "layers.Synapse": {},
    "layers.Transform": {"transform": nengo.Dense((1, 1))},
    "losses.LatencyCrossEntropy": {"dt": 0.001},
    "losses.MaskedMeanSquaredError": {},
    "losses.MaxOverTimeCrossEntropy": {},
    "losses.SpikeCountCrossEntropy": {"dt": 0.001},
    "losses.SpikeRateCrossEntropy": {},
    "losses.TemporalCrossEntropy": {},
    "metrics.DeadNeurons": {},
    "metrics.FiringRate": {},
    "metrics.LastStepAccuracy": {},
    "metrics.LatencyAccuracy": {},
    "metrics.MaxOverTimeAccuracy": {},
    "metrics.PopulationAccuracy": {"population": 2},
    "metrics.RateAccuracy": {},
    "metrics.Sparsity": {},
    "metrics.SpikesPerInference": {"dt": 0.001},
    "regularizers.FiringRate": {"target": 1, "l1": 1},
    "serialization.altered": {"frozen": nengo.LIF()},
    "serialization.from_config": {"config": None},
    "serialization.register": {},
    "serialization.to_config": {"obj": None},
    "surrogates.Arctan": {},
    "surrogates.FastSigmoid": {},
    "surrogates.SoftLIF": {},
    "surrogates.StraightThrough": {},
    "surrogates.Triangle": {},
    "surrogates.surrogate": {},
    "tensor_function": {},
    "types.AdaptiveExponentialLIF": {},
    "types.AlphaLIF": {},
    "types.BalancedResonateAndFire": {},
    "types.BoundedReLU": {},
    "types.Elementwise": {},
    "types.Heterogeneous": {
        "base_type": nengo.LIF(),
        "parameters": {"tau_rc": [0.01, 0.02]},
    },
    "types.IntegrateAndFire": {},
    "types.LeakyIntegrator": {},
    "types.LeakyReLU": {},
    "types.RewardModulatedSTDP": {},
    "types.STDP": {},
    "types.QuadraticIntegrateAndFire": {},
    "types.SoftLIFRate": {},
    "types.SpikingLeakyReLU": {},
    "types.SynapticLIF": {},
    "types.Threshold": {},
    "types.TripletSTDP": {},
    "types.neuron_type": {},
}
# What a message calls a parameter that is the only one.
WORDS = {
    "layers.Network": {"net": "net(work)?"},
    "tensor_function": {"function": "functions"},
    "serialization.altered": {"frozen": "received"},
    "serialization.from_config": {"config": "Received"},
    "serialization.register": {"cls": "Received"},
    "serialization.to_config": {"obj": "Received"},
    "surrogates.surrogate": {"value": "surrogate"},
    "types.neuron_type": {"value": "neuron_type"},
}
CALLED = dict(public_names())
# What functions return, which users only read; and what takes no argument.
RECORDS = (
    *(
        "Comparison",
        "NengoExport",
        "Neuron",
        "analysis.EnergyReport",
        "analysis.LayerEnergy",
    ),
    *("serving.NamedTensor", "serving.Port", "serialization.supported"),
    "surrogates.Surrogate",  # abstract
)
OVER_TIME = [n for n in NEEDED if hasattr(CALLED.get(n), "cell_class")]


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_wrong_is_refused_by_name(name):
    # Others leave these to Keras.
    further = ("dtype", "trainable") if name in OVER_TIME else ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with nengo.Network():  # where `keras_node` puts its node
            words = WORDS.get(name)
            wrong = complaints(name, CALLED[name], NEEDED[name], further, words)
    _show(wrong)


# --- what needs models and networks -------------------------------------------------


@pytest.fixture(scope="module")
def needed(tmp_path_factory):
    """Calls, and arguments that they need, by name."""
    static = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, "relu", bias_initializer="ones", name="h"),
            keras.layers.Dense(2),
        ]
    )
    kind = ksn.types.IntegrateAndFire(0.01)
    neurons = ksn.layers.Neurons(kind, return_sequences=True, name="n")
    timed = keras.Sequential([keras.Input((None, 3)), neurons])
    x, frames = np.ones((2, 3)), np.ones((1, 4, 1))
    spikes = np.ones((2, 5, 3))
    node, probe = NET.all_nodes[0], NET.all_probes[0]
    simulator = ksn.Simulator(NET, progress_bar=False)
    simulator.compile("sgd", {probe: "mse"})
    export = ksn.to_nengo(static)
    ensemble = ksn.layers.Ensemble(5, 1, seed=0)
    ensemble(np.ones((1, 2, 1)))
    device = ksn.analysis.Device("chip", 1, 1, 1)
    plots, folder = ksn.analysis.plots, tmp_path_factory.mktemp("arguments")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spiking = ksn.to_spiking(static, n_steps=5)
        sequences = ksn.to_spiking(static, n_steps=5, output="sequence")
        ksn.export_streaming(timed, folder / "stream", verify=False)
    stream = ksn.serving.Stream(folder / "stream")
    state = stream.initial_state(2)
    there = {"model": timed, "path": folder}  # what is there is not written over
    yield {
        "analysis.Device.joules": (
            device.joules,
            {"dense": 1, "macs": 1, "acs": 1, "updates": 1},
        ),
        "analysis.energy": (ksn.analysis.energy, {"model": static, "x": x}),
        "analysis.plots.filter_response": (plots.filter_response, {"synapse": 0.01}),
        "analysis.plots.overview": (plots.overview, {"model": static, "x": x}),
        "analysis.plots.raster": (plots.raster, {"values": spikes}),
        "analysis.plots.rates": (plots.rates, {"values": spikes}),
        "analysis.plots.response_curves": (
            plots.response_curves,
            {"neuron_types": "relu", "time": 0.01},
        ),
        "analysis.plots.tuning_curves": (plots.tuning_curves, {"ensemble": ensemble}),
        "compare": (ksn.compare, {"model": static, "other": spiking, "x": x}),
        "export": (ksn.export, there),
        "export_streaming": (ksn.export_streaming, there),
        "from_nengo": (ksn.from_nengo, {"net": NET}),
        "from_nir": (ksn.from_nir, {"graph": ksn.to_nir(timed)}),
        "optimizers.in_own_units": (
            ksn.optimizers.in_own_units,
            {"optimizer": "sgd", "model": static},
        ),
        "serialization.budget": (ksn.serialization.budget, {"max_bytes": 2**20}),
        "metrics.watch": (ksn.metrics.watch, {"model": timed}),
        "NengoExport.record": (export.record, {"x": x}),
        "NengoExport.report": (
            ksn.to_nengo(sequences).report,
            {"x": x, "model": static},
        ),
        "NengoExport.run": (export.run, {"x": x}),
        "NengoExport.verify": (export.verify, {"x": x}),
        "serving.Step": (ksn.serving.Step, {"model": timed}),
        "serving.Step.initial_state": (
            ksn.serving.Step(timed).initial_state,
            {"batch_size": 1},
        ),
        "serving.Stream": (ksn.serving.Stream, {"path": folder / "stream"}),
        "serving.Stream.initial_state": (stream.initial_state, {}),
        "serving.Stream.sequence": (stream.sequence, {"x": spikes, "state": state}),
        "serving.Stream.step": (stream.step, {"x": spikes[:, 0], "state": state}),
        "Simulator.evaluate": (
            simulator.evaluate,
            {"x": {node: frames}, "y": {probe: frames}, "verbose": 0},
        ),
        "Simulator.fit": (
            simulator.fit,
            {"x": {node: frames}, "y": {probe: frames}, "verbose": 0},
        ),
        "Simulator.predict": (simulator.predict, {"x": {node: frames}, "verbose": 0}),
        "Simulator.load_state": (simulator.load_state, {"path": folder / "s.npz"}),
        "Simulator.record_to": (simulator.record_to, {"path": folder / "d.h5"}),
        "Simulator.reset": (simulator.reset, {}),
        "Simulator.save_state": (simulator.save_state, {"path": folder / "s.npz"}),
        "Simulator.run": (simulator.run, {"time_in_seconds": 0.001}),
        "Simulator.run_steps": (simulator.run_steps, {"steps": 1}),
        "Simulator.trange": (simulator.trange, {}),
        "Simulator.compile": (simulator.compile, {"loss": "mse"}),
        "save": (ksn.save, {"model": timed, "path": folder / "m.keras"}),
        "to_nengo": (ksn.to_nengo, {"model": static}),
        "to_nir": (ksn.to_nir, {"model": timed}),
        "to_spiking": (ksn.to_spiking, {"model": static}),
        "verify": (ksn.verify, {"model": ksn.from_nengo(NET), "net": NET, "x": frames}),
    }
    simulator.close()


MADE = (
    *("analysis.Device.joules", "analysis.energy", "analysis.plots.filter_response"),
    *("analysis.plots.overview", "analysis.plots.raster", "analysis.plots.rates"),
    *("analysis.plots.response_curves", "analysis.plots.tuning_curves", "compare"),
    *("export", "export_streaming", "from_nengo", "from_nir", "metrics.watch"),
    *("NengoExport.record", "NengoExport.report", "NengoExport.run"),
    *("NengoExport.verify", "serving.Step", "serving.Step.initial_state"),
    *("serving.Stream", "serving.Stream.initial_state", "serving.Stream.sequence"),
    *("serving.Stream.step", "Simulator.evaluate"),
    *("Simulator.fit", "Simulator.predict", "Simulator.reset", "Simulator.run"),
    *("Simulator.load_state", "Simulator.record_to", "Simulator.save_state"),
    *("Simulator.run_steps", "Simulator.trange", "to_nengo", "to_nir", "to_spiking"),
    *("optimizers.in_own_units", "save", "serialization.budget"),
    *("verify", "Simulator.compile"),  # the last, as it forgets what was compiled
)


# Parameters of Keras's that are ours as well, as they are keyed by nengo's objects.
KEYED = {
    "Simulator.evaluate": ("sample_weight",),
    "Simulator.fit": ("sample_weight", "class_weight", "validation_data"),
    "Simulator.compile": (
        *("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics"),
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_calls_of_what_is_made_refuse_what_is_wrong(name, needed):
    call, arguments = needed[name]
    further, words = KEYED.get(name, ()), WORDS.get(name)
    _show(complaints(name, call, arguments, further, words, legal=False))


# To run it: pytest -m slow tests/test_arguments.py
@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_calls_of_what_is_made_take_what_is_legal(name, needed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for what is written to a path
    call, arguments = needed[name]
    # Keras's compiled functions would remember the shape of a `y` that is legal.
    legal = name not in ("Simulator.evaluate", "Simulator.fit")
    _show(complaints(name, call, arguments, words=WORDS.get(name), legal=legal))


def test_every_public_name_is_tried():
    tried = {*NEEDED, *MADE, *RECORDS}
    cells = {name for name in CALLED if f"{name.removesuffix('Cell')}" in NEEDED}
    once = {name for name in CALLED if name.rpartition(".")[2] in tried}  # `export`
    assert {*CALLED} - tried - cells - once == set()
    assert {*RECORDS} <= {*CALLED}
