"""Candidate edges. The rule is in causcade.mask."""

import zarr

from causcade import files, mask, runtime
from causcade.config import MaskConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        genes = files.read_parquet(job.input.panel)["gene"].tolist()
        priors = files.read_parquet(job.input.prior_edges)
        correlation = zarr.open_group(job.input.coexpression, mode="r")["correlation"]
        edges = mask.build_mask(files.read_parquet(job.input.partners), correlation, priors, genes, MaskConfig(**job.params.settings["mask"]))
        files.write_json(job.output.summary, mask.mask_summary(edges, priors, genes))
        files.write_parquet(job.output.edges, edges)


if __name__ == "__main__":
    main(snakemake)
