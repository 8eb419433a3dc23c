"""A loop of Python, whose steps are written out one by one."""

from keras import ops

__all__ = ["first_steps_unrolled", "scan_unrolled"]


def scan_unrolled(step, parameters: list, inputs: list, state: list):
    """Outputs and final state of all steps, lists of tensors."""
    steps = []
    for t in range(inputs[0].shape[1]):
        y, state = step(parameters, [x[:, t] for x in inputs], state)
        steps.append(y)
    return [ops.stack(values, axis=1) for values in zip(*steps, strict=True)], state


def first_steps_unrolled(step, parameters: list, inputs: list, state: list, count, _):
    """The same of so many steps; after them, outputs are zeros."""
    time, n = inputs[0].shape[1], int(count)
    parts = [x[:, :n] for x in inputs]
    outputs, state = scan_unrolled(step, parameters, parts, state)
    after = [(0, 0), (0, time - n)]
    return [ops.pad(y, after + [(0, 0)] * (len(y.shape) - 2)) for y in outputs], state
