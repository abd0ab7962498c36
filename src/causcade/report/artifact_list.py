"""Section 12: what each artifact of a run holds, with columns and units."""

from __future__ import annotations

from typing import Any

from causcade.report.data import Artifacts

__all__ = ["ARTIFACTS", "artifact_rows"]

# (path below the folder of the run, what it is, columns or parts with their units)
ARTIFACTS: list[tuple[str, str, str]] = [
    ("network/edges.parquet", "The network: every candidate edge with its score and evidence",
     "regulator, target; weight, weight_no_prior (fitted W, standardised units of the fit); effect (expected log2 fold change of the target per log2 unit "
     "of the regulator); score, rank (1 = best); sign (-1, 0, 1); stability (share of bootstraps, 0-1); identifiability (direct, indirect, none); "
     "num_perturbations; sources; prior_confidence (0-1); prior_sign; coexpression (r)"),
    ("network/edges.tsv", "The best edges for decoupler and spreadsheets", "source, target, weight"),
    ("network/network.graphml", "The best edges for Cytoscape and networkx", "directed graph, edge attributes as above"),
    ("network/regulons.gmt", "Targets of each regulator as gene sets", "GMT"),
    ("candidate_edges.parquet", "Candidate edges before any fit",
     "regulator, target; coexpression (residual r); rank (of the regulator among the target's partners); sources; prior_confidence (0-1); prior_sign"),
    ("mask_summary.json", "Counts of candidate edges by source", "edges"),
    ("panel.parquet", "Genes; their row order is the gene axis of every array",
     "gene_id, gene; is_tf, is_rbp, is_hallmark, is_drug_target; hvg_rank; num_plates; num_cells (cells that express it)"),
    ("cell_cycle.parquet", "Genes and control genes of the cell-cycle scores", "gene_id, role"),
    ("coexpression.zarr", "Correlation matrices over cells", "correlation, raw_correlation (r); mean, sd, residual_sd (log1p CP10k)"),
    ("partners.parquet", "Best partners of each gene", "gene, partner; correlation (residual r); rank (1 = best)"),
    ("moments/*.npz", "Sums per plate from which coexpression is computed", "packed upper triangle, float64"),
    ("cells/*.zarr", "Cells that passed quality control (AnnData)", "X raw counts; obs perturbation, kind, dose, cell_line, plate, well, is_control, ..."),
    ("quality/*.parquet", "One row per input cell", "total_counts (counts), num_genes (genes), mito_fraction (0-1), doublet_score, reason (empty = kept)"),
    ("quality/summary.json", "Quality per plate", "cells, medians, histograms"),
    ("embedding/*.zarr", "Representation of cells (AnnData)", "X (no unit)"),
    ("embedding/map.parquet", "Two-dimensional map of a sample of cells", "x, y (no unit); log_counts (log1p counts); s_score, g2m_score"),
    ("basal/model.safetensors", "Basal decoder", "parameters"),
    ("basal/metrics.jsonl", "Its training", "epoch; train_mse, held_out_mse, constant_mse ((log1p CP10k)^2)"),
    ("basal/baseline/*.zarr", "Baseline expression per cell line and plate (AnnData)", "X baseline (log1p CP10k); layer var: variance of that mean"),
    ("conditions/*.zarr", "Pseudobulk of perturbation x dose x cell line x plate (AnnData)", "layers mean (log1p CP10k), var (per cell, ddof 1); obs n_cells"),
    ("causal/*/model.safetensors", "One fit of the causal module", "weight: one value per candidate edge, in their order; parameters"),
    ("causal/*/direct_effects.parquet", "Direct effects of that fit", "perturbation, gene; direct_effect (log1p CP10k); is_target; is_seen"),
    ("causal/*/metrics.jsonl", "Its training", "step; loss, data_loss, penalty; spectral_radius; projected (whether the bound was enforced)"),
    ("evaluation/metrics.parquet", "Every score with its interval",
     "reference, ranking, subset, metric; value, low, high (95 %); num_positive, num_edges, prevalence"),
    ("evaluation/curves.parquet", "ROC and precision-recall curves", "reference, ranking, subset, curve; x, y (0-1)"),
    ("evaluation/gains.parquet", "Scores beside those of the nulls", "value, null means and maxima, gains (in the metric's unit)"),
    ("evaluation/hubs.parquet", "Hubs of each ranking", "ranking, kind (out, in), position, gene, degree (edges)"),
    ("evaluation/hub_tests.parquet", "Are transcription factors and drug targets enriched among hubs", "hits, expected (genes); p_value (hypergeometric)"),
    ("evaluation/held_out.parquet", "Prediction of responses that were held out", "pearson, pearson_centred (r over genes); num_genes"),
    ("evaluation/summary.json", "Main numbers and verdicts", ""),
    ("cascades/summary.parquet", "One row per perturbation", "share_direct, share_propagated, share_shared (share of the response's variance); correlation (r)"),
    ("cascades/direct.parquet", "Direct effects", "perturbation, gene; direct_effect (log1p CP10k); is_target; is_seen"),
    ("cascades/hops.parquet", "Strongest genes of each hop", "perturbation, hop, gene; effect (log1p CP10k); rank"),
    ("cascades/paths.parquet", "Strongest paths", "perturbation, rank, path; hops; effect (log1p CP10k); num_curated (edges that a curated source lists)"),
    ("cascades/similarity.parquet", "Perturbations with similar responses", "cosine (-1 to 1); shared_targets"),
    ("cascades/novel_edges.parquet", "Best edges that no curated source lists", "as network/edges.parquet"),
    ("cascades/gene_sets.parquet", "Gene sets in each response", "hits, size, expected (genes); p_value, fdr"),
    ("resources/prior_edges.parquet", "Curated regulations, all sources together", "regulator, target; sign; sources; confidence (0-1); literature (PubMed)"),
    ("resources/reference_pairs.parquet", "Physical and pathway pairs of the references", "reference, gene_a, gene_b; score"),
    ("resources/drug_targets.parquet", "Targets of perturbations", "perturbation, target; sign (-1 inhibitor, 1 activator, 0 unknown); source"),
    ("resources/manifest.json", "Origin of each resource", "address, version, licence, checksum, rows"),
    ("simulation/truth/edges.parquet", "Planted network (simulated runs only)", "regulator, target; weight"),
    ("manifest.json", "Resolved configuration, versions, seeds and checksums", ""),
]  # fmt: skip


def artifact_rows(artifacts: Artifacts) -> list[dict[str, Any]]:
    """The list, with how many files there are."""
    return [{"path": path, "words": words, "columns": columns, "num": len(artifacts.matching(path))} for path, words, columns in ARTIFACTS]
