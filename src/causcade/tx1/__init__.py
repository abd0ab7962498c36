"""Tahoe-x1 (TX1): a transformer over the expressed genes of a cell, compatible with the published checkpoints."""
