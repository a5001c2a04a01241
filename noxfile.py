"""All checks: `nox` runs lint, types, layers and tests, each in an environment of its own."""

import nox

nox.options.sessions = ["lint", "types", "layers", "tests"]
nox.options.default_venv_backend = "venv"
CONSTRAINTS = ("-c", "constraints.txt")
# Tests that load ONNX Runtime and OpenVINO into one process. They run apart from those that handle
# signals: on a virtual machine with AMX (Linux 6.18), such a process ended at the next handled
# signal.
SEVERAL_RUNTIMES = (
    "tests/engine/exporting",
    "tests/engine/runtimes",
    "tests/fuzz/test_exported.py",
    "tests/fuzz/test_non_finite.py",
)


def install_project(session: nox.Session, extras: str = "dev") -> None:
    """Install lunet and its tools; `--no-venv` runs in an environment that has them already."""
    if session.virtualenv.is_sandboxed:
        session.install(*CONSTRAINTS, "-e", f".[{extras}]")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes."""
    if session.virtualenv.is_sandboxed:
        session.install(*CONSTRAINTS, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types."""
    install_project(session)
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """The direction of imports, which are read and not run: nothing that is imported needs to be there."""
    if session.virtualenv.is_sandboxed:
        session.install(*CONSTRAINTS, "import-linter")
        session.install("--no-deps", "-e", ".")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests that this machine can run."""
    install_project(session, "dev,onnx,openvino,nncf,safetensors")
    # One worker per core, and one thread in each: small networks gain nothing from more.
    settings = {"OMP_NUM_THREADS": "1"}
    if session.posargs:
        session.run("pytest", "--numprocesses=auto", *session.posargs, env=settings)
        return
    session.run(
        "pytest",
        "--numprocesses=auto",
        *(f"--ignore={path}" for path in SEVERAL_RUNTIMES),
        env=settings,
    )
    session.run("pytest", "--numprocesses=auto", *SEVERAL_RUNTIMES, env=settings)


@nox.session
def fuzz(session: nox.Session) -> None:
    """All attacks on configurations, volumes, checkpoints, run folders, exported files and running processes."""
    install_project(session, "dev,onnx,openvino,nncf,safetensors")
    session.run(
        "pytest",
        "tests/fuzz",
        "--fuzz-full",
        "--numprocesses=auto",
        *session.posargs,
        env={"OMP_NUM_THREADS": "1"},
    )
