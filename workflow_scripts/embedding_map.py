"""Map of a sample of cells. The method is in causcade.embedding.map."""

from causcade import devices, files, runtime
from causcade.embedding.map import map_cells


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        devices.check_gpus(job.resources.gpu, settings["backend"])
        cells = [files.read_anndata(path) for path in sorted(job.input.embeddings)]
        files.write_parquet(job.output.map, map_cells(cells, seed=settings["seed"], backend=settings["backend"]))


if __name__ == "__main__":
    main(snakemake)
