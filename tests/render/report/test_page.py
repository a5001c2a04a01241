"""The page about a run: what it holds, and how it behaves in a browser."""

from __future__ import annotations

import base64
import html
import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lunet_cli.config.metrics import METRICS
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.reporting.report import gather_report
from lunet_cli.engine.viewing.cases import CaseViews
from lunet_cli.render.palette import label_colors
from lunet_cli.render.report.page import render_page
from lunet_cli.results.events import CaseFailed
from lunet_cli.results.report import RunReport
from lunet_cli.results.views import PruningView

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1200,900"
)
UNDEFINED = 2
RED_CASE = "<img src=x onerror=alert(1)>"
COMMAND = "lunet eval runs/first --split val"


@pytest.fixture(scope="module")
def report(trained_run: Path) -> RunReport:
    """A report in which some distances are undefined."""
    found = gather_report(trained_run)
    assert found.evaluation is not None
    scores = tuple(
        replace(
            score,
            values=score.values | {"hausdorff95": math.nan if index < UNDEFINED else 1.0 + index},
        )
        for index, score in enumerate(found.evaluation.scores)
    )
    return replace(found, evaluation=replace(found.evaluation, scores=scores))


@pytest.fixture(scope="module")
def page(report: RunReport) -> str:
    return render_page(report, commands=[("measure it", COMMAND)])


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    values: dict[str, Any] = json.loads(found[1])
    return values


def test_the_page_asks_no_host_for_anything(page: str) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w{2,}[^\s\"'<]*", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}, (
        "only the name of SVG, which is never fetched"
    )
    assert "default-src 'none'" in page


def test_the_page_holds_every_value(page: str, report: RunReport) -> None:
    data = data_of(page)
    assert report.evaluation is not None
    assert len(data["rows"]) == len(report.evaluation.scores)
    first = report.evaluation.scores[0]
    assert data["rows"][0]["case"] == first.case
    assert data["rows"][0]["values"][0] == pytest.approx(first.values["dice"], rel=1e-5)
    assert data["curves"][0]["x"] == [record.epoch for record in report.history.records]
    losses = [record.train_loss for record in report.history.records]
    assert data["curves"][0]["lines"][0]["y"] == pytest.approx(losses, rel=1e-5)
    assert COMMAND in page
    assert report.config.splitlines()[0] in page
    assert report.origin is not None
    assert dict(report.origin.details)["torch"] in page
    assert METRICS["nsd"].definition in html.unescape(page.split("<script")[0])


def test_a_pruned_run_has_a_section_of_its_own(report: RunReport, pruning: PruningView) -> None:
    page = render_page(replace(report, pruning=pruning))
    dice, widths = data_of(page)["pruning"]
    assert dice["x"] == [600, 700, 800, 900, 1000]
    assert dice["lines"][0]["best"] == [700, 0.715]
    assert widths["lines"][0]["y"] == [8, 7, 6, 5, 4]
    text = re.sub(r"<[^>]+>", " ", page.split("<script")[0])
    for words in ("unpruned chosen last", "parameters 1,000 700 600", "encoders.1.0 8 5 4"):
        assert words in " ".join(text.split())


def test_a_run_that_was_not_pruned_has_none(page: str) -> None:
    assert data_of(page)["pruning"] == []
    assert "Pruning" not in page.split("<script")[0]


def test_names_of_cases_are_text_and_never_markup(report: RunReport) -> None:
    assert report.evaluation is not None
    scores = tuple(replace(score, case=RED_CASE) for score in report.evaluation.scores)
    cases = tuple(
        replace(case, volume=replace(case.volume, name=RED_CASE)) for case in report.cases
    )
    page = render_page(
        replace(report, evaluation=replace(report.evaluation, scores=scores), cases=cases)
    )
    assert RED_CASE not in page
    assert data_of(page)["rows"][0]["case"] == RED_CASE


def test_epochs_that_went_wrong_are_left_out_of_the_curves(report: RunReport) -> None:
    broken = replace(report.history.records[0], val_loss=float("nan"), val_dice=float("nan"))
    page = render_page(replace(report, history=replace(report.history, records=(broken,))))
    assert "NaN" not in page.split('type="application/json">')[1].split("</script>")[0]
    assert data_of(page)["curves"][0]["lines"][1]["best"] is None


def test_values_under_the_pointer_are_of_one_epoch_however_long_the_training(
    report: RunReport,
) -> None:
    first = report.history.records[0]
    noise = np.random.default_rng(0).normal(size=(5000, 2))
    records = tuple(
        replace(first, epoch=index + 1, train_loss=float(a), val_loss=float(b))
        for index, (a, b) in enumerate(noise)
    )
    loss, *_ = data_of(
        render_page(replace(report, history=replace(report.history, records=records)))
    )["curves"]
    assert len(loss["x"]) < 5000
    assert all(len(line["y"]) == len(loss["x"]) for line in loss["lines"])
    for place, epoch in enumerate(loss["x"]):
        assert [line["y"][place] for line in loss["lines"]] == pytest.approx(
            noise[int(epoch) - 1], rel=1e-5
        )
    kept = noise[np.array(loss["x"], dtype=int) - 1]
    assert kept.max(axis=0).tolist() == noise.max(axis=0).tolist(), "no peak is lost"


def test_what_is_missing_is_told(report: RunReport) -> None:
    page = render_page(
        replace(report, evaluation=None, cases=(), warnings=("the data have moved",))
    )
    assert "the data have moved" in page
    assert "No case was evaluated." in page
    assert data_of(page)["rows"] == []


def wait_until_ready(driver: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 30).until(
        lambda d: d.execute_script("return 'ready' in document.body.dataset")
    )


@pytest.fixture(scope="module")
def browser(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a screen, that has opened the page."""
    if BROWSER is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(page, encoding="utf-8")
    options = Options()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.get((folder / "report.html").as_uri())
        wait_until_ready(driver)
        yield driver
    finally:
        driver.quit()


def keys() -> Any:
    from selenium.webdriver.common.keys import Keys

    return Keys


def pixels(browser: Any, case: int = 0) -> list[int]:
    """Every hundredth colour value of a case's picture."""
    script = """
        const canvas = document.querySelectorAll(".case canvas")[arguments[0]];
        const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return Array.from(all.filter((_, index) => index % 101 === 0));
    """
    found: list[int] = browser.execute_script(script, case)
    return found


def press(browser: Any, selector: str, *pressed: str) -> None:
    item = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].focus()", item)
    browser.switch_to.active_element.send_keys(*pressed)


def choose(browser: Any, selector: str, value: int) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("css selector", selector)).select_by_value(str(value))


def column(browser: Any, number: int) -> list[str]:
    script = """const rows = [...document.querySelectorAll("#table tbody tr")];
        return rows.map((row) => row.cells[arguments[0]].textContent);"""
    found: list[str] = browser.execute_script(script, number)
    return found


def test_no_error_and_no_request(browser: Any) -> None:
    assert [
        entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")
    ] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    # The browser's own first page is chrome's.
    assert [url for url in sent if not url.startswith(("file:", "data:", "chrome"))] == []
    assert sum(url.startswith("file:") for url in sent) == 1


def test_the_table_starts_with_the_worst_and_sorts(browser: Any) -> None:
    dice = [float(value) for value in column(browser, 2)]
    assert dice == sorted(dice)
    press(browser, "#table thead th:nth-child(3) button", keys().ENTER)
    assert [float(value) for value in column(browser, 2)] == sorted(dice, reverse=True)
    press(browser, "#table thead th:nth-child(1) button", keys().SPACE)
    assert column(browser, 0) == sorted(column(browser, 0))
    assert (
        browser.find_element("css selector", "#table th:nth-child(1)").get_attribute("aria-sort")
        == "ascending"
    )


def test_undefined_values_are_the_worst(browser: Any, report: RunReport) -> None:
    names = [cell.text for cell in browser.find_elements("css selector", "#table thead th")]
    (distance,) = [index for index, name in enumerate(names) if name.startswith("HD95")]
    press(browser, f"#table thead th:nth-child({distance + 1}) button", keys().ENTER)
    values = column(browser, distance)
    undefined = values.count("undefined")
    assert undefined == UNDEFINED
    assert values[:undefined] == ["undefined"] * undefined
    defined = [float(value) for value in values[undefined:]]
    assert defined == sorted(defined, reverse=True)


def test_the_table_filters(browser: Any) -> None:
    number = len(column(browser, 0))
    press(browser, "#filter", "VENTRICLE")
    assert set(column(browser, 1)) == {"ventricle"}
    assert (
        browser.find_element("id", "count").text
        == f'{number // 3} of {number} rows, only those with "ventricle"'
    )
    press(browser, "#filter", keys().BACKSPACE * 9)
    press(browser, "#label", "ant")
    assert set(column(browser, 1)) == {"anterior"}
    press(browser, "#label", keys().HOME)
    assert len(column(browser, 0)) == number


def test_sliders_move_the_picture(browser: Any) -> None:
    before = pixels(browser)
    other = pixels(browser, 1)
    press(browser, ".case .slice", keys().ARROW_RIGHT)
    moved = pixels(browser)
    assert moved != before
    press(browser, ".case .slice", keys().ARROW_LEFT)
    assert pixels(browser) == before
    press(browser, ".case .opacity", keys().HOME)
    bare = pixels(browser)
    assert bare != before
    # Without labels, the four panels are grey.
    assert browser.execute_script(
        """const c = document.querySelector(".case canvas");
        const d = c.getContext("2d").getImageData(0, 20, c.width, c.height - 20).data;
        for (let i = 0; i < d.length; i += 4)
          if (d[i] !== d[i + 1] || d[i] !== d[i + 2]) return false;
        return true;"""
    )
    press(browser, ".case .opacity", keys().END)
    assert pixels(browser) not in (before, bare)
    assert pixels(browser, 1) == other, "each case has sliders of its own"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_page_shows_the_slices_that_it_says(
    browser: Any, report: RunReport, trained_run: Path, axis: int
) -> None:
    shown = report.cases[1]
    choose(browser, "#case-1 .axis", axis)
    press(browser, "#case-1 .slice", keys().ARROW_LEFT * 2)
    press(browser, "#case-1 .opacity", keys().HOME)
    position = int(browser.find_element("css selector", "#case-1 output").text.split()[0])
    # The reference's panel, which without opacity is the image, at the middle of each voxel.
    script = """const c = document.querySelector("#case-1 canvas"), [rows, columns] = arguments;
        const width = (c.width + 6) / 4 - 6, height = c.height - 18;
        const d = c.getContext("2d").getImageData(width + 6, 18, width, height);
        const middle = (place, size, number) => Math.floor((place + 0.5) * size / number);
        const at = (r, k) =>
          d.data[4 * (middle(r, height, rows) * width + middle(k, width, columns))];
        const row = (r) => Array.from({ length: columns }, (_, k) => at(r, k));
        return Array.from({ length: rows }, (_, r) => row(r));"""
    down, right = (other for other in range(3) if other != axis)
    rows, columns = shown.volume.image.shape[down], shown.volume.image.shape[right]
    found = np.array(browser.execute_script(script, rows, columns))
    whole = CaseViews(Predictor.load([trained_run])).load(shown.volume.name)
    cut = whole.cut(axis, position, shown.volume.intensity_range()).image
    upright = cut if axis == 0 else cut[::-1]
    first = shown.first[down], shown.first[right]
    part = upright[first[0] : first[0] + rows, first[1] : first[1] + columns]
    np.testing.assert_allclose(found, 255 * (part if axis == 0 else part[::-1]), atol=0.51)
    press(browser, "#case-1 .opacity", keys().END)
    choose(browser, "#case-1 .axis", 0)


def test_surfaces_turn_in_three_dimensions(browser: Any, report: RunReport) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    opacity = browser.find_elements("css selector", "#case-0 output")[1].text
    press(browser, "#case-0 .axis", "sur")
    first = pixels(browser)
    # Lit surfaces of the first label: its colour, darker by one factor in all channels.
    red, green, blue = label_colors(1)[0]
    script = """const c = document.querySelector("#case-0 canvas"), w = c.width / 4;
        const d = c.getContext("2d").getImageData(w, 20, 2 * w, c.height - 20).data;
        const color = arguments;
        let found = 0;
        for (let i = 0; i < d.length; i += 4) {
          const light = d[i] / color[0];
          const fits = (part) => Math.abs(d[i + part] - light * color[part]) < 3;
          if (light > 0.2 && fits(1) && fits(2)) found++;
        }
        return found;"""
    assert browser.execute_script(script, red, green, blue) > 200
    assert browser.find_element("css selector", "#case-0 output").text == "30°"
    press(browser, "#case-0 .slice", keys().ARROW_RIGHT * 5)
    assert browser.find_element("css selector", "#case-0 output").text == "35°"
    turned = pixels(browser)
    assert turned != first
    press(browser, "#case-0 .opacity", keys().ARROW_RIGHT * 9)
    tilted = pixels(browser)
    assert tilted not in (first, turned), "the second slider tilts"
    canvas = browser.find_element("css selector", "#case-0 canvas")
    for _ in range(10):  # However slowly it is dragged.
        ActionChains(browser).click_and_hold(canvas).move_by_offset(2, 0).release().perform()
    assert browser.find_element("css selector", "#case-0 output").text == "45°"
    ActionChains(browser).click_and_hold(canvas).move_by_offset(0, 40).release().perform()
    assert pixels(browser) not in (first, turned, tilted)
    choose(browser, "#case-0 .axis", 0)
    assert browser.find_elements("css selector", "#case-0 output")[1].text == opacity, (
        "it is as it was"
    )
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_narrow_pages_have_two_pictures_in_a_row(browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    def shape() -> tuple[int, int]:
        return tuple(
            browser.execute_script(
                "const c = document.querySelector('.case canvas'); return [c.width, c.height]"
            )
        )

    wide, size = shape(), browser.get_window_size()
    browser.set_window_size(480, 900)
    WebDriverWait(browser, 30).until(lambda _: shape() != wide)
    narrow = shape()
    browser.set_window_size(size["width"], size["height"])
    WebDriverWait(browser, 30).until(lambda _: shape() == wide)
    assert narrow == (wide[0] / 2 - 3, 2 * wide[1]), (
        "four in a row, with gaps of 6 pixels, become two by two"
    )


def test_charts_tell_their_values_to_keys_and_pointer(browser: Any, report: RunReport) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    chart = "#curves figure:first-child svg"
    press(browser, chart, keys().HOME)
    reading = browser.find_element("css selector", "#curves .reading")
    assert reading.text.startswith("epoch 1: training ")
    assert f"{report.history.records[0].train_loss:.3g}"[:4] in reading.text
    press(browser, chart, keys().ARROW_RIGHT)
    assert reading.text.startswith("epoch 2: ")
    browser.execute_script(
        "document.querySelector('#curves svg').scrollIntoView({block: 'center'})"
    )
    ActionChains(browser).move_to_element(browser.find_element("css selector", chart)).perform()
    assert re.match(r"epoch [34]: ", reading.text)


def test_the_distribution_shows_the_chosen_metric(browser: Any) -> None:
    drawn = browser.find_element("id", "distribution").get_attribute("innerHTML")
    assert drawn.count("<circle") == len(column(browser, 0))
    press(browser, "#metric", "IoU")
    assert "IoU of every case" in browser.find_element("id", "distribution").get_attribute(
        "innerHTML"
    )


def test_the_distribution_goes_from_case_to_case_by_keys(browser: Any) -> None:
    press(browser, "#distribution svg", keys().HOME)
    reading = browser.find_element("css selector", "#distribution .reading")
    values = []
    for _ in range(2):
        values.append(float(reading.text.split(": ")[1]))
        press(browser, "#distribution svg", keys().ARROW_RIGHT)
    assert values == sorted(values)


def test_one_epoch_is_a_point_and_equal_values_lie_in_the_middle(
    report: RunReport, tmp_path: Path, browser: Any
) -> None:
    alone = replace(report, history=replace(report.history, records=report.history.records[:1]))
    (tmp_path / "one.html").write_text(render_page(alone), encoding="utf-8")
    before = browser.current_url
    browser.get((tmp_path / "one.html").as_uri())
    drawn = browser.find_element("id", "curves").get_attribute("innerHTML")
    assert drawn.count("<circle") == 2 + 4 + 1
    assert "<polyline" not in drawn
    rate = browser.execute_script(
        "const t = document.querySelectorAll('#curves svg')[2]; return t.textContent"
    )
    assert re.search(r"0\.0\d", rate), "the axis of a constant value has numbers"
    browser.get(before)
    wait_until_ready(browser)


def test_large_cases_say_that_they_are_thinned_out(report: RunReport) -> None:
    case = replace(report.cases[0], steps=(1, 3, 2))
    page = render_page(replace(report, cases=(case,)))
    assert "thinned out: every 2nd along x, every 3rd along y" in page


def test_light_and_dark(browser: Any) -> None:
    def paper() -> str:
        return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    first = paper()
    press(browser, "#theme", keys().ENTER)
    second = paper()
    assert {first, second} == {"rgb(255, 255, 255)", "rgb(22, 24, 28)"}
    press(browser, "#theme", keys().ENTER)
    assert paper() == first


def test_the_page_prints(browser: Any, report: RunReport) -> None:
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2
    assert pdf.count(b"/Subtype /Image") >= len(report.cases), "the pictures are there"
    assert browser.execute_script(
        "return [...document.querySelectorAll('details')].every((item) => item.open)"
    )
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_warnings_and_failures_are_told_in_the_words_of_the_caller(report: RunReport) -> None:
    assert report.evaluation is not None
    failed = CaseFailed("c", "c: is too large for `max_memory_mib`")
    evaluation = replace(report.evaluation, failures=(failed,))
    page = render_page(
        replace(report, evaluation=evaluation, warnings=("no cases: set `data`",)),
        reword=lambda text: text.replace("`", "|"),
    )
    assert "c: is too large for |max_memory_mib|" in page
    assert "no cases: set |data|" in page
