"""`python -m keras_spiking_nengo`, which is also the script `ksn`."""

from keras_spiking_nengo.commands import app

if __name__ == "__main__":
    app(prog_name="ksn")
