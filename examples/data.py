"""Image data for the examples, without a download where that is possible."""

import argparse
import os
import pathlib

import keras
import numpy as np

DEBIAN = pathlib.Path("/usr/share/datasets/fashion-mnist")


def load(name: str):
    """Images in [0, 1] and labels: `(x_train, y_train), (x_test, y_test)`."""
    return {"digits": digits, "fashion-mnist": fashion_mnist}[name]()


def add_argument(parser: argparse.ArgumentParser, default: str = "digits") -> None:
    parser.add_argument(
        "--data",
        choices=["digits", "fashion-mnist"],
        default=default,
        help="scikit-learn's 8x8 digits (no download) or Fashion-MNIST",
    )


def digits():
    """1,797 handwritten digits of 8x8 pixels, which come with scikit-learn."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images / 16).astype("float32")
    y = bunch.target.astype("int32")
    order = np.random.RandomState(0).permutation(len(x))
    train, test = order[:1437], order[1437:]
    return (x[train], y[train]), (x[test], y[test])


def fashion_mnist():
    """60,000 + 10,000 images of 28x28 pixels.

    Keras's own cache or download comes first; without a network, the files of
    Debian's package `dataset-fashion-mnist` are linked into that cache.
    """
    cache = pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras"))
    cache = cache / "datasets" / "fashion-mnist"
    if DEBIAN.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        for file in DEBIAN.glob("*-ubyte.gz"):
            if not (cache / file.name).exists():
                (cache / file.name).symlink_to(file)
    try:
        train, test = keras.datasets.fashion_mnist.load_data()
    except Exception as error:
        raise SystemExit(
            f"Fashion-MNIST is neither in {cache}, nor in {DEBIAN}, nor can it be"
            f" downloaded ({error}).\nInstall Debian's package dataset-fashion-mnist,"
            " or use --data digits."
        ) from error
    return tuple(
        (x.astype("float32") / 255, y.astype("int32")) for x, y in (train, test)
    )
