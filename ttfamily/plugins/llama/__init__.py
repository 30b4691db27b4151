"""Llama 2, 3, 3.1 and 3.2: RMS norm, rotary grouped-query attention, gated MLP; the parent of most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttfamily.core.config.spec import AttentionSpec, MlpSpec, ModelSpec, NormSpec, head_dim_of
from ttfamily.core.weights.rules import column, row, width
from ttfamily.family import Family
from ttfamily.hookspecs import hookimpl

if TYPE_CHECKING:
    from ttfamily.core.config.hf_config import HfConfig

TTFAMILY_CONTRACT = 2

WEIGHTS = {
    "embedding": width("model.embed_tokens"),
    "layer.attention_norm": width("model.layers.{layer}.input_layernorm"),
    "layer.attention.qkv": column(
        "model.layers.{layer}.self_attn.q_proj",
        "model.layers.{layer}.self_attn.k_proj",
        "model.layers.{layer}.self_attn.v_proj",
    ),
    "layer.attention.out": row("model.layers.{layer}.self_attn.o_proj"),
    "layer.mlp_norm": width("model.layers.{layer}.post_attention_layernorm"),
    "layer.mlp.gate_up": column("model.layers.{layer}.mlp.gate_proj", "model.layers.{layer}.mlp.up_proj"),
    "layer.mlp.down": row("model.layers.{layer}.mlp.down_proj"),
    "norm": width("model.norm"),
    "lm_head": column("lm_head"),
}


def spec(config: HfConfig) -> ModelSpec:
    """Read a ``LlamaForCausalLM`` config (transformers' ``LlamaConfig``), in its old or new form.

    :raises ConfigError: naming the key that is missing, of the wrong type or impossible.
    """
    hidden_size = config.take("hidden_size", kind=int)
    heads = config.take("num_attention_heads", kind=int)
    head_dim = config.take("head_dim", None, int)
    if head_dim is None:
        head_dim = head_dim_of(hidden_size, heads)
    max_position_embeddings = config.take("max_position_embeddings", kind=int)
    attention_bias = config.take("attention_bias", default=False, kind=bool)
    rope = config.rope(head_dim, max_position_embeddings, partial=False)
    # SmolLM2 writes this to say what its architecture already says.
    config.take("is_llama_config", default=True, kind=bool)
    return ModelSpec(
        vocab_size=config.take("vocab_size", kind=int),
        hidden_size=hidden_size,
        num_hidden_layers=config.take("num_hidden_layers", kind=int),
        max_position_embeddings=max_position_embeddings,
        tie_word_embeddings=config.take("tie_word_embeddings", default=False, kind=bool),
        norm=NormSpec(kind="rms", eps=config.take("rms_norm_eps", kind=float)),
        rope=rope,
        attention=AttentionSpec(
            num_attention_heads=heads,
            num_key_value_heads=config.take("num_key_value_heads", heads, int, null=heads),
            head_dim=head_dim,
            qkv_bias=attention_bias,
            out_bias=attention_bias,
            scale=head_dim**-0.5,
        ),
        mlp=MlpSpec(
            kind="gated",
            intermediate_size=config.take("intermediate_size", kind=int),
            activation=config.activation("hidden_act", default="silu"),
            bias=config.take("mlp_bias", default=False, kind=bool),
        ),
    )


LLAMA = Family(
    name="llama",
    architectures=("LlamaForCausalLM",),
    spec=spec,
    weights=WEIGHTS,
    # Checkpoints made before transformers 4.32 store the rotary frequencies, which follow from the config.
    ignored=("model.layers.*.self_attn.rotary_emb.inv_freq",),
)


@hookimpl
def ttfamily_families() -> tuple[Family, ...]:
    """Provide the Llama family."""
    return (LLAMA,)
