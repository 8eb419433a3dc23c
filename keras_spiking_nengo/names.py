"""Names that every backend takes.

TensorFlow makes scopes of names: of layers and models at once, of weights as soon as
an optimizer gives them slots. A scope has letters, digits, and `_`, `-`, `.`; the
outermost one begins with a letter or a digit. Torch finds weights by paths, whose
dots are between names.
"""

import re

__all__ = ["keras_name"]


def keras_name(name: str, dot: str | None = None) -> str:
    """`name` as Keras is told it: other characters become `_`.

    Args:
        name: of any characters, as labels of Nengo have them.
        dot: what a dot becomes in the name of a weight, which stands within the scope
            of a layer; None for other names.

    Example:
        >>> keras_name("a -> gate[0]"), keras_name("_1.5")
        ('a_-__gate_0_', '1_5')
    """
    if dot is None:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", name)
        return name.lstrip("_-") or "unnamed"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).replace(".", dot)
