"""Fix the panel. The rules are in causcade.panel."""

from causcade import files, panel, runtime
from causcade.checks import read_resolver
from causcade.config import PanelConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = PanelConfig(**job.params.settings["panel"])
        agreed = files.read_parquet(job.input.consensus)
        targets = agreed.loc[agreed["is_drug_target"], ["gene"]].rename(columns={"gene": "target"})
        members = panel.source_members(files.read_parquet(job.input.gene_sets), targets)
        chosen = panel.build_panel(agreed, members, settings)
        roles = panel.cell_cycle_genes(agreed, read_resolver(job.input.identifiers), seed=job.params.settings["seed"])
        files.write_parquet(job.output.cell_cycle, roles)
        files.write_json(job.output.summary, panel.summarise_panel(chosen, agreed, members, settings))
        files.write_parquet(job.output.panel, chosen)
        files.write_json(job.output.pin, {"fingerprint": job.params.fingerprint})


if __name__ == "__main__":
    main(snakemake)
