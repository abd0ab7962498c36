"""One fit of the latent-activity estimator. The method is in causcade.latent."""

from pathlib import Path

from causcade import devices, files, latent, responses, runtime
from causcade.backend import torch_device
from causcade.config import CausalConfig, LatentConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        devices.check_gpus(job.resources.gpu, settings["backend"])
        partial = files.read_parquet(job.input.partial[0]) if job.input.partial else None
        edges, partial_C = latent.all_candidates(files.read_parquet(job.input.edges), partial, files.read_parquet(job.input.unmeasured))
        fit = latent.run_latent(
            job.wildcards.fit,
            responses.ScreenFiles(job.input.conditions, job.input.baselines, files.read_parquet(job.input.targets)),
            edges,
            LatentConfig(**settings["latent"]),
            CausalConfig(**settings["causal"]),
            seed=settings["seed"],
            partial_C=partial_C,
            devices=[torch_device(settings["backend"])],
            workers=job.threads,
            checkpoint=Path(job.params.checkpoint),
        )
        latent.write_latent(Path(job.output.edges).parent, fit)
        Path(job.params.checkpoint).unlink(missing_ok=True)


if __name__ == "__main__":
    main(snakemake)
