"""Names that every backend takes.

TensorFlow makes scopes of names: of layers and models at once, of weights as soon as
an optimizer gives them slots. A scope has letters, digits, and `_`, `-`, `.`; the
outermost one begins with a letter or a digit. Torch finds weights by paths, whose
dots are between names.
"""

import re

import keras

__all__ = ["keras_name"]


def keras_name(name: str, dots: bool = False) -> str:
    """`name` as Keras is told it: other characters become `_`.

    Args:
        name: of any characters, as labels of Nengo have them.
        dots: whether dots stay, as in names of weights, which stand within the scope
            of a layer. On Torch they become colons.

    Example:
        >>> keras_name("a -> gate[0]"), keras_name("_1.5")
        ('a_-__gate_0_', '1_5')
    """
    if not dots:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", name)
        return name.lstrip("_-") or "unnamed"
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return name.replace(".", ":") if keras.backend.backend() == "torch" else name
