"""TX1 from Python: load a model, embed an AnnData.

    model = causcade.tx1.load("tahoebio/Tahoe-x1:70m")   # or a folder
    z_ND = model.embed(adata)                            # adata is left as it is
    model.embed(adata, key="X_tx1")                      # also as adata.obsm["X_tx1"]

Axes: N cells, F genes of the AnnData, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.errors import InputError
from causcade.tx1.checkpoint import Checkpoint, read_checkpoint
from causcade.tx1.embedded import CellBlock, Embedded, EmbedSettings, canonical, drug_rows
from causcade.tx1.inference import embed_blocks

if TYPE_CHECKING:
    import anndata

    from causcade.resources.identifiers import Resolver

__all__ = ["Tx1Embedder", "load"]

MANY = 0.5


def load(where: str | Path, *, size: str | None = None, drugs: bool | None = None, device: str = "auto", dtype: str | None = None) -> Tx1Embedder:
    """Load a model.

    Parameters
    ----------
    where
        Folder in the published layout, or name on the Hugging Face hub: ``owner/name`` or ``owner/name:size``.
    size
        Size of the model on the hub (``70m``, ``1.3b``, ``3b``), where `where` does not say it.
    drugs
        Load the encoder of drugs; None: as the model was trained. False leaves it out, as the published tool does by default.
    device
        ``cpu``, ``cuda``, ``cuda:1``; ``auto``: the first GPU, else the CPU.
    dtype
        Numbers of the weights in memory (``float32``, ``bfloat16``); None: as they are stored.

    Raises
    ------
    InputError
        If the model is not there, not whole, or damaged.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Tx1Embedder(read_checkpoint(where, size=size, drugs=drugs, device=device, dtype=None if dtype is None else getattr(torch, dtype)))


class Tx1Embedder:
    """A loaded model.

    Attributes
    ----------
    checkpoint : Checkpoint
        Weights, sizes and vocabulary.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def __repr__(self) -> str:
        shape = self.checkpoint.shape
        return f"Tx1Embedder({self.checkpoint.name}, {shape.num_layers} layers, {shape.d_model} dimensions, {self.checkpoint.vocabulary!r})"

    def embed(
        self,
        adata: anndata.AnnData,
        *,
        layer: str | None = None,
        gene_ids: str | None = None,
        resolver: Resolver | None = None,
        drugs: str | None = None,
        key: str | None = None,
        return_genes: bool = False,
        settings: EmbedSettings | None = None,
        batch_tokens: int | None = None,
    ) -> np.ndarray | Embedded:
        """Embed the cells of an AnnData.

        Parameters
        ----------
        adata
            Cells with raw counts; in memory or backed.
        layer
            Layer of the counts; None: X.
        gene_ids
            Column of `var` with Ensembl ids; None: the names of the genes. Versions are ignored.
        resolver
            Maps symbols and other ids to Ensembl ids (:meth:`causcade.resources.identifiers.Resolver.from_hgnc`).
        drugs
            Column of `obs` with the drug of each cell, for a model with drugs; None: no cell has one.
        key
            Write the embedding to ``adata.obsm[key]``, and embeddings of genes to ``adata.varm[key]``, as the published tool does. None: `adata` is
            left as it is.
        return_genes
            Also compute embeddings of genes, and return all of :class:`~causcade.tx1.Embedded`.
        settings
            How; None: the defaults (`exact` mode, at most 2,048 tokens, length 1).
        batch_tokens
            Tokens that the model takes at a time, if other than the settings say; fewer take less memory.

        Returns
        -------
        numpy.ndarray or Embedded
            Embedding of each cell, float32 [N, D], in the order of the cells; zeros for cells without any gene of the vocabulary (a line in the log
            says how many).

        Raises
        ------
        InputError
            If a layer or column is not there, counts are negative, or too few counts are in genes that the model knows.
        """
        chosen = settings or EmbedSettings()
        chosen = replace(chosen, gene_embeddings=return_genes or chosen.gene_embeddings, batch_tokens=batch_tokens or chosen.batch_tokens)
        ids = self._ids(adata, gene_ids, resolver)
        drug_N = self._drugs(adata, drugs)
        blocks = _blocks(adata, layer, drug_N, chosen.aligned(chosen.block_cells))
        found = embed_blocks(self.checkpoint, blocks, ids, settings=chosen, num_cells=adata.n_obs, where="adata")
        if key is not None:
            adata.obsm[key] = found.z_ND
            if chosen.gene_embeddings:
                adata.varm[key] = _by_column(found, self.checkpoint.vocabulary.columns(ids), self.checkpoint)
        return found if return_genes else found.z_ND

    def _ids(self, adata: anndata.AnnData, column: str | None, resolver: Resolver | None) -> pd.Index:
        """Ids of the genes [F]."""
        if column is not None and column not in adata.var:
            found = ", ".join(map(str, adata.var.columns)) or "no column"
            raise InputError(f"adata: expected var column {column!r} (gene_ids), found {found}. Name one that is there, or None for the gene names.")
        given = adata.var_names if column is None else pd.Index(adata.var[column].astype(str))
        if resolver is not None:
            resolved = resolver.resolve(given.to_list())
            given = pd.Index(resolved["gene_id"].where(resolved["gene_id"].notna(), given.to_series(index=resolved.index)))
        vocabulary = self.checkpoint.vocabulary
        if column is None and not (vocabulary.columns(given) >= 0).any():
            for name in adata.var.columns:
                if (vocabulary.columns(adata.var[name].astype(str)) >= 0).mean() > MANY:
                    raise InputError(
                        f"adata: expected Ensembl ids as gene names, found names such as {', '.join(map(str, given[:3]))}. "
                        f"Write gene_ids={name!r}: that column of var has them."
                    )
        return given

    def _drugs(self, adata: anndata.AnnData, column: str | None) -> np.ndarray | None:
        """Rows of the drugs in the model's table [N]; None where no cell has one."""
        if column is None:
            return None
        if self.checkpoint.drug_ids is None or self.checkpoint.shape.drugs is None:
            raise InputError(
                f"adata: expected a model with drugs for obs column {column!r}, found one without. Leave `drugs` out, or load another one."
            )
        if column not in adata.obs:
            found = ", ".join(map(str, adata.obs.columns)) or "no column"
            raise InputError(f"adata: expected obs column {column!r} (drugs), found {found}. Name one that is there.")
        return drug_rows(adata.obs[column].astype(str).to_list(), self.checkpoint.drug_ids)


def _blocks(adata: anndata.AnnData, layer: str | None, drug_N: np.ndarray | None, num_cells: int) -> Iterator[CellBlock]:
    """Take counts block by block; a cell is known by its name, so that a subset of the cells gets the same embeddings."""
    if layer is not None and layer not in adata.layers:
        found = ", ".join(adata.layers) or "no layer"
        raise InputError(f"adata: expected layer {layer!r}, found {found}. Name one that is there, or None for X.")
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise InputError("adata: expected counts in X, found nothing there. Name their layer (`layer`).")
    if sp.issparse(matrix) and matrix.format != "csr":
        matrix = matrix.tocsr()
    key_N = pd.util.hash_array(adata.obs_names.to_numpy(dtype=object))
    for start in range(0, adata.n_obs, num_cells):
        part = slice(start, min(start + num_cells, adata.n_obs))
        counts = matrix[part]
        if hasattr(counts, "compute"):  # dask
            counts = counts.compute()
        yield CellBlock(canonical(counts), key_N[part], None if drug_N is None else drug_N[part])


def _by_column(found: Embedded, token_F: np.ndarray, checkpoint: Checkpoint) -> np.ndarray:
    """Embedding of the gene of each column [F, D]; NaN where it was never seen or is not known."""
    tokens = checkpoint.vocabulary.columns(found.gene_ids)
    place_F = pd.Index(tokens).get_indexer(pd.Index(token_F))
    out = np.full((len(token_F), found.gene_mean_GD.shape[1]), np.nan, dtype=np.float32)
    out[place_F >= 0] = found.gene_mean_GD[place_F[place_F >= 0]]
    return out
