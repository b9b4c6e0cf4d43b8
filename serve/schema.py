"""Requests in the shapes of OpenAI's API, with an ``xelm`` object of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, model_validator

from app.ensemble.sampling import Sampling
from serve.messages import Mixing, Prompt

_MOST_ENTRIES = 1024
_MOST_FIELDS = 100
_SEEDS = 1 << 63
_MOST = 1 << 31
_UNSUPPORTED = frozenset(
    [
        "audio",
        "best_of",
        "function_call",
        "functions",
        "metadata",
        "modalities",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "store",
        "suffix",
        "tool_choice",
        "tools",
        "verbosity",
        "web_search_options",
    ]
)


def _few(value: Any) -> Any:
    """Refuse an object of very many entries before each becomes an error of its own, or costs time for each token."""
    if isinstance(value, Mapping) and len(value) > _MOST_ENTRIES:
        raise ValueError(f"{len(value)} entries are given; at most {_MOST_ENTRIES} may be")
    return value


# Lists end at the first entry that is wrong: an error for each of a million would take gigabytes.
_Stop = Annotated[str, Field(min_length=1)]
_Name = Annotated[str, Field(max_length=200)]
_Ids = Annotated[list[StrictInt], Field(fail_fast=True)]
_Prompts = (
    Annotated[list[str], Field(min_length=1, fail_fast=True)]
    | Annotated[list[StrictInt], Field(min_length=1, fail_fast=True)]
    | Annotated[list[_Ids], Field(min_length=1, fail_fast=True)]
)
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Bias = Annotated[float, Field(ge=-100, le=100)]


class _Strict(BaseModel):
    """Fields that are not here are refused: nothing that was asked for is ignored. null is what is not given."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if len(value) > _MOST_FIELDS:
            raise ValueError(f"{len(value)} fields are given; no object here has so many")
        given = {name: item for name, item in value.items() if item is not None}
        if known := sorted(_UNSUPPORTED & given.keys() - cls.model_fields.keys()):
            raise ValueError(f"{known[0]} is a field of OpenAI's API that this server does not support; leave it out")
        return given


class XelmOptions(_Strict):
    """How the experts are to be mixed for this request; what is left out is the run's.

    experts: names of those that take part, or names with the weight of each before the first token. per_token: the
    answer holds the weights of each token.
    """

    language: _Name | None = None
    weighting: _Name | None = None
    temperature: float | None = Field(default=None, ge=1e-6, allow_inf_nan=False)
    top_m: int | None = Field(default=None, ge=0)
    experts: (
        Annotated[list[_Name], Field(fail_fast=True)] | Annotated[dict[_Name, _Weight], BeforeValidator(_few)] | None
    ) = None
    per_token: bool = False

    def mixing(self) -> Mixing:
        """The same for a replica."""
        fixed = tuple(self.experts.values()) if isinstance(self.experts, dict) else None
        experts = None if self.experts is None else tuple(self.experts)
        return Mixing(self.language, self.weighting, self.temperature, self.top_m, experts, fixed)


class StreamOptions(_Strict):
    """include_usage: one more chunk before the end counts the tokens."""

    include_usage: bool = False


class GenerationRequest(_Strict):
    """What both kinds of completion have in common. Ranges are the engine's (``app.ensemble.sampling``)."""

    model: _Name = "ensemble"
    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, lt=_MOST)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    # Pydantic copies defaults, so these are not shared between requests.
    logit_bias: Annotated[dict[int, _Bias], BeforeValidator(_few)] = {}
    seed: int | None = Field(default=None, ge=-_SEEDS, lt=_SEEDS)
    stop: _Stop | Annotated[list[_Stop], Field(fail_fast=True)] | None = None
    stop_token_ids: _Ids = []
    n: int = Field(default=1, ge=1, lt=_MOST)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    xelm: XelmOptions = XelmOptions()

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> GenerationRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is given but stream is not true")
        return self

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a count of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def stops(self) -> tuple[str, ...]:
        """Strings that end a text."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def sampling(self, max_tokens: int) -> Sampling:
        """How tokens are drawn."""
        return Sampling(
            max_tokens,
            self.temperature,
            self.top_p,
            self.seed,
            self.top_k,
            self.min_p,
            self.repetition_penalty,
            self.presence_penalty,
            self.frequency_penalty,
            self.logit_bias,
        )


class CompletionRequest(GenerationRequest):
    """``POST /v1/completions``. logprobs: alternatives for each token; echo: the prompt is part of the text."""

    prompt: str | _Prompts
    max_tokens: int = Field(default=16, ge=0, lt=_MOST)
    echo: bool = False
    # Strict: pydantic would take true for 1, and in chat this field is a boolean.
    logprobs: Annotated[StrictInt, Field(ge=0, le=5)] | None = None

    def prompts(self) -> list[Prompt]:
        """One entry for each text to complete."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [part for part in self.prompt if isinstance(part, int)]
        if ids:
            return [tuple(ids)]
        return [part if isinstance(part, str) else tuple(part) for part in self.prompt if not isinstance(part, int)]


class ChatMessage(_Strict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "developer"]
    content: str
    name: str | None = None


class ChatRequest(GenerationRequest):
    """``POST /v1/chat/completions``, for models whose tokenizer has a chat template."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]
    max_tokens: int | None = Field(default=None, ge=1, lt=_MOST)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=_MOST)
    logprobs: bool = False
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=5)] | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> ChatRequest:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens are both given, and mean the same; give one of them")
        return self

    @model_validator(mode="after")
    def _alternatives_need_logprobs(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is given but logprobs is not true")
        return self

    def turns(self) -> Sequence[Mapping[str, str]]:
        """The messages as a template takes them."""
        return [message.model_dump(exclude_none=True) for message in self.messages]


class TokenizeRequest(_Strict):
    """``POST /tokenize``: token ids of a text, the start token first unless ``add_special_tokens`` is false.

    A text that is exactly one of the special tokens of ``/tokenizer_info`` is that token.
    """

    prompt: str
    model: _Name = "ensemble"
    add_special_tokens: bool = True


class DetokenizeRequest(_Strict):
    """``POST /detokenize``: text of token ids, special tokens left out."""

    tokens: _Ids
    model: _Name = "ensemble"
