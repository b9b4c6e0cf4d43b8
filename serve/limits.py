"""What one client may ask of a server."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.core.errors import ServingError
from serve.messages import Job

UNREAD_S = 10.0
"""What a stream may take longer than its answer, for a client that reads slowly."""


class ServingLimits(BaseModel):
    """body_bytes: of a request; body_s: for it to come; prompts, n, max_tokens, stops, stop_characters: in one request;
    texts: prompts times n; concurrent: requests that are being answered, by one ingress; waiting: texts that wait for a
    slot, in one replica; timeout_s: for a whole answer; loading_s: until the models are there, where none has answered
    yet.
    """

    model_config = ConfigDict(extra="forbid")

    body_bytes: int = Field(default=2_000_000, ge=1)
    body_s: float = Field(default=30.0, gt=0)
    prompts: int = Field(default=128, ge=1)
    n: int = Field(default=16, ge=1)
    texts: int = Field(default=128, ge=1)
    max_tokens: int = Field(default=4096, ge=1)
    stops: int = Field(default=16, ge=0)
    stop_characters: int = Field(default=200, ge=1)
    concurrent: int = Field(default=256, ge=1)
    waiting: int = Field(default=256, ge=0)
    timeout_s: float = Field(default=300.0, gt=0)
    loading_s: float = Field(default=60.0, ge=0)

    @property
    def longest_s(self) -> float:
        """Seconds that one request may take, from its first byte to the last of its answer."""
        return self.body_s + self.loading_s + self.timeout_s + UNREAD_S

    def require_within(self, job: Job) -> None:
        """Raise ServingError naming the first limit that a job is beyond."""
        found = {
            "prompts": (len(job.prompts), self.prompts),
            "n": (job.n, self.n),
            "prompts times n": (len(job.prompts) * job.n, self.texts),
            "max_tokens": (job.sampling.max_tokens, self.max_tokens),
            "stops": (len(job.stops) + len(job.stop_ids), self.stops),
            "characters of a stop": (max(map(len, job.stops), default=0), self.stop_characters),
        }
        for name, (given, most) in found.items():
            if given > most:
                raise ServingError(f"{name}: {given} is more than the {most} that this server allows in one request")
