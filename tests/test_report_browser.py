"""The report in a browser: no error, no request, and what a reader clicks does what it says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_artifacts import HOSTILE, make_artifacts, without_scores

from causcade.config import ReportConfig
from causcade.report import write_report

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
BROKEN = "[...document.querySelectorAll('svg *')].filter(n => /NaN|undefined|Infinity/.test([...n.attributes].map(a => a.value).join())).length"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)")


class Opened:
    """A page of the browser with all that it complained about and asked for."""

    def __init__(self, context: Any, path: Path) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.failures: list[str | None] = []
        self.page.on("requestfailed", lambda request: self.failures.append(request.failure))
        self.page.goto(path.as_uri())

    def texts(self, selector: str) -> list[str]:
        return list(self.page.locator(selector).all_inner_texts())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_artifacts(tmp_path_factory.mktemp("browser") / "run", hostile=True)
    write_report(folder, ReportConfig(), run="demo")
    return folder


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
    with sync_api.sync_playwright() as playwright:
        folder = tmp_path_factory.mktemp("profile")
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=CHROMIUM, args=ARGUMENTS, viewport={"width": 1300, "height": 900}
        )
        yield context
        context.close()


@pytest.fixture
def opened(context: Any, run: Path) -> Iterator[Opened]:
    opened = Opened(context, run / "report/index.html")
    yield opened
    # Whatever a test clicked: nothing was asked for but the file itself, and nothing went wrong.
    opened.page.close()
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file://", "blob:"))] == []


def test_every_figure_is_drawn(opened: Opened) -> None:
    page = opened.page
    hosts = page.locator("[data-figure]").count()
    assert hosts >= 10
    assert page.locator("[data-figure] > svg").count() == hosts
    for name in ("#hub-chart", "#ego", "#eval-forest", "#eval-roc", "#eval-pr", "#pert"):
        assert page.locator(f"{name} svg").count() >= 1, name
    # Every drawing has a spoken name, and no coordinate is broken.
    assert page.locator("svg:not([aria-label]):not([aria-hidden])").count() == 0
    assert page.evaluate(BROKEN) == 0
    assert "NaN" not in page.inner_text("body")
    assert "undefined" not in page.inner_text("body")


def test_map_is_painted_and_recoloured(opened: Opened) -> None:
    page = opened.page
    pixels = "document.getElementById('map-canvas').toDataURL()"
    first = page.evaluate(pixels)
    names = page.locator("#map-colour option").all_inner_texts()
    assert set(names) == {"cell line", "control", "plate", "G2M score", "S score", "log counts"}
    page.select_option("#map-colour", "log counts")
    assert page.evaluate(pixels) != first
    assert "percentile" in page.inner_text("#map-legend")


def test_search_filters_the_edges(opened: Opened, run: Path) -> None:
    page = opened.page
    edges = pd.read_parquet(run / "network/edges.parquet").sort_values("rank")
    regulator, target = edges.iloc[0][["regulator", "target"]]
    assert opened.texts("#edge-table tbody tr:first-child td:nth-child(2)") == ["1"]
    page.fill("#edge-search", f"{regulator}>{target}")
    rows = page.locator("#edge-table tbody tr")
    found = edges[edges["regulator"].str.contains(regulator, regex=False) & edges["target"].str.contains(target, regex=False)]
    assert rows.count() == min(25, len(found))
    assert f"{len(found)} rows" in page.inner_text("#edge-table .pager")
    page.fill("#edge-search", "no such gene")
    assert opened.texts("#edge-table tbody td") == ["No row fits."]
    page.fill("#edge-search", "")
    page.select_option("#edge-identifiability", "none")
    column = next(i for i, words in enumerate(opened.texts("#edge-table thead th"), start=1) if words.startswith("Identifiability"))
    assert set(opened.texts(f"#edge-table tbody tr td:nth-child({column})")) == {"none"}


def test_edges_sort_and_page(opened: Opened, run: Path) -> None:
    page = opened.page
    edges = pd.read_parquet(run / "network/edges.parquet").sort_values("rank", ignore_index=True).head(2000)
    page.click("#edge-table th button:has-text('Effect')")
    assert page.get_attribute("#edge-table th:has-text('Effect')", "aria-sort") == "descending"
    first = page.inner_text("#edge-table tbody tr:first-child td:nth-child(2)")
    assert first == str(edges.loc[edges["effect"].idxmax(), "rank"])
    page.click("#edge-table th button:has-text('Effect')")
    first = page.inner_text("#edge-table tbody tr:first-child td:nth-child(2)")
    assert first == str(edges.loc[edges["effect"].idxmin(), "rank"])
    page.click("#edge-table th button:has-text('Rank')")
    page.click("#edge-table button:has-text('Next')")
    assert opened.texts("#edge-table tbody tr:first-child td:nth-child(2)") == ["26"]


def test_edges_without_a_score_sort_last_and_page(context: Any, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    edges = pd.read_parquet(run / "network/edges.parquet")
    for num_scored in (30, 0):
        without_scores(edges, edges.index >= num_scored).to_parquet(folder / "network/edges.parquet")
        write_report(folder, ReportConfig(), run="demo")
        opened = Opened(context, folder / "report/index.html")
        ranks = "#edge-table tbody tr td:nth-child(2)"
        expected = [str(rank) for rank in range(1, num_scored + 1)] + ["–"] * 50
        assert opened.texts(ranks) == expected[:25]
        opened.page.click("#edge-table button:has-text('Next')")
        assert opened.texts(ranks) == expected[25:50]
        opened.page.click("#edge-table th button:has-text('Rank')")  # descending
        assert opened.texts(ranks) == (expected[:num_scored][::-1] + ["–"] * 25)[:25]
        opened.page.click("#edge-table tbody tr:first-child button.open")
        assert "Learned sign" in opened.page.inner_text("#edge-table .detail")
        assert opened.page.locator("#ego").count() == int(num_scored > 0)
        opened.page.close()
        assert opened.complaints == []


def test_row_opens_its_evidence(opened: Opened, run: Path) -> None:
    page = opened.page
    edges = pd.read_parquet(run / "network/edges.parquet").sort_values("rank", ignore_index=True)
    signed = edges[(edges["prior_sign"] != 0) & (edges["sign"] != 0)].iloc[0]
    page.fill("#edge-search", f"{signed['regulator']}>{signed['target']}")
    row = page.locator("#edge-table tbody tr", has=page.get_by_text(str(signed["rank"]), exact=True)).first
    opener = row.locator("button.open")
    opener.press("Enter")
    assert opener.get_attribute("aria-expanded") == "true"
    words = page.inner_text("#edge-table tr.detail")
    assert f"They {'agree' if signed['sign'] == signed['prior_sign'] else 'disagree'}." in words
    assert "PMID 12345678" in words
    assert "posterior" in words
    opener.press("Enter")
    assert page.locator("#edge-table tr.detail").count() == 0


def test_download_holds_the_rows_that_are_shown(opened: Opened) -> None:
    page = opened.page
    page.select_option("#edge-identifiability", "direct")
    num = int(page.inner_text("#edge-table .pager span").split(" rows")[0].replace("\u202f", ""))
    with page.expect_download() as waiting:
        page.click("#edge-table .pager button:has-text('Download')")
    lines = Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t")[:3] == ["rank", "regulator", "target"]
    assert len(lines) == num + 1
    assert not any(cell.startswith("=") for line in lines for cell in line.split("\t"))


def test_gene_is_drawn_and_left_again(opened: Opened) -> None:
    page = opened.page
    first = page.input_value("#ego-gene")
    node = page.locator("#ego .node[role=button]").last
    other = node.locator("text").first.text_content()
    node.press("Enter")
    assert page.input_value("#ego-gene") == other
    page.click("#ego-back")
    assert page.input_value("#ego-gene") == first
    page.fill("#ego-gene", "NOTAGENE")
    page.press("#ego-gene", "Tab")
    assert "NOTAGENE is no gene with a scored edge on this page" in page.inner_text("#ego")


def test_perturbation_is_chosen_and_redrawn(opened: Opened) -> None:
    page = opened.page
    before = page.inner_html("#pert")
    name = "drug 4" if page.inner_text("#pert-title") != "drug 4" else "drug 5"
    page.fill("#pert-name", name)
    page.press("#pert-name", "Tab")
    assert page.inner_text("#pert-title") == name
    assert page.inner_html("#pert") != before
    assert page.locator("#pert .drawing svg .node").count() > 5
    page.click("#pert-next")
    assert page.inner_text("#pert-title") != name
    page.click("#pert-previous")
    assert page.inner_text("#pert-title") == name
    page.fill("#pert-name", HOSTILE)
    page.press("#pert-name", "Tab")
    assert page.inner_text("#pert-title") == HOSTILE
    page.fill("#pert-name", "nothing like it")
    page.press("#pert-name", "Tab")
    assert "No perturbation is called nothing like it" in page.inner_text("#pert")


def test_evaluation_follows_reference_subset_and_metric(opened: Opened) -> None:
    page = opened.page
    assert page.input_value("#eval-reference") == "truth"
    assert page.input_value("#eval-subset") == "no_prior"
    first = page.inner_text("#eval-table")
    assert page.locator("#eval-table tr.null").count() == 4
    page.select_option("#eval-subset", "all")
    assert page.inner_text("#eval-table") != first
    page.select_option("#eval-reference", "string")
    assert page.input_value("#eval-subset") == "all"
    page.select_option("#eval-metric", "sign_accuracy")
    assert "not defined here" in page.inner_text("#eval-forest")
    shown = page.locator("#eval-roc path.curve").count()
    page.locator("#eval-roc .key", has_text="coexpression").first.click()
    assert page.locator("#eval-roc path.curve").count() == shown - 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_page_does_not_scroll_sideways(context: Any, run: Path, scheme: str) -> None:
    opened = Opened(context, run / "report/index.html")
    opened.page.emulate_media(color_scheme=scheme)
    opened.page.set_viewport_size({"width": 390, "height": 800})
    opened.page.reload()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    opened.page.close()
    assert opened.complaints == []


def test_policy_of_the_page_stops_requests(context: Any, run: Path) -> None:
    opened = Opened(context, run / "report/index.html")
    opened.page.evaluate("new Promise(done => { const image = new Image(); image.onerror = done; image.src = 'https://example.org/x.png'; })")
    opened.page.close()
    assert [text for text in opened.complaints if "Content Security Policy" in text]
    # The harness sees the attempt, and the browser refuses it before it leaves.
    assert "https://example.org/x.png" in opened.requests
    assert opened.failures == ["csp"]
