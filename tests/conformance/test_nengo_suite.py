"""Nengo's own tests of simulators, run on `ksn.Simulator` by another pytest.

They ship inside nengo's wheel. Random seeds hash the ids of tests, which must read
`nengo/tests/...`: hence `--rootdir`, which two worker processes don't change.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import nengo
import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
SITE_PACKAGES = Path(nengo.__file__).parents[1]

LEAST_PASSED = 540  # of 544; Nengo's own simulator passes 542 on numpy 2.4
MOST_UNSUPPORTED = 3
SLOW = "slow tests not requested"
SECONDS_PER_TEST = 120


@pytest.mark.conformance
@pytest.mark.parametrize("compile", ["auto", "True", "False"])
def test_nengos_own_suite_passes(compile, tmp_path, monkeypatch):
    """Whatever does the steps: Nengo's operators, a program, or one after the other."""
    monkeypatch.setenv("KSN_COMPILE", compile)
    report = tmp_path / "report.xml"
    run_suite(report)
    outcomes = read_outcomes(report)

    counts = Counter(outcome for outcome, _ in outcomes.values())
    print(f"\nnengo {nengo.__version__}: {dict(counts)}")
    for test, (outcome, reason) in sorted(outcomes.items()):
        if outcome not in ("passed", "slow"):
            print(f"  {outcome}: {test}: {reason}")

    assert counts["passed"] >= LEAST_PASSED
    assert counts["skipped"] <= MOST_UNSUPPORTED


def run_suite(report: Path, *arguments: str) -> None:
    """Run the tests that take the `Simulator` fixture; write a JUnit report.

    Args:
        report: file to write.
        arguments: more of them for pytest, such as `-k`.
    """
    command = (
        *(sys.executable, "-m", "pytest", "--pyargs", "nengo"),
        *("-c", HERE / "nengo.ini", f"--rootdir={SITE_PACKAGES}"),
        *("-p", "tests.conformance.plugin", "-p", "no:cacheprovider"),
        *("-n", str(min(os.cpu_count() or 1, 2)), f"--timeout={SECONDS_PER_TEST}"),
        # Workers end while JAX collects garbage, as `workers` in noxfile.py says.
        *("-p", "no:warnings", "-p", "no:unraisableexception"),
        *("-q", "--tb=short", f"--junitxml={report}"),
        *arguments,
    )
    report.unlink(missing_ok=True)
    subprocess.run(command, cwd=REPOSITORY, env=variables(), check=False)
    if not report.exists():
        pytest.fail("pytest wrote no report: it did not start, or it was killed")


def variables() -> dict[str, str]:
    """The environment, without what the outer pytest means for itself."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    paths = (str(REPOSITORY), ours.get("PYTHONPATH", ""))
    return ours | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": "1",
    }


def read_outcomes(report: Path) -> dict[str, tuple[str, str]]:
    """Test -> outcome (passed, failed, slow or skipped) and the first line of why."""
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return {f"{c.get('classname')}::{c.get('name')}": outcome_of(c) for c in cases}


def outcome_of(case: ElementTree.Element) -> tuple[str, str]:
    for kind, outcome in (
        ("failure", "failed"),
        ("error", "failed"),
        ("skipped", "skipped"),
    ):
        found = case.find(kind)
        if found is not None:
            reason = (found.get("message") or "").partition("\n")[0]
            return ("slow" if reason == SLOW else outcome), reason
    return "passed", ""
