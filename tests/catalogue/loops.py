"""Networks in closed loops with what Python computes: bodies, worlds, and devices.

Each call makes a network of a number of neurons, with state of its own in what Python
remembers, so that simulators of two such networks share none.
"""

import functools
from collections import deque
from queue import SimpleQueue

import nengo
import numpy as np
from keras import ops

import keras_spiking_nengo as ksn

__all__ = ["LOOPS", "VECTORISED_LOOPS"]

DT = 0.001
LOOPS = {}
# Those whose functions remember nothing: `vectorised=True` writes them in `keras.ops`.
VECTORISED_LOOPS = ("pendulum", "delay_network")


def loop(fill):
    """A case of its own, `(n_neurons, seed)`: a network and its probes, made anew."""

    @functools.wraps(fill)
    def fresh(n_neurons: int = 60, seed: int = 3, **options):
        with nengo.Network(seed=seed) as net:
            # Nengo's own number grows with the neurons: 40,000 points for 20,000.
            net.config[nengo.Ensemble].n_eval_points = 500
            probes = fill(n_neurons, **options)
        return net, probes

    LOOPS[fill.__name__] = fresh
    return fresh


def nothing(size):
    """A function of what is not learnt yet."""
    return lambda x: np.zeros(size)


def learnt(pre, post, size, rate, error, transform=1.0):
    """A connection that is 0 at first, and which PES corrects."""
    rule = nengo.PES(rate)
    conn = nengo.Connection(
        pre, post, function=nothing(size), learning_rule_type=rule, synapse=0.01
    )
    nengo.Connection(error, conn.learning_rule, transform=transform)
    return conn


# --- bodies ------------------------------------------------------------------------


class Arm:
    """Two links in a plane, with gravity that the controller knows nothing of."""

    INERTIA, COUPLING, WEIGHTS = (0.3, 0.1), 0.1, np.array([6.0, 2.0])

    def __init__(self):
        self.angles, self.speeds = np.array([0.3, 0.8]), np.zeros(2)

    def __call__(self, t, torques):
        (first, second), (v, w), c = self.angles, self.speeds, self.COUPLING
        shared = self.INERTIA[1] + c * np.cos(second)
        inertia = [[self.INERTIA[0] + 2 * shared, shared], [shared, self.INERTIA[1]]]
        turning = c * np.sin(second) * np.array([-w * (2 * v + w), v * v])
        reach = np.cos([first, first + second])
        falling = self.WEIGHTS * [reach[0] + reach[1] / 3, reach[1]]
        forces = torques - turning - falling - 0.5 * self.speeds
        self.speeds = self.speeds + DT * np.linalg.solve(inertia, forces)
        self.angles = self.angles + DT * self.speeds
        return [*self.angles, *self.speeds]


@loop
def arm(n_neurons):
    """Adaptive control: what a proportional controller still asks for is learnt."""

    def control(t, x):
        target = 0.5 + 0.3 * np.cos([4 * t, 7 * t])
        return 40 * (target - x[:2]) - 6 * x[2:]

    body = nengo.Node(Arm(), size_in=2, size_out=4)
    controller = nengo.Node(control, size_in=4, size_out=2)
    adaptive = nengo.Ensemble(n_neurons, 4, radius=2)
    nengo.Connection(body, controller, synapse=0)
    nengo.Connection(body, adaptive, transform=[1, 1, 0.2, 0.2], synapse=0.005)
    nengo.Connection(controller, body, synapse=None)
    learnt(adaptive, body, 2, 1e-4, controller, transform=-1)
    return [nengo.Probe(body), nengo.Probe(adaptive.neurons)]


def swing(sine):
    """A pendulum that stands on its tip, pushed by a wind that nobody measures."""

    def body(t, x):
        angle, speed, torque = x[0], x[1], x[2]
        speed = speed + DT * (9.8 * sine(angle) + torque + 2.0)
        return [angle + DT * speed, speed]

    return body


@loop
def pendulum(n_neurons, vectorised=False):
    """An inverted pendulum, and neurons that learn what its controller lacks."""
    body = ksn.tensor_function(swing(ops.sin)) if vectorised else swing(np.sin)
    plant = nengo.Node(body, size_in=3, size_out=2)
    ens = nengo.Ensemble(n_neurons, 2)
    nengo.Connection(plant, plant[:2], synapse=0)
    nengo.Connection(plant, plant[2], transform=[[-30, -8]], synapse=0)
    nengo.Connection(plant, ens)
    learnt(ens, plant[2], 1, 1e-3, plant, transform=[[30, 8]])
    return [nengo.Probe(plant), nengo.Probe(ens.neurons)]


class Muscle:
    """A mass on a muscle: orders arrive late, and so does what its spindle tells.

    Args:
        delay: steps that a nerve takes.
    """

    def __init__(self, delay=15):
        self.orders, self.reports = deque([0.0] * delay), deque([np.zeros(2)] * delay)
        self.active = self.length = self.speed = 0.0

    def __call__(self, t, x):
        self.orders.append(min(max(float(x[0]), 0.0), 2.0))
        self.active += DT / 0.04 * (self.orders.popleft() - self.active)
        force = self.active * (1 - self.length) - 0.5 - 2 * self.speed
        self.speed += DT * 8 * force
        self.length += DT * self.speed
        self.reports.append(np.array([self.length, self.speed]))
        return self.reports.popleft()


@loop
def muscle(n_neurons):
    """A reflex: neurons compare a length with what is wanted, and pull."""
    body = nengo.Node(Muscle(), size_in=1, size_out=2)
    wanted = nengo.Node(lambda t: 0.2 * np.sin(5 * t))
    reflex = nengo.Ensemble(n_neurons, 2, radius=1.5)
    nengo.Connection(body, reflex, transform=[-1, 1])
    nengo.Connection(wanted, reflex[0])
    nengo.Connection(
        reflex, body, function=lambda x: max(0.0, 0.5 + 4 * x[0] - x[1] * abs(x[0]))
    )
    return [nengo.Probe(body), nengo.Probe(reflex, synapse=0.01)]


# --- worlds ------------------------------------------------------------------------


class Grid:
    """A square to walk in, where a step costs a little and one corner gives a lot."""

    MOVES = ((0, 1), (0, -1), (1, 0), (-1, 0))

    def __init__(self, size=5, period=20):
        self.size, self.period, self.rng = size, period, np.random.RandomState(1)
        self.place, self.reward, self.move, self.steps = np.zeros(2), 0.0, 0, 0

    def __call__(self, t, x):
        if self.steps % self.period == 0:
            self.walk(x)
        self.steps += 1
        chosen = np.eye(4)[self.move]
        return [*(2 * self.place / (self.size - 1) - 1), self.reward, *chosen]

    def walk(self, merits):
        if self.reward > 0:
            self.place = np.zeros(2)
        self.move = int(np.argmax(merits + self.rng.normal(0, 0.1, 4)))
        self.place = np.clip(self.place + self.MOVES[self.move], 0, self.size - 1)
        self.reward = float(np.all(self.place == self.size - 1)) - 0.1


class Surprise:
    """By how much less than was hoped for one got, for the value and for each move."""

    def __init__(self, period=20):
        self.before = deque([0.0] * period)

    def __call__(self, t, x):
        value, reward, chosen = x[0], x[1], x[2:]
        self.before.append(value)
        lacking = self.before.popleft() - reward - 0.9 * value
        return [lacking, *(lacking * chosen)]


@loop
def actor_critic(n_neurons):
    """Two maps of a grid: how good it is to be there, and to go each way."""
    world = nengo.Node(Grid(), size_in=4, size_out=7)
    surprise = nengo.Node(Surprise(), size_in=6, size_out=5)
    value = nengo.Node(size_in=1)
    place = nengo.Ensemble(n_neurons, 2, radius=1.4)
    nengo.Connection(world[:2], place)
    nengo.Connection(world[2:], surprise[1:], synapse=0)
    nengo.Connection(value, surprise[0], synapse=None)
    learnt(place, value, 1, 1e-4, surprise[0])
    learnt(place, world, 4, 1e-4, surprise[1:])
    return [nengo.Probe(world), nengo.Probe(surprise), nengo.Probe(value)]


def delay_matrices(order, delay):
    """Of a window of the past in Legendre polynomials: dm/dt = A m + B u."""
    i, j = np.ogrid[:order, :order]
    a = np.where(i < j, -1.0, (-1.0) ** (i - j + 1)) * (2 * i + 1) / delay
    return a, (2 * i + 1) * (-1.0) ** i / delay


def blood(t, x):
    """Mackey and Glass's equation of a count, and of what it was a while ago."""
    count, former = x[0], x[1]
    growth = 0.2 * former / (1 + former**10) - 0.1 * count
    return [count + DT * 57 * (growth + 0.01)]


@loop
def delay_network(n_neurons, vectorised=False):
    """A delay of neurons in a differential equation that Python has the rest of."""
    tau, order = 0.1, 6
    a, b = delay_matrices(order, 0.3)
    fluid = ksn.tensor_function(lambda t, x: blood(t, x)) if vectorised else blood
    plant = nengo.Node(fluid, size_in=2, size_out=1)
    window = nengo.Ensemble(n_neurons, order, radius=1.5)
    nengo.Connection(plant, plant[0], synapse=0)
    nengo.Connection(plant, window, transform=tau * b, synapse=tau)
    nengo.Connection(window, window, transform=tau * a + np.eye(order), synapse=tau)
    nengo.Connection(window, plant[1], transform=np.ones((1, order)), synapse=0.005)
    return [nengo.Probe(plant), nengo.Probe(window, synapse=0.01)]


# --- devices -----------------------------------------------------------------------


@loop
def queues(n_neurons):
    """A node that asks, and one that answers, with nothing but queues between them."""
    asked, answers = SimpleQueue(), SimpleQueue()

    def ask(t, x):
        asked.put((t, float(x[0])))
        return 0.0 if answers.empty() else answers.get()

    def answer(t, x):
        while not asked.empty():
            time, value = asked.get()
            answers.put(np.sin(20 * time) - 0.5 * value)
        return asked.qsize() + x

    client = nengo.Node(ask, size_in=1, size_out=1)
    server = nengo.Node(answer, size_in=1, size_out=1)
    ens = nengo.Ensemble(n_neurons, 1)
    nengo.Connection(client, ens, synapse=0.02)
    nengo.Connection(ens, client)
    nengo.Connection(ens, server, synapse=0.01)
    return [nengo.Probe(client), nengo.Probe(server), nengo.Probe(ens.neurons)]


class Sign(nengo.neurons.NeuronType):
    """Neurons of a user's own, in NumPy: on or off."""

    negative = True

    def step(self, dt, J, output):
        output[...] = np.sign(J)


class Sled:
    """A mass that slides, and a spring."""

    def __init__(self):
        self.place, self.speed = 1.0, 0.0

    def __call__(self, t, force):
        self.speed += DT * (10 * force[0] - 4 * self.place - 0.5 * self.speed)
        self.place += DT * self.speed
        return self.place, self.speed


@loop
def sign_neurons(n_neurons):
    """A sled held where it is wanted by neurons that switch."""
    sled = nengo.Node(Sled(), size_in=1, size_out=2)
    ens = nengo.Ensemble(
        n_neurons,
        2,
        neuron_type=Sign(),
        gain=np.ones(n_neurons),
        bias=np.linspace(-0.9, 0.9, n_neurons),
    )
    nengo.Connection(sled, ens)
    nengo.Connection(ens, sled, function=lambda x: -x[0] - x[1], synapse=0.005)
    return [nengo.Probe(sled), nengo.Probe(ens.neurons)]


class Motor(nengo.Process):
    """A motor with play and noise: a process with an input and a state."""

    def __init__(self):
        super().__init__(default_size_in=1, default_size_out=2)

    def make_state(self, shape_in, shape_out, dt, dtype=None):
        return {"angle": np.zeros(1), "speed": np.zeros(1)}

    def make_step(self, shape_in, shape_out, dt, rng, state):
        def step(t, volts):
            torque = np.where(np.abs(volts) < 0.05, 0, volts) + 0.1 * rng.normal(size=1)
            state["speed"] += dt * (20 * torque - 5 * state["speed"])
            state["angle"] += dt * state["speed"]
            return np.concatenate([np.sin(state["angle"]), state["speed"]])

        return step


@loop
def process(n_neurons):
    """A motor that neurons turn to and fro."""
    motor = nengo.Node(Motor(), size_in=1)
    wanted = nengo.Node(nengo.processes.Piecewise({0: 0.5, 0.05: -0.5}))
    ens = nengo.Ensemble(n_neurons, 2, radius=1.5)
    nengo.Connection(wanted, ens[0])
    nengo.Connection(motor, ens, transform=[-1, 0.2])
    nengo.Connection(ens, motor, function=lambda x: 3 * x[0] - x[1])
    return [nengo.Probe(motor), nengo.Probe(ens.neurons)]
