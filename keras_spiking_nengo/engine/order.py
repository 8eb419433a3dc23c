"""In which order operations are done, and what may be done together."""

from collections.abc import Sequence

from nengo.exceptions import BuildError

from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.graphs import schedule

__all__ = ["needs_in_step", "ordered"]


def needs_in_step(operations: Sequence[Operation]) -> list[set[int]]:
    """By operation, the numbers of those whose outputs of this step it reads."""
    # The output of a lagged operation is there from the start.
    maker = {out: i for i, n in enumerate(operations) if not n.lagged for out in n.outs}
    return [{maker[v] for v in n.values_read if v in maker} for n in operations]


def ordered(operations: Sequence[Operation]) -> list[Operation]:
    """Operations in an order in which each finds what it reads in this step.

    Args:
        operations: of one loop.

    Raises:
        BuildError: if there is no such order: a loop without a synapse.
    """
    groups = schedule(needs_in_step(operations), [None] * len(operations))
    order = [i for group in groups for i in group]
    if len(order) < len(operations):
        stuck = sorted(set(range(len(operations))) - set(order))
        names = dict.fromkeys(operations[i].label for i in stuck)
        raise BuildError(
            "These depend on each other within one step: "
            f"{', '.join(list(names)[:12])}. Give a connection among them a synapse; 0"
            " is a delay of one step."
        )
    return [operations[i] for i in order]
