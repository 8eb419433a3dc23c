"""Messages of Nengo's that tell a user nothing.

Nengo keeps decoders in a file. Where there is none yet, it logs that the file is
corrupted, and a traceback; nobody sees that until something installs a handler for all
loggers, as absl does while TensorFlow writes a SavedModel.
"""

import logging

__all__ = ["quiet_new_caches"]


class _NoIndexYet(logging.Filter):
    """Drops what is said of a cache that is new."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        return not (kind is not None and issubclass(kind, FileNotFoundError))


def quiet_new_caches() -> None:
    """Let Nengo's cache of decoders log nothing of a file that is not there yet."""
    logger = logging.getLogger("nengo.cache")
    if not any(isinstance(known, _NoIndexYet) for known in logger.filters):
        logger.addFilter(_NoIndexYet())
