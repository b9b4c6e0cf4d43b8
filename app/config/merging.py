"""The section `merges`: single models averaged from the experts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from app.config.fields import NonNegativeFloat, Section

MergeName = Annotated[str, Field(pattern=r"^merged[a-z0-9_]*$")]


class MergeConfig(Section):
    """A model whose parameters are a weighted average of the experts'; all weigh the same where nothing is said."""

    weights: dict[str, NonNegativeFloat] = Field(default={})
    """Expert -> weight; they are divided by their sum. Experts without one are left out."""
    language: str = ""
    """Weigh each expert by its share of this language's training text."""

    @model_validator(mode="after")
    def _said_once(self) -> MergeConfig:
        if self.weights and self.language:
            raise ValueError("give weights or language, not both")
        if self.weights and not sum(self.weights.values()):
            raise ValueError("all weights are 0; give at least one expert more")
        return self
