"""What one client may ask for. Each limit is an option of the command line."""

import argparse
from dataclasses import dataclass, fields

__all__ = ["Limits", "add_arguments", "limits_of"]


@dataclass(frozen=True)
class Limits:
    """Bounds that a replica keeps.

    Args:
        images: images in one request.
        body: bytes of one request, or of one message of a session.
        head: seconds in which the head of a request comes; else it is closed.
        read: seconds in which its body comes.
        coming: bytes of all bodies that are not there yet, per proxy.
        sessions: sessions open at a time.
        idle: seconds without a message after which a session ends.
        message_steps: steps that one message may ask for.
        session_steps: steps of a whole session.
        requests: requests under way at a time, sessions not counted.
        queue: requests that wait for a replica, per proxy; more are answered 503.
    """

    images: int = 64
    body: int = 1_000_000
    head: float = 10.0
    read: float = 10.0
    coming: int = 64_000_000
    sessions: int = 32
    idle: float = 60.0
    message_steps: int = 100
    session_steps: int = 100_000
    requests: int = 64
    queue: int = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for field in fields(Limits):
        name = "--max-" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default)


def limits_of(options: argparse.Namespace) -> Limits:
    names = [field.name for field in fields(Limits)]
    limits = Limits(**{name: getattr(options, f"max_{name}") for name in names})
    low = [name for name in names if getattr(limits, name) <= 0]
    if low:
        raise SystemExit(f"Limits are above 0; received {low} of {limits}.")
    return limits
