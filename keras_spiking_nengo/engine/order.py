"""In which order operations are done, and what may be done together."""

from collections.abc import Sequence

from nengo.exceptions import BuildError

from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.graphs import schedule

__all__ = ["ordered"]


def ordered(operations: Sequence[Operation], merging: bool = False) -> list[Operation]:
    """Operations in an order in which each finds what it reads in this step.

    Args:
        operations: of one loop.
        merging: keep operations of one key together where that is possible.

    Raises:
        BuildError: if there is no such order: a loop without a synapse.
    """
    maker = {out: i for i, operation in enumerate(operations) for out in operation.outs}
    needs = [
        # The output of a lagged operation is there from the start.
        {
            maker[value]
            for value in operation.values_read
            if value in maker and not operations[maker[value]].lagged
        }
        for operation in operations
    ]
    keys = [operation.key(True) if merging else None for operation in operations]
    groups = schedule(needs, keys)
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
