"""Mean embedding of each gene over all plates. The sums are added in causcade.embedding.genes."""

from causcade import files, runtime
from causcade.embedding import genes


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        sums = [genes.read_sums(path) for path in sorted(job.input.sums)]
        files.write_parquet(job.output.genes, genes.mean_embeddings(sums, files.read_parquet(job.input.panel)))


if __name__ == "__main__":
    main(snakemake)
