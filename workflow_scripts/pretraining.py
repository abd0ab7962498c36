"""Train TX1 on the cells of the run, in one process or by torchrun. The method is in causcade.pretraining."""

from causcade import files, runtime, training_job
from causcade.cells import CellStore
from causcade.config import PretrainingConfig


def main() -> None:
    job = training_job.read_arguments()  # the process may be torchrun from here on: what takes long to load comes after
    from causcade import devices, pretraining

    with runtime.job_log(job.log, threads=job.threads):
        devices.check_gpus(job.gpus, job.settings["backend"], processes=job.processes)
        stores = [CellStore(path) for path in files.read_json(job.roll).values()]
        how = PretrainingConfig(**job.settings["pretraining"])
        of_run = {key: job.settings[key] for key in ("seed", "backend")}
        if pretraining.pretrain(stores, how, job.folder, checkpoints=job.checkpoints, **of_run):
            files.write_json(job.pin, {"fingerprint": job.fingerprint})


if __name__ == "__main__":
    main()
