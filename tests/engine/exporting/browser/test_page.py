"""The page in a browser, opened from disk: its masks beside those of `predict`, and its manners."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import ExportOptions, PredictionOptions
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.exporting.export import export
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.errors import ConfigError, OutputError
from lunet_cli.results.exporting import ExportResult

EXACT = PredictionOptions(device="cpu", precision="fp32", runtime="torch", window="trained")
MOST_DIFFERENT = 1e-4
LARGEST_PAGE = 6_000_000
OBLIQUE = (0.8660254, -0.5, 0.0, 0.3830222, 0.6634139, -0.6427876, 0.3213938, 0.5566704, 0.7660444)
MakePage = Callable[[Path], Path]


@pytest.fixture(scope="session")
def exported(
    trained_run: Path, volumes: Path, tmp_path_factory: pytest.TempPathFactory
) -> ExportResult:
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("exported") / "page.html"
    return export(trained_run, ExportOptions(format="html", output=path, check=volumes))


@pytest.fixture(scope="session")
def page(exported: ExportResult) -> Path:
    """The page of a trained network of one channel."""
    return exported.files[0]


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, make_threshold_model: Any) -> Path:
    """A checkpoint of two channels on resampled volumes, whose regions lie in each other."""
    return Path(
        make_threshold_model(
            tmp_path_factory.mktemp("pair") / "model.pt",
            thresholds=(80.5, 120.5),
            labels={"whole & all": (1, 2), "<i>core</i>": (2,)},
            in_channels=2,
            spacing_mm=(1.5, 0.9, 1.1),
            orientation="RAS",
            window=(16, 24, 16),
        )
    )


@pytest.fixture(scope="session")
def pair_page(pair: Path, make_page: MakePage) -> Path:
    return make_page(pair)


def waves(size: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Smooth structures around 100."""
    z, y, x = np.ogrid[: size[0], : size[1], : size[2]]
    values = 100 + 80 * np.sin(z / 3) * np.cos(y / 5) * np.sin(x / 6)
    return np.asarray(values.astype(np.int16))


def assert_equal_to_predict(tab: Any, checkpoint: Path, *sources: Path) -> None:
    """The mask that was saved lies on the grid of the scan, and is that of `predict`."""
    found = sitk.ReadImage(str(tab.save()))
    channels = read_image(sources)
    expected = Predictor.load([checkpoint], options=EXACT).segment(channels)
    assert Geometry.of(found).differences(Geometry.of(channels[0])) == []
    mine, theirs = sitk.GetArrayFromImage(found), expected.label_map()
    assert mine.dtype == theirs.dtype
    assert np.count_nonzero(theirs) > 0
    assert np.mean(mine != theirs) <= MOST_DIFFERENT
    cells = tab.driver.find_elements("css selector", "#volumes td:last-child")
    assert [float(cell.text.removesuffix(" ml")) for cell in cells] == pytest.approx(
        [*expected.volumes_ml().values()], abs=0.006, rel=1e-3
    )


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_oblique_anisotropic_volumes_of_two_channels(
    tab: Any, pair_page: Path, pair: Path, write_volume: Any, tmp_path: Path, suffix: str
) -> None:
    place: Any = {"spacing": (0.8, 1.3, 3.5), "origin": (-20.5, 13.25, 7.0), "direction": OBLIQUE}
    array = waves((12, 33, 40))
    first = write_volume(tmp_path / f"scan_0000{suffix}", array, **place)
    second = write_volume(tmp_path / f"scan_0001{suffix}", array[::-1], **place)
    tab.open(pair_page)
    tab.segment(second, first)
    assert_equal_to_predict(tab, pair, first, second)


def test_channels_of_one_file_or_of_another_grid(
    tab: Any, pair_page: Path, pair: Path, write_volume: Any, tmp_path: Path
) -> None:
    first = write_volume(tmp_path / "a_0000.nii.gz", waves((18, 20, 22)))
    second = write_volume(tmp_path / "a_0001.nii.gz", waves((18, 20, 22))[::-1])
    elsewhere = write_volume(tmp_path / "b_0001.nii.gz", waves((18, 20, 21)))
    stacked = sitk.JoinSeries([sitk.ReadImage(str(path)) for path in (first, second)])
    sitk.WriteImage(stacked, str(tmp_path / "both.nii.gz"))
    tab.open(pair_page)
    assert "has 1 channel, and the network takes 2" in tab.refusal(first)
    assert "does not lie on the grid of" in tab.refusal(first, elsewhere)
    tab.segment(tmp_path / "both.nii.gz")
    assert_equal_to_predict(tab, pair, tmp_path / "both.nii.gz")


def test_dicom_folder(
    tab: Any, page: Path, trained_run: Path, write_series: Any, tmp_path: Path
) -> None:
    folder = write_series(
        tmp_path / "ct", waves((30, 36, 40)), spacing=(0.9, 1.1, 1.7), direction=OBLIQUE
    )
    tab.open(page)
    tab.segment(folder, folder=True)
    assert_equal_to_predict(tab, trained_run, folder)
    volumes = tab.text("volumes")
    tab.drop(folder)
    assert tab.text("volumes") == volumes


@pytest.mark.real_data
def test_hippocampus(tab: Any, page: Path, trained_run: Path, hippocampus: Path) -> None:
    source = hippocampus / "imagesTr" / "hippocampus_003.nii.gz"
    tab.open(page)
    tab.segment(source)
    assert_equal_to_predict(tab, trained_run, source)


def test_one_of_several_series_is_asked_for(
    tab: Any, page: Path, write_series: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    write_series(folder, waves((4, 9, 9)), uid="1.2.3", number=1, description="scout")
    other = write_series(
        tmp_path / "other", waves((20, 30, 24)), uid="1.2.4", number=2, description="chest"
    )
    for path in other.iterdir():
        path.rename(folder / f"other_{path.name}")
    tab.open(page)
    tab.give(folder, folder=True)
    tab.wait_for("asking")
    assert "'scout'" in tab.text("series-choice")
    from selenium.webdriver.support.ui import Select

    Select(tab.driver.find_element("id", "series-choice")).select_by_value("1.2.4")
    tab.driver.find_element("css selector", "#series button").click()
    tab.wait_for("done")
    assert tab.text("summary").startswith("chest: 24 x 30 x 20 voxels")


def test_what_is_wrong_is_told_and_the_page_goes_on(
    tab: Any, page: Path, write_volume: Any, tmp_path: Path
) -> None:
    good = write_volume(tmp_path / "good.nii.gz", waves((8, 20, 20)))
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(good.read_bytes()[:-200])
    text = tmp_path / "notes.txt"
    text.write_text("no scan", encoding="utf-8")
    tab.open(page)
    assert "broken.nii.gz: cannot be read: it is damaged" in tab.refusal(broken)
    assert "notes.txt is not a scan that this page reads" in tab.refusal(text)
    assert "has 2 channels, and the network takes 1" in tab.refusal(good, _copy(good))
    tab.segment(good)
    assert tab.driver.execute_script("return document.getElementById('problem').hidden")


def test_what_does_not_fit_into_a_browser_is_refused_before_it_is_tried(
    tab: Any, pair_page: Path, write_volume: Any, tmp_path: Path
) -> None:
    few = waves((2, 3, 4))  # of 1 m each, which on the grid of the network are 24 billion
    both = [tmp_path / f"a_000{index}.nii" for index in range(2)]
    for path in both:
        write_volume(path, few, spacing=(1000.0, 1000.0, 1000.0))
    tab.open(pair_page)
    assert "MiB of memory, more than the 3584 MiB of a browser tab" in tab.refusal(*both)


def _copy(path: Path) -> Path:
    other = path.with_name(f"other_{path.name}")
    other.write_bytes(path.read_bytes())
    return other


def test_no_request_no_error_and_none_could_be_made(tab: Any, page: Path) -> None:
    tab.driver.get("about:blank")
    tab.requests()
    tab.driver.get_log("browser")
    tab.open(page)
    assert [url for url in tab.requests() if url != "about:blank"] == [page.as_uri()]
    assert [e for e in tab.driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []
    script = """const answer = arguments[0];
        const fetched = fetch("https://example.org").then(() => "sent", (e) => e.name);
        const worker = new Worker(URL.createObjectURL(new Blob([
          "fetch('https://example.org').then(() => postMessage(1), (e) => postMessage(e.name))"
        ])));
        const inWorker = new Promise((done) => { worker.onmessage = ({ data }) => done(data); });
        Promise.all([fetched, inWorker]).then(answer);"""
    assert tab.driver.execute_async_script(script) == ["TypeError", "TypeError"]
    told = " ".join(str(entry["message"]) for entry in tab.driver.get_log("browser"))
    assert "Content Security Policy" in told, "it is the policy that refuses"
    assert tab.requests() == []


def test_the_policy_names_no_host_and_no_inline_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe-inline" not in policy
    assert "http" not in policy
    assert set(rules) == {
        *("default-src", "script-src", "worker-src", "style-src", "img-src"),
        *("base-uri", "form-action"),
    }


def test_names_are_text_and_never_markup(tab: Any, pair_page: Path) -> None:
    assert "<i>core</i>" not in pair_page.read_text(encoding="utf-8")
    tab.open(pair_page)
    facts = tab.driver.find_element("css selector", "dl.facts").text
    assert "whole & all, <i>core</i>" in facts


def test_keyboard_and_names_for_screen_readers(
    tab: Any, page: Path, write_volume: Any, tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    tab.open(page)
    tab.segment(write_volume(tmp_path / "scan.nii.gz", waves((12, 30, 30))))
    active = "return document.activeElement.id"
    assert tab.driver.execute_script(active) == "result-heading"
    assert tab.text("status").startswith("Finished: anterior ")
    unnamed = """return [...document.querySelectorAll("button, input, select, canvas")]
        .filter((one) => one.checkVisibility() || one.tagName === "CANVAS")
        .filter((one) => !(one.labels?.length || one.textContent.trim()
          || one.getAttribute("aria-label"))).map((one) => one.outerHTML)"""
    assert tab.driver.execute_script(unnamed) == []
    slider = tab.driver.find_element("css selector", "input[data-across='0']")
    said = "return document.querySelector('canvas[data-across=\"0\"]').getAttribute('aria-label')"
    before = tab.driver.execute_script(said)
    assert re.fullmatch(r"axial slice \d+ of 12: (no label|.*anterior.*)", before)
    tab.driver.execute_script("arguments[0].focus()", slider)
    tab.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert tab.driver.execute_script(said) != before


def test_pictures_show_the_voxels(
    tab: Any, pair_page: Path, write_volume: Any, tmp_path: Path
) -> None:
    """A bright corner at the patient's left, back and top lies there in all three planes."""
    array = np.zeros((20, 24, 28), np.int16)
    array[12:, 14:, 16:] = 200  # towards L, P and S, which are the axes of the file
    both = [write_volume(tmp_path / f"c_000{index}.nii.gz", array) for index in range(2)]
    tab.open(pair_page)
    tab.segment(*both)
    script = """const canvas = document.querySelector(`canvas[data-across="${arguments[0]}"]`);
        const [width, height] = [canvas.width, canvas.height];
        const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
        const at = (x, y) => [...pixels.slice(4 * (Math.floor(y * height) * width
          + Math.floor(x * width))).slice(0, 3)];
        return [at(0.2, 0.3), at(0.8, 0.3), at(0.2, 0.7), at(0.8, 0.7)];"""
    dark = [0, 0, 0]
    for across, bright in {0: 3, 1: 1, 2: 1}.items():
        corners = tab.driver.execute_script(script, across)
        for place, color in enumerate(corners):
            assert (color != dark) == (place == bright), (across, corners)
    solid = """const canvas = document.getElementById("solid");
        return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
          .filter((value, index) => index % 4 < 3 && value > 30).length"""
    assert tab.driver.execute_script(solid) > 1000


def test_a_scan_can_be_stopped_and_another_opened(
    tab: Any, page: Path, write_volume: Any, tmp_path: Path
) -> None:
    scan = write_volume(tmp_path / "scan.nii.gz", waves((60, 90, 90)))
    tab.open(page)
    tab.give(scan)
    tab.wait_for("working")
    tab.driver.execute_script("document.getElementById('stop').click()")
    assert tab.state == "stopped"
    tab.segment(write_volume(tmp_path / "small.nii.gz", waves((12, 30, 30))))


def test_export_says_what_it_wrote_and_leaves_nothing_else(exported: ExportResult) -> None:
    path, described = exported.files
    assert (path.name, described.name) == ("page.html", "page.html.json")
    assert {*path.parent.iterdir()} == {path, described}
    assert exported.agreement.dice == 1.0
    assert exported.size_on_disk_bytes == path.stat().st_size < LARGEST_PAGE


def test_pages_are_called_html(pair: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"html files end in \.html"):
        export(pair, ExportOptions(format="html", output=tmp_path / "page.htm"))


@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_pages_keep_fp32(weights: Any, tmp_path: Path) -> None:
    calibrate = tmp_path if weights == "int8" else None
    with pytest.raises(ConfigError, match=r"a page keeps fp32|no quantised"):
        ExportOptions(format="html", weights=weights, calibrate=calibrate)
