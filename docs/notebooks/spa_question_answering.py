# %% [markdown]
# # Questions about what was seen
#
# A semantic pointer network binds what it sees, *blue circle* and *red square*, into
# one vector that is held in a recurrent memory, and answers questions about it: which
# shape was blue? 35,200 spiking neurons of nengo-spa, as one Keras layer.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
import nengo_spa as spa
import numpy as np

import keras_spiking_nengo as ksn

dimensions = 32
vocabulary = spa.Vocabulary(dimensions, pointer_gen=np.random.RandomState(1))
vocabulary.populate("BLUE; RED; CIRCLE; SQUARE")
names = list(vocabulary.keys())


def vector(expression):
    return vocabulary.parse(expression).v


# %%
with spa.Network(seed=1) as net:
    colour = spa.State(vocabulary, label="colour")
    shape = spa.State(vocabulary, label="shape")
    question = spa.State(vocabulary, label="question")
    memory = spa.State(vocabulary, feedback=1.0, feedback_synapse=0.4, label="memory")
    answer = spa.State(vocabulary, label="answer")
    colour * shape >> memory
    memory * ~question >> answer
    inputs = {}
    for name, state in (("colour", colour), ("shape", shape), ("question", question)):
        inputs[name] = nengo.Node(np.zeros(dimensions), label=name)
        nengo.Connection(inputs[name], state.input, synapse=None)
    nengo.Probe(answer.output, synapse=0.03, label="answer")

layer = ksn.layers.Network(net, inputs=inputs, return_sequences=True)
neurons = sum(ensemble.n_neurons for ensemble in net.all_ensembles)
print(f"{neurons:,} neurons, {len(net.all_ensembles)} ensembles")

# %% [markdown]
# Each of the two things is seen for 250 ms; then each question is asked for as long.

# %%
steps, nothing = 250, np.zeros(dimensions)
seen = [("BLUE", "CIRCLE"), ("RED", "SQUARE")]
asked = ["BLUE", "SQUARE", "RED", "CIRCLE"]
rows = [(vector(c), vector(s), nothing) for c, s in seen]
rows += [(nothing, nothing, vector(q)) for q in asked]
columns = [np.repeat(column, steps, axis=0)[None] for column in zip(*rows, strict=True)]
data = dict(zip(inputs, map(np.asarray, columns), strict=True))
answers = keras.ops.convert_to_numpy(layer(data))[0]

# %%
similar = answers @ np.stack([vector(name) for name in names]).T
time = np.arange(len(similar)) * 0.001
plt.figure(figsize=(9, 3))
plt.plot(time, similar, label=names)
labels = [f"{c.lower()} {s.lower()}" for c, s in seen]
labels += [f"{q.lower()}?" for q in asked]
for i, label in enumerate(labels):
    plt.axvline(i * steps / 1000, color="0.8")
    plt.text((i + 0.5) * steps / 1000, plt.ylim()[1], label, ha="center", va="bottom")
plt.ylabel("similarity of the answer")
plt.xlabel("seconds")
plt.legend(loc="upper left", fontsize="small")
told = similar.reshape(-1, steps, len(names))[2:, -50:].mean(axis=1).argmax(axis=1)
print({q: names[i] for q, i in zip(asked, told, strict=True)})
