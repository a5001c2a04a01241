from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.cache import CaseStore, choose_cache
from lunet_cli.engine.data.cases import Case, CaseSet, read_case_files
from lunet_cli.engine.data.findings import require_known_values
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.layouts import find_cases
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.reading import OnRemark, ignore_remark
from lunet_cli.engine.data.store import PreparedCase, prepare_case
from lunet_cli.errors import DataError

SCHEME = LabelScheme((("a", (1,)), ("b", (2,))), "softmax")
PREPROCESSING = Preprocessing("LPS", None, Normalization("minmax", 40, 400))
IMAGE = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
FILES = [
    "facts.json",
    "findings.json",
    "foreground.npy",
    "image.npy",
    "label.npy",
    "origin.json",
]
LABEL = (IMAGE % 3).astype(np.uint8)


class CountingReader:
    """Reads files and counts how often."""

    def __init__(self) -> None:
        self.num_reads = 0

    def __call__(
        self, case: Case, on_remark: OnRemark = ignore_remark
    ) -> tuple[list[sitk.Image], sitk.Image]:
        self.num_reads += 1
        return read_case_files(case, on_remark)

    def __repr__(self) -> str:
        return "CountingReader"


class Data:
    """A data set of two cases and stores over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.reader = CountingReader()
        found = find_cases(folder, "paired")
        self.case_set = CaseSet(
            cases=found.cases, reader=self.reader, labels=None, layout="paired", root=folder
        )

    def store(
        self,
        kind: Any,
        preprocessing: Preprocessing = PREPROCESSING,
        scheme: LabelScheme = SCHEME,
        precision: Any = "fp32",
    ) -> CaseStore:
        return CaseStore(
            self.case_set,
            self.case_set.cases,
            preprocessing,
            scheme,
            kind=kind,
            folder=self.cache,
            precision=precision,
        )

    def cached_files(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.cache))
            for path in self.cache.rglob("*")
            if path.is_file() and path.parent.name != "contents"
        )


@pytest.fixture
def data(tmp_path: Path, write_volume: Any) -> Data:
    for shift, name in enumerate(("one", "two")):
        write_volume(
            tmp_path / "images" / f"{name}.nrrd", IMAGE * (shift + 1) ** 2, spacing=(0.5, 1.0, 2.0)
        )
        write_volume(
            tmp_path / "labels" / f"{name}.nrrd", np.roll(LABEL, shift), spacing=(0.5, 1.0, 2.0)
        )
    return Data(tmp_path)


def _prepare(folder: Path, scheme: LabelScheme = SCHEME) -> PreparedCase:
    case_set = CaseSet(cases=(), reader=read_case_files, labels=None, layout="paired", root=folder)
    case = Case("c", (folder / "c.nrrd",), folder / "c_label.nrrd")
    return prepare_case(case, case_set, preprocessing=PREPROCESSING, scheme=scheme)[0]


def _refusal(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in caught.value.message
    return caught.value.message


def test_case_is_prepared(data: Data) -> None:
    prepared, _ = prepare_case(
        data.case_set.cases[1], data.case_set, preprocessing=PREPROCESSING, scheme=SCHEME
    )
    np.testing.assert_allclose(prepared.image[0], IMAGE / 59, atol=1e-6)
    np.testing.assert_array_equal(prepared.label, np.roll(LABEL, 1))
    assert prepared.image.dtype == np.float32
    assert prepared.label.dtype == np.uint8
    assert prepared.spacing_mm == (2.0, 1.0, 0.5)


def test_large_label_values_survive(tmp_path: Path, write_volume: Any) -> None:
    write_volume(tmp_path / "c.nrrd", IMAGE)
    write_volume(tmp_path / "c_label.nrrd", LABEL.astype(np.uint16) * 300)
    prepared = _prepare(tmp_path, LabelScheme((("a", (300, 600)),), "sigmoid"))
    assert set(np.unique(prepared.label).tolist()) == {0, 300, 600}


@pytest.mark.parametrize("ignored", [255, 256, 300, 65535])
def test_a_value_that_is_ignored_is_kept_as_it_is(
    tmp_path: Path, write_volume: Any, ignored: int
) -> None:
    label = LABEL.astype(np.uint16) % 2
    label[0, 0, :3] = ignored
    scheme = LabelScheme((("one", (1,)),), "sigmoid", ignored=ignored)
    write_volume(tmp_path / "c.nrrd", IMAGE)
    write_volume(tmp_path / "c_label.nrrd", label)
    prepared = _prepare(tmp_path, scheme)
    np.testing.assert_array_equal(prepared.label, label)
    assert prepared.foreground.values == (1,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spacing": (1.0, 1.0, 1.5)}, "spacing (z, y, x) (1.5, 1, 1) against (1, 1, 1)"),
        ({"origin": (0.0, 2.0, 0.0)}, "origin (x, y, z) (0, 2, 0) against (0, 0, 0)"),
        (
            {"direction": (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)},
            "direction (-1, 0, 0, 0, -1, 0, 0, 0, 1) against (1,",
        ),
    ],
)
def test_label_off_the_grid_of_its_image_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path, write_volume: Any
) -> None:
    write_volume(tmp_path / "c.nrrd", IMAGE)
    label = write_volume(tmp_path / "c_label.nrrd", LABEL, **change)
    message = _refusal(lambda: _prepare(tmp_path))
    assert message.startswith(f"{label}: does not lie on the grid of its image c.nrrd: ")
    assert words in message


def test_label_of_another_size_is_refused(tmp_path: Path, write_volume: Any) -> None:
    write_volume(tmp_path / "c.nrrd", IMAGE)
    write_volume(tmp_path / "c_label.nrrd", LABEL[:, :3])
    assert _refusal(lambda: _prepare(tmp_path)).endswith(
        "size (z, y, x) (3, 3, 5) against (3, 4, 5)"
    )


def test_unknown_label_values_are_named(tmp_path: Path, write_volume: Any) -> None:
    write_volume(tmp_path / "c.nrrd", IMAGE)
    label = write_volume(
        tmp_path / "c_label.nrrd", np.where(IMAGE == 3, 9, np.where(IMAGE == 4, 7, LABEL))
    )
    message = _refusal(lambda: _prepare(tmp_path))
    assert message == f"{label}: label values 7, 9 not configured (labels are a: [1], b: [2])"


def test_case_without_label_is_refused() -> None:
    assert (
        _refusal(lambda: read_case_files(Case("c7", (Path("c7.nrrd"),))))
        == "case c7 has no label map"
    )


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_cache_gives_the_same_arrays_and_reads_once(kind: str, data: Data) -> None:
    plain = [data.store("none")[index] for index in range(2)]
    data.reader.num_reads = 0
    store = data.store(kind)
    for _ in range(3):
        for index in range(2):
            np.testing.assert_array_equal(store[index].image, plain[index].image)
            np.testing.assert_array_equal(store[index].label, plain[index].label)
            assert store[index].label.dtype == plain[index].label.dtype
            assert store[index].spacing_mm == plain[index].spacing_mm
    assert data.reader.num_reads == 2


def test_without_cache_every_access_reads(data: Data) -> None:
    store = data.store("none")
    assert (store[0].image.shape, store[0].image.shape) == ((1, 3, 4, 5),) * 2
    assert data.reader.num_reads == 2
    assert not data.cache.exists()


def test_scan_reports_shapes_and_fills_the_cache(data: Data) -> None:
    calls: list[None] = []
    store = data.store("memory")
    assert store.scan(lambda: calls.append(None), Mistakes()) == {
        "one": (1, 3, 4, 5),
        "two": (1, 3, 4, 5),
    }
    assert len(calls) == len(store) == 2
    assert store[1].image.shape == (1, 3, 4, 5)
    assert data.reader.num_reads == 2


def test_disk_cache_is_reused_by_another_store(data: Data) -> None:
    first = [data.store("disk")[index].image for index in range(2)]
    again = [data.store("disk")[index].image for index in range(2)]
    np.testing.assert_array_equal(first, again)
    assert data.reader.num_reads == 2
    assert len(data.cached_files()) == 2 * len(FILES)


SCRIPT = """
import sys
from pathlib import Path
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.layouts import find_cases
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.cache import CaseStore
root = Path(sys.argv[1])
case_set = find_cases(root, "paired")
preprocessing = Preprocessing("LPS", None, Normalization("minmax", 40, 400))
scheme = LabelScheme((("a", (1,)), ("b", (2,))), "softmax")
cache = root / "cache"
store = CaseStore(case_set, case_set.cases, preprocessing, scheme, kind="disk", folder=cache)
store.scan(lambda: None, Mistakes())
"""


def test_disk_cache_is_reused_by_another_process(data: Data, nursery: Any) -> None:
    case_set = find_cases(data.folder, "paired")
    store = CaseStore(
        case_set, case_set.cases, PREPROCESSING, SCHEME, kind="disk", folder=data.cache
    )
    store.scan(lambda: None, Mistakes())
    before = data.cached_files()
    assert nursery.start(data.folder, code=SCRIPT).wait(60) == 0
    assert data.cached_files() == before


@pytest.mark.parametrize("changed", ["images/one.nrrd", "labels/one.nrrd"])
def test_disk_cache_is_renewed_when_a_file_changes(
    changed: str, data: Data, write_volume: Any
) -> None:
    store = data.store("disk")
    store.scan(lambda: None, Mistakes())
    path = data.folder / changed
    array = (IMAGE[::-1] if "images" in changed else LABEL[::-1]).copy()
    write_volume(path, array, spacing=(0.5, 1.0, 2.0))
    os.utime(path, ns=(1, 1))
    store = data.store("disk")
    renewed = store[0]
    assert data.reader.num_reads == 3
    if "images" in changed:
        np.testing.assert_allclose(renewed.image[0], IMAGE[::-1] / 59, atol=1e-6)
    else:
        np.testing.assert_array_equal(renewed.label, LABEL[::-1])
    assert store[1].label.shape == (3, 4, 5)
    assert data.reader.num_reads == 3


def test_disk_cache_is_apart_for_other_preprocessing_and_labels(data: Data) -> None:
    data.store("disk")[0]
    flipped = data.store("disk", Preprocessing("RAS", None, Normalization("minmax", 40, 400)))[0]
    np.testing.assert_allclose(flipped.image[0], IMAGE[:, ::-1, ::-1] / 59, atol=1e-6)
    data.store("disk", scheme=LabelScheme((("all", (1, 2)),), "sigmoid"))[0]
    assert data.reader.num_reads == 3
    with pytest.raises(DataError, match="label value 2 not configured"):
        data.store("disk", scheme=LabelScheme((("a", (1,)),), "sigmoid"))[0]


def test_failing_to_write_the_cache_leaves_no_partial_file(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(stream: BinaryIO, _: object) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    message = _refusal(lambda: data.store("disk")[0])
    assert message.startswith(str(data.cache))
    assert "No space left" in message
    assert data.cached_files() == []


def test_whole_cache_holds_no_scratch_files(data: Data) -> None:
    data.store("disk").scan(lambda: None, Mistakes())
    assert [Path(name).name for name in data.cached_files()] == FILES * 2
    assert not list(data.cache.glob(".part-*"))


def test_a_damaged_file_is_named_and_not_cached(data: Data) -> None:
    path = data.folder / "images" / "two.nrrd"
    path.write_bytes(path.read_bytes()[:-20])
    mistakes = Mistakes()
    assert list(data.store("disk").scan(lambda: None, mistakes)) == ["one"]
    assert str(path) in _refusal(mistakes.require_none)
    assert len(data.cached_files()) == len(FILES)


def test_scan_tells_of_every_case_that_cannot_be_used(data: Data, write_volume: Any) -> None:
    damaged = data.folder / "images" / "one.nrrd"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    label = write_volume(data.folder / "labels" / "two.nrrd", LABEL + 7, spacing=(0.5, 1.0, 2.0))
    mistakes, calls = Mistakes(), []
    assert data.store("memory").scan(lambda: calls.append(None), mistakes) == {}
    assert len(calls) == 2
    with pytest.raises(DataError) as caught:
        mistakes.require_none()
    first, second = caught.value.message.splitlines()
    assert str(damaged) in first
    assert second == f"{label}: label values 7, 8, 9 not configured (labels are a: [1], b: [2])"


@pytest.mark.parametrize(
    ("regions", "value", "hint"),
    [
        ({"foreground": (1,)}, 2, "`labels.foreground=1` `labels.NAME=2`)"),
        (
            {"left lung": (1,), "both": (1, 3)},
            7,
            "`labels.left lung=1` `labels.both=[1, 3]` `labels.NAME=7`)",
        ),
        ({f"r{i}": (i,) for i in range(1, 9)}, 9, "labels.NAME: VALUE"),
    ],
)
def test_the_hint_names_the_unknown_value_beside_the_known_ones(
    regions: dict[str, tuple[int, ...]], value: int, hint: str
) -> None:
    scheme = LabelScheme(tuple(regions.items()), "sigmoid")
    with pytest.raises(DataError) as caught:
        require_known_values("l.nrrd", [value], scheme, may_name=True)
    assert hint in caught.value.hint


def test_a_spacing_that_multiplies_the_voxels_beyond_memory_is_refused(
    tmp_path: Path, write_volume: Any
) -> None:
    write_volume(tmp_path / "c.nrrd", IMAGE, spacing=(100.0, 100.0, 100.0))
    write_volume(tmp_path / "c_label.nrrd", LABEL, spacing=(100.0, 100.0, 100.0))
    fine = Preprocessing("LPS", (0.001, 0.001, 0.001), Normalization("minmax", 40, 400))
    case_set = CaseSet(
        cases=(), reader=read_case_files, labels=None, layout="paired", root=tmp_path
    )
    case = Case("c", (tmp_path / "c.nrrd",), tmp_path / "c_label.nrrd")
    message = _refusal(lambda: prepare_case(case, case_set, preprocessing=fine, scheme=SCHEME))
    assert message.startswith("case c: would have 300000 x 400000 x 500000 voxels, more than ")


def _failing(data: Data, error: Exception) -> CaseStore:
    def fail(_: Case, on_remark: object) -> None:
        raise error

    data.case_set = replace(data.case_set, reader=fail)  # type: ignore[arg-type]
    return data.store("none")


def test_what_simpleitk_cannot_do_names_the_case(data: Data) -> None:
    message = _refusal(lambda: _failing(data, RuntimeError("ouch"))[0])
    assert str(data.folder / "images" / "one.nrrd") in message
    assert "ouch" in message


def test_a_defect_keeps_its_traceback(data: Data) -> None:
    with pytest.raises(ZeroDivisionError):
        _failing(data, ZeroDivisionError())[0]


@pytest.mark.parametrize(
    ("kind", "limit_mib", "expected"),
    [
        ("auto", 5, "memory"),
        ("auto", 4, "disk"),
        ("auto", 0, "disk"),
        ("none", 5, "none"),
        ("disk", 5, "disk"),
    ],
)
def test_auto_cache_takes_memory_up_to_the_limit(kind: Any, limit_mib: int, expected: str) -> None:
    case_bytes = 5 * 64**3  # 1 MiB of float32 and a quarter of labels
    assert choose_cache(4, kind, limit_mib=limit_mib, case_bytes=case_bytes) == expected


def test_scanning_tells_what_is_odd_about_a_file(data: Data) -> None:
    path = data.folder / "images" / "one.nrrd"
    path.write_bytes(path.read_bytes().replace(b"space origin", b"another name"))
    for store in (data.store("memory"), data.store("disk"), data.store("disk")):
        store.scan(lambda: None, Mistakes())
        (problem,) = store.findings(0).problems
        assert problem.text == f"{path}: does not say its origin; taken as 0"
        assert not problem.is_error


def test_a_changed_file_of_the_same_size_and_time_is_not_served_stale(data: Data) -> None:
    data.store("disk").scan(lambda: None, Mistakes())
    path = data.folder / "images" / "one.nrrd"
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    data.store("disk").scan(lambda: None, Mistakes())
    assert data.reader.num_reads == 3


def test_a_moved_data_set_is_not_prepared_again(data: Data) -> None:
    data.store("disk").scan(lambda: None, Mistakes())
    for path in (data.folder / "images").iterdir():
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(1, 1))
    data.store("disk").scan(lambda: None, Mistakes())
    assert data.reader.num_reads == 2


def test_a_second_start_opens_no_volume(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in data.folder.rglob("*.nrrd"):
        os.utime(path)
    first = data.store("disk").scan(lambda: None, Mistakes())
    monkeypatch.setattr(np, "load", None)
    assert data.store("disk").scan(lambda: None, Mistakes()) == first


def test_half_an_entry_is_written_again(data: Data) -> None:
    expected = np.array(data.store("disk")[0].image)
    (image,) = data.cache.rglob("image.npy")
    image.write_bytes(image.read_bytes()[:-3])
    np.testing.assert_array_equal(data.store("disk")[0].image, expected)
    assert data.reader.num_reads == 2
    np.testing.assert_array_equal(data.store("disk")[0].image, expected)
    assert data.reader.num_reads == 2


def test_a_cache_that_is_deleted_under_a_run_is_made_anew(data: Data) -> None:
    store = data.store("disk")
    held = store[0]
    shutil.rmtree(data.cache)
    np.testing.assert_array_equal(store[0].image, held.image)


def test_a_file_that_changes_while_it_is_read_is_not_kept(data: Data) -> None:
    path = data.folder / "images" / "one.nrrd"

    def change(
        case: Case, on_remark: OnRemark = ignore_remark
    ) -> tuple[list[sitk.Image], sitk.Image]:
        found = read_case_files(case, on_remark)
        path.write_bytes(path.read_bytes() + b" ")
        return found

    data.case_set = replace(data.case_set, reader=change)
    assert "have changed since" in _refusal(lambda: data.store("disk")[0])
    assert data.cached_files() == []


def test_half_precision_rounds_what_is_near_zero_only(data: Data) -> None:
    exact, rounded = data.store("none")[0], data.store("disk", precision="fp16")[0]
    assert rounded.image.dtype == np.float16
    np.testing.assert_allclose(rounded.image, exact.image, atol=2**-11)
    wide = Preprocessing("LPS", None, Normalization("none", 40, 400))
    assert data.store("none", wide, precision="fp16")[0].image.dtype == np.float16
    array = data.folder / "images" / "one.nrrd"
    volume = sitk.ReadImage(str(array)) + 2000
    sitk.WriteImage(volume, str(array))
    assert data.store("none", wide, precision="fp16")[0].image.dtype == np.float32


def test_sigkill_while_the_cache_is_written_never_leaves_a_broken_entry(data: Data) -> None:
    expected = [np.array(data.store("none")[index].image) for index in range(2)]
    # The process kills itself between any two calls that change the disk.
    num_killed = 0
    for moment in range(20):
        shutil.rmtree(data.cache, ignore_errors=True)
        child = os.fork()
        if child == 0:
            calls = itertools.count()

            def watch(event: str, _: object, calls: Any = calls, moment: int = moment) -> None:
                if event in ("open", "os.rename", "os.mkdir") and next(calls) == moment * 2:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(watch)
            data.store("disk").scan(lambda: None, Mistakes())
            os._exit(0)
        num_killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        store = data.store("disk")
        for index in range(2):
            np.testing.assert_array_equal(store[index].image, expected[index])
    assert num_killed == 20


def test_two_runs_at_once_share_a_cache(data: Data, nursery: Any) -> None:
    for process in [nursery.start(data.folder, code=SCRIPT) for _ in range(2)]:
        assert process.wait(60) == 0
    assert len(data.cached_files()) == 2 * len(FILES)
    assert not list(data.cache.glob(".part-*"))
