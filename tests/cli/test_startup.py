from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
LUNET = Path(sys.executable).with_name("lunet")
COMMANDS = [
    "",
    "train",
    "predict",
    "eval",
    "score",
    "compare",
    "prune",
    "prune show",
    "prune study",
    "prune to-lean",
    "export",
    "bench",
    "report",
    "viz",
    "models",
    "presets",
    "config",
]
HEAVY = {"torch", "numpy", "SimpleITK", "plotext", "matplotlib", "jinja2", "ptflops", "wandb",
         "tensorboard", "mlflow"}  # fmt: skip
PROBE = """
import json, sys
from lunet_cli.cli.app import main
try:
    main()
except SystemExit as done:
    code = done.code or 0
print(json.dumps({"code": code, "modules": list(sys.modules)}), file=sys.stderr)
"""


def modules_after(*arguments: str) -> set[str]:
    command = [sys.executable, "-c", PROBE, *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    probed = json.loads(done.stderr.splitlines()[-1])
    assert probed["code"] == 0, done.stderr
    assert done.stdout.strip(), "the command printed nothing"
    return set(probed["modules"])


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "train --help",
        "presets list",
        "presets list --json",
        "presets show lunet_small_4f",
        "viz --help",
    ],
)
def test_help_and_presets_load_neither_tensors_nor_schemas(arguments: str) -> None:
    # Typer itself takes pydantic for converting arguments, wherever it is installed: look for what
    # lunet loads.
    assert modules_after(*arguments.split()) & (HEAVY | {"yaml", "lunet_cli.config.base"}) == set()


def test_views_load_only_what_they_draw_with(trained_run: Path) -> None:
    for arguments in (["viz", "curves", str(trained_run)], ["viz", "network", "unet_small_4f"]):
        assert modules_after(*arguments) & (HEAVY - {"numpy", "plotext"}) == set()


@pytest.mark.parametrize(
    ("arguments", "group", "loaded"),
    [
        ("--help", "lunet_cli.cli.", set()),
        ("viz --help", "lunet_cli.cli.viz.", set()),
        ("viz pareto --help", "lunet_cli.cli.viz.", {"pareto", "display"}),
        ("train --help", "lunet_cli.cli.", {"train", "config_file", "following"}),
        ("prune show --help", "lunet_cli.cli.viz.", {"display"}),
        ("prune to-lean --help", "lunet_cli.cli.prune.", {"job", "to_lean"}),
    ],
)
def test_only_the_command_that_is_asked_for_is_imported(
    arguments: str, group: str, loaded: set[str]
) -> None:
    always = {"app", "failure", "helping", "streams", "wording"}
    modules = {name for name in modules_after(*arguments.split()) if name.startswith(group)}
    assert {name.removeprefix(group) for name in modules} - always <= loaded


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_do_without_pydantic(argument: str) -> None:
    assert (
        modules_after(argument)
        & {"pydantic", "lunet_cli.config", "lunet_cli.engine", "lunet_cli.render"}
        == set()
    )


@pytest.mark.parametrize(
    "arguments", [["config", "check", str(CONFIG)], ["config", "show"], ["config", "schema"]]
)
def test_config_commands_load_no_tensors(arguments: list[str]) -> None:
    modules = modules_after(*arguments)
    assert "lunet_cli.config.base" in modules, "the probe does not see what is loaded"
    assert modules & HEAVY == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_narrow_terminal_and_speaks_no_python(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = subprocess.run(
        [LUNET, *command.split(), "--help"], capture_output=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    for odd in ("<bool>", "<path>", "list[", "[[", "...}", "<int", "<float", "…"):
        assert odd not in done.stdout


def test_a_group_without_a_command_shows_its_help() -> None:
    for command in ([], ["viz"], ["presets"], ["config"], ["prune"]):
        done = subprocess.run([LUNET, *command], capture_output=True, encoding="utf-8", timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Commands:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--bogus"], "no such option: --bogus"),
        (["bogus"], "no such command 'bogus'"),
        (["predict"], "missing"),
        (["bench", "--runs", "x"], "invalid value for '--runs'"),
    ],
)
def test_wrong_command_lines_get_one_line_and_the_way_to_help(
    arguments: list[str], message: str
) -> None:
    done = subprocess.run([LUNET, *arguments], capture_output=True, encoding="utf-8", timeout=120)
    error, hint = done.stderr.splitlines()
    assert done.returncode == 2
    assert error.startswith(f"error: {message}")
    assert hint.startswith("hint:  All options: lunet ")


def test_idle_threads_sleep_before_torch_is_loaded() -> None:
    # libgomp shows what it has read when it is loaded, which is when torch is.
    command = [
        sys.executable,
        "-c",
        PROBE,
        "bench",
        "--arch",
        "lunet_small_1f",
        "--size",
        "16",
        "--runs",
        "1",
    ]
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    environment |= {"OMP_DISPLAY_ENV": "verbose"}
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", timeout=120
    )
    counts = {
        line.split("=")[1].strip() for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line
    }
    if not counts:
        pytest.skip("this build of torch does not say how its threads wait")
    assert counts == {"'10000'"}


def test_the_package_runs_as_a_module() -> None:
    """Launchers such as torchrun start modules."""
    command = [sys.executable, "-m", "lunet_cli", "--version"]
    as_module = subprocess.run(command, capture_output=True, text=True, check=True)
    as_program = subprocess.run([LUNET, "--version"], capture_output=True, text=True, check=True)
    assert as_module.stdout == as_program.stdout
