"""Curated resources: parsers of their upstream formats, one gene vocabulary, and the tables that the other stages read.

* :mod:`~causcade.resources.identifiers`: any identifier to an approved symbol; names of an input's genes.
* :mod:`~causcade.resources.prior_parsers`, :mod:`~causcade.resources.omnipath`, :mod:`~causcade.resources.reference_parsers`,
  :mod:`~causcade.resources.complexportal_parsers`, :mod:`~causcade.resources.humap_parsers`, :mod:`~causcade.resources.set_parsers`: rows as they
  are in the files; :mod:`~causcade.resources.literature`: the publications that they cite.
* :mod:`~causcade.resources.priors`, :mod:`~causcade.resources.references`: rows combined to edges and pairs of genes.
* :mod:`~causcade.resources.tables`: everything in one call.
"""

from causcade.resources.complexportal_parsers import parse_complexportal
from causcade.resources.humap_parsers import parse_humap, parse_humap_pairs
from causcade.resources.identifiers import Resolver, gene_names, read_hgnc, without_version
from causcade.resources.prior_parsers import parse_collectri, parse_dorothea, parse_trrust
from causcade.resources.priors import combine_priors
from causcade.resources.reference_parsers import (
    parse_reactome,
    parse_reactome_relations,
    parse_string,
    parse_string_info,
)
from causcade.resources.set_parsers import parse_drug_targets, parse_gene_list, parse_gmt, parse_rbps
from causcade.resources.tables import ResourceFile, ResourceTables, build_resources, target_rows, write_tables

__all__ = [
    "Resolver",
    "ResourceFile",
    "ResourceTables",
    "build_resources",
    "combine_priors",
    "gene_names",
    "parse_collectri",
    "parse_complexportal",
    "parse_dorothea",
    "parse_drug_targets",
    "parse_gene_list",
    "parse_gmt",
    "parse_humap",
    "parse_humap_pairs",
    "parse_rbps",
    "parse_reactome",
    "parse_reactome_relations",
    "parse_string",
    "parse_string_info",
    "parse_trrust",
    "read_hgnc",
    "target_rows",
    "without_version",
    "write_tables",
]
