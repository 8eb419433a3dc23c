"""What the benchmarks print and write: the machine, ratios, checks and targets."""

import json
import os
import platform
from pathlib import Path

from peers.workload import cores
from rich.console import Console
from rich.table import Table

console = Console()


def machine() -> dict:
    """What the numbers were measured on, and how busy it was."""
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def show_machine(here: dict) -> None:
    console.print(f"{here['cpu']}, {here['cores']} cores, load {here['load_before']}")
    if here["load_before"] > 0.3:
        console.print("The machine is busy: these ratios are not final.")


def ratios(times: dict[str, float], base: str) -> dict[str, float]:
    """Name -> multiple of the time of row `base`; empty if that did not run."""
    if base not in times:
        return {}
    return {name: seconds / times[base] for name, seconds in times.items()}


def judged(target: dict) -> dict:
    """A target with `met`: whether its ratio is in bounds, both included."""
    low, high = target.get("at least", 0), target.get("at most", float("inf"))
    return target | {"met": low <= target["ratio"] <= high}


def show_verdicts(checks: list[dict], reached: list[dict], skipped: dict) -> None:
    """Checks first, then targets, then what did not run."""
    table = Table(title="checks and targets", title_justify="left")
    for column in ("what", "wanted", "found", ""):
        table.add_column(column)
    for check in checks:
        verdict = "ok" if check["ok"] else "WRONG"
        table.add_row(check["name"], check["wanted"], check["found"], verdict)
    for target in reached:
        most, least = target.get("at most"), target.get("at least")
        wanted = f"<= {most:g}" if most else f">= {least:g}"
        verdict, found = ("met" if target["met"] else "not met"), target["ratio"]
        table.add_row(target["claim"], wanted, f"{found:.2f}", verdict)
    console.print(table)
    for worker, reason in skipped.items():
        console.print(f"skipped {worker}: {reason}", markup=False)


def write(file: Path, here: dict, result: dict) -> None:
    """All numbers as JSON, with the load at the end beside that at the start."""
    here = here | {"load_after": round(os.getloadavg()[0], 2)}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"machine": here} | result, indent=1) + "\n")
