"""From a spec to a transformer on a mesh: what loading, planning, the kit and benchmarks have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.core.blocks.slots import LayerBlocks
from ttfamily.core.blocks.transformer import Transformer
from ttfamily.core.layout.budget import longest_context
from ttfamily.core.layout.plan import BLOCK_SIZES, PAGE_STEP, Plan
from ttfamily.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.core.config.precision_policy import PrecisionPolicy
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.budget import Budget
    from ttfamily.core.layout.schemes import Scheme
    from ttfamily.core.mesh.mesh import Mesh


@attrs.frozen(kw_only=True)
class Limits:
    """What a model is asked to serve.

    :param max_batch_size: users at once, of all replicas together.
    :param max_seq_len: tokens of a prompt and its continuation; by default the model's own limit, or what fits
        beside the weights if that is less.
    :param scheme: how the residual stream lies over the devices; by default whatever moves the fewest bytes.
    :param block_size: tokens in a block of the KV cache: 32, 64 or 128.
    """

    max_batch_size: int
    max_seq_len: int | None = None
    scheme: Scheme | None = None
    block_size: int = BLOCK_SIZES[0]


def build(
    spec: ModelSpec, own_blocks: Mapping[str, str], mesh: Mesh, precision: PrecisionPolicy, limits: Limits
) -> Transformer:
    """Build a transformer, which says what it takes and waits to be loaded: nothing is put on the mesh.

    :param own_blocks: of the family, slot -> ``"module:Class"``.
    :raises PlanError: if it cannot be laid out, or does not fit.
    """
    plan = Plan.of(
        spec,
        mesh,
        precision,
        max_batch_size=limits.max_batch_size,
        scheme=limits.scheme,
        block_size=limits.block_size,
    )
    blocks = LayerBlocks.of(spec, own_blocks)

    def built(tokens: int) -> Transformer:
        return Transformer(attrs.evolve(plan, max_seq_len=tokens), blocks)

    dram = mesh.dram_bytes()[1]
    limit, asked = spec.longest_context, limits.max_seq_len
    if asked is not None and 1 <= asked <= limit:
        transformer = built(asked)
        if transformer.budget().total <= dram:
            return transformer
    fits = longest_context(lambda tokens: built(tokens).budget(), limit, dram)
    if fits == 0:
        raise _too_large(plan, built(PAGE_STEP).budget(), dram)
    if asked is not None:
        what = "the longest context of the model"
        if fits < limit:
            what = f"what fits on {mesh.name} beside the weights for {plan.max_batch_size} users"
        fix = "Ask for at least one token." if asked < 1 else "Ask for a shorter context."
        raise PlanError("max_seq_len", got=str(asked), expected=f"1 to {fits}, {what}", fix=fix)
    return built(fits)


def _too_large(plan: Plan, budget: Budget, dram_bytes: int) -> PlanError:
    weights = sum(budget.weights.values())
    return PlanError(
        f"{plan.mesh.name}, {plan.max_batch_size} users",
        got=f"{weights / 2**30:.1f} GiB of weights for each chip of {dram_bytes / 2**30:.1f} GiB",
        expected=f"room for the weights, {PAGE_STEP} tokens of KV cache for every user, and for running a prefill",
        fix='Use a mesh with more chips, precision="performance", or a smaller max_batch_size.',
    )
