"""Normalise curated resources. Parsers and tables are in causcade.resources."""

from pathlib import Path

from causcade import resources, runtime
from causcade.config import ResourcesConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = ResourcesConfig(**job.params.settings["resources"])
        sources = {name: _source(name, job.input[name], settings, simulated=job.params.simulated) for name in job.params.files}
        resources.write_tables(resources.build_resources(sources, settings), Path(job.output.manifest).parent)


def _source(name, path, settings, *, simulated):
    if simulated:
        return resources.ResourceFile(path=Path(path), version="simulated", licence="simulated")
    entry = getattr(settings, name)
    url = None if entry.path else entry.url  # the address of what was fetched, not of what a local file stands for
    return resources.ResourceFile(path=Path(path), url=url, version=entry.version, licence=entry.licence, sha256=entry.sha256)


if __name__ == "__main__":
    main(snakemake)
