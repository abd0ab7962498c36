"""Quality control and cell store of one plate. The methods are in causcade.quality and causcade.cells."""

from causcade import devices, files, quality, runtime
from causcade.checks import read_resolver
from causcade.config import InputConfig, PerturbationConfig, QualityConfig
from causcade.plates import Plate
from causcade.readers import CountsFile


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        devices.check_gpus(job.resources.gpu, settings["backend"])
        reading = InputConfig(**settings["input"])
        plate = Plate(**job.params.plate, counts=job.resources.counts)
        with CountsFile(plate.counts, reading, plate.name) as file:
            view = quality.open_plate(file, plate, reading, PerturbationConfig(**settings["perturbation"]), read_resolver(job.input.identifiers))
            judging = QualityConfig(**settings["quality"])
            table = quality.store_plate(
                view, job.output.cells, judging, columns=job.params.columns, seed=settings["seed"], backend=settings["backend"]
            )
        files.write_parquet(job.output.table, table)


if __name__ == "__main__":
    main(snakemake)
