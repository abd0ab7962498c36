"""Judge all rankings. The methods are in causcade.evaluation."""

from pathlib import Path

from causcade import evaluation, files, runtime
from causcade.config import EvaluationConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings, given, fits = job.params.settings, job.input, job.params.fits
        names = ["edges", "panel", "targets", "prior_edges", "pairs", "universe", "coexpression"]
        paths = {name: given[name] for name in names} | ({"truth": given.truth[0]} if given.truth else {})
        inputs = evaluation.read_inputs(
            paths,
            dict(zip(job.params.judged, given.evidence, strict=True)),
            dict(zip(fits, given.held_out, strict=True)),
            (given.conditions, given.baselines),
            files.read_json(given.choice)["score"],
        )
        chosen = EvaluationConfig(**settings["evaluation"])
        tables = evaluation.evaluate(inputs, settings=chosen, seed=settings["seed"], num_threads=job.threads)
        evaluation.write_evaluation(tables, Path(job.output.summary).parent)


if __name__ == "__main__":
    main(snakemake)
