"""The report: one page that asks for nothing outside, shows what the artifacts say, and says what is missing."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from report_artifacts import HOSTILE, make_artifacts, without_scores

from causcade.config import Config, ReportConfig
from causcade.errors import InputError
from causcade.files import read_json, write_anndata, write_json
from causcade.report import build_report, write_report
from causcade.report.data import as_json, first_few, natural, rounded, thinned
from causcade.report.page import SECTIONS, number, percent
from causcade.report.summary import mark

VOID = {"meta", "link", "br", "input", "img", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, text by section, and the data of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, str] = {}
        self.raw: dict[str, str] = {}
        self.open: list[str] = []
        self.section = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.section = str(dict(attrs)["id"])
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th", "tr", "li"):  # what a reader sees apart
            self.words[self.section] = self.words.get(self.section, "") + " "

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            key = f"{self.open[-1]} {self.tags[-1][1].get('type') or ''}".strip()
            self.raw[key] = self.raw.get(key, "") + data
        else:
            self.words[self.section] = self.words.get(self.section, "") + data

    @property
    def data(self) -> Any:
        def refuse(name: str) -> None:
            raise AssertionError(f"{name} in the JSON of the page")

        return json.loads(self.raw["script application/json"], parse_constant=refuse)

    def text(self, section: str) -> str:
        """Text of a section with single blanks."""
        return re.sub(r"\s+", " ", self.words[section].replace("\u202f", " "))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifacts(tmp_path_factory.mktemp("report") / "run", hostile=True)


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return build_report(run, ReportConfig(), run="demo")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_page_is_well_formed_and_has_every_section(page: Page) -> None:
    assert page.open == []
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == [name for name, _ in SECTIONS]
    assert len(sections) == 12
    for name in sections:
        assert len(page.text(name)) > 150, name
        assert "is not part of this run" not in page.text(name), name


def test_ids_are_unique_and_every_reference_points_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a" and attributes["href"].startswith("#")]
    wanted += [attributes[key] for _, attributes in page.tags for key in ("aria-labelledby", "list", "for") if key in attributes]
    assert len(wanted) > 20
    assert set(wanted) <= set(ids)
    script = page.raw["script"]
    made_by_script = set(re.findall(r'id: "([\w-]+)"', script))
    assert set(re.findall(r'byId\("([\w-]+)"\)', script)) <= set(ids) | made_by_script


def test_nothing_outside_is_asked_for(page: Page, html: str) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "audio", "video", "source"), tag
        assert not {"src", "srcset", "data", "poster", "action", "background", "ping"} & set(attributes), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        if tag == "a":
            assert attributes["href"].startswith(("#", "https://doi.org/10.")), attributes
    assert not re.search(r"url\(|@import", page.raw["style"])
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import\(|innerHTML|document\.write|eval\(", page.raw["script"])
    policies = [attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0].startswith("default-src 'none'")
    assert set(re.findall(r"https?://[\w.]+", page.raw["script"])) == {"http://www.w3.org", "https://pubmed.ncbi.nlm.nih.gov"}


def test_hostile_names_stay_text(page: Page) -> None:
    assert "b" not in {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert HOSTILE in page.data["genes"]
    assert HOSTILE in page.data["perturbations"]["entries"]
    assert "<" not in page.raw["script application/json"]


def test_no_number_is_shown_as_a_program_would(page: Page) -> None:
    for section, words in page.words.items():
        assert not re.search(r"\b(nan|NaN|None|inf|True|False|undefined|<NA>)\b", words), section


def test_equal_artifacts_give_equal_bytes(run: Path, html: str, tmp_path: Path) -> None:
    assert build_report(run, ReportConfig(), run="demo") == html
    assert build_report(make_artifacts(tmp_path / "again", hostile=True), ReportConfig(), run="demo") == html


def test_summary_counts_what_the_artifacts_hold(run: Path, page: Page) -> None:
    plates = json.loads((run / "quality/summary.json").read_text())["plates"].values()
    edges = pd.read_parquet(run / "network/edges.parquet")
    words = page.text("summary")
    kept, read = (f"{sum(plate[key] for plate in plates):,}".replace(",", " ") for key in ("num_kept", "num_cells"))
    assert f"{kept} of {read} cells from 2 plates passed quality control." in words
    assert "6 perturbations in 108 conditions" in words  # 6 drugs, 3 doses, 3 lines, 2 plates
    for kind, sentence in {"direct": f"{{}} of {len(edges)} candidate edges (", "indirect": "For {} (", "none": "For {} ("}.items():
        assert sentence.format((edges["identifiability"] == kind).sum()) in words, kind
    assert "On truth, the causal ranking has AUPRC 0.210." in words
    assert "The 25 answers of the table in sentences" in words


def shift(folder: Path, **values: float) -> Page:
    """The page where the rankings have other scores in the edges whose regulator none hits (`metric__ranking`, on truth)."""
    path = folder / "evaluation/metrics.parquet"
    table = pd.read_parquet(path)
    for name, value in values.items():
        metric, ranking = name.split("__")
        is_row = (table["reference"] == "truth") & (table["subset"] == "no_prior_source_not_hit") & (table["metric"] == metric)
        table.loc[is_row & (table["ranking"] == ranking), "value"] = value
    table.to_parquet(path)
    return Page(build_report(folder, ReportConfig(), run="demo"))


def test_edges_that_none_hits_are_said_to_be_no_better_than_coexpression_where_they_are_not(copy: Path) -> None:
    words = shift(copy, auroc__causal=0.552, auroc__coexpression=0.726, auprc__causal=0.02, auprc__coexpression=0.01).text("summary")
    numbers = "AUROC 0.552 against 0.726, AUPRC 0.0200 against 0.0100."
    assert f"Against planted truth of the simulation, the causal ranking is not better than coexpression (better in AUPRC alone): {numbers}" in words
    assert "Do not trust the rank of such an edge." in words
    assert "Better than coexpression in both on STRING physical links, Complex Portal, hu.MAP 2.0, Reactome." in words


def test_edges_that_none_hits_are_said_to_be_better_only_above_coexpression_and_nulls(copy: Path) -> None:
    words = shift(copy).text("summary")
    assert "the causal ranking is better than coexpression: AUROC" in words
    assert "Do not trust the rank" not in words
    assert "a difference within them means nothing" in words
    words = shift(copy, auroc__edge_null1=0.99).text("summary")
    assert "The best null reaches AUROC 0.990" in words
    assert "Do not trust the rank of such an edge." in words


def test_edges_that_none_hits_are_not_trusted_where_nothing_can_check_them(copy: Path) -> None:
    path = copy / "evaluation/metrics.parquet"
    table = pd.read_parquet(path)
    table.assign(value=table["value"].mask(table["ranking"] == "causal")).to_parquet(path)
    assert "nothing in this run can check the ranks: do not trust" in Page(build_report(copy, ReportConfig(), run="demo")).text("summary")


def test_verdicts_are_marked_by_their_first_word() -> None:
    answers = {
        True: "yes",
        False: "no",
        None: "open",
        "yes": "yes",
        "no": "no",
        "not testable": "open",
        "No: the null has it too": "no",
        "nothing": "open",
    }
    assert {answer: mark(answer) for answer in answers} == answers


def test_edge_table_holds_the_best_edges_and_their_evidence(run: Path) -> None:
    data = Page(build_report(run, ReportConfig(num_edges=30), run="demo")).data
    expected = pd.read_parquet(run / "network/edges.parquet").sort_values("rank").head(30)
    shown = data["edges"]
    assert shown["rank"] == list(range(1, 31))
    assert [data["genes"][code] for code in shown["regulator"]] == expected["regulator"].tolist()
    assert [data["genes"][code] for code in shown["target"]] == expected["target"].tolist()
    np.testing.assert_allclose(shown["effect"], expected["effect"], rtol=1e-3)
    assert [shown["sources"]["levels"][code] for code in shown["sources"]["codes"]] == expected["sources"].tolist()
    assert set(shown["extra"]) == {"posterior"}  # a column that the page does not know is shown all the same
    direct = pd.read_parquet(run / "cascades/direct.parquet")
    for name, (perturbations, count) in shown["hit_by"].items():
        hits = set(direct.loc[direct["is_target"] & (direct["gene"] == name), "perturbation"])
        assert (set(perturbations), count) == (hits, len(hits))
    curated = [row for row, sources in enumerate(expected["sources"]) if sources != "coexpression"]
    assert sorted(map(int, shown["papers"])) == curated


def test_what_ranks_the_edges_is_said_with_the_numbers_of_every_column(page: Page, copy: Path) -> None:
    words = page.text("network")
    assert "latent: it predicts held-out perturbations best. No reference and no curated edge takes part" in words
    order = [words.index(name) for name in ("latent ranks joint latent-activity estimator 0.307", "ridge ridge regression", "partial within partial")]
    assert order == sorted(order)
    assert "perturbations 0.120 0.188 0.0100 0.400 yes" in words
    assert "no: no perturbation enters it" in words
    (copy / "network/score_choice.json").unlink()
    assert "What ranks the edges" not in Page(build_report(copy, ReportConfig(), run="run")).text("network")


def test_an_edge_whose_regulator_none_hits_has_no_probability(run: Path, page: Page) -> None:
    edges = pd.read_parquet(run / "network/edges.parquet").sort_values("rank").head(len(page.data["edges"]["rank"]))
    shown = page.data["edges"]["probability"]
    assert [one is None for one in shown] == edges["probability"].isna().tolist()
    assert "probability" not in page.data["edges"]["extra"]


def test_neighbourhoods_hold_the_best_edges_of_every_gene(run: Path, page: Page) -> None:
    edges = pd.read_parquet(run / "network/edges.parquet").sort_values("rank")
    shown = page.data["neighbours"]
    genes = page.data["genes"]
    pairs = {(genes[a], genes[b]) for a, b in zip(shown["regulator"], shown["target"], strict=True)}
    wanted = set()
    for column in ("regulator", "target"):
        for _, part in edges.groupby(column):
            wanted |= set(part.head(8)[["regulator", "target"]].itertuples(index=False, name=None))
    assert pairs == wanted


def test_edges_without_a_score_follow_those_with_one_and_have_no_rank(copy: Path) -> None:
    path = copy / "network/edges.parquet"
    edges = pd.read_parquet(path)
    table = without_scores(edges, edges.index >= 40)
    table.sample(frac=1, random_state=0).to_parquet(path)
    page = Page(build_report(copy, ReportConfig(num_edges=100), run="demo"))
    shown = page.data["edges"]
    assert shown["rank"] == [*range(1, 41), *[None] * 60]
    weak = np.abs(shown["coexpression"][40:])
    assert (np.diff(weak) <= 0).all()
    assert set(page.data["neighbours"]["rank"]) <= set(range(1, 41))
    assert "All 40 edges with a score, best first, and 60 of those whose score is 0" in page.text("network")
    few = Page(build_report(copy, ReportConfig(num_edges=30), run="demo"))
    assert f"The 30 best of 40 edges with a score; the fit sets the other {len(edges) - 40} candidates".replace(",", " ") in few.text("network")


@pytest.mark.parametrize(("num_hit", "why"), [(0, "No perturbation has a target among the regulators"), (2, "The fit sets every edge to no effect")])
def test_a_network_without_any_score_is_said_to_have_none_and_why(copy: Path, num_hit: int, why: str) -> None:
    path = copy / "network/edges.parquet"
    edges = pd.read_parquet(path)
    without_scores(edges, edges.index >= 0).assign(num_perturbations=num_hit).to_parquet(path)
    page = Page(build_report(copy, ReportConfig(num_edges=100), run="demo"))
    assert set(page.data["edges"]["rank"]) == {None}
    assert page.data["neighbours"]["rank"] == []
    for section, words in {"summary": "none of them has a score", "network": "No edge has a score, so none has a rank"}.items():
        assert f"{words}. {why}" in page.text(section) or f"{words}, a sign or an effect. {why}" in page.text(section)
    assert "Best edges" not in page.text("network")
    assert "were scored and directed" not in page.text("summary")


def test_links_of_a_cascade_are_edges_between_neighbouring_layers(run: Path, page: Page) -> None:
    edges = pd.read_parquet(run / "network/edges.parquet").set_index(["regulator", "target"])["effect"].to_dict()
    genes = page.data["genes"]
    num_links = 0
    for entry in page.data["perturbations"]["entries"].values():
        layers = [[genes[row[0]] for row in entry["direct"] if row[2]][:8]]
        layers += [[genes[row[0]] for row in entry["hops"].get(str(hop), [])][:8] for hop in (1, 2, 3)]
        expected = {}
        for layer, (above, below) in enumerate(itertools.pairwise(layers)):
            for a, b in itertools.product(above, below):
                if (a, b) in edges:
                    expected[layer, a, b] = edges[a, b]
        shown = {(layer, genes[a], genes[b]): effect for layer, a, b, effect in entry["links"]}
        assert shown == pytest.approx(expected, rel=1e-2)
        num_links += len(shown)
    assert num_links > 10


def test_steps_of_paths_carry_the_sign_of_their_edge(run: Path, page: Page) -> None:
    signs = pd.read_parquet(run / "network/edges.parquet").set_index(["regulator", "target"])["sign"].to_dict()
    genes = page.data["genes"]
    paths = [path for entry in page.data["perturbations"]["entries"].values() for path in entry["paths"]]
    # ">" separates the genes of a path, so a gene whose name holds one (as only the hostile one does) cannot be told there.
    named = [([genes[code] for code in steps], sign) for steps, sign, _, _ in paths]
    named = [(names, sign) for names, sign in named if not any(name in HOSTILE for name in names)]
    assert len(named) > 10
    for names, sign in named:
        assert sign == [signs[pair] for pair in itertools.pairwise(names)]


def test_scores_stand_beside_their_nulls(run: Path, page: Page) -> None:
    metrics = pd.read_parquet(run / "evaluation/metrics.parquet")
    data = page.data["evaluation"]
    assert data["subsets"][0][0] == "no_prior"
    assert data["references"][0][0] == "truth"
    assert [name for name in data["order"] if data["rankings"][name]["is_null"]] == ["edge_null0", "edge_null1", "label_null0", "label_null1"]
    row = metrics[
        (metrics["reference"] == "string") & (metrics["subset"] == "no_prior") & (metrics["ranking"] == "edge_null0") & (metrics["metric"] == "auprc")
    ].iloc[0]
    assert data["scores"]["string"]["no_prior"]["rankings"]["edge_null0"]["auprc"] == pytest.approx([row["value"], row["low"], row["high"]], rel=1e-3)
    assert data["scores"]["string"]["no_prior"]["rankings"]["causal"]["sign_accuracy"] == [None, None, None, "not defined here"]


def test_gains_and_spread_over_perturbations_have_intervals(page: Page) -> None:
    data = page.data["evaluation"]
    gain = next(row for row in data["gains"] if row["reference"] == "string" and row["subset"] == "no_prior" and row["metric"] == "auprc")
    assert (gain["gain_over_edge_null"], gain["gain_over_edge_null_low"], gain["gain_over_edge_null_high"]) == (0.3, 0.21, 0.39)
    spread = next(row for row in data["drugs"] if row["reference"] == "string" and row["subset"] == "no_prior")
    assert (spread["low"], spread["high"], spread["num_fits"]) == (0.15, 0.27, 4)
    assert data["scores"]["string"]["no_prior"]["base_rate"]["same_source_auroc"] == 0.5


def test_leaks_and_simple_predictions_are_shown(page: Page) -> None:
    words = page.text("evaluation")
    assert "STRING physical links all priors together" in words
    assert "mean of perturbations that share a target" in words
    assert "ridge regression on the targets" in words
    assert "What the curated databases already know" in words
    assert "8 of 1 305 121" in words
    assert words.count("gives no literature") == 10, "three references of three priors each, and the note below the table"


def test_metrics_that_lead_come_first(page: Page) -> None:
    assert [name for name, _ in page.data["evaluation"]["metrics"]][:3] == ["auprc", "same_source_auroc", "degree_matched_auprc"]


def test_sign_agreement_is_counted_over_signed_curated_edges(run: Path, page: Page) -> None:
    edges = pd.read_parquet(run / "network/edges.parquet")
    num = agree = chance = 0
    signed = edges[(edges["prior_sign"] != 0) & (edges["sign"] != 0)]
    for prior in signed["prior_sign"]:
        chance += (signed["sign"] == prior).sum()  # every curated sign against every learned one
    for row in edges.itertuples():
        if row.prior_sign != 0 and row.sign != 0:
            num += 1
            agree += row.prior_sign == row.sign
    words = f"the fit gives {agree} ({percent(agree, num)}) the same one; {percent(chance, num**2)} is what chance gives"
    assert f"Of {num} edges with a curated sign, {words}".replace("\u00a0", " ") in page.text("network")


def test_times_are_summed_by_rule(page: Page) -> None:
    items = {item["name"]: item["value"] for item in page.data["figures"]["timings"]["items"]}
    assert items == {"causal": 44, "coexpression": 31, "quality": 26.5, "coexpression_moments_shard": 7}


def test_methods_state_the_values_of_the_run(run: Path) -> None:
    config = Config().model_dump(mode="json")
    config["causal"] |= {"num_hops": 9, "parameters": "per_edge", "max_spectral_radius": 0.77}
    config["quality"]["min_counts"] = 4321
    words = Page(build_report(run, ReportConfig(title="My screen"), run="demo", methods=config)).text("methods")
    assert "k = 0…9" in words
    assert "one value per candidate edge" in words
    assert "0.77" in words
    assert "fewer than 4 321 counts" in words


OPTIONAL = {
    "quality/summary.json": ("quality", "Quality control"),
    "coexpression.zarr": ("panel", "Coexpression"),
    "embedding/map.parquet": ("embedding", "The map of cells"),
    "mask_summary.json": ("mask", "The summary of the mask"),
    "basal/metrics.jsonl": ("training", "The basal decoder"),
    "basal/comparison.parquet": ("training", "The comparison of baselines"),
    "causal": ("training", "The record of the causal fits"),
    "evaluation/hubs.parquet": ("network", "The list of hubs"),
    "evaluation/metrics.parquet": ("evaluation", "The evaluation against references"),
    "evaluation/held_out.parquet": ("evaluation", "Held-out prediction"),
    "evaluation/summary.json": ("summary", "The evaluation"),
    "cascades/summary.parquet": ("perturbations", "The explanation of perturbations"),
    "manifest.json": ("methods", "The resolved configuration"),
    "resources/manifest.json": ("provenance", "The record of curated resources"),
    "benchmarks": ("provenance", "The record of times"),
}


@pytest.mark.parametrize("name", OPTIONAL)
def test_absent_artifact_is_said_in_words(copy: Path, name: str) -> None:
    path = copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = Page(build_report(copy, ReportConfig(), run="demo"))
    section, words = OPTIONAL[name]
    assert f"{words} is not part of this run." in page.text(section)
    assert name in page.text("artifacts") or name == "causal"
    assert page.data["genes"]


def test_a_decoder_that_adds_nothing_is_said_to(copy: Path) -> None:
    words = Page(build_report(copy, ReportConfig(), run="demo")).text("training")
    assert "for the network of this run the decoder makes no difference" in words
    assert "the embedding adds nothing: the mean prediction is not nearer" in words
    assert "(mean squared distance 0.00250 against 0.00210, of which 0.00170 is sampling of the held-out cells; nearer in 2 of 6)" in words
    assert "baseline: control_mean} would do here" in words
    summary = json.loads((copy / "basal/summary.json").read_text())
    summary["over_plain_mean"]["decoder_mse"] = 0.0018
    (copy / "basal/summary.json").write_text(json.dumps(summary))
    words = Page(build_report(copy, ReportConfig(), run="demo")).text("training")
    assert "the mean prediction is nearer to the mean of the held-out wells" in words
    assert "would do here" not in words
    summary["over_plain_mean"] = None
    (copy / "basal/summary.json").write_text(json.dumps(summary))
    assert "nothing is known of what the decoder adds" in Page(build_report(copy, ReportConfig(), run="demo")).text("training")


def test_what_own_cells_explain_away_is_said(copy: Path) -> None:
    table = pd.read_parquet(copy / "basal/comparison.parquet").assign(is_chosen=False)
    own = {
        "baseline": "own_cell",
        "is_chosen": True,
        "num_conditions": 360,
        "square": 0.005,
        "left": 0.45,
        "square_centred": 0.004,
        "left_centred": 0.4,
    }
    pd.concat([table, pd.DataFrame([own])], ignore_index=True).to_parquet(copy / "basal/comparison.parquet")
    words = Page(build_report(copy, ReportConfig(), run="demo")).text("training")
    assert "60 % of the squared response is explained away before the causal module sees it" in words.replace("\u00a0", " ")
    assert "The decoder misses" not in words
    table.assign(is_chosen=[False, True], left_centred=[1.0, 2.56]).to_parquet(copy / "basal/comparison.parquet")
    words = Page(build_report(copy, ReportConfig(), run="demo")).text("training")
    assert "its baseline leaves 256 % of what the plain mean leaves" in words.replace("\u00a0", " ")


@pytest.mark.parametrize("name", ["hops", "paths", "similarity", "gene_sets", "direct", "novel_edges"])
def test_perturbations_do_without_parts_of_the_cascade(copy: Path, name: str) -> None:
    (copy / f"cascades/{name}.parquet").unlink()
    data = Page(build_report(copy, ReportConfig(), run="demo")).data
    key = {"similarity": "similar", "gene_sets": "sets"}.get(name, name)
    assert data["perturbations"]["has"].get(key) in (False, None)
    assert len(data["perturbations"]["entries"]) == 6


def test_truth_is_absent_outside_simulations(copy: Path) -> None:
    for name in ("metrics", "curves", "gains"):
        table = pd.read_parquet(copy / f"evaluation/{name}.parquet")
        table[table["reference"] != "truth"].to_parquet(copy / f"evaluation/{name}.parquet")
    page = Page(build_report(copy, ReportConfig(), run="demo"))
    assert "A planted truth is not part of this run." in page.text("evaluation")
    assert "This is a simulated screen" not in page.text("summary")


def test_panel_and_edges_are_enough(run: Path, tmp_path: Path) -> None:
    for name in ("panel.parquet", "network/edges.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(run / name, tmp_path / name)
    path = write_report(tmp_path, ReportConfig(), run="bare")
    assert path == tmp_path / "report/index.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert len(re.findall("is not part of this run", " ".join(page.words.values()))) > 10
    assert "This run started from summarised expression" in page.text("summary")


@pytest.mark.parametrize("name", ["panel.parquet", "network/edges.parquet"])
def test_needed_artifact_is_asked_for(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: expected a table, found no such file\. Run the workflow"):
        build_report(copy, ReportConfig(), run="demo")


def test_wrong_artifacts_are_told(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the folder of a run, found none"):
        build_report(tmp_path / "nowhere", ReportConfig(), run="demo")
    path = copy / "network/edges.parquet"
    edges = pd.read_parquet(path)
    edges.head(0).to_parquet(path)
    with pytest.raises(InputError, match="expected candidate edges, found none"):
        build_report(copy, ReportConfig(), run="demo")
    edges.drop(columns=["stability", "sign"]).to_parquet(path)
    with pytest.raises(InputError, match=r"expected the column\(s\) sign, stability, found regulator"):
        build_report(copy, ReportConfig(), run="demo")


def test_one_edge_and_one_gene_pair(copy: Path) -> None:
    path = copy / "network/edges.parquet"
    edges = pd.read_parquet(path).head(1)
    edges.assign(effect=math.nan, stability=math.nan, coexpression=math.nan).to_parquet(path)
    data = Page(build_report(copy, ReportConfig(), run="demo")).data
    assert data["edges"]["effect"] == [None]
    assert data["edges"]["stability"] == [None]


# ---- what cells are represented by


def test_a_model_of_the_run_is_said_with_what_it_is_worth(page: Page) -> None:
    words = page.text("embedding")
    for part in [
        "a model that this run trained itself, with 171 234 parameters, 64 dimensions and 740 genes. 100 cells are embedded (controls only",
        "The model knows the genes of 88.7 % of the counts on plate2, the plate where it knows least",
        "1 cell with none of its genes is left out.",
        "It saw 9 000 cells in 90 steps (1.50 passes over them)",
        "Its error (91.1 bins²) is below that of the mean of the gene (94.2);",
        "it is not below that of the PCA of as many dimensions (90.3).",
        "did not begin at random but with a low-rank model (a PCA) of some of these cells",
        "This is a small model",
        "cell line 81 % ± 2 % 97 % ± 2 % 33.3 % 800 better than chance, worse than the PCA",
        "treated (highest doses) or control, within plate and line 53 % ± 2 % 54 % ± 2 % 50 % 800 not clearly different from chance, "
        "not clearly different from the PCA",
    ]:  # fmt: skip
        assert part in words, part
    curves = page.data["figures"]["pretraining"]
    assert [(curve["x"], curve["y"][-1]) for curve in curves["series"]] == [([30, 60, 90], 91.11), ([30, 60, 90], 100.1)]
    assert [mark["label"] for mark in curves["marks"]] == ["mean of the gene", "PCA of as many dimensions"]


def test_other_sources_of_embeddings(copy: Path) -> None:
    config = Config(embedding={"source": "tx1", "model": "tahoebio/Tahoe-x1:70m", "cells": "all"}).model_dump(mode="json")
    words = Page(build_report(copy, ReportConfig(), run="demo", methods=config)).text("embedding")
    assert "the model small, with 171 234 parameters" in words
    assert "controls only" not in words
    assert "How the model was trained" not in words
    for plate in copy.glob("embedding/*.zarr"):
        shutil.rmtree(plate)
    for source, sentence in {
        "pca": "the first 5 principal axes of the panel, over all plates together; 7 cells are projected",
        "precomputed": "an embedding of 5 dimensions that was computed elsewhere; 7 cells of it are used",
    }.items():
        write_anndata(copy / "embedding/plate1.zarr", AnnData(np.zeros((7, 5), "f4"), uns={"embedding": {"source": source}}))
        config = Config(embedding={"source": source}).model_dump(mode="json")
        assert sentence in Page(build_report(copy, ReportConfig(), run="demo", methods=config)).text("embedding")


def test_a_model_without_held_out_cells_is_not_judged(copy: Path) -> None:
    folder = copy / "pretraining/small"
    kept = {key: value for key, value in read_json(folder / "summary.json").items() if "mse" not in key}
    page = changed(copy, "pretraining/small/judging.json", low_rank_dimensions=16)
    assert "it is not below that of the PCA of 16 dimensions (90.3)" in page.text("embedding")
    for low, high, verdict in ((-2, -1, "below"), (1, 2, "above"), (-1, 1, "not clearly different from")):
        page = changed(copy, "pretraining/small/judging.json", over_low_rank={"difference": 0.5, "low": low, "high": high})
        words = f"it is {verdict} that of the PCA of 16 dimensions (90.3; difference 0.500, 95 % interval over wells {low} to {high})"
        assert words.replace("-", "−") in page.text("embedding").replace("-", "−")
    write_json(folder / "summary.json", kept | {"num_held_out": 0, "initial": "tahoebio/Tahoe-x1:70m"})
    write_json(folder / "judging.json", {})
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
    page = Page(build_report(copy, ReportConfig(), run="demo"))
    words = page.text("embedding")
    assert "No cells were kept back, so nothing is known of what it learned." in words
    assert "starting from tahoebio/Tahoe-x1:70m" in words
    assert "This is a small model" not in words
    assert "begin at random" not in words
    assert "pretraining" not in page.data["figures"]


# ---- what went in


def changed(folder: Path, name: str, **values: Any) -> Page:
    """The page after a JSON artifact got other values."""
    write_json(folder / name, read_json(folder / name) | values)
    return Page(build_report(folder, ReportConfig(), run="demo"))


def test_quality_counts_every_plate_and_all_of_them(tmp_path: Path) -> None:
    folder = make_artifacts(tmp_path / "run", num_plates=11)
    page = Page(build_report(folder, ReportConfig(), run="demo"))
    plates = read_json(folder / "quality/summary.json")["plates"]
    words = page.text("quality")
    shown = re.findall(r"plate\d+(?= \d)", words)
    assert shown[:11] == [f"plate{number + 1}" for number in range(11)]  # plate2 before plate10
    total = {name: sum(plate[name] for plate in plates.values()) for name in ("num_cells", "num_kept")}
    removed = {
        name: sum(plate["removed"][name] for plate in plates.values()) for name in ("low_counts", "low_genes", "high_mito", "outlier", "doublet")
    }
    row = [f"{value:,}".replace(",", " ") for value in total.values()] + [percent(total["num_kept"], total["num_cells"])]
    row += [f"{value:,}".replace(",", " ") for value in removed.values()]
    assert f"All plates {' '.join(row)}".replace("\u00a0", " ") in re.sub(r"\s+", " ", words)
    assert "excluded label" not in words  # no cell was removed for that
    assert (
        "22 wells: fewer than 50 cells (plate1 w9, plate1 w10, plate2 w9, plate2 w10, plate3 w9, plate3 w10, plate4 w9, plate4 w10 and 14 more)"
        in words
    )
    assert f"low counts + low genes {50 * 11} " in words
    counts = page.data["figures"]["quality-num_genes"]["series"]
    assert [series["name"] for series in counts] == shown[:11]
    assert all(sum(series["y"]) == pytest.approx(1, abs=1e-2) for series in counts)


def test_quality_of_one_plate_has_no_row_of_all(tmp_path: Path) -> None:
    folder = make_artifacts(tmp_path / "run", num_plates=1)
    words = Page(build_report(folder, ReportConfig(), run="demo")).text("quality")
    assert "All plates" not in words
    assert "2 wells: fewer than 50 cells (w9, w10)" in words


def test_an_older_summary_of_quality_is_shown_as_far_as_it_goes(copy: Path) -> None:
    plates = read_json(copy / "quality/summary.json")["plates"]
    for plate in plates.values():
        for name in ("removed_together", "wells_without_doublet_call", "num_removed"):
            del plate[name]
        plate["removed"]["too_old"] = 3
    words = changed(copy, "quality/summary.json", plates=plates).text("quality")
    assert "too old" in words
    assert "all their reasons together" not in words
    assert "No doublet is called" not in words


def test_panel_tells_its_sources_and_what_they_share(run: Path, page: Page) -> None:
    found = read_json(run / "panel_summary.json")
    panel = pd.read_parquet(run / "panel.parquet")
    words = page.text("panel")
    flags = {"hvg": "is_hvg", "tfs": "is_tf", "rbps": "is_rbp", "hallmarks": "is_hallmark", "drug_targets": "is_drug_target"}
    titles = ["highly variable genes", "transcription factors", "RNA-binding proteins", "hallmark genes", "drug targets"]
    for title, (name, flag) in zip(titles, flags.items(), strict=True):
        others = [other for other in flags if other != name]
        alone = panel[flag] & ~panel[[flags[other] for other in others]].any(axis=1)
        numbers = [found["in_data"][name], panel[flag].sum(), alone.sum()]
        numbers += [(panel[flag] & panel[flags[other]]).sum() for other in others]
        assert f"{title} {' '.join(map(str, numbers))} " in words, title
    assert f"{found['num_listed']} come from the lists in use. {found['num_filled']} more, the most variable ones, fill it up to the 60" in words
    assert "1 plate voted for the most variable genes: plate1. plate2 did not vote: the panel was fixed before." in words


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_wanted": None, "num_filled": 31}, "31 more are highly variable."),
        (
            {"num_wanted": 99, "num_filled": 31},
            "31 more are highly variable; the 99 that were asked for are not reached, because no plate votes for more",
        ),
        ({"num_wanted": 20}, "That is more than the 20 that were asked for, so that no place is left for highly variable genes."),
        ({"sources": ["tfs", "rbps", "hallmarks"]}, "Highly variable genes are no source of this panel."),
        ({"plates_voted": ["plate2"], "plates_silent": ["plate1"]}, "On plate1 no gene could be ranked. The panel is pinned"),
    ],
)
def test_panel_tells_why_it_has_its_size(copy: Path, values: dict[str, Any], sentence: str) -> None:
    words = changed(copy, "panel_summary.json", **values).text("panel")
    assert sentence in words
    assert ("drug targets not in use" in words) == ("sources" in values)


def test_an_older_summary_of_the_panel_is_shown_as_far_as_it_goes(copy: Path) -> None:
    write_json(copy / "panel_summary.json", {"num_genes": 60, "by_source": {"hvg": 48, "tfs": 8}, "plates_voted": ["plate1", "plate2"]})
    words = Page(build_report(copy, ReportConfig(), run="demo")).text("panel")
    assert "highly variable genes – 48 – " in words
    assert "2 plates voted" in words
    assert "did not vote" not in words


def test_covariates_that_are_left_out_are_named_with_the_reason(page: Page) -> None:
    words = page.text("panel")
    assert "after regression on log counts, S score, cell line (2 columns), plate (1 column)." in words
    assert "Reference levels, which need no column: cell line K562, plate plate2." in words
    assert (
        "mitochondrial share constant donor d1 explained by log counts, cell line A549, 2 levels of plate Leaving them out changes no residual"
        in words
    )


def test_covariates_without_reasons_are_named_all_the_same(copy: Path) -> None:
    import zarr

    group = zarr.open_group(copy / "coexpression.zarr", mode="r+")
    del group.attrs["dropped_reasons"]
    for name in ("sd", "residual_sd"):
        del group[name]
    words = Page(build_report(copy, ReportConfig(), run="demo")).text("panel")
    assert "mitochondrial share constant, or explained by others donor d1 constant, or explained by others Leaving" in words
    assert "Reference levels" not in words
    assert "Every gene of the panel varies" not in words


def test_genes_without_variance_precision_and_shards(page: Page, copy: Path) -> None:
    words = page.text("panel")
    assert "1 gene does not vary over the cells (GENE2). Of 2 the covariates leave no variance (" in words
    assert "nobody’s partner. Products were taken in float32, and summed in double precision." in words
    assert "Plates that were measured in shards, one job each: plate1 (2); the cut changes no result." in words
    config = read_json(copy / "manifest.json")["config"]
    config["coexpression"]["precision"] = "fp16"
    assert "Products were taken in float16 where a GPU multiplied" in changed(copy, "manifest.json", config=config).text("panel")


def test_genes_that_all_vary_are_said_to(copy: Path) -> None:
    import zarr

    group = zarr.open_group(copy / "coexpression.zarr", mode="r+")
    for name in ("sd", "residual_sd"):
        group[name][:] = 1.0
    assert "Every gene of the panel varies, before and after regression." in Page(build_report(copy, ReportConfig(), run="demo")).text("panel")


def test_matrices_of_cell_lines_are_listed(page: Page, copy: Path) -> None:
    words = page.text("panel")
    assert "The 3 cell lines, each by itself" in words
    assert "A549 4 990 coexpression_by_line/A549.zarr" in words
    assert "rare 10 none: too few cells for its covariates" in words
    shutil.rmtree(copy / "coexpression_by_line")
    assert "each by itself" not in Page(build_report(copy, ReportConfig(), run="demo")).text("panel")


def test_names_in_the_order_of_a_person() -> None:
    names = ["plate10", "plate2", "plate2b", "10", "9", "A", "a1", "", "plate"]
    assert sorted(names, key=natural) == ["", "A", "a1", "plate", "plate2", "plate2b", "plate10", "9", "10"]
    assert first_few([], 2) == ""
    assert first_few(["a", "b"], 2) == "a, b"
    assert first_few(["a", "b", "c"], 2) == "a, b and 1 more"


def test_numbers_as_a_person_writes_them() -> None:
    cases = {
        0: "0",
        7: "7",
        1234567: "1\u202f234\u202f567",
        0.12345: "0.123",
        12.345: "12.3",
        1234.5: "1\u202f234",
        250_000.4: "250\u202f000",
        -0.5: "\u22120.500",
        1e-7: "1.00\u00a0×\u00a010⁻⁷",
        -2.5e-4: "\u22122.50\u00a0×\u00a010⁻⁴",
        math.nan: "–",
        math.inf: "–",
        None: "–",
        pd.NA: "–",
        "as it is": "as it is",
    }
    for value, words in cases.items():
        assert number(value) == words, value
    assert number(True) == "yes"
    assert percent(1, 4) == "25\u00a0%"
    assert percent(0.0713) == "7.13\u00a0%"
    assert percent(1, 0) == percent(None) == percent(math.nan) == "–"


def test_rounding_keeps_significant_digits_and_drops_what_json_cannot_hold() -> None:
    assert rounded([1.23456, -0.000123456, 3.0, 123456.7, math.nan, math.inf, None, pd.NA]) == [1.235, -0.0001235, 3, 123457, None, None, None, None]
    assert all(isinstance(value, int) for value in rounded([3.0, 123456.7, 2e9]))


def test_json_cannot_leave_its_element() -> None:
    text = as_json({"a": "</script><!-- \u2028 &"})
    assert "<" not in text
    assert ">" not in text
    assert json.loads(text) == {"a": "</script><!-- \u2028 &"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json([math.nan])


@pytest.mark.parametrize(("num", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (1000, 7)])
def test_thinning_keeps_both_ends(num: int, most: int) -> None:
    rows = thinned(num, most)
    assert len(rows) == min(num, most)
    if num:
        assert (rows[0], rows[-1]) == (0, num - 1)
    assert (np.diff(rows) > 0).all()


def test_warnings_of_the_check_are_on_the_page(run):
    path = run / "check.json"
    kept = path.read_text() if path.exists() else None
    path.write_text(json.dumps({"warnings": ["plate p1: no control cells of line <b>"]}))
    try:
        assert "plate p1: no control cells of line &lt;b&gt;" in build_report(run, ReportConfig(), run="small")
    finally:
        path.unlink() if kept is None else path.write_text(kept)
