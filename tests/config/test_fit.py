from __future__ import annotations

import pytest

from lunet_cli.config.data import SplitConfig
from lunet_cli.config.fit import choose_window, count_validation, network_spec, unit_of
from lunet_cli.config.load import load_config
from lunet_cli.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("largest", "window"),
    [
        ((40, 50, 33), (48, 64, 48)),  # whole, up to the next multiple of 16
        ((128, 128, 128), (128, 128, 128)),  # 128^3 voxels are the most that stay whole
        ((129, 128, 128), (96, 96, 96)),
        ((20, 400, 400), (32, 96, 96)),
    ],
)
def test_volumes_are_taken_whole_up_to_a_size_and_in_patches_beyond(
    largest: tuple[int, int, int], window: tuple[int, int, int]
) -> None:
    assert choose_window(load_config(None), largest, 16) == window


def test_a_configured_patch_is_taken_as_it_is() -> None:
    config = load_config(None, ["training.patch_size=[33, 17, 9]"])
    assert choose_window(config, (40, 40, 40), 16) == (33, 17, 9)


def test_the_network_has_the_channels_of_images_and_labels() -> None:
    config = load_config(None, ["model.architecture=unet_large_6f", "model.drop_prob=0.25"])
    spec = network_spec(config, in_channels=3, out_channels=5)
    assert (spec.channels, spec.dropout) == ((6, 12, 24, 48), 0.25)
    assert (spec.in_channels, spec.out_channels) == (3, 5)


@pytest.mark.parametrize(
    ("split", "num_groups", "expected"),
    [
        (SplitConfig(), 10, 2),  # a fifth
        (SplitConfig(), 2, 1),
        (SplitConfig(val_fraction=0.01), 10, 1),  # at least one validates
        (SplitConfig(val_fraction=0.99), 10, 9),  # and one trains
        (SplitConfig(fold=0, num_folds=3), 10, 4),  # cases 0, 3, 6 and 9
        (SplitConfig(fold=2, num_folds=3), 10, 3),
    ],
)
def test_validation_cases_are_counted(split: SplitConfig, num_groups: int, expected: int) -> None:
    assert count_validation(split, num_groups) == expected


def test_too_few_groups_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="1 case cannot be divided"):
        count_validation(SplitConfig(), 1)
    grouped = SplitConfig(group_pattern="(.)", fold=0)
    with pytest.raises(ConfigError, match="5 folds of 4 groups"):
        count_validation(grouped, 4)
    assert unit_of(grouped) == "group"
