"""The one configuration tree: frozen, unknown keys refused, every field with its unit and meaning.

Built in one order by ``app.config.load``: preset, then YAML file, then ``--set a.b=c``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from app.config.fields import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section
from app.config.planning import PlanningConfig


def _as_names(value: object) -> object:
    """Accept ``de,en`` from a command line where a list of names is meant."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _in_home(value: object) -> object:
    """``~/x`` is below the home folder, as in a shell: which leaves it as it is behind ``--set key=``."""
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~") else value


def _as_off(value: object) -> object:
    """YAML reads ``off`` as false."""
    return "off" if value is False else value


def _as_range(value: object) -> object:
    """Accept one number for a range of nothing else, and ``1,4`` from a command line."""
    parts = _as_names(value) if isinstance(value, str) else value
    return (parts, parts) if isinstance(parts, int) else parts


SOURCE_PREFIX = "source:"
BaselineName = Annotated[str, Field(pattern=r"^dense[a-z0-9_]*$")]
Place = Annotated[str, BeforeValidator(_in_home)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]
Range = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_as_range)]


Trackers = Annotated[tuple[Literal["tensorboard", "prometheus", "wandb", "mlflow"], ...], BeforeValidator(_as_names)]


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


class ColumnsConfig(Section):
    """Names of the corpus's columns, ours to theirs."""

    text: str = "text"
    """Column with the document's text."""
    url: str = "url"
    """Column with the page's address; may be absent in the data."""
    timestamp: str = "timestamp"
    """Column with the page's time; may be absent in the data."""
    lang: str = "lang"
    """Column with the language, which goes before the names of file and folder; `lang` also finds `language`."""
    source: str = "source"
    """Column with the corpus a document came from, used by `quality_weights` alone."""


class CorpusConfig(Section):
    """Where text comes from."""

    source: Literal["almanac", "files", "mc4", "culturax", "madlad400", "madlad400-noisy", "fineweb2", "hplt"] = (
        "almanac"
    )
    """`almanac` (embedded, generated from CLDR), `files` (folder, glob or URI), or a corpus of the Hub by name."""
    path: Place = ""
    """Folder, file, glob or URI of `files`; for a corpus of the Hub a local copy in its layout (empty: the Hub)."""
    languages: Names = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ja", "ko", "ru", "sw", "tr", "ur", "vi", "zh")
    """Languages to use (ISO 639-1, 639-3 where there is none); empty means all that are found."""
    columns: ColumnsConfig = ColumnsConfig()
    """Column map of `files`; for a corpus of the Hub what differs from its own."""
    revision: str = ""
    """Commit of the Hub's data set; empty means the one pinned with its layout."""
    max_files_per_language: NonNegativeInt = 0
    """Only the first files, by name, of each language and split; 0 means all."""
    max_documents_per_file: NonNegativeInt = 0
    """Only the first documents of each file; 0 means all."""
    max_line_bytes: PositiveInt = 16_000_000
    """Longer lines are rejected, bytes."""
    min_characters: NonNegativeInt = 1
    """Shorter texts are rejected as empty, characters."""
    validation_fraction: Fraction = 0.05
    """Share held out by hash of the document where the corpus brings no validation split."""
    documents_per_language: PositiveInt = 400
    """Training documents per language that the almanac writes."""
    validation_documents_per_language: PositiveInt = 40
    """Validation documents per language that the almanac writes."""
    staging: Place = "artifacts/staging"
    """Local folder into which the Hub's files are downloaded once."""
    retries: PositiveInt = 8
    """Tries per file before a download is given up."""
    retry_wait_seconds: PositiveFloat = 1.0
    """First wait between tries, seconds; doubles each time."""
    near_duplicates: Annotated[Literal["off", "minhash"], BeforeValidator(_as_off)] = "off"
    """`minhash` drops each document that is nearly an earlier one of its language, in train and validation together."""
    near_duplicate_threshold: Annotated[float, Field(ge=0.5, le=0.95)] = 0.8
    """Similarity (Jaccard, of 5 successive characters) around which two documents begin to count as one."""
    language_identification: Annotated[Literal["off", "lingua"], BeforeValidator(_as_off)] = "off"
    """`lingua` drops documents that are not in their language (extra `langid`); languages unknown to it are kept."""
    language_confidence: Fraction = 0.5
    """Least confidence of the identification in a document's language."""
    quality_weights: dict[str, NonNegativeFloat] = Field(default={})
    """Language -> factor on its share of the mixture; `source:<name>` -> share of its documents to keep, by hash."""
    mixture: Literal["uniform", "proportional", "temperature", "unimax"] = "uniform"
    """Distribution over languages that training draws from."""
    mixture_temperature: PositiveFloat = 0.3
    """Exponent of the token counts for `temperature`: 0 is uniform, 1 proportional."""
    mixture_max_epochs: PositiveFloat = 4.0
    """Most passes over one language's text for `unimax`."""

    @model_validator(mode="after")
    def _sources_are_thinned(self) -> CorpusConfig:
        sources = {name: weight for name, weight in self.quality_weights.items() if name.startswith(SOURCE_PREFIX)}
        if more := [name for name, weight in sources.items() if weight > 1]:
            raise ValueError(f"quality_weights {more[0]}={sources[more[0]]} is above 1; a source can only be thinned")
        if nothing := [name for name, weight in self.quality_weights.items() if not weight and name not in sources]:
            raise ValueError(
                f"quality_weights {nothing[0]}=0 leaves nothing; take {nothing[0]} out of corpus.languages"
            )
        if sources and self.source == "almanac":
            raise ValueError("quality_weights names sources, but the almanac has one; weigh languages")
        return self


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
    """`typological`, `tfidf`, `random` or `one_per_language`."""
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


class TrainingConfig(Section):
    """How experts and the dense baseline are trained."""

    budget_tokens: PositiveInt = 2_000_000
    """Training tokens of the dense model; the experts share the same number."""
    budget_split: Literal["equal", "by_mixture"] = "by_mixture"
    """How experts share the budget: equally, or by their part's share of the mixture."""
    sequence_length: PositiveInt = 128
    """Tokens per row."""
    tokens_per_step: PositiveInt = 4096
    """Tokens per optimizer step; a multiple of `sequence_length`."""
    micro_batch_rows: PositiveInt = 32
    """Rows per forward pass; the rest of a step is accumulated."""
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "linear"
    """Shape of the learning rate after warm-up."""
    warmup_fraction: Fraction = 0.0
    """Share of the steps spent warming up."""
    final_learning_rate_fraction: Fraction = 0.1
    """Learning rate at the end as a share of the peak."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW's decoupled weight decay (not on biases and norms)."""
    beta1: Fraction = 0.9
    """AdamW's first moment decay."""
    beta2: Fraction = 0.95
    """AdamW's second moment decay."""
    epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    clip_norm: PositiveFloat = 1.0
    """Largest gradient norm."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; `auto` is bf16 where the hardware is faster with it."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    loss_chunk_tokens: PositiveInt = 512
    """Rows of the vocabulary projection computed at a time, tokens."""
    checkpoint_every_steps: PositiveInt = 100
    """Steps between checkpoints."""
    keep_checkpoints: PositiveInt = 2
    """Checkpoints kept per model."""
    cpus_per_expert: PositiveFloat = 1.0
    """CPU cores each worker of a training run asks for."""
    gpus_per_expert: NonNegativeFloat = 0.0
    """GPUs each worker of a training run asks for."""
    workers_per_expert: Range = (1, 1)
    """Workers that train one model together, least and most: `2`, or `1,4` for as many as are free and join later."""
    parallelism: Literal["data", "fsdp"] = "data"
    """Several workers: each holds the whole model (`data`), or its part of it (`fsdp`, for seeds larger than a GPU)."""
    max_failures: NonNegativeInt = 2
    """Times a failing training run is started again without having saved anything new; preemptions are not counted."""
    trackers: Trackers = ("tensorboard", "prometheus")
    """Where metrics go besides `metrics.jsonl`: `tensorboard`, `prometheus` (through Ray), `wandb`, `mlflow`."""

    @model_validator(mode="after")
    def _steps_are_whole_rows(self) -> TrainingConfig:
        if self.tokens_per_step % self.sequence_length:
            raise ValueError(
                f"tokens_per_step {self.tokens_per_step} is not a multiple of sequence_length {self.sequence_length}"
            )
        least, most = self.workers_per_expert
        if least > most:
            raise ValueError(f"workers_per_expert {least},{most}: the least is above the most; exchange them")
        if most > (rows := self.tokens_per_step // self.sequence_length):
            raise ValueError(
                f"workers_per_expert {most} is more than the {rows} rows of a step; raise tokens_per_step or take fewer"
            )
        return self


class BaselineConfig(Section):
    """A dense model to compare with: the rows and the budget of all experts together, optimised in its own way."""

    equal_steps: bool = False
    """As many optimizer steps as an expert takes, by steps of k times the tokens; else k times as many steps."""
    learning_rate: NonNegativeFloat = 0.0
    """Peak learning rate; 0 means that of `training`."""


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
    allocation: AllocationConfig = AllocationConfig()
    """Cutting the corpus."""
    training: TrainingConfig = TrainingConfig()
    """Training."""
    baselines: dict[BaselineName, BaselineConfig] = Field(default={"dense": BaselineConfig()})
    """Dense models to compare with, by name. `dense`, the one that wins are counted against, is always there."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation."""
    imported: ImportConfig = ImportConfig()
    """Experts from elsewhere."""
    cluster: ClusterConfig = ClusterConfig()
    """Ray."""
    planning: PlanningConfig = PlanningConfig()
    """Prices and rates for `jobs.plan`."""

    @model_validator(mode="after")
    def _dense_is_there(self) -> Config:
        if "dense" not in self.baselines:
            object.__setattr__(self, "baselines", {"dense": BaselineConfig(), **self.baselines})
        return self

    @model_validator(mode="after")
    def _k_is_chosen(self) -> Config:
        if self.allocation.k:
            return self
        if not self.corpus.languages:
            raise ValueError(
                "allocation.k=0 chooses k from corpus.languages, which is empty; name the languages or set allocation.k"
            )
        chosen = self.allocation.model_copy(update={"k": automatic_k(len(self.corpus.languages))})
        object.__setattr__(self, "allocation", chosen)  # the tree is frozen only once it is made
        return self


def automatic_k(languages: int) -> int:
    """How many experts so many languages get where nobody says: one each up to 4, then half as many, at most 8."""
    return min(languages, max(4, min(8, languages // 2)))
