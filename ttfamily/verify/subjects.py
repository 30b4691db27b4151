"""What is run on the device: a small model of every family, and the passes whose ops are compared."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import attrs
import torch

from ttfamily.builder import Limits, build
from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.weights import Weights
from ttfamily.engine.inputs import DecodeBatch, PromptChunk
from ttfamily.engine.pool import BlockPool
from ttfamily.engine.runner import Runner
from ttfamily.loading import read_spec
from ttfamily.testing.models import config_class_of, make_model, save_checkpoint
from ttfamily.verify.door import every_op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from transformers import PretrainedConfig

    from ttfamily.core.config.precision_policy import PrecisionPolicy
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.family import Family
    from ttfamily.verify.door import Around

WEIGHTS = "weights"  # the stage in which they are put on the mesh
SEED = 1
SLOTS, CONTEXT = 4, 512  # slots of each replica
# Of the keys that transformers' configs have, those that a class declares: two layers that eight chips can share.
SIZES: Mapping[str, Any] = {
    "vocab_size": 1000,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "ffn_hidden_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_kv_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 1024,
    "sliding_window": 64,  # shorter than the prompts
}
# Keys that lead to other ops, where a config class declares them all.
FORMS: tuple[Mapping[str, Any], ...] = (
    {},
    {"attention_bias": True, "mlp_bias": True},
    {"new_decoder_architecture": True},
)
PROMPT = 70  # tokens, in the first slot
LONG_PROMPT, CHUNK = 300, 256  # in the last slot, in two chunks


@attrs.frozen(kw_only=True)
class Subject:
    """A small model of one family, with random weights that are the same in every process.

    :param name: ``llama``, or ``falcon new_decoder_architecture``.
    :param config: of transformers.
    """

    name: str
    family: Family
    config: PretrainedConfig

    def save(self, folder: Path) -> Path:
        """Write its checkpoint, unless an earlier process has."""
        if not (folder / "config.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            save_checkpoint(make_model(self.config, SEED), folder)
        return folder


def subjects(
    families: Iterable[Family], refused: Callable[[str, Exception], None] = lambda _name, _error: None
) -> Iterator[Subject]:
    """Go through the small models of these families: one for each graph that a key of the config chooses.

    :param refused: called with a family of which transformers makes no model this small, and why.
    """
    for family in families:
        yield from _subjects_of(family, refused)


def _subjects_of(family: Family, refused: Callable[[str, Exception], None]) -> list[Subject]:
    try:
        kind = config_class_of(family.architectures[0])
        forms = [form for form in FORMS if form.keys() <= signature(kind).parameters.keys()]
        return [
            Subject(name=" ".join([family.name, *form]), family=family, config=_config(kind, family, form))
            for form in forms
        ]
    # The config class of an architecture that anybody may have written takes our sizes, or says no in its own way.
    except (AssertionError, ArithmeticError, LookupError, AttributeError, TypeError, ValueError) as error:
        refused(family.name, error)
        return []


def _config(kind: type[PretrainedConfig], family: Family, form: Mapping[str, Any]) -> PretrainedConfig:
    declared = signature(kind).parameters
    sizes = {key: value for key, value in SIZES.items() if key in declared}
    # A vocabulary this small does not have every token id that a class has by default.
    ids = {
        key: sizes["vocab_size"] - 1
        for key, parameter in declared.items()
        if key.endswith("_token_id") and isinstance(parameter.default, int) and parameter.default >= sizes["vocab_size"]
    }
    return kind(**sizes, **ids, **form, architectures=[family.architectures[0]])


def tokens(vocab_size: int, count: int, seed: int = SEED) -> torch.Tensor:
    """Random token ids, ``[count]`` int64, the same in every process."""
    return torch.randint(vocab_size, (count,), generator=torch.Generator().manual_seed(seed))


def stream(subject: Subject, folder: Path, mesh: Mesh, precision: PrecisionPolicy, around: Around) -> Iterator[str]:
    """Load a subject and run its passes, every op of both through ``around``.

    What a runner runs before the first pass (collectives on zeros) does not go through it.

    :param folder: its checkpoint.
    :returns: the name of each stage, before it is run.
    :raises TtfamilyError: if this mesh has no room or no programs for it.
    """
    with Checkpoint.open(folder) as checkpoint:
        config = HfConfig.from_folder(folder)
        spec = read_spec(config, subject.family)
        limits = Limits(max_batch_size=SLOTS * mesh.replicas, max_seq_len=CONTEXT)
        transformer = build(spec, subject.family.blocks, mesh, precision, limits)
        weights = Weights(checkpoint, subject.family, spec)
        yield WEIGHTS
        with every_op(around):
            transformer.load(weights)
        weights.finish()
    runner = Runner(transformer)
    try:
        with every_op(around):
            yield from passes(runner)
    finally:
        runner.close()


def passes(runner: Runner) -> Iterator[str]:
    """Run a prompt, a prompt in two chunks, and a decode step of both, op by op, without a trace.

    :returns: the name of each pass, before it is run.
    """
    plan = runner.plan
    pool, vocab, last = BlockPool.of(plan), plan.spec.vocab_size, plan.max_batch_size - 1
    prompts = {0: tokens(vocab, PROMPT).tolist(), last: tokens(vocab, LONG_PROMPT).tolist()}
    for slot, prompt in prompts.items():
        pool.reserve(slot, len(prompt) + 1)
        for chunk in PromptChunk.all_of(prompt, CHUNK, slot=slot, pages=pool.row(slot)):
            yield "later chunk" if chunk.start else "prefill"
            runner.run_prefill(chunk)
    positions = torch.full((plan.max_batch_size,), -1, dtype=torch.int32)
    for slot, prompt in prompts.items():
        positions[slot] = len(prompt)
    yield "decode"
    batch = DecodeBatch(tokens=tokens(vocab, len(positions)), positions=positions, page_table=pool.table)
    runner.graph.inputs.write(batch)
    runner.run_decode()
