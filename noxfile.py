"""Every check of this repository as a nox session.

`uv run -q --group test nox` runs lint, the tests on TensorFlow and JAX in the
current environment, and the tests on torch in an environment of their own.
Arguments after `--` go to pytest: `nox -s tests -- -n 0 tests/layers`.
"""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import nox
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "none"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests", "torch"]

PYPROJECT = Path("pyproject.toml")
CONSTRAINTS = Path("constraints.txt")
PIN_BLOCK = re.compile(r"constraint-dependencies = \[[^]]*\]\n(?=# pins: end)")

# In an environment of their own: nengo-loihi wants an older NumPy than our pins.
BACKENDS = [
    "hypothesis==6.170.15",
    "nengo-loihi==1.1.0",
    "nengo-ocl==3.0.0",
    "numpy<2",
    "pocl-binary-distribution==3.0",
]

# What NIR graphs are exchanged with.
FRAMEWORKS = ["nirtorch==2.6", "norse==1.1.0", "snntorch==1.0.0", "spikingjelly==2.0.0"]

# Drives Debian's Chromium, to see the page of examples/serving.
BROWSER = "playwright"

# Stands where an address belongs that whoever publishes the package has.
PLACEHOLDER = "project-url" + ".invalid"
TEXTS = (".md", ".toml", ".cff", ".yml", ".yaml")

# What a newcomer need not see.
FRIGHTENING = ("Traceback", "ERROR", "oneDNN", "cudart_stub", "retracing", "Deprecat")

# Columns of the matrix of exports (tests/serving/matrix.py).
SAVED = ["savedmodel", "stateful", "streaming"]
FILES = [
    f"{name}{step}" for name in ("onnx", "litert", "openvino") for step in ("", " step")
]
EXPORTS = {"tensorflow": [*SAVED, *FILES], "jax": SAVED}

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "2",  # a host callback blocks one of them
}


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, types, import directions, pins."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-logo")
    check_pins(session)


@nox.session
def quick(session: nox.Session) -> None:
    """Lint, and the tests that are nearest to what was changed since `main`.

    `nox -s quick -- keras_spiking_nengo/layers/lmu.py` says what was changed. On
    KERAS_BACKEND or TensorFlow; it does not replace the whole.
    """
    lint(session)
    changed = session.posargs or changed_files(session)
    near = sorted({test for path in changed for test in nearest_tests(Path(path))})
    session.posargs.clear()
    session.log(f"{len(changed)} files were changed; nearest to them are {near}")
    pytest(session, *workers(), "--maxfail=5", "tests/test_house.py", *near)


def changed_files(session: nox.Session) -> list[str]:
    """What differs from `main`, committed or not."""
    lists = (
        ("git", "diff", "--name-only", "--diff-filter=d", "main"),
        ("git", "ls-files", "--others", "--exclude-standard"),
    )
    outputs = (session.run(*command, silent=True, external=True) for command in lists)
    return [name for output in outputs for name in output.splitlines()]


def nearest_tests(path: Path) -> list[str]:
    """Tests of a file: by its name, else by that of its room; of tests, themselves."""
    if path.suffix != ".py" or path.parts[0] not in ("tests", "keras_spiking_nengo"):
        return []
    if path.parts[0] == "tests":
        return [str(path)] * path.name.startswith("test_")
    module = ".".join(path.with_suffix("").parts)
    named = f"test_{path.stem}.py"
    found = [
        str(test)
        for test in Path("tests").rglob("test_*.py")
        if test.name == named or module in test.read_text()
    ]
    above = [Path("tests", *path.parts[1:n]) for n in range(len(path.parts) - 1, 1, -1)]
    rooms = [place for room in above for place in (room, test_file(room))]
    there = [str(room) for room in rooms if room.exists()]
    return found or there[:1] or ["tests/test_package.py"]


def test_file(room: Path) -> Path:
    return room.with_name(f"test_{room.name}.py")


@nox.session
@nox.parametrize("backend", ["tensorflow", "jax"], ids=["tensorflow", "jax"])
def tests(session: nox.Session, backend: str) -> None:
    """Run the default tests on one backend, in the current environment."""
    pytest(session, *workers(), backend=backend)


@nox.session(venv_backend="uv")
def torch(session: nox.Session) -> None:
    """Run the tests marked `torch` on the torch backend."""
    install(session, "-e", ".[torch]", "--group", "test", *torch_source())
    pytest(session, *workers(), "-m", "torch and not slow", backend="torch")


@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests, on KERAS_BACKEND or TensorFlow."""
    pytest(session, *workers(), "-m", "slow")


@nox.session(venv_backend="uv")
def conformance(session: nox.Session) -> None:
    """Run Nengo's own test suite, on KERAS_BACKEND or TensorFlow."""
    install(session, "-e", ".", "--group", "test", "--group", "conformance")
    pytest(session, "-s", "-m", "conformance")


@nox.session(venv_backend="uv")
def backends(session: nox.Session) -> None:
    """Run exports on nengo-ocl, on a CPU, and on the emulator of nengo-loihi."""
    root = Path.cwd()
    with session.chdir(root.anchor):  # or uv would read our pins
        session.install("-q", "-e", str(root), "pytest<9.1", *BACKENDS)
    pytest(session, "tests/backends/test_backends.py", "-m", "backends")


@nox.session(venv_backend="uv")
def nir(session: nox.Session) -> None:
    """Exchange NIR graphs with Norse, snnTorch and SpikingJelly, on torch."""
    wanted = ("-e", ".[torch,nir]", "pytest<9.1", *FRAMEWORKS)
    install(session, *wanted, *torch_source())
    pytest(
        session, "-s", "tests/backends/test_nir.py", "-m", "backends", backend="torch"
    )


@nox.session(venv_backend="uv")
def export(session: nox.Session) -> None:
    """Fill the matrix of exports, a column at a time, and compare docs/export.md.

    `nox -s export -- write` writes the outcomes and the page anew.
    """
    install(session, "-e", ".[jax,onnx,litert,openvino]", "--group", "test")
    write = session.posargs == ["write"]
    if write:
        session.posargs.clear()
    for backend, names in EXPORTS.items():
        for column in names:
            env = {"KSN_COLUMN": column, **({"KSN_WRITE": "1"} if write else {})}
            path = "tests/serving/test_matrix.py"
            pytest(session, path, "-m", "export", backend=backend, env=env)
        path = "tests/serving/test_operations.py"
        pytest(session, path, "-m", "export", backend=backend)
    if write:
        session.run("python", "docs/export.py")


@nox.session(venv_backend="uv")
def serve(session: nox.Session) -> None:
    """Run the tests of examples/serving, under load, on the loopback interface.

    `KSN_REQUESTS`, `KSN_EXAMPLES` and `KSN_SOAK`, in seconds, are their length.
    """
    groups = ("--group", "test", "--group", "serve")
    install(session, "-e", ".[serve]", *groups, BROWSER)
    pytest(session, "-s", "tests/serving", "-m", "serve", backend="tensorflow")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Read files that were changed at random, on KERAS_BACKEND or TensorFlow.

    `KSN_FUZZ` is how long each of the fuzzers runs, in seconds; 600 by default.
    """
    pytest(session, "-s", "tests/fuzz", "-m", "fuzz")


@nox.session(venv_backend="uv")
def distributed(session: nox.Session) -> None:
    """Train on devices and in processes of the loopback interface, and run Ray."""
    install(session, "-e", ".[jax,ray]", "--group", "test")
    pytest(session, "tests/distributed", "-m", "distributed", backend="tensorflow")


@nox.session(venv_backend="uv")
def docs(session: nox.Session) -> None:
    """Run the code of the documentation, and build the site into `site/`.

    `nox -s docs -- serve` shows it while you write, without running notebooks.
    """
    extras = "jax,plots,nir,onnx,litert"
    install(session, "-e", f".[{extras}]", "--group", "test", "--group", "docs")
    if session.posargs == ["serve"]:
        session.run("mkdocs", "serve", env={"KSN_NOTEBOOKS": "false"})
        return
    # Notebooks are run by the build.
    chosen = ("tests/test_docs.py", "-m", "docs", "-k", "not notebooks")
    pytest(session, *chosen, backend="tensorflow")
    env = {"TF_CPP_MIN_LOG_LEVEL": "3", "NO_MKDOCS_2_WARNING": "1"}
    session.run("mkdocs", "build", "--strict", "-q", env=env)


@nox.session(venv_backend="venv")
def readme(session: nox.Session) -> None:
    """Do what README.md says: in a fresh clone, with an empty home, word for word.

    Its programs run where only `pip install .` was done; of the commands, all but that
    for the tests, which is this project's own CI. What they print must not frighten.
    """
    text = Path("README.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    quickstart, environment, serve, tests = re.findall(
        r"```bash\n(.*?)```", text, re.DOTALL
    )
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    clone, home = folder / "clone", folder / "home"
    home.mkdir(parents=True)
    session.run("git", "clone", "-q", ".", str(clone), external=True)
    kept = ("PATH", "PIP_", "UV_", "SSL_", "REQUESTS_", "CURL_", "http", "HTTP")
    env = {k: v for k, v in os.environ.items() if k.startswith(kept)}
    env.pop("UV_PROJECT_ENVIRONMENT", None)
    env["HOME"] = str(home)

    def run(*command: str) -> None:
        done = subprocess.run(
            command, cwd=clone, env=env, capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        session.log(said[-2000:])
        frightening = [word for word in FRIGHTENING if word in said]
        if done.returncode or frightening:
            session.error(f"{command}: {done.returncode}, and it says {frightening}")

    run("bash", "-ec", environment + quickstart)
    install_here = "python -m venv ~/own && ~/own/bin/pip install -q . scikit-learn"
    run("bash", "-ec", install_here)
    for program in programs:
        (home / "program.py").write_text(program)
        run("bash", "-ec", "cd ~ && own/bin/python program.py && own/bin/ksn doctor")
    answers = "curl -sf localhost:8000 > /dev/null"
    script = f"""{environment}
        setsid bash -c '{serve.strip()}' & server=$!
        timeout 400 bash -c 'until {answers}; do sleep 2; done'; there=$?
        kill -INT -- -$server; wait $server; exit $there"""
    run("bash", "-c", script)
    assert tests.strip() in Path(".ci/run").read_text()


@nox.session(venv_backend="uv")
def release(session: nox.Session) -> None:
    """Build what a package index gets, into `dist/`, and check it.

    `nox -s release -- v0.1.0` says for which tag. Places that only those can fill in
    who publish it (PLACEHOLDER) are refused at the end.
    """
    shutil.rmtree("dist", ignore_errors=True)
    session.install("-q", "uv", "twine", "check-wheel-contents", "pyroma")
    session.run("uv", "build", "-q", "--out-dir", "dist")
    built = sorted(map(str, Path("dist").glob("keras_spiking_nengo-*")))
    session.run("twine", "check", "--strict", *built)
    session.run("check-wheel-contents", *(name for name in built if name[-3:] == "whl"))
    session.run("pyroma", "--min=9", ".")
    version = built[0].split("-")[1].removesuffix(".tar.gz")
    for tag in session.posargs:
        if tag != f"v{version}":
            session.error(f"the tag is {tag}, and __version__ {version}")
        if f"## [{version}]" not in Path("CHANGELOG.md").read_text():
            session.error(f"CHANGELOG.md has no section for {version}")
    names = session.run("git", "ls-files", silent=True, external=True).splitlines()
    texts = (Path(name) for name in names if name.endswith(TEXTS))
    waiting = [str(path) for path in texts if PLACEHOLDER in path.read_text()]
    if waiting:
        session.error(f"{PLACEHOLDER} stands for what is not known yet: {waiting}")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the tests that measure, with all cores, on KERAS_BACKEND or TensorFlow."""
    pytest(session, "-s", "-m", "bench")


@nox.session(venv_backend="uv")
def gpu(session: nox.Session) -> None:
    """Compare a graphics card with this machine's processors, on JAX with CUDA.

    Agreement and ratios go to benchmarks/results/gpu.json, in 8 minutes at most.
    """
    if not shutil.which("nvidia-smi"):
        session.skip("there is no graphics card here: no nvidia-smi")
    install(session, "-e", ".[jax]", "jax[cuda12]")
    session.run("python", "benchmarks/run.py", "gpu", *session.posargs)


@nox.session
def pins(session: nox.Session) -> None:
    """Resolve all extras and groups anew; write constraints.txt and pyproject.toml.

    Versions stay where they are unless asked: `nox -s pins -- --upgrade` or
    `nox -s pins -- -P keras==3.16.0`.
    """
    folder = Path(session.create_tmp())
    text = PYPROJECT.read_text()
    # Without the old pins, which would otherwise constrain the new ones.
    (folder / PYPROJECT).write_text(PIN_BLOCK.sub("", text))
    shutil.copy(CONSTRAINTS, folder)
    groups = [f"--group={name}" for name in tomllib.loads(text)["dependency-groups"]]
    with session.chdir(folder):
        session.run(
            *("uv", "pip", "compile", "-q", PYPROJECT.name, "-o", CONSTRAINTS.name),
            *("--universal", "--python-version=3.11", "--fork-strategy=fewest"),
            *("--all-extras", *groups),
            *("--no-header", "--no-annotate", "--no-emit-index-url"),
            *session.posargs,
        )
    # A constraint on what is not installed is idle, so markers say nothing.
    lines = (folder / CONSTRAINTS).read_text().splitlines()
    versions = [line.partition(" ;")[0] for line in lines]
    CONSTRAINTS.write_text("\n".join(versions) + "\n")
    block = "".join(f'    "{version}",\n' for version in versions)
    block = f"constraint-dependencies = [\n{block}]\n"
    PYPROJECT.write_text(PIN_BLOCK.sub(block, text))


def check_pins(session: nox.Session) -> None:
    """Stop unless both lists of pins agree and cover what we depend on."""
    project = tomllib.loads(PYPROJECT.read_text())
    versions = CONSTRAINTS.read_text().splitlines()
    if versions != project["tool"]["uv"]["constraint-dependencies"]:
        session.error("constraints.txt and pyproject.toml differ: run `nox -s pins`")
    wanted = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    pinned = {name_of(version) for version in versions}
    missing = {name_of(line) for lines in wanted for line in lines} - pinned
    if missing:
        session.error(f"not pinned: {sorted(missing)}: run `nox -s pins`")
    session.log(f"{len(versions)} pins agree")


def name_of(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def install(session: nox.Session, *arguments: str) -> None:
    session.install("-q", "-c", str(CONSTRAINTS), *arguments)


def pytest(
    session: nox.Session,
    *arguments: str,
    backend: str = "",
    env: Mapping[str, str] = MappingProxyType({}),
) -> None:
    backend = backend or os.environ.get("KERAS_BACKEND", "tensorflow")
    env = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2", **env}
    if "-n" in arguments:
        env |= ONE_THREAD
    session.run("python", "-m", "pytest", *arguments, *session.posargs, env=env)


def workers() -> list[str]:
    """Return pytest-xdist's options: one process per core, but four at most.

    A worker is interrupted while pytest collects garbage for its last time, and
    JAX would report that as an exception it could not raise.
    """
    count = min(os.cpu_count() or 1, 4)
    if count == 1:
        return []
    return ["-n", str(count), "--dist", "worksteal", "-p", "no:unraisableexception"]


def torch_source() -> list[str]:
    """Return where uv finds a torch for CPUs, without gigabytes of CUDA.

    A machine may offer pip a folder of wheels; uv does not read pip's settings.
    """
    folders = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    if not folders:
        return ["--torch-backend", "cpu"]
    return [f"--find-links={folder}" for folder in re.split(r"[\s,]+", folders)]
