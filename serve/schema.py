"""Requests and responses in the shapes of OpenAI's completions API, with an ``xelm`` object of our own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Stop = Annotated[str, Field(min_length=1)]
_SEEDS = 1 << 63


class XelmOptions(BaseModel):
    """How the experts are to be mixed for this request; what is left out is the run's."""

    model_config = ConfigDict(extra="forbid")

    language: str | None = None
    weighting: str | None = None
    temperature: float | None = Field(default=None, ge=1e-6, allow_inf_nan=False)
    top_m: int | None = Field(default=None, ge=0)


class CompletionRequest(BaseModel):
    """``POST /v1/completions``. Fields that are not here are refused: nothing that was asked for is ignored."""

    model_config = ConfigDict(extra="forbid")

    model: str = "ensemble"
    prompt: str | Annotated[list[str] | list[int] | list[list[int]], Field(min_length=1)]
    max_tokens: int = Field(default=16, ge=1)
    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-_SEEDS, lt=_SEEDS)
    stop: _Stop | list[_Stop] | None = None
    user: str | None = None
    n: Literal[1] = 1
    stream: Literal[False] = False
    echo: Literal[False] = False
    logprobs: None = None
    xelm: XelmOptions = XelmOptions()

    def prompts(self) -> list[str | list[int]]:
        """One entry for each text to complete."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [part for part in self.prompt if isinstance(part, int)]
        return [ids] if ids else [part for part in self.prompt if not isinstance(part, int)]

    def stops(self) -> tuple[str, ...]:
        """Strings that end a text."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChoiceXelm(BaseModel):
    """The experts' mean weights over the text that was generated."""

    weights: dict[str, float]


class Choice(BaseModel):
    """One completed text."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: None = None
    xelm: ChoiceXelm


class Usage(BaseModel):
    """Tokens of all prompts, of all texts generated, and both."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The answer."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ModelCard(BaseModel):
    """One model that may be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "xelm"


class ModelList(BaseModel):
    """``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
