"""Answer with an exported model, with TensorFlow and NumPy alone.

`python serve.py SAVED_MODEL INPUTS.npy OUTPUTS.npy`
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow would import Keras if it could: with None in its place nobody can.
sys.modules["keras"] = sys.modules["keras_spiking_nengo"] = None

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

saved_model, inputs, outputs = sys.argv[1:]
model = tf.saved_model.load(saved_model)
x = np.load(inputs)
batches = [model.serve(tf.constant(x[i : i + 500])) for i in range(0, len(x), 500)]
np.save(outputs, np.concatenate(batches))
