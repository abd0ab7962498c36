"""One fit of the causal module. The method is in causcade.causal."""

from pathlib import Path

from causcade import causal, files, responses, runtime
from causcade.backend import torch_device
from causcade.config import CausalConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        screen = responses.ScreenFiles(job.input.conditions, job.input.baselines, files.read_parquet(job.input.targets))
        fit = causal.run_fit(
            job.wildcards.fit,
            screen,
            files.read_parquet(job.input.edges),
            CausalConfig(**settings["causal"]),
            seed=settings["seed"],
            device=torch_device(settings["backend"]),
            checkpoint=Path(job.params.checkpoint),
        )
        causal.write_fit(fit, Path(job.output.model).parent)
        files.write_parquet(job.output.held_out, fit.held_out)
        Path(job.params.checkpoint).unlink(missing_ok=True)


if __name__ == "__main__":
    main(snakemake)
