"""Fit the basal decoder, in one process or by torchrun. The method is in causcade.basal."""

from causcade import basal_job, runtime


def main() -> None:
    job = basal_job.read_arguments()
    from causcade import devices, files, ranks
    from causcade.backend import torch_device
    from causcade.basal import stage

    with runtime.job_log(job.log, threads=job.threads):
        devices.check_gpus(job.gpus, job.settings["backend"], processes=job.processes)
        with ranks.join_ranks(torch_device(job.settings["backend"]), "basal.processes") as (joined, device):
            plates, panel = files.read_json(job.roll), files.read_parquet(job.panel)
            of_run = {"device": device, "ranks": joined, "block_cells": job.block_cells, "fingerprint": job.fingerprint}
            fit, cells = stage.fit_plates(plates, panel, job.settings, job.checkpoints, **of_run)
            if joined.is_first:
                stage.write_fit(job.model.parent, fit, cells, panel, sorted(plates), device=device)
                files.write_json(job.pin, {"fingerprint": job.fingerprint})
                stage.remove(job.checkpoints)


if __name__ == "__main__":
    main()
