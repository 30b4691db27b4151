"""What shapes a model's graph: every number and every switch, checked when it is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from ttfamily.core.config.own import Own
from ttfamily.core.config.validators import FIX, boolean, count, made_of, number, one_of, refuse
from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
Residual = Literal["sequential", "parallel", "parallel_shared_norm"]

# No published model comes near these. They are here so that a damaged number is an error before anything is built.
MOST_LAYERS = 1024
MOST_HEADS = 1024
MOST_HEAD_DIM = 4096
MOST_HIDDEN = 2**17
MOST_INTERMEDIATE = 2**20
MOST_TOKENS = 2**24
"""Of a context, and of a vocabulary."""
MOST_CONTEXT = 2**22
"""Tokens that a model is run with: the rotation of every position is a row of tables that the host makes."""
MOST_THETA = 1e15
MOST_FACTOR = 1e6
MOST_WINDOW = 2**31 - 1  # of ttnn's attention ops


def _window(instance: AttentionSpec, attribute: attrs.Attribute[Any], value: object) -> None:
    for each in value if isinstance(value, tuple) else (value,):
        if each is not None and (type(each) is not int or not 1 <= each <= MOST_WINDOW):
            expected = f"tokens (an integer from 1 to {MOST_WINDOW:,}), None, or a tuple of those"
            raise refuse(instance, attribute, value, expected)


_eps = number(0.0, 1.0, including=False)
_scale = number(0.0, MOST_FACTOR, including=False)
_factor = number(1.0, MOST_FACTOR, including=True)
_theta = number(1.0, MOST_THETA, including=True)
_tokens = count(MOST_TOKENS)


@attrs.frozen(kw_only=True)
class NormSpec:
    """A normalisation over the hidden size.

    :param kind: ``rms`` (Zhang and Sennrich 2019, no mean, no bias) or ``layer`` (Ba et al. 2016).
    :param eps: added to the mean square (rms) or the variance (layer) before the root.
    :param bias: whether a ``layer`` norm adds a bias; always False for ``rms``.
    :raises ConfigError: naming the field that cannot be.
    """

    kind: Literal["rms", "layer"] = attrs.field(validator=one_of("rms", "layer"))
    eps: float = attrs.field(validator=_eps)
    bias: bool = attrs.field(default=False, validator=boolean)

    @bias.validator
    def _only_layer_norms_have_a_bias(self, attribute: attrs.Attribute[Any], value: object) -> None:
        if value and self.kind == "rms":
            raise refuse(self, attribute, value, "False for an rms norm")


@attrs.frozen(kw_only=True)
class LinearScaling:
    """Position interpolation (Chen et al. 2023): every frequency divided by ``factor`` (>= 1)."""

    factor: float = attrs.field(validator=_factor)


@attrs.frozen(kw_only=True)
class DynamicScaling:
    """NTK-aware scaling whose base grows with the sequence once it passes the trained length.

    :param factor: at least 1.
    :param original_max_position_embeddings: tokens; up to here nothing is scaled.
    """

    factor: float = attrs.field(validator=_factor)
    original_max_position_embeddings: int = attrs.field(validator=_tokens)

    @original_max_position_embeddings.validator
    def _reaches_a_context_that_can_be(self, attribute: attrs.Attribute[Any], value: int) -> None:
        if value * self.factor > MOST_TOKENS:
            raise refuse(self, attribute, value, f"at most {MOST_TOKENS:,} tokens after times factor, {self.factor:g}")


@attrs.frozen(kw_only=True)
class Llama3Scaling:
    """Llama 3.1's scaling by wavelength: long waves divided by ``factor``, short ones left alone.

    :param factor: at least 1.
    :param low_freq_factor: waves longer than original / low_freq_factor tokens are divided.
    :param high_freq_factor: waves shorter than original / high_freq_factor tokens are kept;
        must exceed ``low_freq_factor``.
    :param original_max_position_embeddings: the trained length in tokens.
    """

    factor: float = attrs.field(validator=_factor)
    low_freq_factor: float = attrs.field(validator=_scale)
    high_freq_factor: float = attrs.field(validator=_scale)
    original_max_position_embeddings: int = attrs.field(validator=_tokens)

    @high_freq_factor.validator
    def _leaves_a_band_to_blend_in(self, attribute: attrs.Attribute[Any], value: float) -> None:
        if value <= self.low_freq_factor:
            raise refuse(self, attribute, value, f"more than low_freq_factor, which is {self.low_freq_factor}")


RopeScaling = LinearScaling | DynamicScaling | Llama3Scaling


@attrs.frozen(kw_only=True)
class RopeSpec:
    """Rotary position embedding (Su et al. 2021) in Hugging Face's order: halves, not pairs.

    :param theta: the base of the frequencies, at least 1.
    :param rotary_dim: how many of a head's dimensions are rotated; even.
    :param scaling: how contexts beyond the trained length are reached; None for plain RoPE.
    :raises ConfigError: naming the field that cannot be.
    """

    theta: float = attrs.field(validator=_theta)
    rotary_dim: int = attrs.field(validator=count(MOST_HEAD_DIM))
    scaling: RopeScaling | None = attrs.field(
        default=None, validator=made_of(LinearScaling, DynamicScaling, Llama3Scaling, type(None))
    )

    @rotary_dim.validator
    def _splits_in_halves(self, attribute: attrs.Attribute[Any], value: int) -> None:
        if value % 2:
            raise refuse(self, attribute, value, "an even number")

    @scaling.validator
    def _has_an_exponent(self, attribute: attrs.Attribute[Any], value: object) -> None:
        # The grown base is theta * stretch ** (rotary_dim / (rotary_dim - 2)).
        if isinstance(value, DynamicScaling) and self.rotary_dim <= 2:  # noqa: PLR2004
            raise refuse(self, attribute, value, "a rotary_dim of at least 4 for dynamic scaling")


def head_dim_of(hidden_size: int, num_attention_heads: int) -> int:
    """Return the width of a head where a config does not give it: the hidden size is cut into heads.

    :raises ConfigError: if it cannot be.
    """
    if not 1 <= hidden_size <= MOST_HIDDEN:
        expected = f"an integer from 1 to {MOST_HIDDEN:,}"
        raise ConfigError("hidden_size", got=str(hidden_size), expected=expected, fix=FIX)
    if num_attention_heads < 1 or hidden_size % num_attention_heads:
        raise ConfigError(
            "num_attention_heads",
            got=str(num_attention_heads),
            expected=f"a divisor of hidden_size, which is {hidden_size}, where head_dim is not given",
            fix="Write head_dim into config.json if the architecture reads it, or correct the two.",
        )
    return hidden_size // num_attention_heads


@attrs.frozen(kw_only=True)
class AttentionSpec:
    """Multi-head, grouped-query or multi-query attention.

    :param num_attention_heads: query heads.
    :param num_key_value_heads: key/value heads; divides ``num_attention_heads``.
    :param head_dim: dimensions of one head.
    :param qkv_bias: whether the query, key and value projections have a bias.
    :param out_bias: whether the output projection has one.
    :param scale: what scores are multiplied by before the softmax, usually head_dim ** -0.5.
    :param sliding_window: how many tokens a query sees, itself included; None for all before it. A tuple
        has one entry for each layer.
    :param qk_norm: an rms norm over head_dim of every query and key head, before they are rotated.
    :raises ConfigError: naming the field that cannot be.
    """

    num_attention_heads: int = attrs.field(validator=count(MOST_HEADS))
    num_key_value_heads: int = attrs.field(validator=count(MOST_HEADS))
    head_dim: int = attrs.field(validator=count(MOST_HEAD_DIM))
    qkv_bias: bool = attrs.field(validator=boolean)
    out_bias: bool = attrs.field(validator=boolean)
    scale: float = attrs.field(validator=_scale)
    sliding_window: int | tuple[int | None, ...] | None = attrs.field(default=None, validator=_window)
    qk_norm: NormSpec | None = attrs.field(default=None, validator=made_of(NormSpec, type(None)))

    @num_key_value_heads.validator
    def _serves_whole_groups(self, attribute: attrs.Attribute[Any], value: int) -> None:
        if self.num_attention_heads % value:
            expected = f"a divisor of num_attention_heads, which is {self.num_attention_heads}"
            raise refuse(self, attribute, value, expected)

    @qk_norm.validator
    def _is_rms(self, attribute: attrs.Attribute[Any], value: NormSpec | None) -> None:
        if value is not None and value.kind != "rms":
            raise refuse(self, attribute, value, "an rms norm: a layer norm's mean would count a padded head_dim")

    def window(self, layer: int) -> int | None:
        """Return the sliding window of a layer, in tokens; None if it sees everything."""
        return self.sliding_window[layer] if isinstance(self.sliding_window, tuple) else self.sliding_window


@attrs.frozen(kw_only=True)
class MlpSpec:
    """The feed-forward part: ``gated`` is down(act(gate(x)) * up(x)), ``plain`` is down(act(up(x))).

    :param kind: ``gated`` or ``plain``.
    :param intermediate_size: width between the projections.
    :param activation: ``gelu`` is the exact one, ``gelu_tanh`` the tanh approximation.
    :param bias: whether every projection has a bias.
    :raises ConfigError: naming the field that cannot be.
    """

    kind: Literal["gated", "plain"] = attrs.field(validator=one_of("gated", "plain"))
    intermediate_size: int = attrs.field(validator=count(MOST_INTERMEDIATE))
    activation: Activation = attrs.field(validator=one_of(*get_args(Activation)))
    bias: bool = attrs.field(validator=boolean)


@attrs.frozen(kw_only=True)
class ModelSpec:
    """A decoder-only language model, as far as its graph depends on it.

    :param vocab_size: rows of the embedding table, which is also the width of the logits.
    :param hidden_size: width of the residual stream.
    :param num_hidden_layers: decoder layers.
    :param max_position_embeddings: tokens; the longest context the model was made for.
    :param tie_word_embeddings: whether the head's weight is the embedding table.
    :param norm: used before attention, before the MLP and after the last layer.
    :param residual: ``sequential``: the MLP reads what attention has been added to. ``parallel``: both
        read the layer's input, each through a norm of its own, and are added to it together.
        ``parallel_shared_norm``: both read the output of attention's norm.
    :param own: values that the family's own blocks and transforms read, and nobody else; a value that changes
        the graph belongs here or into another field, since specs that are equal are the same model to ttfamily.
    :raises ConfigError: naming the field that cannot be.
    """

    vocab_size: int = attrs.field(validator=_tokens)
    hidden_size: int = attrs.field(validator=count(MOST_HIDDEN))
    num_hidden_layers: int = attrs.field(validator=count(MOST_LAYERS))
    max_position_embeddings: int = attrs.field(validator=_tokens)
    tie_word_embeddings: bool = attrs.field(validator=boolean)
    norm: NormSpec = attrs.field(validator=made_of(NormSpec))
    attention: AttentionSpec = attrs.field(validator=made_of(AttentionSpec))
    rope: RopeSpec = attrs.field(validator=made_of(RopeSpec))
    mlp: MlpSpec = attrs.field(validator=made_of(MlpSpec))
    residual: Residual = attrs.field(default="sequential", validator=one_of(*get_args(Residual)))
    own: Mapping[str, Any] = attrs.field(factory=dict, converter=Own)

    @attention.validator
    def _has_a_window_for_every_layer(self, attribute: attrs.Attribute[Any], value: AttentionSpec) -> None:
        windows = value.sliding_window
        if isinstance(windows, tuple) and len(windows) != self.num_hidden_layers:
            raise refuse(self, attribute, windows, f"a sliding_window for each of the {self.num_hidden_layers} layers")

    @rope.validator
    def _rotates_no_more_than_a_head(self, attribute: attrs.Attribute[Any], value: RopeSpec) -> None:
        if value.rotary_dim > self.attention.head_dim:
            expected = f"a rotary_dim of at most head_dim, which is {self.attention.head_dim}"
            raise refuse(self, attribute, value.rotary_dim, expected)

    @property
    def longest_context(self) -> int:
        """Tokens, at most :data:`MOST_CONTEXT`.

        Dynamic scaling is there to go beyond what the model was trained on, by its factor.
        """
        scaling, tokens = self.rope.scaling, self.max_position_embeddings
        if isinstance(scaling, DynamicScaling):
            tokens = max(tokens, int(scaling.original_max_position_embeddings * scaling.factor))
        return min(tokens, MOST_CONTEXT)
