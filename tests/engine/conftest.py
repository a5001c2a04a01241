"""What the tests of the engine share: one thread, writing volumes and DICOM, and a browser."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}
SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-10.5, 20.25, 30.0)
# 30 degrees about z, then 40 about x: no axis of the image lies along an axis of the patient.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1200,1000"
)
PATIENCE_S = 120


class WriteVolume(Protocol):
    def __call__(
        self,
        path: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = ...,
        origin: tuple[float, ...] = ...,
        direction: tuple[float, ...] = ...,
    ) -> Path: ...


class WriteSeries(Protocol):
    def __call__(
        self,
        folder: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = ...,
        origin: tuple[float, ...] = ...,
        direction: tuple[float, ...] = ...,
        uid: str = ...,
        number: int = ...,
        description: str = ...,
    ) -> Path: ...


def _image(array: np.ndarray[Any, Any], spacing: Any, origin: Any, direction: Any) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


@pytest.fixture(scope="session")
def write_volume() -> WriteVolume:
    """Write an array (z, y, x) to a file; spacing and origin are in x, y, z."""

    def write(
        path: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        origin: tuple[float, ...] = (0.0, 0.0, 0.0),
        direction: tuple[float, ...] = IDENTITY,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(
            _image(array, spacing, origin, direction),
            str(path),
            useCompression=path.suffix == ".gz",
        )
        return path

    return write


@pytest.fixture(scope="session")
def write_series() -> WriteSeries:
    """Write an int16 array (z, y, x) as a DICOM series, names in the reverse order."""

    def write(
        folder: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        origin: tuple[float, ...] = (0.0, 0.0, 0.0),
        direction: tuple[float, ...] = IDENTITY,
        uid: str = "1.2.826.0.1.1",
        number: int = 1,
        description: str = "",
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        image = _image(array.astype(np.int16), spacing, origin, direction)
        axes = np.array(direction).reshape(3, 3)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for k in range(len(array)):
            position = np.array(origin) + axes[:, 2] * spacing[2] * k
            tags = {
                "0008|0018": f"{uid}.{k + 1}",
                "0008|0060": "CT",
                "0008|103e": description,
                "0018|0050": str(spacing[2]),
                "0020|000d": "1.2.826.0.1",
                "0020|000e": uid,
                "0020|0011": str(number),
                "0020|0013": str(k + 1),
                "0020|0052": f"{uid}.0",
                "0020|0032": "\\".join(f"{value:.8f}" for value in position),
                "0020|0037": "\\".join(f"{value:.8f}" for value in [*axes[:, 0], *axes[:, 1]]),
            }
            part = image[:, :, k]
            for tag, value in tags.items():
                part.SetMetaData(tag, value)
            writer.SetFileName(str(folder / f"{uid}-{len(array) - k:03d}.dcm"))
            writer.Execute(part)
        return folder

    return write


@pytest.fixture(autouse=True, scope="module")
def single_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from more threads, and lose much on a busy machine."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def write_enhanced() -> Callable[..., Dataset]:
    """Write an enhanced image of uint16 frames."""
    return _write_enhanced


def _write_enhanced(
    path: Path,
    array: np.ndarray[Any, Any],
    *,
    modality: str = "CT",
    order: list[int] | None = None,
    slopes: list[float] | None = None,
    intercepts: list[float] | None = None,
    spacing: tuple[float, float, float] = SPACING,
    origin: tuple[float, float, float] = ORIGIN,
    direction: tuple[float, ...] = OBLIQUE,
) -> Dataset:
    """Write an enhanced image of uint16 frames, which lie in the file in the order `order`."""
    num = len(array)
    order = order or [*range(num)]
    axes = np.array(direction).reshape(3, 3)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = ENHANCED[modality]
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID, dataset.Modality = ENHANCED[modality], modality
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, name, generate_uid())
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = (
        "1",
        "A^B",
        "",
        "",
    )
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = (
        "1",
        "20260101",
        "120000",
        "",
    )
    dataset.ReferringPhysicianName, dataset.Manufacturer, dataset.PositionReferenceIndicator = (
        "",
        "",
        "",
    )
    dataset.ContentDate, dataset.ContentTime = "20260101", "120000"
    dataset.InstanceNumber, dataset.SeriesNumber = 1, 3
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.Rows, dataset.Columns = array.shape[1:]
    dataset.NumberOfFrames, dataset.SamplesPerPixel = num, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
        16,
        16,
        15,
        0,
    )
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    measures.SpacingBetweenSlices = -spacing[
        2
    ]  # Some scanners write it so; positions say how slices lie.
    turn = Dataset()
    turn.ImageOrientationPatient = [*axes[:, 0], *axes[:, 1]]
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turn]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for place in order:
        position, content, scale, group = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [*(np.array(origin) + axes[:, 2] * spacing[2] * place)]
        content.DimensionIndexValues = [place + 1]
        content.InStackPositionNumber, content.StackID = place + 1, "1"
        scale.RescaleSlope = 1 if slopes is None else slopes[place]
        scale.RescaleIntercept = 0 if intercepts is None else intercepts[place]
        scale.RescaleType = "HU" if modality == "CT" else "US"
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        group.PixelValueTransformationSequence = [scale]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = generate_uid()
    index.DimensionOrganizationUID = organization.DimensionOrganizationUID
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209057, 0x00209111
    dataset.DimensionOrganizationSequence, dataset.DimensionIndexSequence = [organization], [index]
    dataset.PixelData = array[order].astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


@pytest.fixture(scope="session")
def write_seg() -> Callable[..., Path]:
    """Write a DICOM segmentation of a series: segment numbers, or masks of segments."""

    def write(series: Path, path: Path, pixels: np.ndarray[Any, Any], *names: str) -> Path:
        pytest.importorskip("highdicom")
        from lunet_cli.engine.data.dicom import choose_series
        from lunet_cli.engine.data.dicom_seg_writing import Maker, SegmentFacts, SegSeries
        from lunet_cli.engine.data.dicom_source import open_source
        from lunet_cli.engine.data.label_meanings import meanings_of

        facts = []
        for number, name in enumerate(names, start=1):
            meaning = meanings_of((name,), {})[name]
            facts.append(SegmentFacts(number=number, label=name, meaning=meaning))
        maker = Maker(network="n", version="1", serial="1", parameters={"window": "16"})
        path.parent.mkdir(parents=True, exist_ok=True)
        made = SegSeries(open_source(choose_series(series)), maker, generate_uid())
        made.write(pixels, facts, path, kind="BINARY", number=1)
        return path

    return write


class Tab:
    """A page in Chromium without a screen.

    Args:
        driver: What drives it.
        downloads: The folder where files are saved.
    """

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver, self._downloads = driver, downloads

    def open(self, page: Path | str) -> None:
        """Open a page, from disk or by its address, unless it is open: loading takes seconds."""
        address = page if isinstance(page, str) else page.as_uri()
        if self.driver.current_url != address:
            self.driver.get(address)
            self.wait_for("ready")

    @property
    def state(self) -> str | None:
        """What the page says that it is doing."""
        state: str | None = self.driver.execute_script("return document.body.dataset.state")
        return state

    def wait_for(self, *states: str) -> str:
        """Wait until the page is in one of these states, and return it."""
        end = time.monotonic() + PATIENCE_S
        while True:
            state = self.state
            if state in states:
                return str(state)
            if state == "failed":
                raise AssertionError(self.text("problem"))
            assert time.monotonic() < end, f"still {state}"
            time.sleep(0.05)

    def give(self, *files: Path, folder: bool = False) -> None:
        """Choose files, or a folder, as the dialogue of the page would."""
        field = self.driver.find_element("id", "folder" if folder else "files")
        self.driver.execute_script("delete document.body.dataset.state")
        field.send_keys("\n".join(map(str, files)))

    def drop(self, *paths: Path) -> None:
        """Drop files or folders on the page, as from a file manager."""
        self.driver.execute_script("delete document.body.dataset.state")
        data = {"items": [], "files": [*map(str, paths)], "dragOperationsMask": 19}
        for kind in ("dragEnter", "dragOver", "drop"):
            event = {"type": kind, "x": 300, "y": 300, "data": data}
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", event)
        self.wait_for("done")

    def segment(self, *files: Path, folder: bool = False) -> None:
        """Give files and wait for the mask."""
        self.give(*files, folder=folder)
        self.wait_for("done")

    def refusal(self, *files: Path, folder: bool = False) -> str:
        """Give files that the page refuses; what it says."""
        self.give(*files, folder=folder)
        self.wait_for("failed")
        return self.text("problem")

    def text(self, name: str) -> str:
        """The text of an element, also of a hidden one."""
        script = "return document.getElementById(arguments[0]).textContent"
        text: str = self.driver.execute_script(script, name)
        return " ".join(text.split())

    def save(self) -> Path:
        """Save the mask as a click on the link does."""
        for old in self._downloads.iterdir():
            old.unlink()
        self.driver.execute_script("document.getElementById('save').click()")
        end = time.monotonic() + PATIENCE_S
        while True:
            # The name is there before the bytes are.
            for path in self._downloads.glob("*.nii.gz"):
                with contextlib.suppress(OSError, EOFError, zlib.error):
                    if gzip.decompress(path.read_bytes()):
                        return path
            assert time.monotonic() < end, "nothing was saved"
            time.sleep(0.05)

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call, the browser's own left out."""
        entries = self.driver.get_log("performance")
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        sent = []
        for message in messages:
            if message["method"] == "Network.requestWillBeSent":
                sent.append(message["params"]["request"]["url"])
        return [url for url in sent if not url.startswith(("data:", "blob:", "chrome"))]


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """Chromium without a screen."""
    if BROWSER is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("browser")
    downloads = folder / "downloads"
    downloads.mkdir()
    options = Options()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        place = {"behavior": "allow", "downloadPath": str(downloads)}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", place)
        yield Tab(driver, downloads)
    finally:
        driver.quit()
