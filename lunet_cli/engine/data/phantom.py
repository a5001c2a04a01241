"""The built-in volumes: a curved two-part structure beside a cavity, among look-alikes.

Each volume is drawn from its seed and index alone. A bent, tapering tube carries the labels
`anterior` (its thick head) and `posterior` (its tail), as a hippocampus does; a dark, bent
ellipsoid lies along it as the label `ventricle`. Straight tubes and balls of the same brightness
are not labelled, so that intensity does not give the answer away. A smooth deformation, a bias
field, blur and noise come on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.data import PHANTOM_LABELS, PHANTOM_NAME
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.reading import OnRemark, ignore_remark

Floats = npt.NDArray[np.float64]

# Lengths are in units of half an edge of the volume. Ranges are wide enough that cases differ, and
# narrow enough that every case holds every label (the tests look at all of the default ones).
_NECK = 0.4  # Where the thick head ends, as a share of the length of the centre line.
_OTHER_AXES = ((1, 2), (0, 2), (0, 1))
# Grey values: the structure is brighter than tissue, the cavity about as much darker.
_OUTSIDE, _TISSUE, _STRUCTURE, _CAVITY = 0.0, 100.0, 150.0, 55.0


@dataclass(frozen=True)
class PhantomReader:
    """Makes the volume that a phantom case stands for.

    Args:
        size: Edge in voxels of 1 mm.
        noise: Standard deviation of the noise relative to the contrast of the structure.
        seed: Seed of the data set.
    """

    size: int
    noise: float
    seed: int

    def __call__(
        self, case: Case, on_remark: OnRemark = ignore_remark
    ) -> tuple[list[sitk.Image], sitk.Image]:
        """Return the image channel (float32) and the label map (uint16) of `case`."""
        index = int(case.case_id.removeprefix("phantom_"))
        image, label = make_phantom(
            self.size, noise=self.noise, rng=np.random.default_rng([self.seed, index])
        )
        return [_to_image(image.astype(np.float32))], _to_image(label)


def phantom_case_set(num_cases: int, reader: PhantomReader) -> CaseSet:
    """`num_cases` cases, all different."""
    cases = tuple(Case(PHANTOM_NAME.format(index)) for index in range(num_cases))
    return CaseSet(cases=cases, reader=reader, labels=PHANTOM_LABELS, layout="phantom", root=None)


def make_phantom(
    size: int, *, noise: float, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.uint16]]:
    """Draw one volume.

    Args:
        size: Edge in voxels.
        noise: See `PhantomReader`.
        rng: Source of all randomness.

    Returns:
        Intensities (size, size, size), about 0 to 200, and labels of the same shape, 0 to 3.
    """
    # All draws come from one generator, so their order is part of what a seed means.
    world = _grid(size)
    body = _rotate(_deform(world, rng), rng)
    head_distance, along = _distance_to_curve(body, *_tube(rng))
    label = np.zeros((size,) * 3, dtype=np.uint16)
    label[_cavity_distance(body, rng) < 1] = 3
    label[(head_distance < 1) & (along < _NECK)] = 1
    label[(head_distance < 1) & (along >= _NECK)] = 2

    image = np.full(label.shape, _TISSUE)
    # A look-alike that touched the structure, of the same grey, would hide its border.
    image[_distractors(world, rng) & (head_distance > 1.25)] = _STRUCTURE
    image[label == 3] = _CAVITY
    image[(label == 1) | (label == 2)] = _STRUCTURE
    image[np.sum((world / rng.uniform(0.9, 1.05, 3)) ** 2, axis=-1) > 1] = _OUTSIDE
    image *= _bias_field(world, rng)
    image = _blur(image, sigma=rng.uniform(0.5, 0.9))
    image += rng.normal(0, noise * (_STRUCTURE - _TISSUE), image.shape)
    return image, label


def _grid(size: int) -> Floats:
    axis = np.linspace(-1, 1, size)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def _rotate(points: Floats, rng: np.random.Generator) -> Floats:
    """A random pose: up to 20 degrees about each axis, shifted and scaled a little."""
    angles = np.deg2rad(rng.uniform(-20, 20, 3))
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = _OTHER_AXES[axis]
        rotation = np.eye(3)
        rotation[i, i] = rotation[j, j] = np.cos(angle)
        rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ rotation
    return ((points - rng.uniform(-0.12, 0.12, 3)) @ matrix) / rng.uniform(0.85, 1.15)


def _deform(points: Floats, rng: np.random.Generator) -> Floats:
    """Shift points along a few smooth waves."""
    waves = rng.uniform(1.5, 4.0, (3, 3))
    phases = rng.uniform(0, 2 * np.pi, 3)
    return points + 0.05 * np.sin(points @ waves + phases)


def _tube(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Centre line (N, 3) and radius (N,) of the curved structure, head first."""
    t = np.linspace(0, 1, 28)
    angle = rng.uniform(1.6, 2.4) * (t - 0.5)
    bend = rng.uniform(0.45, 0.6)
    line = np.stack(
        [
            rng.uniform(-0.12, 0.12) * np.sin(np.pi * t),
            bend * np.sin(angle),
            bend * np.cos(angle) - 0.4,
        ],
        -1,
    )
    head, tail = rng.uniform(0.22, 0.26), rng.uniform(0.15, 0.18)
    radius = np.where(t < _NECK, head, tail * (1.2 - 0.4 * t))
    return line, radius


def _distance_to_curve(points: Floats, line: Floats, radius: Floats) -> tuple[Floats, Floats]:
    """Distance to a curve in units of its radius there, and the place 0..1 of its closest point."""
    nearest = np.full(points.shape[:-1], np.inf)
    position = np.zeros(points.shape[:-1])
    # One axis after the other: sums over three neighbours in memory are slow.
    x, y, z = np.ascontiguousarray(np.moveaxis(points, -1, 0))
    for where, (centre, r) in enumerate(zip(line, radius, strict=True)):
        distance = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) / r**2
        closer = distance < nearest
        nearest[closer], position[closer] = distance[closer], where / (len(line) - 1)
    return np.sqrt(nearest), position


def _cavity_distance(points: Floats, rng: np.random.Generator) -> Floats:
    """Below 1 inside a bent ellipsoid that lies along the tube."""
    centre = np.array([rng.uniform(-0.05, 0.05), rng.uniform(-0.1, 0.1), rng.uniform(0.36, 0.44)])
    axes = np.array([rng.uniform(0.12, 0.2), rng.uniform(0.35, 0.5), rng.uniform(0.1, 0.14)])
    local = points - centre
    local[..., 2] += rng.uniform(0.4, 0.8) * local[..., 1] ** 2
    distance: Floats = np.sqrt(np.sum((local / axes) ** 2, axis=-1))
    return distance


def _distractors(points: Floats, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Balls and straight tubes that look like the structure in brightness only."""
    mask = np.zeros(points.shape[:-1], dtype=bool)
    for _ in range(rng.integers(2, 5)):
        distance = np.sum((points - rng.uniform(-0.75, 0.75, 3)) ** 2, axis=-1)
        mask |= distance < rng.uniform(0.06, 0.14) ** 2
    for _ in range(rng.integers(1, 3)):
        centre, axis = rng.uniform(-0.7, 0.7, 3), rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        offset = points - centre
        along = offset @ axis
        across = np.sum(offset**2, axis=-1) - along**2
        mask |= (across < rng.uniform(0.05, 0.09) ** 2) & (np.abs(along) < rng.uniform(0.2, 0.45))
    return mask


def _bias_field(points: Floats, rng: np.random.Generator) -> Floats:
    slope, curve = rng.uniform(-0.18, 0.18, 3), rng.uniform(-0.12, 0.12, 3)
    return 1 + points @ slope + points**2 @ curve


def _blur(image: Floats, *, sigma: float) -> Floats:
    blurred: Floats = sitk.GetArrayFromImage(
        sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(image), sigma)
    )
    return blurred


def _to_image(array: npt.NDArray[np.float32] | npt.NDArray[np.uint16]) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetOrigin([-(edge - 1) / 2 for edge in image.GetSize()])
    return image
