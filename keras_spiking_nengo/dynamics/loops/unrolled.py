"""A loop of Python, whose steps are written out one by one."""

from keras import ops

__all__ = ["scan_unrolled"]


def scan_unrolled(step, parameters: list, inputs: list, state: list):
    """Outputs and final state of all steps, lists of tensors."""
    steps = []
    for t in range(inputs[0].shape[1]):
        y, state = step(parameters, [x[:, t] for x in inputs], state)
        steps.append(y)
    return [ops.stack(values, axis=1) for values in zip(*steps, strict=True)], state
