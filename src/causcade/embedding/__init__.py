"""Cell embeddings: the representation that the basal decoder starts from, and a map of it for the report.

`pca`: principal axes of the panel, pinned. `precomputed`: an obsm key of the input, or files of the user's. `tx1`: a Tahoe-x1 transformer
(:mod:`causcade.tx1`). What they share, the table of the cells and the checks, is in `plate`; the map is in `map`. Each module has a digest of its
own, so that a change of another source embeds nothing again; the package itself holds nothing.
"""
