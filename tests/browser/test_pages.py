"""The report and MLflow's pages as a person sees them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.browser.conftest import FinishedStudy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_MOST_BYTES = 150_000
_PATIENCE_MS = 30_000  # MLflow's page is large, and the machine may be busy

OpenPage = Callable[..., "Page"]


@pytest.fixture
def open_page(chromium: "Browser") -> Iterator[OpenPage]:
    """Opens a page of some width in a light or dark scheme."""
    contexts = []

    def opened(width: int = 1200, height: int = 800, scheme: str = "light") -> "Page":
        size = {"width": width, "height": height}
        contexts.append(chromium.new_context(viewport=size, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.set_default_timeout(_PATIENCE_MS)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def keep(pytestconfig: pytest.Config) -> Callable[["Page", str], None]:
    """Takes a picture of a page for the documentation, if those are asked for."""
    folder: Path | None = pytestconfig.getoption("--screenshots")

    def kept(page: "Page", name: str) -> None:
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        page.screenshot(path=path)
        Image.open(path).convert("RGB").quantize(192).save(path, optimize=True)
        assert path.stat().st_size < _MOST_BYTES

    return kept


def brightness(page: "Page") -> float:
    """Return how bright the background is, 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = map(int, colour.removeprefix("rgb(").rstrip(")").split(","))
    return (red + green + blue) / 3


def test_the_report_loads_nothing_and_complains_of_nothing(
    open_page: OpenPage, finished: FinishedStudy, keep: Callable[["Page", str], None]
) -> None:
    page, requests, complaints = open_page(height=900), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(finished.page.as_uri(), wait_until="networkidle")
    keep(page, "report")

    assert [url for url in requests if not url.startswith("data:")] == [finished.page.as_uri()]
    assert complaints == []
    broken = "[...document.images].filter(i => !i.naturalWidth || !i.alt).length"
    assert page.locator("img").count() == 16
    assert page.evaluate(broken) == 0
    assert page.locator("svg[role=img]:visible").get_attribute("aria-label")


def test_the_report_fits_a_phone_and_is_dark_where_that_is_wished(
    open_page: OpenPage, finished: FinishedStudy, keep: Callable[["Page", str], None]
) -> None:
    light, dark = (open_page(390, 844, scheme) for scheme in ("light", "dark"))
    for page in (light, dark):
        page.goto(finished.page.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(dark, "report-phone")

    assert brightness(light) > 240
    assert brightness(dark) < 40
    assert light.locator(".tick:visible").first.evaluate("e => getComputedStyle(e).fontSize") == (
        "12px"
    )


def test_a_network_on_the_front_says_what_it_is(
    open_page: OpenPage, finished: FinishedStudy
) -> None:
    page = open_page()
    page.goto(finished.page.as_uri())
    champion = page.locator("svg[role=img]:visible .champion title").text_content()

    assert champion
    assert champion.startswith(page.locator(".answer").text_content() or "?")


def test_mlflow_shows_the_study_its_trials_and_its_figures(
    open_page: OpenPage, finished: FinishedStudy, keep: Callable[["Page", str], None]
) -> None:
    page = open_page(1400, 900)
    page.goto(f"{finished.mlflow}/artifacts/figures/figures.html")
    _close_assistant(page)
    figure = page.frame_locator("iframe").locator("#front .main-svg").first
    figure.wait_for()
    keep(page, "mlflow-figures")
    page.goto(finished.mlflow)
    children = page.get_by_role("link").filter(has_text="·")
    children.first.wait_for()

    assert children.count() >= 4


def test_the_best_network_is_on_top_of_mlflows_table_once_it_is_sorted(
    open_page: OpenPage, finished: FinishedStudy, keep: Callable[["Page", str], None]
) -> None:
    report = open_page()
    report.goto(finished.page.as_uri())
    best = report.locator(".answer").text_content()
    runs = finished.mlflow.rpartition("/")[0]
    filtered = "metrics.num_params <= 500000 and tags.`cgnet.state` = 'complete'"
    first = {}
    for ascending in ("true", "false"):
        page = open_page(1750, 800)  # wide enough for the columns that are added below
        page.goto(
            f"{runs}?searchFilter={filtered}&orderByKey=metrics.`val/mean_iou`"
            f"&orderByAsc={ascending}"
        )
        _close_assistant(page)
        names = page.locator("[role=row] a", has_text="·")
        names.first.wait_for()
        first[ascending] = names.first.text_content() or ""
    _show_columns(page, "num_params", "val/mean_iou")
    keep(page, "mlflow-table")

    assert best
    scores = page.get_by_role("gridcell").filter(has_text=re.compile(r"^0\.\d+$"))
    values = [float(text) for text in scores.all_text_contents()]
    assert len(values) >= 4
    assert values == sorted(values, reverse=True)
    assert first["false"].startswith(best)
    assert not first["true"].startswith(best)


def _show_columns(page: "Page", *names: str) -> None:
    page.get_by_role("button", name="Columns", exact=True).click()
    for name in names:
        page.get_by_placeholder("Search columns").fill(name)
        page.get_by_text(name, exact=True).last.click()
    page.get_by_role("heading", name="Training runs").click()


def _close_assistant(page: "Page") -> None:
    """Put MLflow's chat away, which covers a quarter of the page until someone does."""
    page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
