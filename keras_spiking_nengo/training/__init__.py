"""What training takes besides layers."""

from keras_spiking_nengo.training import accuracy

accuracy.install()
