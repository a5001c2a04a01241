from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

KEYS = {"name", "family", "size", "levels", "channels", "convs_per_block", "parameters"}


@pytest.fixture(scope="module")
def listed(run_lunet) -> list[dict[str, Any]]:
    return json.loads(run_lunet("presets", "list", "--json").stdout)


def test_json_list_has_the_published_names_and_parameters_in_order(
    listed: list[dict[str, Any]], facts
) -> None:
    assert [(preset["name"], preset["parameters"]) for preset in listed] == [
        (preset.name, preset.parameters) for preset in facts.values()
    ]


def test_json_objects_have_the_agreed_keys(listed: list[dict[str, Any]]) -> None:
    assert [preset["name"] for preset in listed if not preset.keys() >= KEYS] == []


def test_json_object_describes_the_network(listed: list[dict[str, Any]]) -> None:
    preset = next(preset for preset in listed if preset["name"] == "unet_large_6f")
    assert {key: preset[key] for key in KEYS} == {
        "name": "unet_large_6f",
        "family": "unet",
        "size": "large",
        "levels": 4,
        "channels": [6, 12, 24, 48],
        "convs_per_block": 3,
        "parameters": 301_207,
    }


def test_families_in_the_json_list(listed: list[dict[str, Any]]) -> None:
    counts = Counter(preset["family"] for preset in listed)
    assert counts == {"unet": 7, "lunet": 7, "unetpp": 7, "lunetpp": 7, "mednext": 1}


def test_table_has_every_preset_with_its_parameters(run_lunet, facts) -> None:
    done = run_lunet("presets", "list")
    rows = {words[0]: words[-1] for words in map(str.split, done.stdout.splitlines()) if words}
    assert {name: rows.get(name) for name in facts} == {
        name: f"{preset.parameters:,}" for name, preset in facts.items()
    }
    assert done.stderr == ""


def test_family_filter(run_lunet) -> None:
    presets = json.loads(run_lunet("presets", "list", "--family", "lunetpp", "--json").stdout)
    assert [preset["name"] for preset in presets] == [
        "lunetpp_small_4f",
        "lunetpp_small_3f",
        "lunetpp_small_2f",
        "lunetpp_small_1f",
        "lunetpp_large_24f",
        "lunetpp_large_12f",
        "lunetpp_large_6f",
    ]


def test_family_filter_of_the_table(run_lunet) -> None:
    printed = run_lunet("presets", "list", "--family", "mednext").stdout
    assert "mednext_small" in printed
    assert "unet_small_4f" not in printed


def test_show_as_json_adds_up_to_the_published_figures(run_lunet) -> None:
    shown = json.loads(run_lunet("presets", "show", "lunet_small_1f", "--json").stdout)
    assert shown.keys() >= KEYS
    levels = shown["levels_at_64"]
    assert [level["edge"] for level in levels] == [64, 32, 16, 8, 4]
    assert [level["parameters"] for level in levels] == [149, 156, 156, 156, 69]
    assert sum(level["flops"] for level in levels) == shown["conv_flops_at_64"] == 82_000_640


def test_show_prints_levels_and_the_lines_for_a_configuration(run_lunet) -> None:
    done = run_lunet("presets", "show", "lunet_small_8f")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert "39,025" in done.stdout
    assert [line.strip() for line in lines[-2:]] == ["model:", "architecture: lunet_small_8f"]
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message", "advice"),
    [
        (
            ["show", "lunet_smal_4f"],
            "'lunet_smal_4f' is not a preset",
            "Did you mean lunet_small_4f",
        ),
        (
            ["show", "lunet_small_0f"],
            "'lunet_small_0f' is not a preset",
            "Did you mean lunet_small_4f",
        ),
        (["show", "zzz"], "'zzz' is not a preset", "lunet presets list"),
        (["list", "--family", "lunett"], "--family lunett: unknown family", "Did you mean lunet"),
    ],
)
def test_unknown_name_ends_with_one_line_and_exit_code_2(
    run_lunet, arguments: list[str], message: str, advice: str
) -> None:
    done = run_lunet("presets", *arguments)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("hint: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {message}")
    assert advice in errors[0]
    assert (done.returncode, done.stdout) == (2, "")
