from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.volume import Geometry

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-10.5, 20.25, 30.0)
# 30 degrees about z, then 40 about x: no axis of the image lies along an axis of the patient.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)


def test_stored_slope_and_offset_are_applied(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY)
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<2f", 0.5, 3.0)  # scl_slope, scl_inter
    path.write_bytes(content)
    (image,) = read_image([path])
    assert float(sitk.GetArrayFromImage(image)[0, 0, 5]) == 5.5


def test_axes_that_are_not_at_right_angles_are_explained(
    tmp_path: Path, write_volume: Any, refusal: Any
) -> None:
    path = write_volume(tmp_path / "sheared.nii", ARRAY)
    content = bytearray(path.read_bytes())
    content[252:256] = struct.pack("<2h", 0, 1)  # qform_code, sform_code
    content[280:328] = struct.pack(
        "<12f", 1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0
    )  # srow_x, srow_y, srow_z
    path.write_bytes(content)
    message = refusal(read_image, [path])
    assert str(path) in message
    assert "right angles" in message


def test_big_endian_nifti(
    tmp_path: Path, write_volume: Any, make_big_endian: Callable[[Path], None]
) -> None:
    path = write_volume(
        tmp_path / "a.nii", ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE
    )
    expected = read_image([path])[0]
    make_big_endian(path)
    (found,) = read_image([path])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), ARRAY)
    assert Geometry.of(found) == Geometry.of(expected)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(path))), ARRAY
    )  # ITK agrees that this is the format.


def test_second_version_of_nifti(tmp_path: Path) -> None:
    header = bytearray(544)
    struct.pack_into("<i8s2h8q", header, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16, 3, 6, 5, 4, 1, 1, 1, 1)
    struct.pack_into("<8dq", header, 104, 1, 0.7, 0.8, 2.5, 0, 0, 0, 0, 544)
    struct.pack_into("<2i", header, 344, 0, 1)
    struct.pack_into("<12d", header, 400, 0.7, 0, 0, 10, 0, 0.8, 0, 20, 0, 0, 2.5, 30)
    path = tmp_path / "a.nii"
    path.write_bytes(header + ARRAY.tobytes())
    (image,) = read_image([path])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ARRAY)
    assert image.GetSpacing() == (0.7, 0.8, 2.5)
    assert image.GetOrigin() == (-10, -20, 30)  # from RAS to LPS


def test_sform_that_disagrees_with_pixdim_is_taken_and_told(
    tmp_path: Path, write_volume: Any, remarks_on: Any, change_nifti: Any
) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY, spacing=SPACING)
    change_nifti(path, pixdim=("<3f", 80, (1.0, 1.0, 1.0)), qform=("<h", 252, (0,)))
    (image,) = read_image([path])
    assert image.GetSpacing() == pytest.approx(SPACING)
    assert remarks_on(path) == [
        "its sform says a spacing of 0.7, 0.8, 2.5 mm (x, y, z), its pixdim 1, 1, 1; taken from "
        "the sform, as the standard asks, while other tools may take pixdim"
    ]


@pytest.mark.parametrize(
    ("code", "chosen", "x"), [(1, "sform", -105.0), (2, "qform", -5.0), (4, "qform", -5.0)]
)
def test_sform_and_qform_that_disagree(
    code: int,
    chosen: str,
    x: float,
    tmp_path: Path,
    write_volume: Any,
    remarks_on: Any,
    change_nifti: Any,
) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY, origin=(-5.0, 0.0, 0.0))
    change_nifti(path, code=("<2h", 252, (1, code)), srow=("<f", 292, (105.0,)))
    assert remarks_on(path) == [
        f"its sform (code {code}) and its qform (code 1) place it differently; "
        f"taken from the {chosen}"
    ]
    (image,) = read_image([path])
    assert image.GetOrigin()[0] == x
    assert sitk.ReadImage(str(path)).GetOrigin()[0] == x


def test_nifti_that_does_not_say_where_it_lies(
    tmp_path: Path, write_volume: Any, remarks_on: Any, change_nifti: Any
) -> None:
    path = change_nifti(
        write_volume(tmp_path / "a.nii", ARRAY, spacing=SPACING), codes=("<2h", 252, (0, 0))
    )
    assert remarks_on(path) == [
        "does not say how its axes lie in the patient (neither sform nor qform); "
        "taken as left, posterior, superior"
    ]
    assert Geometry.of(read_image([path])[0]) == Geometry.of(sitk.ReadImage(str(path)))


def test_units_of_nifti(
    tmp_path: Path, write_volume: Any, remarks_on: Any, change_nifti: Any
) -> None:
    path = write_volume(
        tmp_path / "a.nii", ARRAY, spacing=(0.5, 0.5, 0.5), origin=(10.0, 20.0, 30.0)
    )
    (image,) = read_image([change_nifti(path, units=("<B", 123, (3,)))])
    assert image.GetSpacing() == pytest.approx((0.0005,) * 3)
    assert image.GetOrigin() == pytest.approx((0.01, 0.02, 0.03))
    assert remarks_on(path) == ["has voxels of 0.0005 to 0.0005 mm; is their unit right?"]


def test_vectors_of_nifti_are_channels_whatever_their_intent(
    tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY)
    content = bytearray(path.read_bytes() + (ARRAY + 500).tobytes())
    struct.pack_into("<6h", content, 40, 5, 6, 5, 4, 1, 2)
    for intent in (0, 1007):
        struct.pack_into("<h", content, 68, intent)
        path.write_bytes(content)
        assert [
            float(sitk.GetArrayFromImage(channel)[0, 0, 1]) for channel in read_image([path])
        ] == [1, 501]


def test_sizes_that_no_file_could_hold_are_refused_at_once(
    tmp_path: Path, write_volume: Any, refusal: Any, change_nifti: Any
) -> None:
    path = change_nifti(
        write_volume(tmp_path / "a.nii", ARRAY), dim=("<3h", 42, (32767, 32767, 32767))
    )
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, packed):
        assert "it is incomplete" in refusal(read_image, [one])


def test_a_file_beside_of_the_same_name_is_not_mixed_in(tmp_path: Path, write_volume: Any) -> None:
    write_volume(tmp_path / "a.nii", ARRAY + 7)
    path = write_volume(tmp_path / "a.nii.gz", ARRAY)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(read_image([path])[0]), ARRAY
    )  # ITK takes the voxels of a.nii.
