"""What a plan takes from the data: spacing, intensities, labels, folds, network and window."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from pathlib import Path

import numpy as np

from lunet_cli.config.augmentation import Level
from lunet_cli.config.labels import Regions
from lunet_cli.config.layers import level_widths
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.planned import Setting
from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.data.bids import subject_of
from lunet_cli.engine.data.nnunet_plans import NnunetPlan
from lunet_cli.records.fingerprint import Fingerprint
from lunet_cli.results.words import plural

Spacing = tuple[float, float, float]
_SAME = 0.01
# What resampling blurs is not worth a gain of less.
_WORTHWHILE = 0.25
# Those of nnU-Net's planner (Isensee et al., Nature Methods 2021): beyond this ratio of spacings
# and of edges, the thick axis takes the 10th percentile of its spacings.
_ANISOTROPY = 3.0
_THICK_PERCENTILE = 10
# Air is about -1000 HU, and no MRI has numbers that low.
_AIR_HU = -500.0
# The long side of a patch; what a receptive field of these networks sees is less.
_LONGEST_EDGE = 128
# Patches of a small volume are cheaper than all of it, and overlapping windows average: in five
# minutes, they reached 0.880 instead of 0.869 (docs/adr/0028).
_PART_OF_SMALL = 2 / 3
# Of each axis of a volume, a patch sees this part: with less, what lies left or right, above or
# below looks alike. At the low resolution of nnU-Net's planner, it is a quarter of all voxels.
_SEEN_PART = 1 / 2
# Voxels that a typical piece of each label keeps.
_FEWEST_VOXELS = 64
# A third of the batches, and a little more for chance.
_BATCHES_WITH_LABEL, _LEAST_FOREGROUND = 0.36, 0.33
# Labels and the channels of a lean network that they get: a rule of thumb, not a measurement.
_CHANNELS = ((3, 4), (15, 8), (255, 16))
# Measured with 1 to 16 channels on one data set (docs/adr/0044); beyond, the rule is continued.
_RATE_OF_ONE_CHANNEL = 0.1
_WIDE = 8


def spacing_rule(found: Fingerprint, nnunet: NnunetPlan | None) -> tuple[Spacing, bool, str]:
    """Voxel size of the network's grid, whether volumes are resampled to it, and why."""
    spacings = np.array([case.spacing_mm for case in found.cases])
    median = np.median(spacings, axis=0)
    if nnunet is not None:
        return nnunet.spacing, True, "As nnU-Net has planned."
    if np.allclose(spacings, median, rtol=_SAME):
        return _triple(median), False, f"All volumes have {_words(median)} mm; none is resampled."
    target, why = median, "The median of the volumes, which have"
    sizes = np.median([case.size for case in found.cases], axis=0)
    thick = int(np.argmax(median))
    others = [axis for axis in range(3) if axis != thick]
    is_flat = sizes[thick] * _ANISOTROPY < min(sizes[others])
    if median[thick] > _ANISOTROPY * max(median[others]) and is_flat:
        lower = float(np.percentile(spacings[:, thick], _THICK_PERCENTILE))
        target[thick] = max(lower, max(median[others]))
        why = "The median, on the thick axis the 10th percentile as nnU-Net; volumes have"
    low, high = _words(spacings.min(axis=0)), _words(spacings.max(axis=0))
    return _triple(target), True, f"{why} {low} to {high} mm (z, y, x)."


def coarser_rule(found: Fingerprint, spacing: Spacing, patch: Size) -> tuple[Spacing, str] | None:
    """A coarser grid on which a patch sees enough of a volume, and why; None where it does already.

    Args:
        found: The data set.
        spacing: Voxel size of the grid so far.
        patch: Voxels of the patch.
    """
    edges = [np.array(case.size) * case.spacing_mm / np.array(spacing) for case in found.cases]
    factors = np.maximum(1, np.median(edges, axis=0) * _SEEN_PART / np.array(patch))
    factors[factors < 1 + _WORTHWHILE] = 1
    room = _smallest_piece_ml(found) * 1000 / (_FEWEST_VOXELS * math.prod(spacing))
    if np.prod(factors) > max(1.0, room):  # As coarse as the smallest label allows.
        factors **= math.log(max(1.0, room)) / math.log(np.prod(factors))
    if np.prod(factors) <= 1 + _WORTHWHILE:
        return None
    coarse = np.array(spacing) * factors
    words = " x ".join(map(str, patch))
    return _triple(coarse), (
        f"Coarser than the {_words(np.array(spacing))} mm of the volumes, so that a patch of "
        f"{words} sees about half of each axis; a piece of the smallest label keeps "
        f"{_FEWEST_VOXELS} voxels or more."
    )


def _smallest_piece_ml(found: Fingerprint) -> float:
    """Volume of a typical piece of the label whose pieces are the smallest."""
    pieces: dict[int, list[float]] = {}
    for case in found.cases:
        for facts in case.values:
            pieces.setdefault(facts.value, []).append(facts.volume_ml / facts.num_components)
    return min(float(np.median(volumes)) for volumes in pieces.values())


def intensity_rule(found: Fingerprint, nnunet: NnunetPlan | None) -> list[Setting]:
    """How intensities are normalised."""
    name = "preprocessing.normalization.name"
    is_ct, why = _is_ct(found, nnunet)
    if not is_ct:
        return [Setting(name, "zscore", f"Mean 0 and standard deviation 1 of each volume: {why}.")]
    lows = [channel.percentiles[0] for case in found.cases for channel in case.channels]
    highs = [channel.percentiles[2] for case in found.cases for channel in case.channels]
    low, high = float(np.median(lows)), float(np.median(highs))
    width = max(1.0, round(high - low))
    return [
        Setting(name, "ct_window", f"One range of HU for all volumes: {why}."),
        Setting(
            "preprocessing.normalization.window_level",
            round((low + high) / 2),
            f"The range of the labelled voxels, {low:.0f} to {high:.0f} HU (median over volumes of "
            "the percentiles 0.5 and 99.5).",
        ),
        Setting("preprocessing.normalization.window_width", width),
    ]


def _is_ct(found: Fingerprint, nnunet: NnunetPlan | None) -> tuple[bool, str]:
    if nnunet is not None and nnunet.normalization_schemes:
        return nnunet.is_ct, "as nnU-Net has planned"
    if found.channel_names:
        names = ", ".join(found.channel_names)
        is_ct = {name.upper() for name in found.channel_names} == {"CT"}
        return is_ct, f"dataset.json calls the channels {names}"
    lows = [channel.low for case in found.cases for channel in case.channels]
    if np.median(lows) <= _AIR_HU:
        return True, f"intensities begin at {np.median(lows):g}, as air in CT does"
    return False, f"intensities begin at {np.median(lows):g}, which is not air in CT"


def labels_rule(found: Fingerprint) -> tuple[Regions, str]:
    """Names and values of the labels that occur, and why these."""
    present: dict[int, int] = {}
    for case in found.cases:
        for facts in case.values:
            present[facts.value] = present.get(facts.value, 0) + 1
    regions = dict(found.labels or {f"label_{value}": (value,) for value in sorted(present)})
    kept = {}
    for name, values in regions.items():
        if any(value in present for value in values):
            kept[name] = values
    why = f"As dataset.json names them; {plural(len(kept), 'label')}."
    if found.labels is None:
        why = "The values that occur in the label maps; give them names of your own."
    if len(kept) < len(regions):
        why += f" {len(regions) - len(kept)} that no case has are left out."
    return kept, why


def groups_of(found: Fingerprint) -> list[list[str]]:
    """Case ids, those together that hold the same planes, or are of one subject of BIDS."""
    group_of = {case.case_id: [case.case_id] for case in found.cases}
    pairs = list(found.copies)
    if found.layout == "bids":
        names = sorted(group_of, key=subject_of)
        pairs += [pair for pair in pairwise(names) if subject_of(pair[0]) == subject_of(pair[1])]
    for one, other in pairs:
        if group_of[one] is not group_of[other]:
            group_of[one].extend(group_of[other])
            for name in list(group_of[other]):
                group_of[name] = group_of[one]
    groups: list[list[str]] = []
    for group in group_of.values():
        if group not in groups:
            groups.append(group)
    return groups


def network_rule(num_labels: int, depth: float) -> tuple[str, str]:
    """A preset for so many labels and the median number of planes on the network's grid."""
    channels = next((width for most, width in _CHANNELS if num_labels <= most), 32)
    size, why = (
        "small",
        f"{plural(channels, 'channel')} per level for {plural(num_labels, 'label')}",
    )
    if depth <= 8:
        # Stride 8 instead of 16: half of what a flat volume is padded to would be nothing.
        size = "large"
        why += f", and 4 levels instead of 5 because the volumes have about {depth:.0f} planes"
    return f"lunet_{size}_{channels}f", f"A lean network: {why}."


def augmentation_rule(spec: NetworkSpec) -> tuple[Level, str]:
    """How much patches are changed for a network (docs/adr/0044)."""
    if _channels_of(spec) < _WIDE:
        return "light", "Rotation, scaling, noise and contrast; a narrow network learns no more."
    return "standard", f"From {_WIDE} channels on, a network would learn the cases by heart."


def _channels_of(spec: NetworkSpec) -> float:
    return statistics.median(level_widths(spec))


def rate_rule(spec: NetworkSpec) -> tuple[float, str]:
    """The rate of SOAP for a network: the wider, the smaller (docs/adr/0044)."""
    channels = _channels_of(spec)
    rate = float(f"{_RATE_OF_ONE_CHANNEL / channels:.2g}")
    return rate, f"{_RATE_OF_ONE_CHANNEL:g} / {channels:g} channels, as measured for 1 to 16."


def foreground_rule(num_labels: int, batch_size: int) -> tuple[float, str]:
    """Share of patches around a labelled voxel, and why.

    First a label is drawn, each as likely, then one of its voxels. So many are drawn that each
    label is in a third of the batches, however rare it is, as in nnU-Net with its batches of two;
    at most two thirds, since a network has to see the rest of a volume too.
    """
    wanted = num_labels * (1 - (1 - _BATCHES_WITH_LABEL) ** (1 / batch_size))
    fraction = round(min(max(wanted, _LEAST_FOREGROUND), 1 - _LEAST_FOREGROUND), 2)
    if wanted <= 1 - _LEAST_FOREGROUND:
        return fraction, "Around a labelled voxel: each label is in a third of the batches or more."
    return fraction, "Around a labelled voxel; the others anywhere, so that the rest is seen too."


def window_rule(grids: list[Size], stride: int, nnunet: NnunetPlan | None) -> tuple[Size, str]:
    """The first patch to try: most of each volume where they are small, else a part of equal sides.

    Args:
        grids: Voxels of each case on the network's grid.
        stride: The network's total stride, which edges are a multiple of.
        nnunet: Says the patch, if there is one.
    """
    if nnunet is not None:
        return _rounded(nnunet.patch_size, stride), "As nnU-Net has planned."
    largest = np.max(grids, axis=0)
    limit = _LONGEST_EDGE
    why = f"At most {limit} voxels along an axis, and a multiple of {stride}, the network's stride"
    edges = [min(limit, int(edge)) for edge in largest]
    if math.prod(largest) <= (_LONGEST_EDGE // 2) ** 3:
        why = f"About two thirds of the largest volume, in multiples of {stride}"
        edges = [_part(edge, stride) for edge in edges]
    flat = int(np.median(grids, axis=0)[0])
    if flat < stride:
        why += f"; volumes of {flat} planes are padded with zeros"
    return _rounded(_size(edges), stride), f"{why}."


def _part(edge: int, stride: int) -> int:
    """Two thirds of an edge or more; what has no room for two strides is taken whole."""
    if edge <= 2 * stride:
        return edge
    return math.ceil(_PART_OF_SMALL * edge / stride) * stride


def smaller(window: Size, stride: int) -> Size | None:
    """The window with a shorter longest edge; None where it cannot be."""
    edges = list(window)
    longest = edges.index(max(edges))
    if edges[longest] <= 2 * stride:
        return None
    edges[longest] -= stride
    return _size(edges)


def find_nnunet_plans(root: Path) -> list[Path]:
    """Where nnU-Net may have left its plans for a data set: in it, or in `nnUNet_preprocessed`."""
    places = (root, root.parent.parent / "nnUNet_preprocessed" / root.name)
    return [place / "nnUNetPlans.json" for place in places]


def _rounded(window: Size, stride: int) -> Size:
    return _size([math.ceil(edge / stride) * stride for edge in window])


def _size(edges: list[int]) -> Size:
    depth, height, width = edges
    return depth, height, width


def _triple(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Spacing:
    z, y, x = (round(value, 4) for value in values.tolist())
    return z, y, x


def _words(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return " x ".join(f"{value:.3g}" for value in values.tolist())
