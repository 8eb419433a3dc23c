"""What processes there are."""

import re
from pathlib import Path


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
