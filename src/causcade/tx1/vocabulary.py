"""The vocabulary of a model: which gene, and which special token, is which row of its embedding table.

Kept as the published `vocab.json`: one JSON object, token to number; genes are Ensembl ids without version, special tokens begin with ``<``.

Axes: F genes of an input, G genes of the vocabulary, V tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from causcade.errors import InputError
from causcade.files import write_text

__all__ = ["CLS", "DRUG", "PAD", "Vocabulary", "without_version"]

PAD, CLS, DRUG = "<pad>", "<cls>", "<drug>"
SPECIAL = (PAD, CLS, "<eoc>")
SIZE_MULTIPLE = 64
VERSIONED = r"^(ENS[A-Z]*G\d+)\.\d+$"
NUM_EXAMPLES = 3


def without_version(gene_ids: Sequence[str] | pd.Index) -> pd.Index:
    """Ids without surrounding spaces and, where they are Ensembl genes, without version: ``ENSG00000141510.18`` becomes ``ENSG00000141510``."""
    texts = pd.Series(np.asarray(gene_ids, dtype=object), dtype=object).astype(str).str.strip()
    return pd.Index(texts.str.replace(VERSIONED, r"\1", regex=True), dtype=object)


class Vocabulary:
    """Tokens and their numbers.

    Parameters
    ----------
    tokens
        Number of each token; numbers are distinct and from 0.
    where
        What holds them, for messages.

    Attributes
    ----------
    tokens : dict
        Number of each token, in the order of the numbers.
    pad, cls : int
        Numbers of ``<pad>`` and ``<cls>``.
    drug : int or None
        Number of ``<drug>``; None where the vocabulary has none.
    gene_ids : pandas.Index
        Ensembl ids in the order of their numbers, shape [G].
    gene_tokens : numpy.ndarray
        Their numbers, shape [G], int64.
    size : int
        Rows that an embedding table needs: one more than the largest number.

    Raises
    ------
    InputError
        If numbers are not distinct, not whole, or negative, or ``<pad>``, ``<cls>`` or all genes are missing.
    """

    def __init__(self, tokens: Mapping[str, int], where: str = "the vocabulary") -> None:
        _check(tokens, where)
        self.tokens = {token: tokens[token] for token in sorted(tokens, key=tokens.__getitem__)}
        self.pad = self.tokens[PAD]
        self.cls = self.tokens[CLS]
        self.drug = self.tokens.get(DRUG)
        self.gene_ids = pd.Index([token for token in self.tokens if not token.startswith("<")], dtype=object)
        self.gene_tokens = np.array([self.tokens[gene] for gene in self.gene_ids], dtype=np.int64)
        self.size = max(self.tokens.values()) + 1

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.gene_ids):,} genes, {len(self):,} tokens{', with a drug token' if self.drug is not None else ''})"

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Read a `vocab.json`.

        Raises
        ------
        InputError
            If the file is not there, or holds something else.
        """
        wanted = f"{path}: expected a JSON object of tokens and their numbers (vocab.json)"
        try:
            tokens = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{wanted}, found no such file. Fetch the whole folder of the model again.") from None
        except ValueError as error:
            raise InputError(f"{wanted}, found no JSON ({error}). Fetch the whole folder of the model again.") from None
        if not isinstance(tokens, dict):
            raise InputError(f"{wanted}, found a {type(tokens).__name__}. Fetch the whole folder of the model again.")
        return cls(tokens, str(path))

    @classmethod
    def from_genes(cls, gene_ids: Iterable[str], *, drug: bool = False) -> Vocabulary:
        """Build a vocabulary as the published ones were.

        ``<pad>``, ``<cls>``, ``<eoc>``, the genes in lexicographic order, ``<junk0>`` and so on up to a multiple of 64, and ``<drug>`` after that.

        Parameters
        ----------
        gene_ids
            Ids of genes; versions are dropped, repeated ones count once.
        drug
            Add ``<drug>``.
        """
        genes = sorted(set(without_version(list(gene_ids))))
        names = [*SPECIAL, *genes]
        names += [f"<junk{number}>" for number in range(-len(names) % SIZE_MULTIPLE)]
        if drug:
            names.append(DRUG)
        return cls({name: number for number, name in enumerate(names)}, "the genes of the vocabulary")

    def with_drug(self, number: int | None = None) -> Vocabulary:
        """Return the vocabulary with ``<drug>`` as row `number` (None: the row after the last); itself where it has one.

        A packaged `vocab.json` may lack the token although the weights have its row.

        Raises
        ------
        InputError
            If another token has that number.
        """
        return self if self.drug is not None else Vocabulary(self.tokens | {DRUG: self.size if number is None else number})

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write as the published `vocab.json`: in the order of the numbers."""
        write_text(path, json.dumps(self.tokens, indent=2) + "\n")

    def columns(self, gene_ids: Sequence[str] | pd.Index) -> np.ndarray:
        """Return the token of each gene of an input, shape [F], int64; -1 where the vocabulary does not have it. Versions are ignored."""
        places = self.gene_ids.get_indexer(without_version(gene_ids))
        return np.where(places >= 0, self.gene_tokens[places], -1)

    def examples(self) -> str:
        """Name some of its genes, for messages."""
        return ", ".join(map(str, self.gene_ids[:NUM_EXAMPLES]))


def _check(tokens: Mapping[str, int], where: str) -> None:
    """Raise unless the tokens are a vocabulary."""
    remedy = "Take `vocab.json` from the folder of the model's weights."
    wrong = [f"{token!r}: {number!r}" for token, number in tokens.items() if not isinstance(number, int) or isinstance(number, bool) or number < 0]
    if wrong:
        raise InputError(f"{where}: expected a whole number from 0 for each token, found {', '.join(wrong[:NUM_EXAMPLES])}. {remedy}")
    missing = [token for token in (PAD, CLS) if token not in tokens]
    if missing:
        found = ", ".join(list(tokens)[:NUM_EXAMPLES]) or "nothing"
        raise InputError(f"{where}: expected the tokens {PAD} and {CLS}, found no {' and no '.join(missing)} (but {found}). {remedy}")
    if len(set(tokens.values())) < len(tokens):
        names: dict[int, list[str]] = {}
        for token, number in tokens.items():
            names.setdefault(number, []).append(token)
        number, shared = next(item for item in names.items() if len(item[1]) > 1)
        raise InputError(f"{where}: expected a number of its own for each token, found {number} for {' and '.join(shared[:2])}. {remedy}")
    if all(token.startswith("<") for token in tokens):
        raise InputError(f"{where}: expected genes (Ensembl ids), found special tokens only. {remedy}")
