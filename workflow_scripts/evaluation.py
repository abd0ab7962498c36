"""Judge all rankings. The methods are in causcade.evaluation."""

from pathlib import Path

import pandas as pd
import zarr

from causcade import causal, evaluation, responses, runtime
from causcade.config import EvaluationConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        targets, edges, panel = (pd.read_parquet(path) for path in (job.input.targets, job.input.edges, job.input.panel))
        screen = responses.read_responses(job.input.conditions, job.input.baselines, targets)
        effects = responses.aggregate(screen)
        scores = {name: causal.read_weights(Path(path).parent).score for name, path in zip(job.params.fits, job.input.fits, strict=True)}
        raw = zarr.open_group(job.input.coexpression, mode="r")["raw_correlation"][:]
        place = pd.Index(panel["gene"])
        tables = evaluation.evaluate(
            evaluation.EvaluationInputs(
                candidate_edges=edges,
                panel=panel,
                scores=evaluation.name_rankings(scores, lambda score_E: score_E),
                raw_correlation=raw[place.get_indexer(edges["target"]), place.get_indexer(edges["regulator"])],
                reference_pairs=pd.read_parquet(job.input.pairs),
                reference_universe=pd.read_parquet(job.input.universe),
                drug_links=targets,
                prior_edges=pd.read_parquet(job.input.prior_edges),
                responses=evaluation.Responses(
                    perturbations=effects.table["perturbation"].tolist(),
                    genes=panel["gene"].tolist(),
                    effect_DG=effects.effect_DG,
                    error_DG=effects.se_DG,
                ),
                truth_edges=pd.read_parquet(job.input.truth[0]) if job.input.truth else None,
                held_out={name: pd.read_parquet(path) for name, path in zip(job.params.fits, job.input.held_out, strict=True)},
            ),
            settings=EvaluationConfig(**settings["evaluation"]),
            seed=settings["seed"],
        )
        evaluation.write_evaluation(tables, Path(job.output.summary).parent)


if __name__ == "__main__":
    main(snakemake)
