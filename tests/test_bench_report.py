"""A run's report: the same findings as a page, as text and as tables, opened in a real browser."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

pytest.importorskip("plotly", reason="reports need plotly, of the extra bench")
pytest.importorskip("scipy", reason="intervals need scipy, of the extra bench")

from fanns.bench.cli_report import report as report_command
from fanns.bench.reporting import figures, heat, report, wording
from fanns.bench.running.results import Run, RunError
from tests import bench_run_data as made

CELLS = (
    "none-1-none", "in-0.1-none", "in-0.01-positive", "in-0.001-negative", "not-0.1-none",
    "not-0.001-negative", "contains_any-0.1-none",
)  # fmt: skip
LOST, WON, MISSED = "in-0.001-negative", "in-0.1-none", "not-0.001-negative"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a wrong engine, an absent one, unsupported cells, and its report."""
    found = made.write(tmp_path_factory.mktemp("report") / "run", only=CELLS)
    found.note("all points shrank to 60 queries; see /opt/somewhere/logs/runner.log")
    report.write(found.folder)
    return found


@pytest.fixture(scope="module")
def findings(run: Run) -> report.Findings:
    return report.findings(run)


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return (run.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(run: Run) -> str:
    return (run.folder / "report.md").read_text(encoding="utf-8")


def rows_of(text: str, name: str) -> list[list[str]]:
    """The rows of the text's tables whose first cell is `name`."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [line for line in lines if line[0] == name]


def test_the_text_has_a_line_for_every_family(text: str) -> None:
    summary = text[text.index("## Summary") : text.index("## Every cell")]
    for family in ("none", "in", "not", "contains_any", "all"):
        assert rows_of(summary, family), family
    assert re.search(r"fanns is faster than the best peer in \d+; slower in \d+", summary)


def test_the_text_tells_where_it_was_measured(text: str) -> None:
    assert "Machine: Imaginary 9000, 2 cores, 16 GiB of memory, a load of 1.8" in text
    assert rows_of(text, "machine.memory.total_bytes") == [
        ["machine.memory.total_bytes", "17,179,869,184"]
    ]
    assert rows_of(text, "machine.cpu.caches")[0][1] == "level 1"


def test_lost_cells_are_as_visible_as_won_ones(text: str, findings: report.Findings) -> None:
    [lost], [won], [missed] = (
        [row for row in rows_of(text[text.index("## Every cell, end") :], cell) if len(row) == 11][
            :1
        ]
        for cell in (LOST, WON, MISSED)
    )
    assert lost[5] == "exact" and lost[8].startswith("**0.")
    assert won[5] == "faiss-hnsw" and won[8].startswith("1.")
    assert missed[3] == "not reached" and missed[8] == "**-**"
    for row, cell in ((lost, LOST), (won, WON)):
        [one] = [c for c in findings.of("end_to_end", 0.95) if c.cell == cell]
        assert one.interval is not None and one.ours is not None
        assert f"{one.interval.ratio:.2f}x" in row[8] and f"{one.ours['qps']:,.0f}" == row[3]
        assert f"{one.interval.low:.2f} … {one.interval.high:.2f}" == row[9]


def test_the_text_names_what_went_wrong(text: str) -> None:
    assert "**Wrong answers.**" in text and rows_of(text, "careless")[0][3] == "60 %"
    assert "zvec is not installed" in text
    assert any("unsupported" in row for row in rows_of(text, "usearch"))
    assert "all points shrank to 60 queries" in text
    assert "WRONG" in text and "unsupported" in text


def test_builds_are_told_in_units_and_in_multiples_of_the_vectors(text: str) -> None:
    builds = text[text.index("## Builds") : text.index("## Problems")]
    [ours] = rows_of(builds, "fanns")
    assert ours[3:9] == ["10.0", "19.0", "439.5", "73.2", "0.50x", "0.4"]
    assert rows_of(builds, "faiss-hnsw")[0][3] == "24.0 (kept)"


def test_nothing_holds_an_absolute_path(run: Run, text: str, page: str) -> None:
    own = page.replace(_plotly(), "")
    for content in (text, own):
        assert "/opt/somewhere" not in content and str(run.folder.parent) not in content
    assert "…/filters.py" in text and "…/filters.py" in own


def test_the_page_is_small_and_asks_for_nothing_outside(page: str) -> None:
    library = _plotly()
    assert page.count(library) == 1
    own = page.replace(library, "")
    assert len(own) < 1_500_000
    assert "default-src 'none'" in own
    assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//|@import|url\(""", own)


def test_all_data_is_embedded(run: Run, page: str) -> None:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    tables = json.loads(found[1])["tables"]
    points = run.points()
    assert tables["points"]["engine"] == points["engine"].to_pylist()
    assert tables["points"]["qps"] == pytest.approx(points["qps"].to_pylist(), rel=1e-5)
    assert tables["cells"]["cell"] == run.cells()["cell"].to_pylist()
    assert set(tables) == {"points", "ratios", "cells", "builds", "problems"}


def test_tables_come_as_csv_and_parquet(run: Run, findings: report.Findings) -> None:
    folder = run.folder / "tables"
    for name, table in findings.tables.items():
        assert pq.read_table(folder / f"{name}.parquet").equals(table)
        assert csv.read_csv(folder / f"{name}.csv").num_rows == table.num_rows
    ratios = pq.read_table(folder / "ratios.parquet").to_pylist()
    missed = [r for r in ratios if r["cell"] == MISSED and r["recall"] == 0.99]
    assert {r["state"] for r in missed} == {"ours_not_reached"}
    assert all(r["ratio"] is None for r in missed)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("no /home/me/data/x.parquet here", "no …/x.parquet here"),
        ("see https://docs.rs/a/b/c", "see https://docs.rs/a/b/c"),
        ("12,000 rows/s and 1/2", "12,000 rows/s and 1/2"),
        ("C:\\Users\\me\\run", "…/run"),
        ("~/bench/run1/", "…/run1"),
        ("File '/a/b.py', line 3", "File '…/b.py', line 3"),
    ],
)
def test_paths_are_cut_down_to_their_last_part(given: str, expected: str) -> None:
    assert wording.scrub(given) == expected


def test_names_cannot_break_the_page_or_the_tables(tmp_path: Path) -> None:
    evil = "x</script><b onclick=a>|`"
    found = made.write(tmp_path / "run", only=("none-1-none",))
    found.header["workload"]["name"] = evil
    found.note(evil)
    found.save()
    page = report.write(found.folder).read_text(encoding="utf-8").replace(_plotly(), "")
    assert "<b onclick" not in page and page.count("</script>") == 4
    markdown = (found.folder / "report.md").read_text(encoding="utf-8")
    assert all(line.endswith("|") for line in markdown.splitlines() if line.startswith("|"))


def test_a_run_without_ours_still_shows_every_engine(run: Run) -> None:
    from fanns.bench.reporting import page, prose

    found = report.findings(run, "nobody")
    assert found.comparisons == [] and "nobody was not measured" in prose.markdown(found)
    assert rows_of(prose.markdown(found), WON)
    assert "nobody was not measured" in page.html(found)


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    found = made.write(tmp_path / "run", only=("none-1-none", "in-0.1-none"))
    next((found.folder / "samples").glob("000-*")).unlink()
    (found.folder / "points.parquet").unlink()
    found.header |= {"complete": False, "finished": None}
    found.save()
    text = report.write(found.folder).with_suffix(".md").read_text(encoding="utf-8")
    assert "not complete" in text and "Without any point: none-1-none" in text


def test_a_run_without_any_point_has_no_report(tmp_path: Path) -> None:
    found = made.write(tmp_path / "run", only=())
    with pytest.raises(RunError, match="no measured point"):
        report.write(found.folder)


def test_the_command_writes_and_prints_the_page(run: Run) -> None:
    result = CliRunner().invoke(report_command, [str(run.folder), "-q"])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(run.folder / "report.html")


def test_a_front_keeps_what_nothing_beats() -> None:
    points = [
        {"recall": r, "qps": q} for r, q in ((0.9, 9), (0.95, 5), (0.94, 4), (0.99, 5), (1, 1))
    ]
    assert [p["recall"] for p in figures.pareto(points)] == [0.9, 0.99, 1]


def test_every_engine_has_a_look_of_its_own() -> None:
    from fanns.bench.engines import registry
    from fanns.bench.reporting import looks

    names = [*registry.names(), "my-engine", "another"]
    drawn = [looks.look(name, names) for name in names]
    assert len(set(drawn)) == len(drawn)
    assert len({(look.symbol, look.dash) for look in drawn}) == len(drawn)  # in grey, too


def test_the_heat_map_says_in_words_what_is_no_number(findings: report.Findings) -> None:
    figure = heat.heat_map(findings.of("end_to_end", 0.95), findings.cells, together=False)
    [map_] = figure["data"]
    texts = {
        (row, column): map_["text"][i][j]
        for i, row in enumerate(map_["y"])
        for j, column in enumerate(map_["x"])
    }
    assert "not reached" in texts["not · negative", "0.1 %"]
    assert texts["in · none", "10 %"].endswith("▲") and texts["in · negative", "0.1 %"].endswith(
        "▼"
    )
    assert texts["in · none", "100 %"] == ""


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


# In a browser


Browser = Any


@pytest.fixture(scope="module")
def open_page(run: Run) -> Iterator[Callable[[int], Browser]]:
    """Opens the page from disk in headless Chromium without network, as wide as asked."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--host-resolver-rules=MAP * ~NOTFOUND"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
        )

        def open_(width: int) -> Browser:
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
            )
            browser.get((run.folder / "report.html").as_uri())
            return browser

        yield open_
    finally:
        browser.quit()


def choose(browser: Browser, name: str, value: str) -> None:
    script = """const place = document.getElementById(arguments[0]);
        place.value = arguments[1]; place.dispatchEvent(new Event("change"));"""
    browser.execute_script(script, name, value)


def labels(browser: Browser, figure: str) -> list[str]:
    """The texts printed in a heat map."""
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    found: list[str] = browser.execute_script(script, f"#{figure} .heatmap-label")
    return found


def test_a_click_in_the_legend_hides_an_engine(open_page: Callable[[int], Browser]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.wait import WebDriverWait

    browser = open_page(1300)
    choose(browser, "family", "in")
    visible = """return document.getElementById("curves").data
        .filter((trace) => trace.name === "hnswlib").map((trace) => trace.visible ?? true)"""
    drawn = "return document.querySelectorAll('#curves .scatterlayer .trace').length"
    assert set(browser.execute_script(visible)) == {True}
    before = browser.execute_script(drawn)
    [entry] = [
        item for item in browser.find_elements("css selector", "#curves .legend .traces")
        if item.text == "hnswlib"
    ]  # fmt: skip
    toggle = entry.find_element("css selector", ".legendtoggle")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", entry)
    ActionChains(browser).move_to_element(toggle).click().perform()
    wait = WebDriverWait(browser, 10)
    wait.until(lambda b: set(b.execute_script(visible)) == {"legendonly"})
    wait.until(lambda b: b.execute_script(drawn) == before - 3)


def test_values_can_be_read_from_the_page(
    open_page: Callable[[int], Browser], findings: report.Findings
) -> None:
    browser = open_page(1300)
    [one] = [c for c in findings.of("end_to_end", 0.95) if c.cell == LOST]
    assert one.interval is not None
    shown = f"{one.interval.ratio:.2f}x"
    assert f"{shown} ▼" in labels(browser, "families")
    assert any("not reached" in text for text in labels(browser, "families"))
    row = next(
        line.text for line in browser.find_elements("css selector", "#ratio-table tr")
        if line.is_displayed() and line.text.startswith(LOST)
    )  # fmt: skip
    assert shown in row and "exact" in row
    assert "Wrong answers" in browser.find_element("css selector", ".wrong").text


def test_the_choices_change_figures_and_tables(
    open_page: Callable[[int], Browser], findings: report.Findings
) -> None:
    browser = open_page(1300)
    choose(browser, "recall", "0.9")
    choose(browser, "mode", "prepared")
    [one] = [c for c in findings.of("prepared", 0.9) if c.cell == WON]
    assert one.interval is not None
    shown = f"{one.interval.ratio:.2f}x"
    assert any(text.startswith(shown) for text in labels(browser, "families"))
    parts = browser.find_elements("css selector", "#summary > div")
    assert [p.get_attribute("data-mode") for p in parts if p.is_displayed()] == ["prepared"]


@pytest.mark.parametrize("width", [1300, 420])
def test_the_page_fits_its_window_and_stays_offline(
    open_page: Callable[[int], Browser], width: int
) -> None:
    browser = open_page(width)
    choose(browser, "family", "in")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    columns = browser.execute_script(
        """const layout = document.getElementById("curves").layout;
        return new Set(["xaxis", "xaxis2", "xaxis3"].map((n) => layout[n].domain[0])).size"""
    )
    assert columns == (3 if width > 1000 else 1)
    errors = [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    assert errors == []
    asked = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    urls = {
        e["params"]["request"]["url"] for e in asked if e["method"] == "Network.requestWillBeSent"
    }
    assert {url.partition(":")[0] for url in urls} <= {"file", "data", "blob"}
