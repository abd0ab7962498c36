"""Genes of an input: their ids and symbols, which features are genes, and which features are one gene.

Axes: F features of the file, G genes (after summing).
"""

from __future__ import annotations

import logging
import re

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.config import InputConfig
from causcade.errors import InputError

__all__ = ["FEATURE_TYPE", "GENOME", "IS_FILTERED_PROBE", "gene_table", "merge_genes", "select_features", "strip_version"]

logger = logging.getLogger(__name__)

ENSEMBL_VERSION = re.compile(r"^(ENS[A-Z]*\d+)\.\d+((?:_PAR_Y)?)$")
# Columns of a file's var that say which features are genes of interest.
FEATURE_TYPE = "feature_types"
GENOME = "genome"
IS_FILTERED_PROBE = "filtered_probes"
GENE_EXPRESSION = "Gene Expression"


def strip_version(identifier: str) -> str:
    """Ensembl id without its version: ``ENSG00000141510.18`` becomes ``ENSG00000141510``; other text stays as it is."""
    return ENSEMBL_VERSION.sub(r"\1\2", identifier)


def merge_genes(keys: pd.Index) -> tuple[pd.Index, sp.csr_matrix | None]:
    """Distinct keys in order of first appearance, and the matrix [F, G] that sums features of one key (None if all differ)."""
    codes, distinct = pd.factorize(keys)
    if len(distinct) == len(keys):
        return pd.Index(keys), None
    # float64, so that a sum beyond 2^24 keeps its last digit
    return pd.Index(distinct), sp.csr_matrix((np.ones(len(keys)), (np.arange(len(keys)), codes)), shape=(len(keys), len(distinct)))


def gene_table(var: pd.DataFrame, settings: InputConfig, where: str, *, symbol: str | None = None) -> pd.DataFrame:
    """Ids and symbols of the features of a file.

    Parameters
    ----------
    var
        Table of the file [F]; its index names the features.
    settings
        `gene_id` and `gene_symbol` are the columns that hold ids and symbols.
    where
        The file, for messages.
    symbol
        Column with symbols where the settings name none; None takes the ids.

    Returns
    -------
    pandas.DataFrame
        Columns `gene_id` (without version; the feature's name where its id is missing) and `symbol` [F].

    Raises
    ------
    InputError
        If a column is not there.
    """
    names = pd.Series([str(name).strip() for name in var.index], index=var.index, dtype=object)
    ids = _texts(var, settings.gene_id, "gene_id", names, where).map(strip_version)
    symbols = _texts(var, settings.gene_symbol or symbol, "gene_symbol", ids, where)
    return pd.DataFrame({"gene_id": ids.to_numpy(dtype=object), "symbol": symbols.to_numpy(dtype=object)})


def _texts(var: pd.DataFrame, name: str | None, key: str, instead: pd.Series, where: str) -> pd.Series:
    """Return a var column as text, and `instead` where the column is null or a gene has no entry."""
    if name is None:
        return instead
    if name not in var.columns:
        found = ", ".join(map(str, var.columns)) or "no column"
        raise InputError(f"{where}: expected var column {name!r} (input.{key}), found {found}. Name one that is there, or null for the index.")
    texts = np.asarray([str(value).strip() for value in var[name].astype(object)], dtype=object)
    is_missing = var[name].isna().to_numpy() | (texts == "")
    if is_missing.any():
        logger.warning("%s: %d of %d genes have nothing in var column %r and keep their name", where, is_missing.sum(), len(var), name)
    return pd.Series(np.where(is_missing, instead.to_numpy(dtype=object), texts), index=var.index)


def select_features(var: pd.DataFrame, settings: InputConfig, where: str) -> tuple[np.ndarray | None, pd.DataFrame]:
    """Select the features that are genes of one genome, where the file says what its features are.

    Parameters
    ----------
    var
        Table of the file [F]. Of column `feature_types` only Gene Expression is taken, of `filtered_probes` only what is true (as the vendor does
        when it sums probes to genes), of `genome` the one that `settings.genome` names.

    Returns
    -------
    kept : numpy.ndarray or None
        Ascending positions of the selected features; None: all.
    var : pandas.DataFrame
        Their rows, without the prefix `<genome>_` of names in files of several genomes.

    Raises
    ------
    InputError
        If none is selected, or there are several genomes and none is named.
    """
    keep = np.ones(len(var), dtype=bool)
    if FEATURE_TYPE in var:
        types = var[FEATURE_TYPE].astype(str).to_numpy()
        keep &= types == GENE_EXPRESSION
        others = ", ".join(f"{number} of {name}" for name, number in pd.Series(types[~keep]).value_counts().items())
        if len(var) and not keep.any():
            raise InputError(f"{where}: expected features of type {GENE_EXPRESSION!r}, found {others}. Name the file that holds gene expression.")
        if others:
            logger.info("%s: %d features are %s; left out: %s", where, keep.sum(), GENE_EXPRESSION, others)
    if IS_FILTERED_PROBE in var:
        is_filtered = var[IS_FILTERED_PROBE].to_numpy(dtype=bool)
        logger.info("%s: %d probes are not in the filtered set and are left out", where, (keep & ~is_filtered).sum())
        keep &= is_filtered
    genome, keep = _select_genome(var, keep, settings.genome, where)
    selected = var[keep] if genome is None else _without_prefix(var[keep], genome)
    return (None if keep.all() else np.flatnonzero(keep)), selected


def _select_genome(var: pd.DataFrame, keep: np.ndarray, genome: str | None, where: str) -> tuple[str | None, np.ndarray]:
    """Return the genome that is taken (None: the file names none) and the features of it."""
    genomes = var[GENOME].astype(str).to_numpy() if GENOME in var else np.full(len(var), "")
    found = sorted(set(genomes[keep]) - {""})
    if not found:
        if genome is not None:
            logger.warning("%s: the file names no genome, so that input.genome (%s) selects nothing", where, genome)
        return None, keep
    if genome is None and len(found) > 1:
        raise InputError(f"{where}: expected one genome, found {', '.join(found)}. Set `input: {{genome: NAME}}` to one of them.")
    if genome is not None and genome not in found:
        raise InputError(f"{where}: expected genome {genome!r} (input.genome), found {', '.join(found)}. Name one that is there.")
    taken = genome or found[0]
    if len(found) > 1:
        logger.info("%s: %d features are of genome %s; left out: %s", where, (keep & (genomes == taken)).sum(), taken, ", ".join(found))
    return taken, keep & (genomes == taken)


def _without_prefix(var: pd.DataFrame, genome: str) -> pd.DataFrame:
    """Return the table without `<genome>_` before all names of the index or of a text column."""
    pattern = rf"^{re.escape(genome)}_+"

    def strip(values: pd.Series) -> pd.Series:
        texts = values.astype(str)
        return texts.str.replace(pattern, "", regex=True) if len(texts) and texts.str.match(pattern).all() else values

    columns = {name: strip(var[name]) for name in var.columns if name not in (GENOME, FEATURE_TYPE, IS_FILTERED_PROBE)}
    index = strip(pd.Series(var.index, index=var.index))
    return var.assign(**columns).set_axis(pd.Index(index.to_numpy()), axis=0)
