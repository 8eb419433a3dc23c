"""Lengths of the blocks of a run: as few as may be, for each is compiled once."""

from collections.abc import Collection, Iterator

__all__ = ["block_length", "cached_steps", "pieces"]

# Within a block, at most so many steps are laid out at once.
_CACHED = 25
# A compiled length is used for other runs if it divides them into so few pieces.
_PIECES = 50


def pieces(steps: int, longest: int, compiled: Collection[int]) -> Iterator[int]:
    """Lengths of the blocks of a run, those that are compiled already if they fit.

    Args:
        steps: of the run.
        longest: the most steps of a block.
        compiled: lengths for which there is a program.

    Example:
        >>> list(pieces(30, 10, []))
        [10, 10, 10]
    """
    length = block_length(steps, longest) if steps else 1
    while steps > length:
        yield length
        steps -= length
    for length in sorted(compiled, reverse=True):
        rest = steps % length
        compiled_too = rest == 0 or any(rest % k == 0 for k in compiled)
        if steps // length <= _PIECES and compiled_too:
            while steps >= length:
                yield length
                steps -= length
    if steps:
        yield steps


def block_length(steps: int, longest: int) -> int:
    """The most steps of a block; a divisor of `steps` if there is a good one.

    Example:
        >>> block_length(90, 40)
        30
    """
    fewest = -(-steps // longest)
    divisors = (n for n in range(fewest, 2 * fewest + 1) if steps % n == 0)
    n_blocks = next(divisors, None)
    # Equal blocks need one program.
    return longest if n_blocks is None else max(1, steps // n_blocks)


def cached_steps(steps: int) -> int:
    """Steps whose values stay in the processor's cache: a divisor of `steps`.

    Example:
        >>> cached_steps(100)
        25
    """
    return next((n for n in range(_CACHED, 9, -1) if steps % n == 0), steps)
