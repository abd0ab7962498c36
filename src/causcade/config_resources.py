"""Section of the configuration on curated resources: where each comes from, and what of it is taken."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from causcade.config_input import Section
from causcade.resource_catalogue import CATALOGUE

__all__ = ["ResourceConfig", "ResourcesConfig"]


class ResourceConfig(Section):
    """One curated resource. A local `path` wins over the `url`."""

    url: str | None = Field(default=None, description="Address it is fetched from.")
    path: str | None = Field(default=None, description="Local file, used instead of the address.")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="Expected checksum; null accepts any and records what was found.")
    version: str = Field(default="", description="Version, for the manifest.")
    licence: str = Field(default="", description="Licence, for the manifest.")

    @model_validator(mode="after")
    def _somewhere(self) -> ResourceConfig:
        if self.url is None and self.path is None:
            raise ValueError("expected `url` or `path`, found neither; give one, or write null instead of the whole resource")
        return self


def _resource(name: str) -> Any:
    entry = CATALOGUE[name]
    if entry.is_optional:
        return Field(default=None, description=f"{entry.description} Null leaves it out; its address: {entry.url}")
    default = ResourceConfig(url=entry.url, version=entry.version, licence=entry.licence)
    return Field(default=default, description=entry.description + " Null leaves it out.")


class ResourcesConfig(Section):
    """Curated resources, in their upstream formats. In the simulated screen all of them are simulated files."""

    hgnc: ResourceConfig | None = _resource("hgnc")
    collectri: ResourceConfig | None = _resource("collectri")
    dorothea: ResourceConfig | None = _resource("dorothea")
    trrust: ResourceConfig | None = _resource("trrust")
    string: ResourceConfig | None = _resource("string")
    string_info: ResourceConfig | None = _resource("string_info")
    complexportal: ResourceConfig | None = _resource("complexportal")
    humap: ResourceConfig | None = _resource("humap")
    humap3: ResourceConfig | None = _resource("humap3")
    reactome: ResourceConfig | None = _resource("reactome")
    reactome_relations: ResourceConfig | None = _resource("reactome_relations")
    tfs: ResourceConfig | None = _resource("tfs")
    rbps: ResourceConfig | None = _resource("rbps")
    hallmarks: ResourceConfig | None = _resource("hallmarks")
    drug_targets: ResourceConfig | None = _resource("drug_targets")
    dorothea_levels: list[Literal["A", "B", "C", "D", "E"]] = Field(default=["A", "B", "C"], description="Confidence levels of DoRothEA to take.")
    string_min_score: Annotated[int, Field(ge=0, le=999)] = Field(
        default=700, description="Smallest combined score (0-999) of a STRING physical pair."
    )
    humap_max_confidence: Annotated[int, Field(ge=1, le=5)] = Field(
        default=3, description="Worst confidence class of a hu.MAP 2.0 complex to take (1 best, 5 worst)."
    )
    humap3_max_confidence: Annotated[int, Field(ge=1, le=6)] = Field(
        default=3, description="Worst confidence class of a hu.MAP 3.0 complex to take (1 best, 6 worst)."
    )
    humap_min_probability: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.5, description="Smallest probability of a pair, where hu.MAP's pairs are read and not its complexes."
    )
    reactome_pathways: Literal["all", "leaves"] = Field(
        default="all", description="Pathways whose members count as pairs: all, or leaves (no pathway below them; needs `reactome_relations`)."
    )
    reactome_max_genes: Annotated[int, Field(ge=2)] = Field(default=100, description="Largest Reactome pathway whose members count as pairs.")
