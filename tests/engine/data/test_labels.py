from __future__ import annotations

import json

import pytest
import torch

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.data.cases import CaseSet, read_case_files
from lunet_cli.engine.data.labels import LabelScheme, labels_for, resolve_labels
from lunet_cli.errors import ConfigError
from lunet_cli.records.network_card import LabelRegions

PARTS = (("anterior", (1,)), ("posterior", (2,)))
REGIONS = (("whole", (1, 2)), ("core", (2,)))
LABEL = torch.tensor([0, 1, 2, 5], dtype=torch.uint8).reshape(1, 1, 1, 4)


def _rows(channels: torch.Tensor) -> list[list[int]]:
    assert channels.dtype == torch.bool
    assert channels.shape[0] == channels.shape[2] == channels.shape[3] == 1
    return channels[0, :, 0, 0].int().tolist()


def _logits(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).reshape(1, len(rows), 1, 1, -1)


def test_sigmoid_encodes_a_channel_per_region() -> None:
    scheme = LabelScheme(PARTS, "sigmoid")
    assert scheme.num_channels == 2
    assert _rows(scheme.encode(LABEL)) == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_softmax_encodes_the_background_first() -> None:
    scheme = LabelScheme(PARTS, "softmax")
    assert scheme.num_channels == 3
    assert _rows(scheme.encode(LABEL)) == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_overlapping_regions_encode_both_channels(dtype: torch.dtype) -> None:
    scheme = LabelScheme(REGIONS, "sigmoid")
    assert _rows(scheme.encode(LABEL.to(dtype))) == [[0, 1, 1, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_masks_leave_the_background_out(activation: str) -> None:
    scheme = LabelScheme(PARTS, activation)  # type: ignore[arg-type]
    assert _rows(scheme.masks(LABEL)) == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_batches_stay_apart() -> None:
    label = torch.tensor([[0, 1], [2, 0]]).reshape(2, 1, 1, 2)
    encoded = LabelScheme(PARTS, "sigmoid").encode(label)
    assert encoded.shape == (2, 2, 1, 1, 2)
    assert encoded[:, :, 0, 0].int().tolist() == [[[0, 1], [0, 0]], [[0, 0], [1, 0]]]


def test_sigmoid_decodes_every_channel_by_its_sign() -> None:
    logits = _logits([-1.0, 0.0, 0.1, 3.0], [2.0, -2.0, 0.1, 0.0])
    assert _rows(LabelScheme(REGIONS, "sigmoid").decode(logits)) == [[0, 0, 1, 1], [1, 0, 1, 0]]


def test_softmax_decodes_the_largest_channel_and_the_first_of_equals() -> None:
    logits = _logits([3.0, 0.0, 1.0, 1.0], [1.0, 2.0, 1.0, 4.0], [2.0, 1.0, 0.0, 4.0])
    assert _rows(LabelScheme(PARTS, "softmax").decode(logits)) == [[0, 1, 0, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize("num_regions", [2, 4, 9])
def test_softmax_decodes_like_argmax(num_regions: int) -> None:
    scheme = LabelScheme(tuple((f"r{i}", (i + 1,)) for i in range(num_regions)), "softmax")
    generator = torch.Generator().manual_seed(0)
    # Few distinct values, so that many voxels are ties.
    logits = torch.randint(-2, 3, (2, num_regions + 1, 5, 6, 7), generator=generator).float()
    winner = torch.argmax(logits, dim=1)
    expected = torch.stack([winner == channel for channel in range(1, num_regions + 1)], dim=1)
    assert torch.equal(scheme.decode(logits), expected)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_decode_inverts_encode(activation: str) -> None:
    scheme = LabelScheme(PARTS, activation)  # type: ignore[arg-type]
    logits = scheme.encode(LABEL).float() * 2 - 1
    assert _rows(scheme.decode(logits)) == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_unknown_values_are_sorted_and_without_background() -> None:
    values = [9, 0, 1, 2, 7, 9]
    assert LabelScheme(PARTS, "sigmoid").unknown_values(values) == [7, 9]
    assert LabelScheme((("all", (1, 2, 7, 9)),), "sigmoid").unknown_values(values) == []


def test_voxels_that_nobody_has_labelled_are_known_as_such() -> None:
    label = torch.tensor([[0, 1, 255, 2]]).view(1, 1, 2, 2)
    scheme = LabelScheme(PARTS, "sigmoid", ignored=255)
    assert scheme.unknown_values([0, 1, 255, 9]) == [9]
    known = scheme.known(label)
    assert known is not None
    assert known.shape == (1, 1, 1, 2, 2)
    assert known.flatten().tolist() == [True, True, False, True]
    assert LabelScheme(PARTS, "sigmoid").known(label) is None
    with pytest.raises(ConfigError, match="ignored value 1 is the value of a label"):
        LabelScheme(PARTS, "sigmoid", ignored=1)


def test_a_data_set_says_what_is_ignored_where_nobody_else_does() -> None:
    assert LabelScheme(PARTS, "sigmoid").ignoring(7).ignored == 7
    assert LabelScheme(PARTS, "sigmoid").ignoring(None).ignored is None
    assert LabelScheme(PARTS, "sigmoid", ignored=9).ignoring(7).ignored == 9


def test_no_region_is_painted_as_unlabelled() -> None:
    # `all` has no value of its own left, and 3 stands for unlabelled voxels.
    regions = (("all", (1, 2)), ("one", (1,)), ("two", (2,)))
    assert LabelScheme(regions, "sigmoid").painted_values()["all"] == 3
    assert LabelScheme(regions, "sigmoid", ignored=3).painted_values()["all"] == 4


def test_scheme_survives_plain_values() -> None:
    scheme = LabelScheme(REGIONS, "sigmoid")
    assert scheme.to_dict() == {"regions": {"whole": [1, 2], "core": [2]}, "activation": "sigmoid"}
    stored = LabelRegions.model_validate_json(json.dumps(scheme.to_dict()))
    assert LabelScheme(tuple(stored.regions.items()), stored.activation) == scheme
    with_unknown = LabelScheme(REGIONS, "sigmoid", ignored=9)
    stored = LabelRegions.model_validate_json(json.dumps(with_unknown.to_dict()))
    assert stored.ignored == 9


TWO = {"anterior": (1,), "posterior": (2,)}


@pytest.mark.parametrize(
    ("configured", "known", "activation", "out_channels", "expected"),
    [
        (None, None, "auto", None, LabelScheme((("foreground", (1,)),), "sigmoid")),
        (None, TWO, "auto", None, LabelScheme(PARTS, "softmax")),
        (None, TWO, "auto", 3, LabelScheme(PARTS, "softmax")),
        (None, TWO, "auto", 2, LabelScheme(PARTS, "sigmoid")),
        (None, TWO, "sigmoid", None, LabelScheme(PARTS, "sigmoid")),
        (None, TWO, "auto", 1, LabelScheme((("foreground", (1, 2)),), "sigmoid")),
        ({"whole": [1, 2], "core": [2]}, TWO, "auto", None, LabelScheme(REGIONS, "sigmoid")),
        ({"tumour": [4]}, TWO, "auto", None, LabelScheme((("tumour", (4,)),), "sigmoid")),
        ({"tumour": [4]}, None, "softmax", 2, LabelScheme((("tumour", (4,)),), "softmax")),
    ],
)
def test_labels_are_resolved(
    configured: dict[str, list[int]] | None,
    known: dict[str, tuple[int, ...]] | None,
    activation: str,
    out_channels: int | None,
    expected: LabelScheme,
) -> None:
    found = resolve_labels(configured, known, activation=activation, out_channels=out_channels)  # type: ignore[arg-type]
    assert found == expected


@pytest.mark.parametrize(
    ("configured", "activation", "out_channels", "words"),
    [
        ({"whole": [1, 2], "core": [2]}, "softmax", None, ["model.activation", "share"]),
        ({"a": [1], "b": [2]}, "auto", 1, ["model.out_channels: 1", "2 labels (a, b)", "need 3"]),
        (
            {"a": [1], "b": [2]},
            "auto",
            4,
            ["model.out_channels: 4", "need 3 (one per label and the background)"],
        ),
        ({"a": [1], "b": [2]}, "softmax", 2, ["model.out_channels: 2", "need 3"]),
        ({"a": [1], "b": [2]}, "sigmoid", 3, ["model.out_channels: 3", "need 2 (one per label)"]),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    configured: dict[str, list[int]], activation: str, out_channels: int | None, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_labels(configured, None, activation=activation, out_channels=out_channels)  # type: ignore[arg-type]
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.hint


def test_codes_of_labels_that_the_data_set_has_not() -> None:
    case_set = CaseSet(
        cases=(), reader=read_case_files, labels={"liver": (1,)}, layout="msd", root=None
    )
    config = RunConfig.model_validate({"label_codes": {"liver": 10200004}})
    assert labels_for(config, case_set).names == ("liver",)
    config = RunConfig.model_validate({"label_codes": {"spleen": 78961009}})
    with pytest.raises(ConfigError, match="label_codes: there is no label spleen"):
        labels_for(config, case_set)
