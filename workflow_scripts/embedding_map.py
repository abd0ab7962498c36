"""Map of a sample of cells. The method is in causcade.embedding.map."""

from causcade import devices, files, runtime
from causcade.embedding.map import map_cells, sample_cells


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        devices.check_gpus(job.resources.gpu, settings["backend"])
        obs, z_ND = sample_cells(sorted(job.input.embeddings), seed=settings["seed"])
        files.write_parquet(job.output.map, map_cells(obs, z_ND, seed=settings["seed"], backend=settings["backend"]))


if __name__ == "__main__":
    main(snakemake)
