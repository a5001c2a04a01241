"""What a DICOM segmentation of a large CT takes to write: seconds, MB, and memory.

Usage: python benchmarks/dicom_seg.py FOLDER
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lunet_cli import __version__
from lunet_cli.engine.data.dicom import choose_series
from lunet_cli.engine.data.dicom_seg import open_segmentation
from lunet_cli.engine.data.dicom_seg_writing import Maker, SegKind, SegmentFacts, SegSeries
from lunet_cli.engine.data.dicom_source import open_source
from lunet_cli.engine.data.label_meanings import meanings_of

SIZE, SPACING = (300, 512, 512), (1.5, 0.8, 0.8)
NAMES = ("liver", "tumor")


def labels() -> npt.NDArray[np.uint8]:
    """Two ellipsoids, one inside the other."""
    z, y, x = np.ogrid[: SIZE[0], : SIZE[1], : SIZE[2]]
    found = np.zeros(SIZE, np.uint8)
    for number, (depth, radius) in enumerate([(100, 180), (60, 80)], start=1):
        inside = ((z - 150) / depth) ** 2 + ((y - 256) / radius) ** 2 + ((x - 256) / radius) ** 2
        found[inside < 1] = number
    return found


def write_series(array: npt.NDArray[np.uint8], folder: Path) -> None:
    """The labels as if they were a scan, a file for each slice."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, space = (generate_uid() for _ in range(3))
    for index, plane in enumerate(array.astype("<u2")):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID, image.Modality, image.InstanceNumber = space, "CT", index + 1
        image.Rows, image.Columns = plane.shape
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation, image.PixelSpacing = 0, list(SPACING[1:])
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [0, 0, index * SPACING[0]]
        image.PixelData = plane.tobytes()
        pydicom.dcmwrite(folder / f"{index:04d}.dcm", image, enforce_file_format=True)


def main(folder: Path) -> None:
    """Write and read each kind, and print a line for it."""
    array = labels()
    write_series(array, folder / "series")
    source = open_source(choose_series(folder / "series"))
    facts = []
    for number, (name, meaning) in enumerate(meanings_of(NAMES, {}).items(), start=1):
        facts.append(SegmentFacts(number=number, label=name, meaning=meaning))
    maker = Maker(network="none", version=__version__, serial="none", parameters={"window": "none"})
    made = SegSeries(source, maker, generate_uid())
    kinds: tuple[SegKind, ...] = ("BINARY", "LABELMAP")
    for number, kind in enumerate(kinds, start=1):
        path = folder / f"{kind}.dcm"
        path.unlink(missing_ok=True)
        start = time.perf_counter()
        made.write(array, facts, path, kind=kind, number=number)
        written = time.perf_counter()
        found = open_segmentation(path).label_map(source.geometry)
        read = time.perf_counter()
        assert np.array_equal(found, array)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{kind}: written in {written - start:.1f} s, read in {read - written:.1f} s, "
            f"{path.stat().st_size / 1e6:.1f} MB, peak so far {peak:.1f} GB"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
