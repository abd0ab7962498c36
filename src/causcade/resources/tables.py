"""All curated resources in one call: checked, translated to approved symbols, and accounted for row by row.

:func:`build_resources` makes the tables of the stage `resources`; :func:`write_tables` writes them. Any resource may be absent: its rows are then
absent, and the columns and types stay. Without HGNC, symbols are taken as they are (resources that speak of UniProt accessions then give nothing) and
the manifest says so, in `identifiers`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causcade.errors import ResourceError
from causcade.files import sha256_of, write_json, write_parquet
from causcade.resource_catalogue import CATALOGUE
from causcade.resources.identifiers import Resolver, read_hgnc
from causcade.resources.ledger import AS_GIVEN, Ledger, translate
from causcade.resources.priors import PRIOR_SOURCES, combine_priors
from causcade.resources.references import (
    PAIR_DTYPES,
    Reference,
    complexportal_reference,
    humap_reference,
    reactome_reference,
    string_reference,
)
from causcade.resources.set_parsers import parse_drug_targets, parse_gene_list, parse_gmt, parse_rbps
from causcade.signs import merge_signs

if TYPE_CHECKING:
    import pandas as pd

    from causcade.config import ResourcesConfig

__all__ = ["ResourceFile", "ResourceTables", "build_resources", "target_rows", "write_tables"]

IDENTIFIER_DTYPES = dict.fromkeys(("identifier", "namespace", "gene", "gene_id"), "object")
UNIVERSE_DTYPES = {"reference": "object", "gene": "object"}
SET_DTYPES = {"collection": "object", "gene_set": "object", "gene": "object"}
SETTINGS_OF = {
    "dorothea": ["dorothea_levels"],
    "string": ["string_min_score"],
    "humap": ["humap_max_confidence", "humap_min_probability"],
    "humap3": ["humap3_max_confidence", "humap_min_probability"],
    "reactome": ["reactome_pathways", "reactome_max_genes"],
}
"""Settings that decide what is taken of a resource, for the manifest."""
TARGET_DTYPES = {"perturbation": "object", "target": "object", "sign": "int8", "source": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFile:
    """A file of one resource, and what is known about it."""

    path: Path
    url: str | None = None
    version: str = ""
    licence: str = ""
    sha256: str | None = None
    """Expected checksum; None accepts any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTables:
    """The artifacts of the stage `resources`; the fields are the names of their files."""

    identifiers: pd.DataFrame
    prior_edges: pd.DataFrame
    reference_pairs: pd.DataFrame
    reference_universe: pd.DataFrame
    gene_sets: pd.DataFrame
    drug_targets: pd.DataFrame
    manifest: dict[str, dict[str, Any]]


def _frame(parts: list[pd.DataFrame], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Parts below each other with the columns and types of the artifact, also where there is none."""
    import pandas as pd

    parts = [part[list(dtypes)] for part in parts if len(part)]
    if not parts:
        return pd.DataFrame({column: pd.Series(dtype=kind) for column, kind in dtypes.items()})
    return pd.concat(parts, ignore_index=True).astype(dict(dtypes))


def _checked(sources: Mapping[str, ResourceFile], settings: ResourcesConfig) -> dict[str, dict[str, Any]]:
    """Start of the manifest, after all checks that need no parsing: names, presence, checksums."""
    unknown = sorted(set(sources) - set(CATALOGUE))
    if unknown:
        raise ResourceError(f"resources: expected the names {', '.join(CATALOGUE)}, found {', '.join(unknown)}. Correct the name.")
    if "string" in sources and "string_info" not in sources:
        raise ResourceError(
            "resources: expected `string_info` beside `string` (it translates the protein ids), found none. Add it, or write `string: null`."
        )
    if settings.reactome_pathways == "leaves" and "reactome" in sources and "reactome_relations" not in sources:
        raise ResourceError(
            "resources: expected `reactome_relations` beside `reactome` (`reactome_pathways: leaves` needs the hierarchy), found none. Add it, or "
            "write `reactome_pathways: all`."
        )
    manifest: dict[str, dict[str, Any]] = {}
    for name, file in sources.items():
        if not Path(file.path).is_file():
            raise ResourceError(
                f"{file.path}: expected the file of resource `{name}`, found none. Correct `resources.{name}.path`, or write `{name}: null`."
            )
        found = sha256_of(file.path)
        if file.sha256 is not None and found != file.sha256:
            raise ResourceError(
                f"{file.path}: expected sha256 {file.sha256}, found {found}. Fetch `{name}` again, or, if the new version is meant, "
                f"write `resources.{name}.sha256: {found}`."
            )
        manifest[name] = {
            "url": file.url,
            "path": str(file.path),
            "version": file.version,
            "licence": file.licence,
            "sha256": found,
            "bytes": Path(file.path).stat().st_size,
        }
    return manifest


def _check_known(name: str, path: Path, account: Mapping[str, Any]) -> None:
    """Raise if HGNC knows none of the identifiers of a resource: one of another species, or another column."""
    unknown, resolved = account.get("unknown"), set(account.get("identifiers_by", ())) - {"unknown"}
    if unknown and not resolved:
        raise ResourceError(
            f"{path}: expected identifiers of human genes, found none that HGNC knows ({', '.join(unknown[:3])}, ...). "
            f"Use the human file for `{name}`, or write `{name}: null`."
        )


def _references(sources: Mapping[str, ResourceFile], resolver: Resolver | None, settings: ResourcesConfig) -> dict[str, Reference]:
    """All references that have a file."""
    found: dict[str, Reference] = {}
    if "string" in sources:
        found["string"] = string_reference(sources["string"].path, sources["string_info"].path, resolver, settings.string_min_score)
    if "complexportal" in sources:
        found["complexportal"] = complexportal_reference(sources["complexportal"].path, resolver)
    for name, max_confidence in (("humap", settings.humap_max_confidence), ("humap3", settings.humap3_max_confidence)):
        if name in sources:
            found[name] = humap_reference(sources[name].path, resolver, max_confidence, name=name, min_probability=settings.humap_min_probability)
    if "reactome" in sources:
        relations = sources["reactome_relations"].path if settings.reactome_pathways == "leaves" else None
        found["reactome"] = reactome_reference(sources["reactome"].path, resolver, settings.reactome_max_genes, relations=relations)
    return found


def _gene_set_rows(name: str, path: Path, resolver: Resolver | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of the collection `name` (tfs, rbps, hallmarks) and their account. A plain list is one set of the collection's name."""
    if name == "hallmarks":
        rows = parse_gmt(path, name)
    else:
        rows = (parse_rbps(path) if name == "rbps" else parse_gene_list(path, name)).assign(gene_set=name)
    ledger = Ledger(len(rows))
    genes, statuses = translate(rows["identifier"], resolver)
    ledger.lose_unresolved(rows["identifier"], statuses)
    rows = rows.assign(collection=name, gene=genes)
    ledger.lose(rows.duplicated(["gene_set", "gene"]), "duplicate")
    return rows.loc[ledger.kept, list(SET_DTYPES)], ledger.summary("set members")


def target_rows(path: str | os.PathLike[str], resolver: Resolver | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Targets of perturbations as genes, from Tahoe's drug table or a table of one's own; see :func:`parse_drug_targets`.

    Returns
    -------
    targets, account
        perturbation, target (gene), sign (int8), source, sorted by perturbation and target and unique; a target listed with contradicting signs has
        sign 0. And row counts for the manifest.
    """
    rows = parse_drug_targets(path)
    ledger = Ledger(len(rows))
    ledger.lose(rows["identifier"] == "", "no_target")
    genes, statuses = translate(rows["identifier"], resolver)
    ledger.lose_unresolved(rows["identifier"], statuses)
    rows = rows.assign(target=genes)
    merged = merge_signs(rows.loc[ledger.kept, list(TARGET_DTYPES)], ["perturbation", "target"])
    ledger.lose_repeated(rows, ["perturbation", "target"])
    return _frame([merged], TARGET_DTYPES), ledger.summary("targets")


def build_resources(sources: Mapping[str, ResourceFile], settings: ResourcesConfig) -> ResourceTables:
    """Build all tables of curated knowledge.

    Parameters
    ----------
    sources
        Name of the resource (those of the catalogue) to its file; any may be absent.
    settings
        Cut-offs: `dorothea_levels`, `string_min_score`, those of hu.MAP and Reactome. Its entries of resources are not read.

    Returns
    -------
    ResourceTables
        Independent of the order of `sources` and of the rows of the files.

    Raises
    ------
    ResourceError
        If a file is absent or damaged, has another checksum than expected, or another format, or if HGNC knows none of its identifiers.
    """
    manifest = _checked(sources, settings)
    identifiers = read_hgnc(sources["hgnc"].path) if "hgnc" in sources else _frame([], IDENTIFIER_DTYPES)
    resolver = Resolver.from_table(identifiers) if "hgnc" in sources else None
    accounts: dict[str, dict[str, Any]] = {}
    if resolver is not None:
        accounts["hgnc"] = {"unit": "identifiers", "rows_read": len(identifiers), "rows_kept": len(identifiers), "lost": {}, "ambiguous": []}

    priors, prior_accounts = combine_priors(
        {name: sources[name].path for name in PRIOR_SOURCES if name in sources}, resolver, tuple(settings.dorothea_levels)
    )
    references = _references(sources, resolver, settings)
    accounts |= prior_accounts | {name: reference.account for name, reference in references.items()}
    sets = []
    for name in ("tfs", "rbps", "hallmarks"):
        if name in sources:
            rows, accounts[name] = _gene_set_rows(name, sources[name].path, resolver)
            sets.append(rows)
    sets += [reference.members.assign(collection=name) for name, reference in references.items() if reference.members is not None]
    targets = _frame([], TARGET_DTYPES)
    if "drug_targets" in sources:
        targets, accounts["drug_targets"] = target_rows(sources["drug_targets"].path, resolver)
    for name, account in accounts.items():
        _check_known(name, sources[name].path, account)
    settings_used = settings.model_dump(mode="json")
    for name, entry in manifest.items():
        entry |= {"settings": {key: settings_used[key] for key in SETTINGS_OF[name]}} if name in SETTINGS_OF else {}
        entry |= accounts.get(name, {}) | {"identifiers": AS_GIVEN if resolver is None else "hgnc"}
    return ResourceTables(
        identifiers=identifiers,
        prior_edges=priors,
        reference_pairs=_frame([reference.pairs.assign(reference=name) for name, reference in references.items()], PAIR_DTYPES),
        reference_universe=_frame([_universe(name, reference) for name, reference in references.items()], UNIVERSE_DTYPES),
        gene_sets=_frame(sets, SET_DTYPES).sort_values(list(SET_DTYPES), ignore_index=True),
        drug_targets=targets,
        manifest=manifest,
    )


def _universe(name: str, reference: Reference) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"reference": name, "gene": reference.universe})


def write_tables(tables: ResourceTables, folder: str | os.PathLike[str]) -> None:
    """Write the tables as parquet and the manifest as JSON into `folder`; equal tables give equal bytes."""
    for name in ("identifiers", "prior_edges", "reference_pairs", "reference_universe", "gene_sets", "drug_targets"):
        write_parquet(Path(folder) / f"{name}.parquet", getattr(tables, name))
    write_json(Path(folder) / "manifest.json", tables.manifest)
