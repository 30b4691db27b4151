"""Falcon: layer norms, fused query-key-value weights, a plain GELU MLP, attention and MLP side by side.

Four graphs: 7B (one key/value head, one norm a layer), 40B and 180B (groups of heads, two norms), Falcon2-11B
(groups, one norm), and the sequential one without ALiBi.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttfamily.core.config.spec import AttentionSpec, MlpSpec, ModelSpec, NormSpec, head_dim_of
from ttfamily.core.weights.rules import column, row, width
from ttfamily.errors import ConfigError
from ttfamily.family import Family
from ttfamily.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from ttfamily.core.config.hf_config import HfConfig
    from ttfamily.core.config.spec import Residual
    from ttfamily.core.weights.rules import WeightRule

TTFAMILY_CONTRACT = 2
LAYER = "transformer.h.{layer}."


def ungroup(fused: tuple[Tensor, ...], spec: ModelSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Cut ``query_key_value`` apart: for each key/value head its query heads, then its key, then its value.

    Falcon-7B, all of whose query heads share one key and value, is the case of a single group.

    :param fused: one tensor, ``[(heads + 2 key/value heads) * head_dim, ...]``.
    :returns: query, key and value, each head by head.
    """
    attention = spec.attention
    groups = fused[0].unflatten(0, (attention.num_key_value_heads, -1, attention.head_dim))
    query, key, value = groups.split([groups.shape[1] - 2, 1, 1], 1)
    return query.flatten(0, 2), key.flatten(0, 2), value.flatten(0, 2)


# new_decoder_architecture, parallel_attn, num_ln_in_parallel_attn
RESIDUALS: dict[tuple[bool, bool, int], Residual] = {
    (True, True, 2): "parallel",
    (True, True, 1): "parallel_shared_norm",
    (False, True, 1): "parallel_shared_norm",
    (False, False, 1): "sequential",
}
NORMS = {
    "sequential": {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"},
    "parallel": {"attention_norm": "ln_attn", "mlp_norm": "ln_mlp"},
    "parallel_shared_norm": {"attention_norm": "input_layernorm"},
}


def weights(spec: ModelSpec) -> dict[str, WeightRule]:
    """Return the weight table; which norms a layer has depends on its residual connections."""
    return {
        "embedding": width("transformer.word_embeddings"),
        **{f"layer.{slot}": width(LAYER + name) for slot, name in NORMS[spec.residual].items()},
        "layer.attention.qkv": column(LAYER + "self_attention.query_key_value", transform=ungroup),
        "layer.attention.out": row(LAYER + "self_attention.dense"),
        "layer.mlp.up": column(LAYER + "mlp.dense_h_to_4h"),
        "layer.mlp.down": row(LAYER + "mlp.dense_4h_to_h"),
        "norm": width("transformer.ln_f"),
        "lm_head": column("lm_head"),
    }


def spec(config: HfConfig) -> ModelSpec:
    """Read a ``FalconForCausalLM`` config (transformers' ``FalconConfig``); null is as absent where it computes alike.

    :raises ConfigError: naming the key that is missing, of the wrong type or impossible; for ALiBi.
    """
    _refuse_alibi(config)
    hidden_size = config.take("hidden_size", kind=int)
    heads = config.take("num_attention_heads", kind=int)
    head_dim = head_dim_of(hidden_size, heads)
    max_position_embeddings = config.take("max_position_embeddings", 2048, int)
    new = config.take("new_decoder_architecture", default=False, kind=bool, null=False)
    bias = config.take("bias", default=False, kind=bool, null=False)
    config.take("auto_map", None)  # code that tiiuae's checkpoints bring, older than transformers' own; never run
    config.take("ff_factor", None)  # Falcon2-11B says with it once more what ffn_hidden_size says
    return ModelSpec(
        vocab_size=config.take("vocab_size", kind=int),
        hidden_size=hidden_size,
        num_hidden_layers=config.take("num_hidden_layers", kind=int),
        max_position_embeddings=max_position_embeddings,
        tie_word_embeddings=config.take("tie_word_embeddings", default=True, kind=bool),
        norm=NormSpec(kind="layer", eps=config.take("layer_norm_epsilon", 1e-5, float), bias=True),
        rope=config.rope(head_dim, max_position_embeddings, partial=False),
        attention=AttentionSpec(
            num_attention_heads=heads,
            num_key_value_heads=_key_value_heads(config, heads, new=new),
            head_dim=head_dim,
            qkv_bias=bias,
            out_bias=bias,
            scale=head_dim**-0.5,
        ),
        mlp=MlpSpec(
            kind="plain",
            intermediate_size=config.take("ffn_hidden_size", 4 * hidden_size, int, null=4 * hidden_size),
            activation=config.activation("activation", default="gelu"),
            bias=bias,
        ),
        residual=_residual(config, new=new),
    )


def _refuse_alibi(config: HfConfig) -> None:
    if config.take("alibi", default=False, kind=bool, null=False):
        expected = "false: rotary position embedding, as Falcon-7B, -11B, -40B and -180B have it"
        fix = "falcon-rw models are not supported; ALiBi has no device block yet."
        raise ConfigError("alibi", got="true", expected=expected, fix=fix)


def _key_value_heads(config: HfConfig, heads: int, *, new: bool) -> int:
    grouped = config.take("num_kv_heads", heads, int, null=heads)
    multi_query = config.take("multi_query", default=True, kind=bool)
    return 1 if multi_query and not new else grouped


def _residual(config: HfConfig, *, new: bool) -> Residual:
    parallel = config.take("parallel_attn", default=True, kind=bool)
    usual = 2 if new else 1
    norms = config.take("num_ln_in_parallel_attn", usual, int, null=usual)
    if (new, parallel, norms) not in RESIDUALS:
        raise ConfigError(
            "num_ln_in_parallel_attn",
            got=f"{norms}, with new_decoder_architecture={new} and parallel_attn={parallel}",
            expected="1, or 2 with new_decoder_architecture; and parallel_attn with new_decoder_architecture",
            fix="Correct config.json: transformers cannot run this combination either.",
        )
    return RESIDUALS[new, parallel, norms]


FALCON = Family(
    name="falcon",
    architectures=("FalconForCausalLM",),
    spec=spec,
    weights=weights,
    ignored=("transformer.h.*.self_attention.rotary_emb.inv_freq",),
)


@hookimpl
def ttfamily_families() -> tuple[Family, ...]:
    """Provide the Falcon family."""
    return (FALCON,)
