"""Tahoe-x1 (TX1): a transformer over the expressed genes of a cell, compatible with the published checkpoints.

    import causcade.tx1
    model = causcade.tx1.load("tahoebio/Tahoe-x1:70m")
    z = model.embed(adata)

What is exported here is imported when it is first used, so that modules of this package that need no torch stay light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causcade.tx1.api import Tx1Embedder, load
    from causcade.tx1.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
    from causcade.tx1.embedded import Embedded, EmbedSettings
    from causcade.tx1.inference import embed_blocks, embed_counts
    from causcade.tx1.model import Tx1
    from causcade.tx1.shape import PRESETS, CollatorSettings, ModelShape
    from causcade.tx1.sharding import embed_store
    from causcade.tx1.tokens import Collated, collate
    from causcade.tx1.vocabulary import Vocabulary

__all__ = [
    "load", "Tx1Embedder", "embed_counts", "embed_blocks", "embed_store", "EmbedSettings", "Embedded", "read_checkpoint", "write_checkpoint",
    "Checkpoint", "Tx1", "ModelShape", "CollatorSettings", "PRESETS", "Vocabulary", "collate", "Collated",
]  # fmt: skip

_MODULE_OF = {
    "load": "api", "Tx1Embedder": "api", "embed_counts": "inference", "embed_blocks": "inference", "embed_store": "sharding",
    "EmbedSettings": "embedded", "Embedded": "embedded", "read_checkpoint": "checkpoint", "write_checkpoint": "checkpoint",
    "Checkpoint": "checkpoint", "Tx1": "model", "ModelShape": "shape", "CollatorSettings": "shape", "PRESETS": "shape",
    "Vocabulary": "vocabulary", "collate": "tokens", "Collated": "tokens",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is exported when it is first asked for."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
