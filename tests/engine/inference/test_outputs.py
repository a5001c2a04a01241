from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.config.options import OutputOptions
from lunet_cli.engine.inference.inputs import InputCase
from lunet_cli.engine.inference.outputs import find_outputs
from lunet_cli.errors import ConfigError, OutputError

CASES = [InputCase("a", (Path("in/a.nii"),), ".nii"), InputCase("b", (Path("in/b.mha"),), ".mha")]


def names(labels: tuple[str, ...] = ("liver",), **options: object) -> list[list[str]]:
    found = find_outputs(CASES, OutputOptions(output="out", **options), labels, num_inputs=1)
    return [[path.as_posix() for path in output.files] for output in found]


def test_outputs_have_the_format_of_their_input_or_the_one_asked_for() -> None:
    assert names() == [["out/a.nii"], ["out/b.mha"]]
    assert names(suffix="nrrd") == names(suffix=".nrrd") == [["out/a.nrrd"], ["out/b.nrrd"]]


def test_maps_of_labels_whose_names_look_alike_are_numbered() -> None:
    assert names(("a b", "a/b"), probabilities=True)[0] == [
        "out/a.nii",
        "out/a_prob_a_b.nii",
        "out/a_prob_a_b_2.nii",
    ]


def test_a_name_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(OutputError, match=r"x\.png: is not a format that can be written"):
        find_outputs(CASES, OutputOptions(output="x.png"), ["liver"], num_inputs=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("suffix", "png"), ("shard", (2, 2)), ("shard", (-1, 2)), ("resume", "perhaps")],
)
def test_wrong_options_are_told_by_their_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^`{field}`"):
        OutputOptions(output="out", **{field: value})


def test_an_order_may_be_a_text() -> None:
    assert OutputOptions(output="out", order="whole, core").order == ("whole", "core")
