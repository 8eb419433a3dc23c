"""Runs exports in a process without Keras, Nengo and this package.

`python runtimes.py RUNTIME JOBS.json STREAM.py STEP`. Their imports are blocked and,
for all but SavedModels, TensorFlow's and JAX's, too: what is left is NumPy and the
runtime itself.
"""

import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

ABSENT = {"keras", "keras_spiking_nengo", "nengo", "jax", "tf2onnx", "torch"}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ABSENT:
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)

    def exec_module(self, module):
        raise AssertionError


class Job:
    """One export, with the calls to answer."""

    def __init__(self, path: str):
        self.path = Path(path)
        self.notes = json.loads((self.path.parent / "notes.json").read_text())
        stored = np.load(self.path.parent / "calls.npz")
        n = len(self.notes["inputs"])
        self.calls = [
            [stored[f"{i}.{j}"] for j in range(n)] for i in range(self.notes["calls"])
        ]

    def named(self, inputs):
        return dict(zip(self.notes["inputs"], inputs, strict=True))

    def ordered(self, outputs):
        return [np.asarray(outputs[name]) for name in self.notes["outputs"]]

    def sequences(self, inputs):
        """A value that is presented comes with every step."""
        return [
            np.repeat(x[:, None], n, axis=1) if n else x
            for x, n in zip(inputs, self.notes["frames"], strict=True)
        ]


def saved_model(job):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(job.path))
    for inputs in job.calls:
        given = inputs
        if job.notes["structure"] == "single":
            (given,) = inputs
        elif job.notes["structure"] == "dict":
            given = dict(zip(job.notes["keys"], inputs, strict=True))
        found = loaded.serve(tf.nest.map_structure(tf.constant, given))
        yield [y.numpy() for y in tf.nest.flatten(found)]


def stream(job):
    loaded = module.Stream(job.path)
    for inputs in job.calls:
        xs = job.named(job.sequences(inputs))
        batch = len(next(iter(xs.values())))
        whole, end = loaded.sequence(xs, loaded.initial_state(batch))
        state, steps = loaded.initial_state(batch), []
        for t in range(next(iter(xs.values())).shape[1]):
            y, state = loaded.step({name: x[:, t] for name, x in xs.items()}, state)
            steps.append(y if isinstance(y, dict) else {"y": y})
        whole = whole if isinstance(whole, dict) else {"y": whole}
        for name, y in whole.items():
            stepped = stacked([y[name] for y in steps], y.ndim)
            # Sample by sample is the whole, to the last bit.
            np.testing.assert_array_equal(stepped, y)
        for name in state:
            np.testing.assert_array_equal(state[name], end[name])
        yield job.ordered(whole)


def stacked(steps, ndim):
    return np.stack(steps, axis=1) if steps[0].ndim < ndim else steps[-1]


def onnx(job):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(job.path))
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


def litert(job):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(job.path))
    runner = interpreter.get_signature_runner("serve")
    return lambda inputs: runner(**inputs)


def openvino(job):
    import openvino

    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(job.path)), "CPU", exact)

    def run(inputs):
        found = compiled(inputs)
        return {name: found[port] for port in compiled.outputs for name in port.names}

    return run


def by_file(make, job, step):
    run = make(job)
    for inputs in job.calls:
        if not step:
            yield job.ordered(run(job.named(inputs)))
            continue
        state = dict(np.load(job.path.with_suffix(".state.npz")))
        xs, found = job.sequences(inputs), []
        for t in range(xs[0].shape[1]):
            sent = run(job.named([x[:, t] for x in xs]) | state)
            state = {name: sent[f"next_{name}"] for name in state}
            found.append(sent)
        yield found


def answer(job, runtime, step):
    if runtime in ("saved_model", "stream"):
        yield from {"saved_model": saved_model, "stream": stream}[runtime](job)
        return
    make = {"onnx": onnx, "litert": litert, "openvino": openvino}[runtime]
    yield from by_file(make, job, step)


def main(runtime, jobs, source, step):
    for path in json.loads(Path(jobs).read_text()):
        job, arrays = Job(path), {}
        try:
            for i, outputs in enumerate(answer(job, runtime, step == "1")):
                if step == "1":
                    # Stacked as sequences; the other process knows which are last.
                    outputs = [
                        np.stack([np.asarray(sent[name]) for sent in outputs], axis=1)
                        for name in job.notes["outputs"]
                    ]
                arrays |= {f"{i}.{j}": y for j, y in enumerate(outputs)}
        except Exception as error:
            arrays = {"error": f"{type(error).__name__}: {error}"}
        np.savez(Path(path).parent / "answers.npz", **arrays)
    loaded = ABSENT & set(sys.modules)
    assert not loaded, loaded


if __name__ == "__main__":
    if sys.argv[1] not in ("saved_model", "stream"):
        ABSENT |= {"tensorflow"}
    sys.meta_path.insert(0, Absent())
    if sys.argv[1] == "stream":
        spec = importlib.util.spec_from_file_location("stream", sys.argv[3])
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    main(*sys.argv[1:])
