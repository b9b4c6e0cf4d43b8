"""The one configuration tree: frozen, unknown keys refused, every field with its unit and meaning.

Built in one order by ``app.config.load``: preset, then YAML file, then ``--set a.b=c``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.config.adaptation import AdaptationConfig
from app.config.corpus import CorpusConfig
from app.config.fields import (
    Fraction,
    Names,
    NonNegativeInt,
    Place,
    PositiveFloat,
    PositiveInt,
    Section,
)
from app.config.merging import MergeConfig, MergeName
from app.config.planning import PlanningConfig
from app.config.probes import ProbesConfig
from app.config.sweep import SweepConfig
from app.config.training import BaselineConfig, BaselineName, TrainingConfig


class RunConfig(Section):
    """What a run is called and where its randomness comes from."""

    name: str = Field(default="", pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]*)?$")
    """Name of the run folder: letters, digits, `_`, `-`, and `.` but not first; empty means the preset's name."""
    seed: NonNegativeInt = 0
    """Seed of every random choice of the run."""


class ArtifactsConfig(Section):
    """Where everything is stored."""

    root: Place = "artifacts"
    """Folder or any fsspec URI (s3://, gs://, ...) that holds the store and the runs."""
    cache: Place = ""
    """Local folder for copies of remote artifacts; empty means a folder in the system's temporary folder."""
    cache_bytes: PositiveInt = 16 << 30
    """Token parts of a remote store that a machine keeps at once, bytes; the least recently used leave first."""


class SeedConfig(Section):
    """The model every expert branches from."""

    source: Literal["pretrained", "trained"] = "pretrained"
    """`pretrained` (a Hugging Face folder or id) or `trained` (by `jobs.seed`, from this corpus)."""
    model: Place = "builtin:demo"
    """Folder, Hub id, or `builtin:demo`, of a pretrained seed."""
    revision: str = ""
    """Pinned revision of a Hub id; empty means the default branch."""
    architecture: str = "xglm"
    """Architecture of a trained seed, a name of `app/models/registry.py` (`xglm`, `llama`)."""
    vocabulary_size: PositiveInt = 2048
    """Vocabulary of a trained seed, tokens."""
    width: PositiveInt = 64
    """Model width d of a trained seed."""
    layers: PositiveInt = 2
    """Layers of a trained seed."""
    heads: PositiveInt = 2
    """Attention heads of a trained seed."""
    ffn_width: PositiveInt = 256
    """Feed-forward width of a trained seed."""
    tokenizer_sample_bytes: PositiveInt = 200_000
    """Text per language the tokenizer is trained on, bytes."""
    budget_tokens: PositiveInt = 6_000_000
    """Tokens a trained seed is trained on."""
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of a trained seed."""
    tokens_per_step: NonNegativeInt = 0
    """Tokens per optimizer step of a trained seed; 0 means that of `training`. Set it where a sweep tries
    `training.tokens_per_step`, so that all trials branch from one seed."""
    cpus: PositiveFloat = 1.0
    """CPU cores a trained seed is trained with, all its workers together; nothing else can run meanwhile."""

    @model_validator(mode="after")
    def _width_divides(self) -> SeedConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}; change either")
        return self


class AllocationConfig(Section):
    """Which text belongs to which expert."""

    strategy: str = "typological"
    """`typological`, `anti_typological` (distant languages together), `one_per_language`; `tfidf` or `random`, which
    cut documents; by a probe of the seed: `parameter_deviation`, `gradient_similarity`, `representation_similarity`,
    `transfer`."""
    k: NonNegativeInt = 0
    """Number of experts; 0 chooses it from the languages: one each up to 4, then half as many, at most 8."""
    linkage: Literal["published", "average"] = "published"
    """Typological clustering: the paper's pairing, or average-link agglomeration."""
    min_features: PositiveInt = 30
    """Least number of known typological features of a language; with fewer, its nearest neighbour is chance
    (`benchmarks.masked_features`)."""
    fallback: Literal["error", "family", "nearest_script"] = "error"
    """What to do with a language that has fewer features."""
    analyzer: Literal["tokens", "char", "paper"] = "tokens"
    """TF-IDF terms: the seed's tokens (no text is read), character n-grams (every script) or the paper's words."""
    max_features: PositiveInt = 65_536
    """TF-IDF features: most token ids of `tokens`, hash buckets of `char`, most words of `paper`."""
    components: PositiveInt = 100
    """Dimensions after truncated SVD."""
    sample_documents: PositiveInt = 4000
    """Documents the clustering is fitted on, drawn from the whole corpus by hash."""
    assignment: Literal["balanced", "nearest"] = "balanced"
    """Parts made of whole groups of like documents, as even as these allow; or as published: a document goes to the
    nearest of k balanced clusters' centres, whatever the sizes."""


class EvaluationConfig(Section):
    """How models are scored."""

    protocol: Literal["document", "paper"] = "document"
    """`document`: each document alone, stride half a row; `paper`: packed rows."""
    max_documents_per_language: PositiveInt = 100
    """Validation documents scored per language."""
    max_tokens_per_document: PositiveInt = 512
    """Each document is scored up to here, tokens."""
    batch_tokens: PositiveInt = 8192
    """Tokens per forward pass."""
    temperature: PositiveFloat = 0.1
    """T of the ensemble weights softmax(-d^2/T)."""
    top_m: NonNegativeInt = 0
    """Experts mixed per token; 0 means all."""
    weighting: Literal[
        "auto", "one_hot", "tfidf", "as_coded", "uniform", "bayes", "product_of_experts", "posterior"
    ] = "auto"
    """Ensemble weights; `auto` is `one_hot` where experts own languages and the text's is told, else `posterior`."""
    prior: Literal["language", "uniform"] = "language"
    """Weights before the first token where a language is told: each expert's share of its text, or all equal."""
    power: PositiveFloat = 1.0
    """Exponent of each token's probability in `posterior`."""
    forgetting: Fraction = 1.0
    """Share of the evidence that `posterior` keeps from token to token; 1 forgets nothing."""
    drop_below: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    """An expert of less weight under `posterior` is dropped and not run; 0 drops none."""
    rescore_every: NonNegativeInt = 64
    """Tokens after which dropped experts are looked at again; 0 means never."""
    bootstrap_samples: PositiveInt = 2000
    """Resamples of the paired bootstrap."""
    sample_tokens: NonNegativeInt = 24
    """Tokens of each sample of generated text on the page, as far as a row holds them; 0 generates none."""
    sample_languages: PositiveInt = 2
    """Languages of each expert that samples are generated in, those first of which it holds most."""
    confusion_texts: PositiveInt = 8
    """Texts of each language that every system goes on with for `jobs.cross_lingual`."""
    confusion_tokens: PositiveInt = 48
    """Tokens of each of them, as far as a row holds them."""


class ImportConfig(Section):
    """Models made elsewhere, for `jobs.import_experts`."""

    experts: Names = ()
    """Hugging Face folders or ids, or fairseq and metaseq checkpoint files; `de+fr=PLACE` says whose languages they
    are. All with languages, or none: then the running posterior weighs them."""
    tokenizer: Place = ""
    """Folder or id of the tokenizer all of them share; empty means that of the first expert."""


class ClusterConfig(Section):
    """The Ray cluster the jobs run on."""

    address: str = "local"
    """`local` starts Ray here; `auto` or `host:port` joins a running cluster."""
    cpus: NonNegativeInt = 0
    """CPU cores of a local Ray; 0 means all."""
    object_store_bytes: PositiveInt = 268_435_456
    """Shared memory of a local Ray, bytes."""
    slots: NonNegativeInt = 0
    """Most training runs at once; 0 means as many as the cluster's resources hold. Set it where there are more models
    than an autoscaling cluster may have machines: it adds none for a request it can never meet."""


class Config(Section):
    """Everything a run depends on."""

    run: RunConfig = RunConfig()
    """Name and seed."""
    artifacts: ArtifactsConfig = ArtifactsConfig()
    """Storage."""
    corpus: CorpusConfig = CorpusConfig()
    """Text."""
    seed: SeedConfig = SeedConfig()
    """Seed model."""
    probes: ProbesConfig = ProbesConfig()
    """What the seed is asked about each language."""
    allocation: AllocationConfig = AllocationConfig()
    """Cutting the corpus."""
    training: TrainingConfig = TrainingConfig()
    """Training."""
    baselines: dict[BaselineName, BaselineConfig] = Field(default={"dense": BaselineConfig()})
    """Dense models to compare with, by name, which begins with `dense`.

    `dense` itself, the one that wins are counted against, is always there.
    `--set baselines.NAME=null` takes out one that a preset has.
    """
    merges: dict[MergeName, MergeConfig] = Field(default={})
    """Single models averaged from the experts, by name, which begins with `merged` (`merged`, `merged_de`, ...).

    Evaluation scores them too.
    """
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation."""
    adaptation: AdaptationConfig = AdaptationConfig()
    """New languages for a finished run."""
    imported: ImportConfig = ImportConfig()
    """Experts from elsewhere."""
    cluster: ClusterConfig = ClusterConfig()
    """Ray."""
    planning: PlanningConfig = PlanningConfig()
    """Prices and rates for `jobs.plan`."""
    sweep: SweepConfig = SweepConfig()
    """What `tune.sweep` tries."""

    @model_validator(mode="after")
    def _dense_is_there(self) -> Config:
        if "dense" not in self.baselines:
            object.__setattr__(self, "baselines", {"dense": BaselineConfig(), **self.baselines})
        return self

    @model_validator(mode="after")
    def _seed_steps_are_whole_rows(self) -> Config:
        if self.seed.tokens_per_step % self.training.sequence_length:
            raise ValueError(
                f"seed.tokens_per_step {self.seed.tokens_per_step} is not a multiple of training.sequence_length"
                f" {self.training.sequence_length}; change either"
            )
        return self

    @model_validator(mode="after")
    def _k_is_chosen(self) -> Config:
        if self.allocation.k:
            return self
        if not self.corpus.languages:
            raise ValueError(
                "allocation.k=0 chooses k from corpus.languages, which is empty; name the languages or set allocation.k"
            )
        # Chosen here, so that the resolved configuration and every key hold the number and not its absence.
        chosen = self.allocation.model_copy(update={"k": automatic_k(len(self.corpus.languages))})
        object.__setattr__(self, "allocation", chosen)  # the tree is frozen only once it is made
        return self


def automatic_k(languages: int) -> int:
    """How many experts so many languages get where nobody says: one each up to 4, then half as many, at most 8."""
    return min(languages, max(4, min(8, languages // 2)))
