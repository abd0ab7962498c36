"""Section `latent` of the configuration: the joint latent-activity estimator. The other sections are in :mod:`causcade.config`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from causcade.config_input import Positive, Section

__all__ = ["LatentConfig"]


class LatentConfig(Section):
    """The latent-activity estimator: every gene regresses on the activities of the listed targets."""

    num_rounds: Positive = Field(default=12, description="Rounds of activities and edges.")
    first_sweeps: Positive = Field(default=10, description="Sweeps over all edges in the first round.")
    sweeps: Positive = Field(default=6, description="Sweeps over all edges in each later round.")
    nuisance_edges: bool = Field(
        default=True, description="Also fit the pairs from listed targets that are not candidates; they take up other paths and are never reported."
    )
    activity: Literal["auto", "measured", "hidden"] = Field(
        default="auto",
        description="What a perturbation acts on: decided by the data (auto), always the mRNA of its targets (measured), or their activity (hidden).",
    )
    known_kinds: list[Literal["drug", "knockout", "crispri", "crispra"]] = Field(
        default=["knockout"],
        description="Kinds of perturbation whose targets' mRNA says nothing of their activity: a knocked-out gene may be transcribed.",
    )
    prune_links: bool = Field(
        default=True,
        description="Drop a listed target of a drug that does not move while another one of that drug does: many drug tables list more than is hit. "
        "A gene that several drugs list, each beside another one that moves, and that never moves itself, stays: they may act on its activity.",
    )
    mediators: bool = Field(default=True, description="Weigh each edge against a path through a gene that no perturbation is listed to hit.")
