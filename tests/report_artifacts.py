"""A complete set of artifacts of a run, small, drawn from a seed, with the columns that the stages write.

For tests of the report only: numbers are plausible in kind and mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causcade import files
from causcade.config import Config, PanelConfig
from causcade.panel import summarise_panel

HOSTILE = "</script><b>\"'&"
LINES = ["A549", "HepG2", "K562"]
FITS = ["main", "noprior", "edgenull0", "edgenull1", "labelnull0", "labelnull1", "boot0", "boot1", "drugs0", "drugs1"]
RANKINGS = ["causal", "causal_prior", "mean_shift", "coexpression", "raw_coexpression", "partner_rank", "prior", "listed_target",
            "edge_null0", "edge_null1", "label_null0", "label_null1"]  # fmt: skip
SUBSETS = ["all", "no_prior", "no_prior_source_hit", "no_prior_source_not_hit"]
METRICS = ["auprc", "same_source_auroc", "degree_matched_auprc", "auroc", "lift", "early_precision", "direction_accuracy", "sign_accuracy"]
REFERENCES = ["truth", "string", "complexportal", "humap", "reactome"]


def without_scores(edges: pd.DataFrame, rows: Any) -> pd.DataFrame:
    """The network table as it is where the fit sets the edges of `rows` (a mask) to 0; the others keep their order."""
    table = edges.copy()
    table.loc[rows, ["weight", "weight_no_prior", "effect", "score", "sign"]] = 0
    table["rank"] = table["rank"].where(table["score"] > 0).rank(method="first").astype("Int32")
    return table


class Maker:
    """Draws one run after another part; every part takes what it needs from the parts before."""

    def __init__(self, folder: Path, *, seed: int, num_genes: int, num_drugs: int, num_plates: int, hostile: bool) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        self.plates = [f"plate{i + 1}" for i in range(num_plates)]
        self.genes = [f"GENE{i + 1}" for i in range(num_genes)]
        self.drugs = [f"drug {i + 1}" for i in range(num_drugs)]
        if hostile:
            self.genes[0] = HOSTILE
            self.drugs[0] = HOSTILE
        self.is_tf = np.arange(num_genes) < num_genes // 10 + 2
        self.targets = {
            drug: [self.genes[(3 * i) % (num_genes // 3)], self.genes[(7 * i + 2) % (num_genes // 3)]] for i, drug in enumerate(self.drugs)
        }

    def table(self, name: str, columns: dict[str, Any]) -> pd.DataFrame:
        table = pd.DataFrame(columns)
        files.write_parquet(self.folder / name, table)
        return table

    def quality(self) -> None:
        plates = {}
        for plate in self.plates:
            kept = int(self.rng.integers(2_000, 4_000))
            scale = {"total_counts": 3_000.0, "num_genes": 900.0, "mito_fraction": 0.2}
            histograms = {}
            for metric, size in scale.items():
                values = self.rng.gamma(4, size / 8, kept)
                counts, edges = (
                    np.histogram(values, bins=40)
                    if metric == "mito_fraction"
                    else np.histogram(values, bins=np.geomspace(values.min(), values.max(), 41))
                )
                histograms[metric] = {"edges": edges.tolist(), "counts": counts.tolist()}
            together = {"low_counts": 40, "low_counts;low_genes": 50, "high_mito": 30, "outlier": 5, "doublet": 150 + 7 * len(plates)}
            removed = {"low_counts": 90, "low_genes": 50, "high_mito": 30, "outlier": 5, "doublet": together["doublet"], "excluded": 0}
            plates[plate] = {
                "num_cells": kept + sum(together.values()), "num_kept": kept, "num_removed": sum(together.values()), "removed": removed,
                "removed_together": together, "wells_without_doublet_call": {"w9": "fewer than 50 cells", "w10": "fewer than 50 cells"},
                "median_counts": 1432.0, "median_genes": 402.0, "median_mito": 0.0713, "num_wells": 48, "num_control_wells": 2,
                "num_control_cells": 120, "lost_perturbations": [], "cell_lines": dict.fromkeys(LINES, kept // 3), "histograms": histograms,
            }  # fmt: skip
        files.write_json(self.folder / "quality/summary.json", {"plates": plates})

    def panel(self) -> None:
        n = len(self.genes)
        targets = {gene for genes in self.targets.values() for gene in genes}
        panel = self.table("panel.parquet", {
            "gene_id": [f"ENSG{i:011d}" for i in range(n)], "gene": self.genes, "is_tf": self.is_tf, "is_rbp": np.arange(n) % 9 == 0,
            "is_hallmark": np.arange(n) % 4 == 0, "is_drug_target": np.isin(self.genes, list(targets)), "is_hvg": np.arange(n) % 5 != 0,
            "hvg_rank": np.where(np.arange(n) % 5 == 0, np.nan, np.arange(n)), "num_plates": len(self.plates), "num_cells": 500,
        })  # fmt: skip
        members = {"tfs": set(panel["gene"][panel["is_tf"]]), "rbps": set(panel["gene"][panel["is_rbp"]]),
                   "hallmarks": set(panel["gene"][panel["is_hallmark"]]), "drug_targets": targets}  # fmt: skip
        agreed = panel.assign(mean=1.0, plates_voted=";".join(self.plates[: max(1, len(self.plates) - 1)]), plates_silent="")
        agreed.loc[~agreed["is_hvg"], "num_plates"] = 0
        files.write_json(self.folder / "panel_summary.json", summarise_panel(panel, agreed, members, PanelConfig(num_genes=n)))

    def coexpression(self) -> None:
        import zarr

        n = len(self.genes)
        factor = self.rng.normal(size=(n, 8))
        raw = np.corrcoef(factor @ factor.T + self.rng.normal(size=(n, n)) * 4 + 1)
        residual = (raw * 0.5 + 0.5 * np.eye(n)).astype("f4")
        group = zarr.open_group(self.folder / "coexpression.zarr", mode="w")
        for name, values in {"correlation": residual, "raw_correlation": raw.astype("f4")}.items():
            group.create_array(name, data=values)
        sd = np.linspace(0.2, 1, n)
        sd[1] = 0.0
        group.create_array("sd", data=sd)
        group.create_array("residual_sd", data=np.where(np.arange(n) < 3, 0.0, sd / 2))
        group.attrs.update(
            {
                "num_cells": 9_000,
                "covariates": ["intercept", "log_counts", "s_score", "cell_line=A549", "cell_line=HepG2", "plate=plate1"],
                "dropped_covariates": ["mito_fraction", "cell_line=K562", "donor=d1", "plate=plate2"],
                "dropped_reasons": {
                    "mito_fraction": "constant",
                    "cell_line=K562": "reference level",
                    "donor=d1": "explained by log_counts, cell_line=A549, 2 levels of plate",
                    "plate=plate2": "reference level",
                },
            }
        )
        lines = pd.DataFrame({"cell_line": ["K562", "A549", "rare"], "name": ["K562", "A549", None], "num_cells": [4_000, 4_990, 10]})
        files.write_parquet(self.folder / "coexpression_by_line/lines.parquet", lines)
        order = np.argsort(-np.abs(residual - np.eye(n)), axis=1)[:, :10]
        self.correlation = residual
        pairs = [(i, j, k + 1) for i in range(n) for k, j in enumerate(order[i])]
        rows = {"gene": [self.genes[i] for i, _, _ in pairs], "partner": [self.genes[j] for _, j, _ in pairs]}
        self.table("partners.parquet", {**rows, "correlation": [residual[i, j] for i, j, _ in pairs], "rank": [k for _, _, k in pairs]})
        self.pairs = [(j, i, k) for i, j, k in pairs if i != j]

    def candidates(self) -> None:
        curated = self.rng.random(len(self.pairs)) < 0.12
        sources = np.where(
            curated, self.rng.choice(["collectri", "collectri;coexpression;trrust", "coexpression;dorothea"], len(self.pairs)), "coexpression"
        )
        prior_sign = np.where(curated, self.rng.choice([-1, 0, 1], len(self.pairs)), 0).astype("i1")
        self.edges = self.table("candidate_edges.parquet", {
            "regulator": [self.genes[a] for a, _, _ in self.pairs], "target": [self.genes[b] for _, b, _ in self.pairs],
            "coexpression": [self.correlation[b, a] for a, b, _ in self.pairs], "rank": pd.array([k for _, _, k in self.pairs], dtype="Int32"),
            "sources": sources, "prior_confidence": np.where(curated, 0.7, 0.0), "prior_sign": prior_sign,
        })  # fmt: skip
        n, size = len(self.genes), len(self.pairs)
        files.write_json(self.folder / "mask_summary.json", {
            "num_edges": size, "num_pairs_unordered": size // 2, "fraction_of_all": size / (n * (n - 1)), "by_source": {"coexpression": size},
            "only_curated": 40, "only_coexpression": int((~curated).sum()), "curated_in_panel": int(curated.sum()), "curated_outside_panel": 12,
            "num_regulators": self.edges["regulator"].nunique(), "num_targets": n, "regulators_per_target": {"median": 10, "max": 14},
        })  # fmt: skip
        listed = self.edges[curated].reset_index(drop=True)
        self.table("targets.parquet", {
            "perturbation": [drug for drug in self.drugs for _ in self.targets[drug]],
            "target": [gene for drug in self.drugs for gene in self.targets[drug]], "sign": -1, "source": "drug_targets",
        })  # fmt: skip
        self.table("resources/prior_edges.parquet", {
            "regulator": listed["regulator"], "target": listed["target"], "sign": listed["prior_sign"], "sources": "collectri", "confidence": 0.7,
            "literature": "12345678;23456789", "num_positive": 1, "num_negative": 0,
        })  # fmt: skip

    def embedding(self, num_cells: int) -> None:
        line = self.rng.integers(0, len(LINES), num_cells)
        centre = np.array([[0, 0], [6, 2], [2, 7]])[line]
        x, y = (centre + self.rng.normal(size=(num_cells, 2))).T
        self.table("embedding/map.parquet", {
            "x": x, "y": y, "cell_line": np.array(LINES)[line], "plate": self.rng.choice(self.plates, num_cells), "well": "w1",
            "is_control": self.rng.random(num_cells) < 0.5, "log_counts": self.rng.normal(7, 0.4, num_cells),
            "s_score": self.rng.normal(size=num_cells), "g2m_score": self.rng.normal(size=num_cells),
        })  # fmt: skip

    def model(self) -> None:
        """A TX1 model of the run, and two plates that were embedded by it."""
        from anndata import AnnData

        for number, plate in enumerate(self.plates):
            facts = {"source": "tx1", "model": "small", "mode": "exact", "num_parameters": 171_234, "num_vocabulary": 740}
            facts |= {"covered": 0.987 - number / 10, "num_cells": 50, "num_empty": number}
            files.write_anndata(self.folder / f"embedding/{plate}.zarr", AnnData(np.zeros((50, 64), "f4"), uns={"embedding": facts}))
        rows = [{"step": s, "held_out_expression_mse": 90 + 100 / s, "held_out_product_mse": 99 + 100 / s} for s in (30, 60, 90)]
        rows.insert(1, {"step": 40, "loss": 0.31})
        files.write_text(self.folder / "pretraining/small/metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        records = [
            {"embedding": name, "label": label, "accuracy": accuracy, "standard_error": 0.02, "chance": chance, "num_cells": 800}
            for label, chance, own, other in (("cell_line", 1 / 3, 0.81, 0.97), ("treated", 0.5, 0.53, 0.54))
            for name, accuracy in (("tx1", own), ("pca", other))
        ]
        files.write_json(self.folder / "pretraining/small/summary.json", {
            "num_cells": 9_000, "num_held_out": 900, "steps": 90, "epoch": 1.5, "initial": None, "num_parameters": 171_234, "num_dimensions": 64,
            "held_out_expression_mse": 91.1, "held_out_product_mse": 100.1,
        })  # fmt: skip
        files.write_json(
            self.folder / "pretraining/small/judging.json",
            {"held_out_expression_mse": 91.1, "gene_mean_mse": 94.2, "low_rank_mse": 90.3, "separability": records},
        )

    def training(self) -> None:
        rows = [{"epoch": e, "train_mse": 0.2 + 1 / (e + 1), "held_out_mse": 0.22 + 1 / (e + 1), "constant_mse": 0.6} for e in range(30)]
        files.write_text(self.folder / "basal/metrics.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
        over = {"num_groups": 6, "num_held_out": 180, "num_better": 2}
        over |= {"cells_r2": 0.034, "plain_mse": 0.0021, "decoder_mse": 0.0025, "noise_mse": 0.0017}
        files.write_json(self.folder / "basal/summary.json", {"r2_median": 0.412, "num_cells": 900, "over_plain_mean": over})
        files.write_parquet(self.folder / "basal/comparison.parquet", pd.DataFrame({
            "baseline": ["control_mean", "matched_control"], "is_chosen": [False, True], "num_conditions": 360, "square": [0.011, 0.0132],
            "left": [1.0, 1.2], "square_centred": [0.01, 0.01], "left_centred": [1.0, 1.0],
        }))  # fmt: skip
        for number, fit in enumerate(FITS):
            lines = [
                {
                    "step": s,
                    "loss": 1.1 + 9 / (s + 1),
                    "data_loss": 1 + 9 / (s + 1) + 0.05 * number,
                    "penalty": 0.1,
                    "spectral_radius": min(0.95, 0.02 * s),
                    "projected": s > 60,
                }
                for s in range(1, 301, 5)
            ]
            files.write_text(self.folder / f"causal/{fit}/metrics.jsonl", "\n".join(map(json.dumps, lines)) + "\n")

    def conditions(self) -> None:
        import anndata

        for plate in self.plates:
            names = ["control", *self.drugs]
            rows = [(name, dose, line) for name in names for dose in ([0.0] if name == "control" else [0.05, 0.5, 5.0]) for line in LINES]
            obs = pd.DataFrame(rows, columns=["perturbation", "dose", "cell_line"])
            obs["condition"] = [f"{p}|{d}|{c}" for p, d, c in rows]
            obs = obs.assign(kind="drug", plate=plate, n_cells=20, is_control=obs["perturbation"] == "control")
            obs.index = obs["condition"]
            data = anndata.AnnData(
                np.zeros((len(obs), 1), dtype="f4"), obs=obs.drop(columns="condition").astype({"plate": "category", "cell_line": "category"})
            )
            files.write_anndata(self.folder / f"conditions/{plate}.zarr", data)

    def network(self) -> None:
        size = len(self.edges)
        hit = {gene for genes in self.targets.values() for gene in genes}
        count = self.edges["regulator"].map(lambda gene: sum(gene in genes for genes in self.targets.values()))
        weight = self.rng.normal(0, 0.1, size) * (0.3 + 2 * self.edges["regulator"].isin(hit).to_numpy())
        score = np.abs(weight)
        table = self.edges[["regulator", "target", "sources", "prior_confidence", "prior_sign", "coexpression"]].assign(
            weight=weight, weight_no_prior=weight * 0.9, effect=weight * 1.3, score=score, rank=pd.Series(-score).rank(method="first").astype(int),
            sign=np.sign(weight).astype("i1"), stability=np.where(count > 0, self.rng.random(size), np.nan), num_perturbations=count,
            identifiability=np.where(count > 0, "direct", np.where(self.rng.random(size) < 0.4, "indirect", "none")), posterior=self.rng.random(size),
            probability=np.where(count > 0, self.rng.random(size), np.nan),
        )  # fmt: skip
        self.net = table.sort_values("rank", ignore_index=True)
        files.write_parquet(self.folder / "network/edges.parquet", self.net)
        row = {"is_eligible": True, "why_not": "", "num_perturbations": 12, "behind_best": 0.0, "standard_error": 0.0}
        columns = {
            "ridge": row | {"held_out": 0.12, "behind_best": 0.1875, "standard_error": 0.01, "stability": 0.4},
            "latent": row | {"held_out": 0.3075, "stability": None},
            "partial_within": row | {"held_out": None, "stability": 1.0, "is_eligible": False, "why_not": "no perturbation enters it"},
        }
        choice = {"asked": "auto", "score": "latent", "reason": "latent: it predicts held-out perturbations best.", "columns": columns}
        files.write_json(self.folder / "network/score_choice.json", choice)

    def evaluation(self) -> None:
        scores, curves, gains = [], [], []
        grid = np.linspace(0, 1, 60)
        for reference in REFERENCES:
            for subset in SUBSETS:
                for number, ranking in enumerate(RANKINGS):
                    level = 0.85 - 0.03 * number - 0.05 * SUBSETS.index(subset)
                    for metric in METRICS:
                        value = {"auprc": level / 4, "lift": level * 30, "early_precision": level / 3}.get(metric, level)
                        if metric == "sign_accuracy" and reference != "truth":
                            value = np.nan
                        interval = (value * 0.95, value * 1.05) if metric in ("auroc", "auprc", "lift") else (np.nan, np.nan)
                        note = "not defined here" if np.isnan(value) else ""
                        scores.append((reference, ranking, subset, metric, value, *interval, 120, 4000, 0.03, 0.5, note))
                    power = np.log(max(level, 0.1)) / np.log(0.5)
                    curves += [(reference, ranking, subset, "roc", a, a**power) for a in grid]
                    curves += [(reference, ranking, subset, "pr", a, 0.03 + level * (1 - a) ** 2) for a in grid]
                gains += [(reference, subset, metric, 0.8, 0.5, 0.55, 0.7, 0.72, 0.3, 0.1, 0.21, 0.39) for metric in METRICS[:5]]
        columns = ["reference", "ranking", "subset", "metric", "value", "low", "high", "num_positive", "num_edges", "prevalence", "base_rate", "note"]
        files.write_parquet(self.folder / "evaluation/metrics.parquet", pd.DataFrame(scores, columns=columns))
        columns = ["reference", "ranking", "subset", "curve", "x", "y"]
        files.write_parquet(self.folder / "evaluation/curves.parquet", pd.DataFrame(curves, columns=columns))
        columns = ["reference", "subset", "metric", "value", "edge_null_mean", "edge_null_max", "label_null_mean", "label_null_max",
                   "gain_over_edge_null", "gain_over_label_null", "gain_over_edge_null_low", "gain_over_edge_null_high"]  # fmt: skip
        files.write_parquet(self.folder / "evaluation/gains.parquet", pd.DataFrame(gains, columns=columns))
        spread = [(reference, subset, "auprc", 0.21, 4, 0.02, 0.15, 0.27, "") for reference in REFERENCES for subset in SUBSETS]
        columns = ["reference", "subset", "metric", "value", "num_fits", "sd", "low", "high", "note"]
        files.write_parquet(self.folder / "evaluation/drug_bootstrap.parquet", pd.DataFrame(spread, columns=columns))
        self.leak()
        self.hubs()
        self.held_out()
        self.summary()

    def leak(self) -> None:
        rows = [(reference, prior, 5000, 800, 120, 0.024, 8.5, 14.1, 0.17 if prior == "any" else np.nan,
                 *((1305, 8, 121, "") if reference == "complexportal" else (np.nan, np.nan, np.nan, "the reference gives no literature")))
                for reference in REFERENCES[1:] for prior in ("any", "collectri", "trrust")]  # fmt: skip
        columns = ["reference", "prior", "num_reference_pairs", "num_prior_pairs", "num_common_pairs", "share_of_reference", "expected",
                   "enrichment", "share_of_positives", "num_reference_literature", "num_common_literature", "num_pairs_of_common_literature",
                   "note"]  # fmt: skip
        files.write_parquet(self.folder / "evaluation/leak.parquet", pd.DataFrame(rows, columns=columns))

    def summary(self) -> None:
        opponents = ["edge_null", "label_null", "coexpression", "mean_shift", "listed_target"]
        verdicts = [
            {"key": key, "reference": reference, "question": f"Does the causal ranking beat {key} on {reference}?",
             "answer": ["yes", "no", "not testable"][(i + j) % 3], "numbers": {"auprc": {"causal": 0.2125}},
             "sentence": f"On {reference}, AUPRC 0.213 against 0.138 ({key})."}
            for i, reference in enumerate(REFERENCES) for j, key in enumerate(opponents)
        ]  # fmt: skip
        verdicts.append(
            {
                "key": "held_out",
                "reference": None,
                "question": "Does the prediction add to the mean?",
                "answer": "no",
                "sentence": "It does not add.",
                "numbers": {},
            }
        )
        verdicts.append(
            {
                "key": "tf_out",
                "reference": None,
                "question": "Are there more TFs among hubs?",
                "answer": "yes",
                "sentence": "There are 12 of 50.",
                "numbers": {"hits": 12},
            }
        )
        score = {name: {"value": 0.21, "interval": [0.19, 0.23], "note": ""} for name in ("auprc", "lift", "auroc")} | {
            "same_source_auroc": {"value": None, "interval": None, "note": "no pair"}
        }
        headline = {
            "reference": "truth",
            "subset": "no_prior",
            "is_result": True,
            "causal": score,
            "sentence": "On truth, the causal ranking has AUPRC 0.210.",
        }
        references = {reference: {"no_prior": dict.fromkeys(RANKINGS, score)} for reference in REFERENCES}
        files.write_json(
            self.folder / "evaluation/summary.json", {"headline": headline, "references": references, "verdicts": verdicts, "held_out": {}}
        )

    def hubs(self) -> None:
        rows, tests = [], []
        for ranking in ["mask", "causal", "coexpression", "edge_null0", "label_null0"]:
            for kind in ("out", "in"):
                rows += [(ranking, kind, i + 1, self.genes[i], 60 - i, bool(self.is_tf[i]), i % 3 == 0) for i in range(30)]
            tests += [(ranking, test, 50, 12, 5.4, 3.1e-5) for test in ("tf_out", "target_in")]
        files.write_parquet(
            self.folder / "evaluation/hubs.parquet",
            pd.DataFrame(rows, columns=["ranking", "kind", "position", "gene", "degree", "is_tf", "is_drug_target"]),
        )
        files.write_parquet(
            self.folder / "evaluation/hub_tests.parquet", pd.DataFrame(tests, columns=["ranking", "test", "num_hubs", "hits", "expected", "p_value"])
        )

    def held_out(self) -> None:
        rows = []
        for number, drug in enumerate(self.drugs):
            for predictor, level in {
                "causal": 0.48,
                "training_mean": 0.4,
                "causal_plus_training_mean": 0.53,
                "same_target_mean": 0.45,
                "target_ridge": 0.5,
                "zero": np.nan,
            }.items():
                rows.append((f"drugs{number % 2}", drug, predictor, level + 0.01 * number, level / 2, len(self.genes)))
        columns = ["fit", "perturbation", "predictor", "pearson", "pearson_centred", "num_genes"]
        files.write_parquet(self.folder / "evaluation/held_out.parquet", pd.DataFrame(rows, columns=columns))

    def cascades(self) -> None:
        n = len(self.drugs)
        share = self.rng.dirichlet([2, 3, 2, 4], n)
        self.table("cascades/summary.parquet", {
            "perturbation": self.drugs, "num_targets": [len(set(self.targets[drug])) for drug in self.drugs], "num_conditions": 9, "num_cells": 180,
            "share_direct": share[:, 0], "share_propagated": share[:, 1], "share_shared": share[:, 2], "share_unlisted": 0.01,
            "correlation": self.rng.uniform(0.1, 0.8, n),
        })  # fmt: skip
        direct, hops, paths, sets = [], [], [], []
        out = dict(list(self.net.groupby("regulator")))
        for drug in self.drugs:
            targets = sorted(set(self.targets[drug]))
            direct += [(drug, gene, -1.1 + 0.2 * k, True, k == 0) for k, gene in enumerate(targets)]
            level = dict.fromkeys(targets, -1.0)
            for hop in (1, 2, 3):
                reached: dict[str, float] = {}
                for gene, value in level.items():
                    for row in out.get(gene, self.net.head(0)).head(8).itertuples():
                        reached[row.target] = reached.get(row.target, 0.0) + value * row.effect
                        if hop == 1:
                            second = out.get(row.target, self.net.head(0)).head(1)
                            ends = [(f"{gene}>{row.target}>{other.target}", value * row.effect * other.effect) for other in second.itertuples()]
                            paths += [(drug, path, 2, effect, int(row.prior_confidence > 0)) for path, effect in ends]
                level = dict(sorted(reached.items(), key=lambda item: -abs(item[1]))[:20])
                hops += [(drug, hop, gene, value, k + 1) for k, (gene, value) in enumerate(level.items())]
            sets += [(drug, "hallmarks", f"HALLMARK_SET_{k}", 5, 40, 1.6, 0.002 * (k + 1), 0.02 * (k + 1)) for k in range(4)]
        files.write_parquet(
            self.folder / "cascades/direct.parquet", pd.DataFrame(direct, columns=["perturbation", "gene", "direct_effect", "is_target", "is_seen"])
        )
        files.write_parquet(self.folder / "cascades/hops.parquet", pd.DataFrame(hops, columns=["perturbation", "hop", "gene", "effect", "rank"]))
        table = pd.DataFrame(paths, columns=["perturbation", "path", "hops", "effect", "num_curated"])
        table["rank"] = table.groupby("perturbation").cumcount() + 1
        files.write_parquet(self.folder / "cascades/paths.parquet", table[table["rank"] <= 20])
        columns = ["perturbation", "collection", "gene_set", "hits", "size", "expected", "p_value", "fdr"]
        files.write_parquet(self.folder / "cascades/gene_sets.parquet", pd.DataFrame(sets, columns=columns))
        pairs = [(a, b, 0.9 - 0.05 * abs(i - j), "") for i, a in enumerate(self.drugs) for j, b in enumerate(self.drugs) if i < j]
        files.write_parquet(
            self.folder / "cascades/similarity.parquet", pd.DataFrame(pairs, columns=["perturbation_a", "perturbation_b", "cosine", "shared_targets"])
        )
        novel = self.net[self.net["prior_confidence"] == 0].head(20)
        files.write_parquet(
            self.folder / "cascades/novel_edges.parquet", novel[["regulator", "target", "score", "rank", "effect", "stability", "num_perturbations"]]
        )

    def provenance(self) -> None:
        entry = {"url": "https://example.org/a.tsv", "path": None, "version": "12.0", "licence": "CC BY 4.0", "sha256": "0" * 64, "bytes": 100,
                 "rows_read": 2000, "rows_kept": 1900, "lost": {"ambiguous_symbol": 60, "unknown_symbol": 40}, "ambiguous": ["MT1"]}  # fmt: skip
        files.write_json(self.folder / "resources/manifest.json", {"string": entry, "collectri": {**entry, "lost": {}}})
        files.write_json(self.folder / "manifest.json", {
            "config": Config(embedding={"source": "tx1"}).model_dump(mode="json"),
            "versions": {"causcade": "0.1.0", "torch": "2.13.0"}, "commit": "dc84490",
            "device": {"kind": "cpu", "name": "x86_64"}, "seeds": {"all": 0},
            "inputs": {"config/plates.tsv": {"bytes": 120, "sha256": "1" * 64}, "counts": {"num_files": 3, "bytes": 10}},
        })  # fmt: skip
        for rule, seconds in {"quality/plate1": 12.5, "quality/plate2": 14.0, "coexpression": 31.0, "causal/main": 44.0,
                              "coexpression_moments_shard/plate1_1of2": 3.0, "coexpression_moments_shard/plate1_2of2": 4.0}.items():  # fmt: skip
            head = "s h:m:s max_rss max_vms max_uss max_pss io_in io_out mean_load cpu_time"
            row = f"{seconds} 0:00:{int(seconds)} 812.5 - - - 0 0 90 {seconds}"
            files.write_text(self.folder / f"benchmarks/{rule}.tsv", f"{head}\n{row}\n".replace(" ", "\t"))


def make_artifacts(
    folder: Path, *, seed: int = 0, num_genes: int = 60, num_drugs: int = 6, num_plates: int = 2, num_cells: int = 300, hostile: bool = False
) -> Path:
    """Write every artifact that the report reads below `folder`; returns it."""
    maker = Maker(folder, seed=seed, num_genes=num_genes, num_drugs=num_drugs, num_plates=num_plates, hostile=hostile)
    maker.quality()
    maker.panel()
    maker.coexpression()
    maker.candidates()
    maker.embedding(num_cells)
    maker.model()
    maker.training()
    maker.conditions()
    maker.network()
    maker.evaluation()
    maker.cascades()
    maker.provenance()
    return folder
