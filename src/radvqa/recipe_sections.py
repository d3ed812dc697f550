"""The sections of a recipe, each a frozen typed model: what may be said, its unit, its source and its default.

In: what recipe.py read from YAML. Out: checked values; an unknown key or a value that is not allowed is an error.

    stage = Stage(name="stage1", data=(TrainSource(corpus="slake"),), epochs=5)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from radvqa.errors import InputError
from radvqa.tree import one_of

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""A name that can be a folder: letters, digits, `_`, `.`, `-`."""
Scalar = str | int | float | bool | None
Where = dict[str, Scalar | tuple[Scalar, ...]]
"""Field of Sample -> the value it must have, or a list of the values it may have."""
PAPER_LANGUAGE = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")
PAPER_VISION = ("q_proj", "v_proj", "out_proj", "fc1", "fc2")


class Part(BaseModel):
    """A section of the recipe: frozen, and an unknown key in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Model(Part):
    name: str = "radvqa-tiny"
    """`radvqa-tiny` (in the package), a Hugging Face id such as google/paligemma-3b-mix-448, or a folder."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU, float32 on a CPU. float16 overflows Gemma and is not offered."""


class Server(Part):
    """A served language model, behind any OpenAI-compatible endpoint; a key is read from OPENAI_API_KEY."""

    url: str
    """Its address, up to and with /v1."""
    model: str
    """What the server calls the model."""
    concurrency: Annotated[int, Field(gt=0)] = 8
    """Calls under way at once."""


class Curate(Part):
    """What is done with a corpus before anything is learned from it: choose, ask, filter."""

    by: Literal["finding", "modality", "plane", "region"] = "finding"
    """What `select`, `common` and `cap` go by; findings are read from concepts and captions, denied ones left out."""
    select: tuple[str, ...] = ()
    """Only pictures with one of these values; empty: all."""
    common: Annotated[int, Field(gt=0)] | None = None
    """Only pictures with one of the so many commonest values (founding paper, Figure 5)."""
    cap: Annotated[int, Field(gt=0)] | None = None
    """At most so many pictures of each value, drawn by the seed."""
    questions: Literal["keep", "template", "captions", "llm"] = "keep"
    """keep: those of the data set; template: from modality, plane, region, findings and side, in even numbers of yes and
    no; captions: to describe the picture; llm: written by `server`. Its replies are kept beside the corpus."""
    topics: tuple[Literal["modality", "plane", "region", "finding", "side"], ...] = (
        "modality", "plane", "region", "finding", "side",
    )  # fmt: skip
    """What templates ask about."""
    prompts: Annotated[
        tuple[Literal["open", "closed", "choice", "literature", "conversation"], ...], Field(min_length=1)
    ] = ("open", "closed")
    """What `server` is asked to write; literature: questions on the disease, for annealing."""
    number: Annotated[int, Field(gt=0)] = 5
    """Pairs a picture and prompt that `server` is asked for."""
    pictures: bool = False
    """Whether `server` is sent the pictures too."""
    server: Server | None = None
    """Who writes (questions: llm) and who judges (support)."""
    filter: bool = True
    """Whether pairs are filtered (see docs/curation.md); what goes is in dropped.parquet with its reason."""
    off: tuple[str, ...] = ()
    """Checks of the filter that are not asked, by the names that `radvqa filter -h` lists."""
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en",)
    """Languages that stay: en, fr, es, de, pt, it, zh."""
    support: bool = False
    """Whether `server` is asked of each pair that the other checks left whether the evidence supports its answer."""
    nli: Path | None = None
    """Folder of an entailment model that is asked the same of each pair, on this machine: what it finds contradicted goes."""
    blind: tuple[Path, ...] = ()
    """predictions.parquet files of a model that answered these very questions under a blank or shuffled picture (of an
    earlier run of this recipe): what it got right all the same goes."""

    @model_validator(mode="after")
    def _chooses_once(self) -> Curate:
        if self.select and self.common is not None:
            raise InputError("both select and common are given", key="common", fix="give one of them")
        if self.server is None and (self.questions == "llm" or self.support):
            key = "questions" if self.questions == "llm" else "support"
            raise InputError("this needs a language model", key=key, fix="give server: {url: ..., model: ...}")
        if not self.filter and (self.support or self.nli or self.blind):
            raise InputError("nothing is filtered", key="filter", fix="leave out support, nli and blind, or filter")
        return self


class Data(Part):
    dataset: str
    """A data set radvqa can read (phantom, vqa_rad, medpix, table ...), or `corpus`: `path` is a corpus already."""
    path: Path | None = None
    """Where the data set lies, relative to the current folder; ${VAR} is replaced from the environment."""
    options: dict[str, Any] = {}
    """What this data set can be told; see its file under datasets/."""
    curate: Curate | None = None
    """null: the corpus as it is."""


class Source(Part):
    corpus: str
    """One of the names under `data`."""
    split: Literal["train", "validation", "test"] = "train"
    """Only questions of this split."""
    where: Where = {}
    """Only questions whose fields have these values, e.g. {topic: [modality, plane], kind: closed}."""
    max_samples: Annotated[int, Field(gt=0)] | None = None
    """At most so many questions, drawn by the seed; None: all."""


class Enrich(Part):
    """Pictures with some values come more often, or less."""

    by: Literal["finding", "modality", "plane", "region"] = "finding"
    """What `times` goes by."""
    times: Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1)]
    """Value -> how often, e.g. {fracture: 3}; others once, of several the greatest; half a time is every other one."""


class TrainSource(Source):
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of the mixture that is this source, 0-1. None: taken whole, and the shares of others count on top."""
    times: Annotated[float, Field(gt=0)] = 1.0
    """How often a source taken whole is gone through in one pass over the mixture."""
    enrich: Enrich | None = None
    """null: every question as often as any other of its source."""


class TestSource(Source):
    split: Literal["train", "validation", "test"] = "test"
    """Only questions of this split."""


class Adapt(Part):
    method: Literal["lora", "rslora", "dora", "qlora", "full"] = "lora"
    """lora (Hu et al. 2021): low-rank adapters on the named modules; rslora (Kalajdzievski 2023): scaled by
    alpha / sqrt(rank); dora (Liu et al. 2024): direction and magnitude apart; qlora (Dettmers et al. 2023): lora on a
    4-bit base, needs a GPU and bitsandbytes; full: every weight."""
    rank: Annotated[int, Field(gt=0)] = 12
    """Rank of the adapters (founding paper: 12)."""
    alpha: Annotated[float, Field(gt=0)] = 32
    """The adapter is scaled by alpha / rank (founding paper: 32)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout before the adapters, 0-1."""
    vision: tuple[str, ...] = PAPER_VISION
    """Modules adapted in the vision tower (founding paper: q, v, o, up, down, as SigLIP names them)."""
    language: tuple[str, ...] = PAPER_LANGUAGE
    """Modules adapted in the language model (founding paper: q, v, o, up, down)."""
    projector: bool = False
    """Whether the projector between the towers is adapted too."""
    layout: Literal["prefix", "image-first"] | None = None
    """prefix: each question in a row with its picture, under PaliGemma's own mask; image-first: a picture once with all
    its questions behind it, several times faster where pictures have many questions, but another mask, under which the
    adapter must be asked. None: the model family's own (PaliGemma: prefix)."""

    @model_validator(mode="after")
    def _adapts_something(self) -> Adapt:
        if self.method != "full" and not (self.vision or self.language or self.projector):
            raise InputError("nothing is adapted", key="vision", fix="name modules of a tower, or use method: full")
        return self


class Anneal(Part):
    """The share of one source rises over the last part of the stage; let the learning rate fall there (schedule)."""

    corpus: str
    """The source, by its corpus: the small one of high quality."""
    start: Annotated[float, Field(ge=0, lt=1)] = 0.75
    """Fraction of the stage's steps after which its share rises from what it is in the mixture."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Fraction of what is learned at the last step that is this source."""


class Stage(Part):
    name: Name
    """The stage's folder in the run, and the arm its predictions are reported under."""
    start: str = "base"
    """base, or the earlier stage whose adapter this one goes on from."""
    data: Annotated[tuple[TrainSource, ...], Field(min_length=1)]
    """What is learned; the questions of these sources in split `validation` are watched, never learned."""
    order: Literal["mixed", "one after another"] = "mixed"
    """mixed: a new permutation of the mixture every epoch; one after another: a curriculum, the sources as listed."""
    temperature: Annotated[float, Field(ge=1)] | None = None
    """Gives every source a share in proportion to its size ** (1 / temperature); the higher, the more even."""
    anneal: Anneal | None = None
    """null: the shares stay as they are."""
    epochs: Annotated[float, Field(gt=0)] | None = None
    """Passes over the mixture; give this or `steps`."""
    steps: Annotated[int, Field(gt=0)] | None = None
    """Optimiser steps; give this or `epochs`."""
    batch_size: Annotated[int, Field(gt=0)] = 6
    """Questions in a micro-batch (founding paper: 6)."""
    questions_per_image: Annotated[int, Field(gt=0)] = 8
    """Questions of one image that may lie side by side in a micro-batch; the image is encoded once for them."""
    accumulation: Annotated[int, Field(gt=0)] = 1
    """Micro-batches in an optimiser step (founding paper: 16)."""
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    """Most tokens in a micro-batch, image tokens and padding included; a step is then cut into as many as it takes, and
    questions longer than this are left out and counted. None: batch_size alone decides."""
    lr: Annotated[float, Field(gt=0)] = 1e-5
    """Peak learning rate of AdamW (founding paper: 1e-5)."""
    schedule: Literal["constant", "cosine", "wsd"] = "constant"
    """After the warm-up: constant (founding paper), a half cosine down to zero, or wsd: constant, then a linear decay."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Part of the steps over which wsd decays, 0-1."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly from zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of AdamW (Loshchilov & Hutter 2019)."""
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradient norm above which a step is scaled down; null: never."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of a moving average of the weights, which is then what is evaluated and kept; None: no average."""
    augment: Literal["none", "shift"] = "none"
    """shift: each picture moved by a few pixels and changed a little in brightness; never mirrored (left is left)."""
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Steps between two looks at the loss on a slice of train and of validation; 0: at start and end only."""
    eval_samples: Annotated[int, Field(ge=0)] = 128
    """Questions in each of the two slices; 0: no such looks."""
    keep: Literal["last", "best"] = "last"
    """Which adapter the stage is known by: the last, or that of the lowest loss on the validation slice."""
    patience: Annotated[int, Field(gt=0)] | None = None
    """Stop after so many looks at the validation slice without a new lowest loss; None: never early."""
    checkpoint_every_s: Annotated[float, Field(ge=0)] = 300
    """Seconds of work a kill may cost."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again for the backward pass instead of kept: about a third slower, for a
    fraction of the memory."""
    compile: bool | None = None
    """Whether the layers of both towers are compiled: the first step takes a minute or two longer, the others less time
    and memory. null: on a GPU, unless the method is dora or qlora or weights are shared out."""
    shard: bool = False
    """Whether weights are shared out over the processes of the run (FSDP2) instead of whole in each; in full fine-tuning
    gradients and moments too. With one process there is nothing to share out."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that decode and resize pictures ahead of the step, onto the disk; null: none where the CPU trains, up
    to 8 beside a GPU."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio", "mlflow"], ...] = ("tensorboard",)
    """Where the log goes besides log.jsonl: tensorboard into the stage's folder, the others where they are set up."""
    adapt: Adapt = Adapt()
    """What differs from the recipe's own `adapt`; here filled up with it."""


class Evaluate(Part):
    data: Annotated[tuple[TestSource, ...], Field(min_length=1)]
    """What is asked."""
    arms: tuple[str, ...] = ()
    """base and stage names that answer; empty: all."""
    controls: tuple[Literal["blank", "shuffled"], ...] = ("blank", "shuffled")
    """Every arm also answers without seeing: a blank picture, the pictures of other questions."""
    batch_size: Annotated[int, Field(gt=0)] = 16
    """Questions answered at once."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 32
    """Longest answer, in tokens."""
    bootstrap_draws: Annotated[int, Field(ge=100)] = 2000
    """Draws behind each 95 % interval."""
    min_slice_n: Annotated[int, Field(gt=0)] = 20
    """Slices (a modality, a plane ...) of fewer questions get no row of their own."""


class Explain(Part):
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = ("raw", "rollout")
    """Names from saliency.METHODS; raw: attention of the answer tokens; rollout: Abnar & Zuidema 2020."""
    arm: str | None = None
    """Whose answers; None: the last stage's."""
    num_right: Annotated[int, Field(ge=0)] = 6
    """Right answers explained."""
    num_wrong: Annotated[int, Field(ge=0)] = 6
    """Wrong answers explained."""
    sample: Annotated[int, Field(ge=0)] = 0
    """Right answers on which the methods are measured and ranked, sanity checks included; 0: only those explained."""
    fills: Annotated[tuple[Literal["blur", "grey", "mean", "black"], ...], Field(min_length=1)] = ("blur", "grey")
    """What stands in for patches that are taken out when faithfulness is measured; the ranking is by the first."""
    where: Where = {}
    """Only answers to such questions."""
    seed: int = 0
    """Which of them."""

    @model_validator(mode="after")
    def _methods_exist(self) -> Explain:
        from radvqa.saliency import METHODS

        for name in self.methods:
            if name not in METHODS:
                raise InputError(f"found {name!r}", key="methods", fix=one_of(name, list(METHODS)))
        return self


class Trust(Part):
    arm: str | None = None
    """Whose answers; None: the last stage's."""
    more: tuple[TestSource, ...] = ()
    """Held-out questions beside those of `evaluate`, e.g. the validation split: more answers, narrower intervals."""
    num_runs: Annotated[int, Field(ge=0)] = 5
    """Sampled runs of each question, for the disagreement (founding paper: five); 0: none."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the sampled runs."""
    agreement: bool = True
    """Whether two saliency methods are compared, which costs a backward pass."""
    alphas: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.05, 0.1, 0.2, 0.3)
    """Shares of wrong answers among the answers given that may not be exceeded."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Probability with which they are not."""
    num_resplits: Annotated[int, Field(ge=2)] = 200
    """Halves of the answers on which the promise is tried."""


class Consistency(Part):
    """Every question asked several times (docs/evaluation.md)."""

    arm: str | None = None
    """Whose answers; None: the last stage's."""
    num_runs: Annotated[int, Field(ge=2)] = 5
    """How often each question is asked (founding paper: five times)."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    """Of the softmax that tokens are drawn from."""
    shuffle: bool = True
    """Whether the options of choice questions stand in another order in every run."""
    max_samples: Annotated[int, Field(gt=0)] | None = None
    """At most so many questions of each source, drawn by the seed; None: all that are evaluated."""


class JudgeModel(Part):
    name: str
    """As its server knows it, e.g. llama3.1:8b."""
    base_url: str = "http://localhost:11434/v1"
    """Up to and with /v1; here ollama's. Another address of the same model changes no result and asks nothing again."""


class Judge(Part):
    """A language model says of each answer whether it is right (founding paper: k of 200)."""

    models: Annotated[tuple[JudgeModel, ...], Field(min_length=1)]
    """The judges; with several, the verdict of more than half of them counts."""
    arms: tuple[str, ...] = ()
    """Whose answers; empty: all that are evaluated."""
    kinds: tuple[Literal["open", "closed", "choice"], ...] = ()
    """Questions of these kinds only; empty: all."""
    ratings: Path | None = None
    """People's verdicts on some of the answers (id, arm, rating); null: the judge is not checked."""
    concurrency: Annotated[int, Field(gt=0)] = 8
    """Calls at once."""

    @model_validator(mode="after")
    def _judges_differ(self) -> Judge:
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise InputError(f"found {', '.join(names)}", key="models", fix="name each once")
        return self


class Report(Part):
    title: str | None = None
    """Heading of the page; None: the recipe's name."""
    num_pictures: Annotated[int, Field(ge=0)] = 12
    """Sample pictures in the data card."""


class Scaling(Part):
    """A grid of runs: shares of a stage's data, ranks of its adapters, seeds; a scaling law is fitted to their losses."""

    stage: str | None = None
    """The stage whose data varies; None: the last."""
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (0.05, 0.1, 0.2, 0.5, 1.0)
    """Shares of the questions of that stage's sources, 0-1; a smaller one is part of a larger one."""
    ranks: tuple[Annotated[int, Field(gt=0)], ...] = ()
    """Ranks of the adapters, in every stage, alpha / rank kept as it is; empty: the recipe's own."""
    seeds: tuple[int, ...] = ()
    """Seeds; empty: the recipe's own."""
    by: Literal["topic", "kind", "source", "modality", "plane", "region"] | None = "topic"
    """A law for each value of this field beside that of all questions; null: one law."""
    form: Literal["data", "model", "joint", "additive"] | None = None
    """The law; null: data, model or joint, by what varies."""
    num_draws: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap draws behind each interval."""
