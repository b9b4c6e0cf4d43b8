"""The section `adaptation`: new languages for a finished run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.config.fields import Names, NonNegativeInt, PositiveInt, Section


class AdaptationConfig(Section):
    """New languages join a finished run, an expert each (`jobs.adapt`)."""

    languages: Names = ()
    """New languages; `kk+az` gives two of them one expert."""
    in_turn: bool = False
    """One round for each, in this order, so that a later one may branch from an earlier one's expert."""
    ranking: Literal["typology", "perplexity", "representation"] = "typology"
    """Who is the donor: the nearest language by syntax features; or of those of the expert that finds a sample of the
    new text least surprising; or by the seed's mean hidden states on a sample. All are shown, this one is taken."""
    donor_share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the donor's text in the new expert's training rows."""
    budget_tokens: NonNegativeInt = 0
    """Training tokens of each new expert; 0 means an equal share of `training.budget_tokens`, as the first ones had."""
    lapt: bool = True
    """Train `dense` on each new language alone too, with as many tokens in all and with as many of the new language."""
    sample_documents: PositiveInt = 100
    """Held-out documents per new language by which donors are ranked."""
    remove: Names = ()
    """Languages whose added experts leave the ensemble; their models stay in the store."""

    @model_validator(mode="after")
    def _one_at_a_time(self) -> AdaptationConfig:
        if self.languages and self.remove:
            raise ValueError("give languages to add or languages to remove, not both")
        if self.in_turn and self.ranking == "perplexity":
            raise ValueError("ranking perplexity needs experts that are trained; set in_turn to false and adapt again")
        return self
