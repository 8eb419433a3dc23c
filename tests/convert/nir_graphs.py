"""NIR graphs that are drawn, and what they compute, step by step in NumPy."""

import math

import nir
import numpy as np
from hypothesis import strategies as st
from scipy import linalg, signal

DT = 0.001


# --- what nodes compute -------------------------------------------------------------


class Runner:
    """One step of a graph after the other.

    Args:
        graph: `nir.NIRGraph` without subgraphs.
        late: edges whose source is seen a step later.
        exact: whether membranes are solved, or stepped by Euler's rule.
        subtracts: whether resets subtract.
    """

    def __init__(self, graph, late=(), exact=True, subtracts=False, dt=DT):
        self.graph, self.late, self.dt = graph, set(late), dt
        self.exact, self.subtracts = exact, subtracts
        self.state, self.sent = {}, {}

    def order(self):
        edges = [e for e in self.graph.edges if e not in self.late]
        left, found = dict.fromkeys(self.graph.nodes), []
        while left:
            ready = [n for n in left if not any(b == n and a in left for a, b in edges)]
            found += ready
            left = {n: None for n in left if n not in ready}
        return found

    def run(self, inputs):
        """Outputs by name, `(time, *shape)`, for inputs by name."""
        steps = len(next(iter(inputs.values())))
        names = self.order()
        outputs = {n: [] for n, v in self.graph.nodes.items() if type(v) is nir.Output}
        for step in range(steps):
            before, self.sent = self.sent, {}
            for name in names:
                node = self.graph.nodes[name]
                if type(node) is nir.Input:
                    self.sent[name] = inputs[name][step]
                    continue
                total = 0
                for a, b in self.graph.edges:
                    if b == name and (a, b) in self.late:
                        total = total + before.get(a, 0)
                    elif b == name:
                        total = total + self.sent[a]
                self.sent[name] = self.step(name, node, total)
            for name in outputs:
                outputs[name].append(self.sent[name])
        return {name: np.array(values) for name, values in outputs.items()}

    def step(self, name, node, x):
        kind = type(node)
        if kind is nir.Output:
            return x
        if kind in (nir.Affine, nir.Linear):
            return node.weight @ x + getattr(node, "bias", 0)
        if kind is nir.Scale:
            return node.scale * x
        if kind is nir.Flatten:
            start, end = node.start_dim, node.end_dim % x.ndim
            return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])
        if kind in (nir.Conv1d, nir.Conv2d):
            return convolve(node, x)
        if kind in (nir.SumPool2d, nir.AvgPool2d):
            return pool(node, x, kind is nir.AvgPool2d)
        if kind is nir.Delay:
            past = self.state.setdefault(name, [])
            x = x + np.zeros(np.shape(node.delay))  # nothing has come yet
            past.append(x)
            steps = np.rint(node.delay / self.dt).astype(int)
            result = np.zeros_like(x)
            for where, n in np.ndenumerate(steps):
                result[where] = past[-1 - n][where] if n < len(past) else 0
            return result
        if kind is nir.Threshold:
            return (x > node.threshold) * 1.0
        return self.membrane(name, node, x)

    def membrane(self, name, node, x):
        i, v = self.state.get(name, (np.zeros_like(x), np.zeros_like(x)))
        tau = getattr(node, "tau", getattr(node, "tau_mem", None))
        leak = getattr(node, "v_leak", np.zeros_like(x))
        tau_syn = getattr(node, "tau_syn", None)
        w = getattr(node, "w_in", np.ones_like(x))
        new = np.empty_like(x), np.empty_like(x)
        for at in np.ndindex(x.shape):
            rate = 0 if tau is None else 1 / tau[at]
            gain = node.r[at] * (1 if tau is None else rate)
            if tau_syn is None:
                A = [[0, 0], [0, -rate]]
                B = [0, rate * leak[at] + gain * w[at] * x[at]]
            else:
                fast = 1 / tau_syn[at]
                A = [[-fast, 0], [gain, -rate]]
                B = [fast * w[at] * x[at], rate * leak[at]]
            state = np.array([i[at], v[at]])
            if self.exact:
                M = np.zeros((3, 3))
                M[:2, :2], M[:2, 2] = A, B
                state = (linalg.expm(M * self.dt) @ [*state, 1])[:2]
            else:
                state[0] += self.dt * (A[0][0] * state[0] + B[0])
                slope = A[1][0] * state[0] + A[1][1] * state[1] + B[1]
                state[1] += self.dt * slope
            new[0][at], new[1][at] = state
        i, v = new
        if not hasattr(node, "v_threshold"):
            self.state[name] = i, v
            return v
        spikes = v > node.v_threshold
        if self.subtracts:
            after = v - spikes * (node.v_threshold - node.v_reset)
        else:
            after = np.where(spikes, node.v_reset, v)
        self.state[name] = i, after
        return spikes * 1.0


def convolve(node, x):
    rank = x.ndim - 1
    stride, dilation = (
        np.broadcast_to(v, rank).astype(int) for v in (node.stride, node.dilation)
    )
    kernel = np.shape(node.weight)[2:]
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if node.padding == "same":
        around = [(r // 2, r - r // 2) for r in reach]
    else:
        padding = 0 if node.padding == "valid" else node.padding
        around = [(int(p), int(p)) for p in np.broadcast_to(padding, rank)]
    x = np.pad(x, [(0, 0), *around])
    wide = np.zeros((*node.weight.shape[:2], *(r + 1 for r in reach)))
    wide[(..., *(slice(None, None, d) for d in dilation))] = node.weight
    out, group = len(wide), len(wide) // node.groups
    depth = wide.shape[1]
    found = []
    for o in range(out):
        channels = x[(o // group) * depth :][:depth]
        maps = [
            signal.correlate(c, k, "valid")
            for c, k in zip(channels, wide[o], strict=True)
        ]
        found.append(sum(maps)[tuple(slice(None, None, s) for s in stride)])
    return np.array(found) + node.bias.reshape(-1, *[1] * rank)


def pool(node, x, mean):
    (kh, kw), (sh, sw), (ph, pw) = node.kernel_size, node.stride, node.padding
    x = np.pad(x, [(0, 0), (ph, ph), (pw, pw)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (1, 2))
    total = windows[:, ::sh, ::sw].sum((-1, -2))
    return total / (kh * kw) if mean else total


# --- drawing them -------------------------------------------------------------------


def weights(draw, *shape, scale=1.0):
    rng = np.random.RandomState(draw(st.integers(0, 10**6)))
    return rng.normal(0, scale / math.sqrt(np.prod(shape[1:], initial=1)), shape)


def per_neuron(draw, low, high, shape):
    """One value for all neurons, or one for each."""
    rng = np.random.RandomState(draw(st.integers(0, 10**6)))
    if draw(st.booleans()):
        return np.full(shape, rng.uniform(low, high))
    return rng.uniform(low, high, shape)


KINDS = ("I", "LI", "CubaLI", "IF", "LIF", "CubaLIF", "Scale", "Threshold", "Delay")


def elementwise(draw, shape, names=KINDS):
    """A node that keeps the shape."""
    name = draw(st.sampled_from(names))

    def values(low, high):
        return per_neuron(draw, low, high, shape)

    if name == "Scale":
        # Keras rounds lists of scales to single precision.
        return nir.Scale(np.float32(values(-2, 2)).astype(float))
    if name == "Delay":
        return nir.Delay(np.rint(values(0, 4)) * DT)
    if name == "Threshold":
        return nir.Threshold(values(-0.2, 0.5))
    given = {"r": values(0.5, 2) * (1 if "L" in name else 50)}
    if "L" in name:
        given["v_leak"] = values(-0.1, 0.1)
        taus = ["tau_mem", "tau_syn"] if "Cuba" in name else ["tau"]
        given |= {tau: values(0.002, 0.02) for tau in taus}
    if "Cuba" in name:
        given["w_in"] = values(0.5, 2)
    if name.endswith("F"):
        given["v_threshold"] = values(0.05, 0.3)
        given["v_reset"] = values(-0.2, 0.04)
    return getattr(nir, name)(**given)


def windowed(draw, shape):
    """A node of images."""
    channels, *space = shape
    kinds = ["conv", "conv", "flatten"] + ["sum", "mean"] * (len(space) == 2)
    kind = draw(st.sampled_from(kinds))
    if kind == "flatten":
        return nir.Flatten({"input": np.array(shape)}, 0, -1)
    small = [draw(st.integers(1, min(3, n))) for n in space]
    stride = [draw(st.integers(1, 2)) for _ in space]
    padding = [draw(st.integers(0, (k - 1) // 2)) for k in small]
    if kind != "conv":
        make = nir.SumPool2d if kind == "sum" else nir.AvgPool2d
        return make(*(np.array(values) for values in (small, stride, padding)))
    groups = draw(st.sampled_from([1, channels]))
    weight = weights(draw, 2 * groups, channels // groups, *small, scale=3)
    dilation = [2 if 2 * (k - 1) < n else 1 for k, n in zip(small, space, strict=True)]
    same = draw(st.booleans())

    def sizes(values):
        return values[0] if len(space) == 1 else tuple(values)

    make = nir.Conv1d if len(space) == 1 else nir.Conv2d
    return make(
        None,
        weight,
        1 if same else sizes(stride),
        "same" if same else sizes(padding),
        sizes(dilation),
        groups,
        weights(draw, 2 * groups),
    )


def sent_shape(node, shape):
    """The shape that a node makes of zeros."""
    return (
        Runner(nir.NIRGraph({}, [], type_check=False))
        .step("", node, np.zeros(shape))
        .shape
    )


def nested(graph, shapes):
    """The same graph, with some of its nodes in subgraphs, and some of those deeper."""
    nodes = dict(graph.nodes)
    inner = [n for n, v in nodes.items() if type(v) not in (nir.Input, nir.Output)]
    for i, name in enumerate(inner):
        for _ in range(i % 3):
            taken, sent = shapes[name]
            parts = {
                "in": nir.Input({"input": np.array(taken)}),
                "node": nodes[name],
                "out": nir.Output({"output": np.array(sent)}),
            }
            edges = [("in", "node"), ("node", "out")]
            nodes[name] = nir.NIRGraph(parts, edges, type_check=False)
    return nir.NIRGraph(nodes, graph.edges, type_check=False)


@st.composite
def nir_graphs(draw):
    """A graph, the same with subgraphs, and the edges that are seen a step later."""
    kind = draw(st.integers(0, 4))
    space = [(), (), (5,), (4, 5), (5, 4)][kind]
    shape = (draw(st.integers(1, 4)), *space)
    graph = nir.NIRGraph({}, [], type_check=False)
    nodes, edges, late = graph.nodes, graph.edges, []
    letters = draw(st.permutations("abcdefghijklmnopqrstuvwxyz"))

    shapes = {}

    def add(node, *sources):
        name = f"{letters[len(nodes)]}{len(nodes)}"
        nodes[name] = node
        taken = shapes[sources[0]][1] if sources else shape
        shapes[name] = taken, sent_shape(node, taken) if sources else shape
        edges.extend((source, name) for source in sources)
        return name

    def typed(key, shape):
        return {key: np.array(shape)}

    last = add(nir.Input(typed("input", shape)))
    for _ in range(draw(st.integers(1, 4))):
        choice = draw(
            st.sampled_from(["own", "own", "window", "matrix", "cycle", "fork"])
        )
        if choice == "window" and len(shape) > 1:
            node = windowed(draw, shape)
            last, shape = add(node, last), sent_shape(node, shape)
        elif choice == "matrix" and len(shape) == 1:
            size = draw(st.integers(1, 5))
            weight = weights(draw, size, *shape, scale=2)
            biased = draw(st.booleans())
            node = (
                nir.Affine(weight, weights(draw, size))
                if biased
                else nir.Linear(weight)
            )
            last, shape = add(node, last), (size,)
        elif choice == "cycle" and len(shape) == 1:
            first = add(elementwise(draw, shape, KINDS[:-1]), last)
            back = add(nir.Linear(weights(draw, *shape, *shape)), first)
            edges.append((back, first))
            late.append((back, first))
            last = first
        elif choice == "fork":
            one, other = (add(elementwise(draw, shape), last) for _ in range(2))
            last = add(elementwise(draw, shape), one, other)
        else:
            last = add(elementwise(draw, shape), last)
        if draw(st.integers(0, 5)) == 0:
            add(nir.Output(typed("output", shape)), last)
    add(nir.Output(typed("output", shape)), last)
    return graph, nested(graph, shapes), late


# --- one of each --------------------------------------------------------------------


def _numbers(*shape, low=0.1, high=1.0):
    return np.random.RandomState(len(shape)).uniform(low, high, shape)


def _steps(*shape):
    return np.random.RandomState(0).randint(1, 4, shape) * DT


def _flatten(*shape):
    return nir.Flatten({"input": np.array(shape)}, 0, -1)


def _pair(*values):
    return np.array(values)


# By primitive: shapes of inputs, and nodes that take them.
CASES = {
    "Input": [((3,), None)],
    "Output": [((2, 4), None)],
    "Affine": [((4,), nir.Affine(_numbers(3, 4), _numbers(3)))],
    "Linear": [((4,), nir.Linear(_numbers(3, 4)))],
    "Scale": [
        ((3,), nir.Scale(np.array([0.5, 2, -0.25]))),
        ((2, 4, 3), nir.Scale(np.arange(1, 25).reshape(2, 4, 3) / 8)),
    ],
    "Conv1d": [
        ((2, 9), nir.Conv1d(9, _numbers(4, 2, 3), 2, 1, 1, 1, _numbers(4))),
        ((2, 9), nir.Conv1d(9, _numbers(4, 1, 3), 1, 0, 2, 2, _numbers(4))),
    ],
    "Conv2d": [
        (
            (2, 6, 5),
            nir.Conv2d(
                (6, 5), _numbers(4, 2, 3, 2), (2, 1), (1, 0), (1, 1), 1, _numbers(4)
            ),
        ),
        (
            (2, 6, 5),
            nir.Conv2d((6, 5), _numbers(4, 1, 2, 2), 1, 0, (2, 1), 2, _numbers(4)),
        ),
    ],
    "SumPool2d": [((2, 6, 5), nir.SumPool2d(_pair(2, 3), _pair(2, 1), _pair(0, 1)))],
    "AvgPool2d": [((2, 6, 5), nir.AvgPool2d(_pair(2, 3), _pair(2, 1), _pair(0, 1)))],
    "Flatten": [((2, 4, 3), _flatten(2, 4, 3)), ((2, 4), _flatten(2, 4))],
    "Delay": [((3,), nir.Delay(_steps(3))), ((2, 4), nir.Delay(_steps(2, 4)))],
    "Threshold": [((3,), nir.Threshold(_numbers(3)))],
    "I": [((3,), nir.I(_numbers(3)))],
    "LI": [((2, 4), nir.LI(_numbers(2, 4), _numbers(2, 4), _numbers(2, 4)))],
    "CubaLI": [((3,), nir.CubaLI(*_numbers(5, 3)))],
    "IF": [((3,), nir.IF(*_numbers(2, 3), -_numbers(3)))],
    "LIF": [
        ((3,), nir.LIF(*_numbers(4, 3), -_numbers(3))),
        ((2, 4), nir.LIF(*_numbers(4, 2, 4), -_numbers(2, 4))),
    ],
    "CubaLIF": [((3,), nir.CubaLIF(*_numbers(6, 3)[:5], -_numbers(3), _numbers(3)))],
}
# By primitive: nodes that send what they take, as some on a cycle do.
CYCLIC = {
    name: nodes[-1]
    for name, nodes in CASES.items()
    if name in KINDS and name != "Delay"
} | {
    "Affine": ((3,), nir.Affine(_numbers(3, 3), _numbers(3))),
    "Linear": ((3,), nir.Linear(_numbers(3, 3))),
    "Conv1d": ((2, 5), nir.Conv1d(5, _numbers(2, 2, 3), 1, 1, 1, 1, _numbers(2))),
    "Conv2d": (
        (2, 4, 3),
        nir.Conv2d((4, 3), _numbers(2, 1, 3, 3), 1, "same", 1, 2, _numbers(2)),
    ),
    "SumPool2d": ((2, 4, 3), nir.SumPool2d(_pair(3, 3), _pair(1, 1), _pair(1, 1))),
    "AvgPool2d": ((2, 4, 3), nir.AvgPool2d(_pair(3, 1), _pair(1, 1), _pair(1, 0))),
    "Flatten": ((4,), _flatten(4)),
    "Delay": ((3,), nir.Delay(_steps(3))),
}


def graph_with(shape, node, back=None):
    """A graph of one node, and of one more that leads back to it."""
    typed = {"input": np.array(shape)}
    nodes = {"in": nir.Input(typed)} | ({} if node is None else {"node": node})
    sends = shape if node is None else sent_shape(node, np.array(shape))
    nodes["out"] = nir.Output({"output": np.array(sends)})
    names = list(nodes)
    edges = list(zip(names, names[1:], strict=False))
    if back is not None:
        nodes["back"] = back
        edges += [("node", "back"), ("back", "node")]
    return nir.NIRGraph(nodes, edges, type_check=False)
