"""What a run keeps, for `all` to ask for: of every job an output.

When a job dies, Snakemake takes away its outputs and what it knew of them. At the next start it misses a file only where it is asked for, or where a
job reads it that is to run: what was made of the file before, with the settings before, would pass for up to date.
"""

KEPT = [
    rules.resources.output.manifest,
    CHECK,
    rules.targets.output.targets,
    PANEL,
    PARTNERS,
    rules.mask.output.edges,
    rules.unmeasured.output.targets,
    *CONDITIONS,
    *expand(rules.causal.output.model, fit=FITS),
    *expand(rules.latent.output.edges, fit=LATENT_FITS),
    *expand(rules.evidence.output.evidence, fit=EVIDENCE_FITS),
    rules.network.output.edges,
    rules.evaluation.output.summary,
    rules.cascades.output.summary,
    rules.manifest.output.manifest,
    rules.report.output.page,
]

if HAS_CELLS:
    KEPT += [
        *per_plate(rules.check_plate.output.look),
        rules.check_settings.output.check,
        *per_plate(rules.quality.output.cells),
        rules.quality_summary.output.summary,
        *per_plate(rules.coexpression_moments.output.moments),
        *per_plate(rules.embedding.output.embedding),
        rules.embedding_map.output.map,
        *per_plate(rules.basal_baseline.output.baseline),
        rules.basal_comparison.output.comparison,
        rules.latent_cells.output.partial,
        *per_plate(rules.evidence_controls.output.moments),
        rules.evidence_partial.output.partial,
    ]
    if CONFIG.embedding.source == "pca":
        KEPT += [rules.embedding_basis.output.basis]
    if CONFIG.embedding.trains:
        KEPT += [rules.pretraining.output.weights, rules.model_judging.output.judging]
    if WITH_GENES:
        KEPT += [rules.embedding_genes.output.genes]
    if HAS_DECODER:
        KEPT += [rules.basal.output.model]
    # What collects for a pinned stage, while the stage is being renewed.
    if not stands("panel"):
        KEPT += [*per_plate(rules.panel_votes.output.votes), CONSENSUS]
    if CONFIG.embedding.source == "pca" and not stands("embedding_basis"):
        KEPT += [AXES_ROLL]
    if CONFIG.embedding.trains and not stands("pretraining"):
        KEPT += [STORES_ROLL]
    if HAS_DECODER and not stands("basal"):
        KEPT += [CONTROLS_ROLL]
if CONFIG.is_simulated:
    KEPT += [
        rules.simulation_resources.output.edges,
        *per_plate(rules.simulation_plate.output.counts),
    ]
if CONFIG.coexpression.per_line:
    KEPT += [
        *per_plate(rules.coexpression_lines_moments.output.moments),
        rules.coexpression_lines.output.lines,
    ]
