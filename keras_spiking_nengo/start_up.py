"""TensorFlow's notes when it starts, which tell a user nothing.

On a machine without a graphics card, a newcomer's first screen said that drivers were
not found and how to build TensorFlow anew. Some notes come before its logging begins,
where no setting of its own silences them.
"""

import contextlib
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["start_quietly"]

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# What a line of a note has in it. Everything else is shown.
_START_UP_NOTES = re.compile(
    rb"absl::InitializeLog|cudart_stub|oneDNN custom operations|cpu_feature_guard"
    rb"|^To enable the following instructions"
)


def start_quietly(module: str = "keras") -> None:
    """Import Keras, which starts its backend, or TensorFlow, without those notes.

    Whoever sets `TF_CPP_MIN_LOG_LEVEL` below 3, or imported TensorFlow, sees what they
    ask for.
    """
    # 3 may be a parent process's: that there is no graphics card counts as an error.
    if os.environ.setdefault(_LEVEL, "3") != "3" or "tensorflow" in sys.modules:
        return
    with _without_notes():
        importlib.import_module(module)


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """What is written to the process's standard error, without known notes."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file:
                if not _START_UP_NOTES.search(line):
                    os.write(2, line)
