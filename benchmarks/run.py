"""Every benchmark of this repository: suites beside their peers, in one run.

    uv run benchmarks/run.py [layers|networks|training|build|scaling|lmu|imported|loops|
        growth|circuits|gpu|all] [--quick] [--backends tensorflow jax]
        [--without nengodl ...] [--only arm ...] [--sizes 200 ...] [--results DIR]
    uv run benchmarks/run.py --report

Each suite compares outputs before it times anything, and writes its tables, checks and
targets to a JSON file in the folder of results. `--report` writes docs/performance.md
and its plot from those files. The exit code is 1 if an output was wrong; a target that
was not met does not change it.
"""

import argparse
import functools
import importlib
import sys
from pathlib import Path

from peers.report import console, machine, show_machine, show_verdicts, write
from performance import write_report
from suite import BACKENDS, Options

SUITES = ("layers", "networks", "training", "build", "scaling", "lmu", "imported")
SUITES += ("loops", "growth", "circuits")
# Not among all: it takes a graphics card (`nox -s gpu`).
CARD = "gpu"
RESULTS = Path(__file__).parent / "results"
PEERS = ("c", "ocl", "nengodl", "spikingjelly", "snntorch", "norse", "spyx")


def run_suite(name: str, options: Options, results: Path) -> bool:
    """Whether all outputs of the suite were right."""
    here = machine()
    suite = importlib.import_module(name)
    console.rule(suite.TITLE)
    show_machine(here)
    found = suite.run(options)
    show_verdicts(found["checks"], found["targets"], found["skipped"])
    file = results / f"{'quick_' if options.quick else ''}{name}.json"
    write(file, here, {"suite": name, "quick": options.quick} | found)
    return all(check["ok"] for check in found["checks"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = [*SUITES, CARD, "all"]
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(choices))
    parser.add_argument("--quick", action="store_true", help="small, no targets")
    backends = list(BACKENDS)
    parser.add_argument("--backends", nargs="+", choices=backends, default=backends)
    parser.add_argument("--without", nargs="+", choices=PEERS, default=[])
    only = "models of loops ('single', 'first', 'catalogue'), structures of growth, "
    only += "kinds of circuits"
    parser.add_argument("--only", nargs="+", default=[], metavar="MODEL", help=only)
    sizes = "numbers of neurons of the models of loops, of ensembles of growth, of "
    sizes += "modules of circuits"
    parser.add_argument("--sizes", nargs="+", type=int, default=[], help=sizes)
    limit = "stop a peer after so long, default %(default)g"
    parser.add_argument("--minutes", type=float, default=30.0, help=limit)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    report = "write docs/performance.md from the results"
    parser.add_argument("--report", action="store_true", help=report)
    chosen = parser.parse_args()
    unknown = set(chosen.suites) - set(choices)
    if unknown or not (chosen.suites or chosen.report):
        parser.error(f"name a suite ({', '.join(choices)}), or --report")
    return chosen


def main() -> int:
    chosen = arguments()
    names = SUITES if "all" in chosen.suites else chosen.suites
    without = frozenset(chosen.without)
    options = Options(
        chosen.quick,
        tuple(chosen.backends),
        without,
        chosen.minutes,
        tuple(chosen.only),
        tuple(chosen.sizes),
    )
    run = functools.partial(run_suite, options=options, results=chosen.results)
    right = [run(name) for name in names]
    if chosen.report:
        write_report((*SUITES, CARD), chosen.results)
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
