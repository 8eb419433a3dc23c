"""Python in processes of its own, and what processes there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(*words, cwd=ROOT, timeout=600, **env) -> subprocess.CompletedProcess:
    """Run Python with these words, and variables of the environment."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def printed(*words, **options) -> str:
    """What Python printed, that came to a good end."""
    done = python(*words, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def descendants(pid: int) -> dict[int, str]:
    """Names of a process and of all that it began, by their number."""
    children: dict[int, list[int]] = {}
    names = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue  # it has ended
        number, name, parent = re.match(r"(\d+) \((.*)\) \S (\d+)", text).groups()
        names[int(number)] = name
        children.setdefault(int(parent), []).append(int(number))
    found, new = {}, [pid]
    while new:
        pid = new.pop()
        found[pid] = names.get(pid, "")
        new += children.get(pid, [])
    return found
