"""Files and folders that are there whole, or not at all.

What is written goes to a folder beside the final name, `.<name>.unfinished-*`,
and is renamed when all of it is there. Whoever is killed on the way leaves that folder
and nothing else; it may be removed, and nothing reads it.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["written_whole"]


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends without an error.

    It has the name of `path`. Files that are written beside it come along. What was
    there before is replaced by files in one step each, and stays if anything fails;
    only an empty folder is replaced by a folder.

    Args:
        path: file or folder to make. Folders above it are made too.

    Raises:
        OSError: as the system raises it.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with written_whole(folder + "/a.txt") as unfinished:
        ...         _ = unfinished.write_text("all of it")
        ...     [file.name for file in Path(folder).iterdir()]
        ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.unfinished-")
    try:
        yield Path(folder) / path.name
        _move(Path(folder), path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, path: Path) -> None:
    """Moves all out of the folder; `path` last, as it needs what is beside it."""
    beside = [file.name for file in folder.iterdir() if file.name != path.name]
    if not beside:
        (folder / path.name).replace(path)
        return
    # Never an old file with new ones beside it: the old ones are away meanwhile.
    old = Path(tempfile.mkdtemp(dir=folder))
    moves = [(path.parent / name, old / name) for name in (path.name, *beside)]
    moves = [(source, target) for source, target in moves if source.exists()]
    moves += [(folder / name, path.parent / name) for name in (*beside, path.name)]
    undone = []
    try:
        for source, target in moves:
            source.replace(target)
            undone.append((target, source))
    except BaseException:
        for target, source in reversed(undone):
            target.replace(source)
        raise
