"""One fit of the causal module, in one process or by torchrun. The method is in causcade.causal."""

from causcade import causal_job, runtime


def main() -> None:
    job = causal_job.read_arguments()
    from causcade import causal, devices, files, ranks, responses
    from causcade.backend import torch_device
    from causcade.config import CausalConfig

    with runtime.job_log(job.log, threads=job.threads):
        devices.check_gpus(job.gpus, job.settings["backend"], processes=job.processes)
        with ranks.join_ranks(torch_device(job.settings["backend"]), "causal.processes") as (joined, device):
            screen = responses.ScreenFiles(job.conditions, job.baselines, files.read_parquet(job.targets))
            how = CausalConfig(**job.settings["causal"])
            of_run = {"seed": job.settings["seed"], "device": device, "checkpoint": job.checkpoint, "ranks": joined, "cells": job.cells}
            fit = causal.run_fit(job.fit, screen, files.read_parquet(job.edges), how, **of_run)
            if joined.is_first:
                causal.write_fit(fit, job.model.parent)
                files.write_parquet(job.held_out, fit.held_out)
                job.checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
