"""Principal axes of the panel. The mathematics is in causcade.embedding.pca."""

import zarr

from causcade import files, runtime
from causcade.embedding import pca


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        group = zarr.open_group(files.read_json(job.input.roll)["coexpression"], mode="r")
        gene_ids = files.read_parquet(job.input.panel)["gene_id"].tolist()
        basis = pca.pca_basis(group["raw_correlation"][:], group["mean"][:], group["sd"][:], gene_ids, job.params.settings["embedding"]["dimensions"])
        pca.write_basis(job.output.basis, basis)
        files.write_json(job.output.pin, {"fingerprint": job.params.fingerprint})


if __name__ == "__main__":
    main(snakemake)
