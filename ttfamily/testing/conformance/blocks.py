"""Every block computes what Hugging Face's own module computes in float32, in prefill and in decode."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import ttnn

from ttfamily.core.mesh.placement import integers
from ttfamily.testing import strategies
from ttfamily.testing.bench import activations, put_decode, put_prefill, put_whole, read_logits, read_stream, read_sum
from ttfamily.testing.caches import HostCache
from ttfamily.testing.conformance.chosen import drawn
from ttfamily.testing.conformance.subject import Subject
from ttfamily.testing.correlation import assert_pcc, pcc
from ttfamily.testing.equality import assert_same
from ttfamily.testing.reference import Sequence

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.layout.schemes import Phase
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.testing.conformance.chosen import Data
    from ttfamily.testing.conformance.subject import Trial
    from ttfamily.testing.strategies import Batch

    Read = Callable[[Plan, ttnn.Tensor, int, Phase], torch.Tensor]

BLOCK_PCC, LAYER_PCC, CACHE_PCC = 0.999, 0.998, 0.99
LONGEST = 512
LIGHT = 2**22  # weights of a layer, for blocks whose cost is in the hidden size alone: a model made in no time
USERS = strategies.mostly_small(1, 4, 32)
LENGTHS = strategies.lengths(LONGEST)


class BlockTests(Subject):
    """The first layer's blocks, and the two ends of the model."""

    @drawn(10, seed=strategies.SEEDS, users=USERS, tokens=LENGTHS)
    def test_norm(self, tt_mesh: Mesh, data: Data, seed: int, users: int, tokens: int) -> None:
        with self.trial(self.draw(data, most_weights=LIGHT), seed, tt_mesh, users, LONGEST) as trial:
            compare_both_phases(trial, trial.bench.norm(), "layer.attention_norm", tokens, seed, read_stream)

    @drawn(10, seed=strategies.SEEDS, users=USERS, tokens=LENGTHS)
    def test_mlp(self, tt_mesh: Mesh, data: Data, seed: int, users: int, tokens: int) -> None:
        with self.trial(self.draw(data), seed, tt_mesh, users, LONGEST) as trial:
            compare_both_phases(trial, trial.bench.mlp(), "layer.mlp", tokens, seed, read_sum)

    @drawn(10, seed=strategies.SEEDS, users=USERS, tokens=LENGTHS)
    def test_embedding_and_head(self, tt_mesh: Mesh, data: Data, seed: int, users: int, tokens: int) -> None:
        with self.trial(self.draw(data, most_weights=LIGHT), seed, tt_mesh, users, LONGEST) as trial:
            plan, table, vocab = trial.bench.plan, trial.hf.get_input_embeddings(), trial.bench.plan.spec.vocab_size
            embedding = trial.bench.embedding()
            prompt = strategies.random_tokens(vocab, plan.padded_length(0, tokens), seed)
            got = embedding.prefill(integers(tt_mesh, prompt[None], ttnn.uint32))
            assert_same(read_stream(plan, got, len(prompt), "prefill"), table(prompt), "embedding, prefill", ("token",))
            step = strategies.random_tokens(vocab, plan.users, seed + 1)
            got = embedding.decode(integers(tt_mesh, step[None], ttnn.uint32))
            assert_same(read_stream(plan, got, len(step), "decode"), table(step), "embedding, decode", ("slot",))
            x = activations(users, plan.spec.hidden_size, seed)
            got = trial.bench.lm_head().decode(put_whole(plan, x))
            head = trial.hf.get_output_embeddings()
            assert_pcc(read_logits(plan, got, users), head(x), BLOCK_PCC)

    @drawn(10, batch=strategies.batches(longest=LONGEST), seed=strategies.SEEDS)
    def test_attention(self, tt_mesh: Mesh, data: Data, batch: Batch, seed: int) -> None:
        with self.trial(self.draw(data), seed, tt_mesh, len(batch.tokens), LONGEST) as trial:
            compare_with_cache(trial, trial.bench.attention(), "layer.attention", batch, seed, read_sum, BLOCK_PCC)

    @drawn(10, batch=strategies.batches(longest=LONGEST), seed=strategies.SEEDS)
    def test_decoder_layer(self, tt_mesh: Mesh, data: Data, batch: Batch, seed: int) -> None:
        with self.trial(self.draw(data), seed, tt_mesh, len(batch.tokens), LONGEST) as trial:
            compare_with_cache(trial, trial.bench.layer(), "layer", batch, seed, read_stream, LAYER_PCC)


def compare_both_phases(trial: Trial, block: Any, slot: str, tokens: int, seed: int, read: Read) -> None:
    """Compare a block that treats every token alone, in prefill and in decode.

    :param tokens: of the prompt; decode runs with all users of a replica.
    """
    plan, path = trial.bench.plan, trial.paths[slot]
    stream = read is read_stream
    x = activations(tokens, plan.spec.hidden_size, seed)
    got = read(plan, block.prefill(put_prefill(plan, x, stream=stream)), tokens, "prefill")
    compare(got, sequence := Sequence(trial.hf), sequence.through(path, x), BLOCK_PCC)
    users = plan.slots_per_replica
    x = activations(users, plan.spec.hidden_size, seed + 1)
    got = read(plan, block.decode(put_decode(plan, x, stream=stream)), users, "decode")
    compare(got, sequence := Sequence(trial.hf), sequence.through(path, x), BLOCK_PCC)


def compare(got: torch.Tensor, sequence: Sequence, want: torch.Tensor, at_least: float) -> None:
    """Compare with what a sequence returned last; on a miss, with what bfloat16 makes of it."""
    __tracebackhide__ = True
    assert_pcc(got, want, at_least, bfloat16=lambda: min(pcc(each.last, want) for each in sequence.in_bfloat16()))


def compare_with_cache(
    trial: Trial, block: Any, slot: str, batch: Batch, seed: int, read: Read, at_least: float
) -> None:
    """Prefill every slot, then decode all of them together, each at its own position; compare the cache too."""
    plan, hf, path = trial.bench.plan, trial.hf, trial.paths[slot]
    width, stream = plan.spec.hidden_size, read is read_stream
    table = strategies.page_table(batch, pages=plan.pages, blocks=plan.num_blocks, seed=seed)
    rope, caches = trial.bench.rope(), getattr(block, "attention", block).caches
    wanted = {user: Sequence(hf) for user in batch.slots}
    for user in batch.slots:
        tokens = batch.tokens[user]
        x = activations(tokens, width, seed + user)
        got = block.prefill(put_prefill(plan, x, stream=stream), trial.bench.chunk(rope, table[user], tokens))
        compare(read(plan, got, tokens, "prefill"), wanted[user], wanted[user].through(path, x), at_least)
    compare_caches(HostCache(plan, caches), table, batch, wanted)
    positions = torch.tensor([tokens or -1 for tokens in batch.tokens], dtype=torch.int32)
    x = activations(len(batch.tokens), width, seed - 1)
    out = block.decode(put_decode(plan, x, stream=stream), trial.bench.step(rope, table, positions))
    got = read(plan, out, len(batch.tokens), "decode")
    for user in batch.slots:
        compare(got[user, None], wanted[user], wanted[user].through(path, x[user, None]), at_least)
    grown = strategies.Batch(tokens=tuple(tokens and tokens + 1 for tokens in batch.tokens))
    compare_caches(HostCache(plan, caches), table, grown, wanted)


def compare_caches(cache: HostCache, table: torch.Tensor, batch: Batch, wanted: dict[int, Sequence]) -> None:
    """Compare the keys and values of every user; Hugging Face may keep only the last, and may repeat heads."""
    for user, sequence in wanted.items():
        for part, got in enumerate(cache.of(table[user], batch.tokens[user])):
            want = sequence.kept()[part]
            assert_pcc(*overlap(got, want), CACHE_PCC, bfloat16=partial(kept_in_bfloat16, sequence, part))


def kept_in_bfloat16(sequence: Sequence, part: int) -> float:
    """Return the lowest correlation of a sequence's keys (or values) in bfloat16 with those in float32."""
    want = sequence.kept()[part]
    return min(pcc(each.kept()[part], want) for each in sequence.in_bfloat16())


def overlap(got: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what both caches have: the last tokens, each head once."""
    return got[:, got.shape[1] - kept.shape[1] :], kept[:: len(kept) // len(got)]
