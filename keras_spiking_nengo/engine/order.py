"""In which order nodes are done, and what may be done together."""

from collections.abc import Sequence

from nengo.exceptions import BuildError

from keras_spiking_nengo.engine.nodes import Node
from keras_spiking_nengo.graphs import schedule

__all__ = ["ordered"]


def ordered(nodes: Sequence[Node], merging: bool = False) -> list[Node]:
    """Nodes in an order in which each finds what it reads in this step.

    Args:
        nodes: of one loop.
        merging: keep nodes of one key together where that is possible.

    Raises:
        BuildError: if there is no such order: a loop without a synapse.
    """
    maker = {out: i for i, node in enumerate(nodes) for out in node.outs}
    needs = [
        # The output of a lagged node is there from the start.
        {
            maker[value]
            for value in node.sources
            if value in maker and not nodes[maker[value]].lagged
        }
        for node in nodes
    ]
    keys = [node.key(True) if merging else None for node in nodes]
    groups = schedule(needs, keys)
    order = [i for group in groups for i in group]
    if len(order) < len(nodes):
        stuck = sorted(set(range(len(nodes))) - set(order))
        names = dict.fromkeys(nodes[i].label for i in stuck)
        raise BuildError(
            "These depend on each other within one step: "
            f"{', '.join(list(names)[:12])}. Give a connection among them a synapse; 0"
            " is a delay of one step."
        )
    return [nodes[i] for i in order]
