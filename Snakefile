"""causcade: raw counts of a perturbation atlas -> directed gene regulatory network -> report."""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/requests.smk"
include: "rules/simulation.smk"
include: "rules/resources.smk"
include: "rules/targets.smk"
include: "rules/mask.smk"
include: "rules/unmeasured.smk"


if HAS_CELLS:

    include: "rules/check.smk"
    include: "rules/check_settings.smk"
    include: "rules/quality.smk"
    include: "rules/panel.smk"
    include: "rules/coexpression.smk"
    include: "rules/pretraining.smk"
    include: "rules/model_judging.smk"
    include: "rules/embedding.smk"
    include: "rules/conditions.smk"
    include: "rules/basal.smk"
    include: "rules/latent_cells.smk"
    include: "rules/evidence_partial.smk"

else:

    include: "rules/condition_table.smk"


include: "rules/causal.smk"
include: "rules/latent.smk"
include: "rules/evidence.smk"
include: "rules/network.smk"
include: "rules/evaluation.smk"
include: "rules/cascades.smk"
include: "rules/report.smk"
include: "rules/kept.smk"
include: "rules/cache.smk"


onstart:
    ask_cluster()


rule all:
    default_target: True
    input:
        KEPT,
