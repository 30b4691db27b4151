"""What shapes a model's graph: every number and every switch, checked when it is written down."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from ttfamily.core.config.own import Own
from ttfamily.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Validator: TypeAlias = Callable[[Any, attrs.Attribute[Any], Any], None]

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
Residual = Literal["sequential", "parallel", "parallel_shared_norm"]

_FIX = "Correct it in config.json, or in the family's spec() if that made it."


def _refuse(instance: object, attribute: attrs.Attribute[Any], value: object, expected: str) -> ConfigError:
    return ConfigError(f"{type(instance).__name__}.{attribute.name}", got=repr(value), expected=expected, fix=_FIX)


def _positive_int(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not int or value < 1:
        raise _refuse(instance, attribute, value, "an integer of at least 1")


def _boolean(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not bool:
        raise _refuse(instance, attribute, value, "True or False")


def _number(least: float, *, including: bool) -> Validator:
    bound = f"a finite number {'of at least' if including else 'greater than'} {least}"

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        # bool is an int to Python; a switch in the place of a number is a mistake.
        number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
        if not math.isfinite(number) or number < least or (number == least and not including):
            raise _refuse(instance, attribute, value, bound)

    return check


def _one_of(*names: str) -> Validator:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in names:
            raise _refuse(instance, attribute, value, f"one of {', '.join(names)}")

    return check


def _made_of(*kinds: type) -> Validator:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds):
            names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            raise _refuse(instance, attribute, value, names)

    return check


def _window(instance: AttentionSpec, attribute: attrs.Attribute[Any], value: object) -> None:
    for each in value if isinstance(value, tuple) else (value,):
        if each is not None and (type(each) is not int or each < 1):
            raise _refuse(instance, attribute, value, "tokens (an integer of at least 1), None, or a tuple of those")


_positive = _number(0.0, including=False)
_factor = _number(1.0, including=True)


@attrs.frozen(kw_only=True)
class NormSpec:
    """A normalisation over the hidden size.

    :param kind: ``rms`` (Zhang and Sennrich 2019, no mean, no bias) or ``layer`` (Ba et al. 2016).
    :param eps: added to the mean square (rms) or the variance (layer) before the root.
    :param bias: whether a ``layer`` norm adds a bias; always False for ``rms``.
    :raises ConfigError: naming the field that cannot be.
    """

    kind: Literal["rms", "layer"] = attrs.field(validator=_one_of("rms", "layer"))
    eps: float = attrs.field(validator=_positive)
    bias: bool = attrs.field(default=False, validator=_boolean)

    @bias.validator
    def _only_layer_norms_have_a_bias(self, attribute: attrs.Attribute[Any], value: object) -> None:
        if value and self.kind == "rms":
            raise _refuse(self, attribute, value, "False for an rms norm")


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
    original_max_position_embeddings: int = attrs.field(validator=_positive_int)


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
    low_freq_factor: float = attrs.field(validator=_positive)
    high_freq_factor: float = attrs.field(validator=_positive)
    original_max_position_embeddings: int = attrs.field(validator=_positive_int)

    @high_freq_factor.validator
    def _leaves_a_band_to_blend_in(self, attribute: attrs.Attribute[Any], value: float) -> None:
        if value <= self.low_freq_factor:
            raise _refuse(self, attribute, value, f"more than low_freq_factor, which is {self.low_freq_factor}")


RopeScaling = LinearScaling | DynamicScaling | Llama3Scaling


@attrs.frozen(kw_only=True)
class RopeSpec:
    """Rotary position embedding (Su et al. 2021) in Hugging Face's order: halves, not pairs.

    :param theta: the base of the frequencies.
    :param rotary_dim: how many of a head's dimensions are rotated; even.
    :param scaling: how contexts beyond the trained length are reached; None for plain RoPE.
    :raises ConfigError: naming the field that cannot be.
    """

    theta: float = attrs.field(validator=_positive)
    rotary_dim: int = attrs.field(validator=_positive_int)
    scaling: RopeScaling | None = attrs.field(
        default=None, validator=_made_of(LinearScaling, DynamicScaling, Llama3Scaling, type(None))
    )

    @rotary_dim.validator
    def _splits_in_halves(self, attribute: attrs.Attribute[Any], value: int) -> None:
        if value % 2:
            raise _refuse(self, attribute, value, "an even number")

    @scaling.validator
    def _has_an_exponent(self, attribute: attrs.Attribute[Any], value: object) -> None:
        # The grown base is theta * stretch ** (rotary_dim / (rotary_dim - 2)).
        if isinstance(value, DynamicScaling) and self.rotary_dim <= 2:  # noqa: PLR2004
            raise _refuse(self, attribute, value, "a rotary_dim of at least 4 for dynamic scaling")


def head_dim_of(hidden_size: int, num_attention_heads: int) -> int:
    """Return the width of a head where a config does not give it: the hidden size is cut into heads.

    :raises ConfigError: if it cannot be.
    """
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

    num_attention_heads: int = attrs.field(validator=_positive_int)
    num_key_value_heads: int = attrs.field(validator=_positive_int)
    head_dim: int = attrs.field(validator=_positive_int)
    qkv_bias: bool = attrs.field(validator=_boolean)
    out_bias: bool = attrs.field(validator=_boolean)
    scale: float = attrs.field(validator=_positive)
    sliding_window: int | tuple[int | None, ...] | None = attrs.field(default=None, validator=_window)
    qk_norm: NormSpec | None = attrs.field(default=None, validator=_made_of(NormSpec, type(None)))

    @num_key_value_heads.validator
    def _serves_whole_groups(self, attribute: attrs.Attribute[Any], value: int) -> None:
        if self.num_attention_heads % value:
            expected = f"a divisor of num_attention_heads, which is {self.num_attention_heads}"
            raise _refuse(self, attribute, value, expected)

    @qk_norm.validator
    def _is_rms(self, attribute: attrs.Attribute[Any], value: NormSpec | None) -> None:
        if value is not None and value.kind != "rms":
            raise _refuse(self, attribute, value, "an rms norm: a layer norm's mean would count a padded head_dim")

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

    kind: Literal["gated", "plain"] = attrs.field(validator=_one_of("gated", "plain"))
    intermediate_size: int = attrs.field(validator=_positive_int)
    activation: Activation = attrs.field(validator=_one_of(*get_args(Activation)))
    bias: bool = attrs.field(validator=_boolean)


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

    vocab_size: int = attrs.field(validator=_positive_int)
    hidden_size: int = attrs.field(validator=_positive_int)
    num_hidden_layers: int = attrs.field(validator=_positive_int)
    max_position_embeddings: int = attrs.field(validator=_positive_int)
    tie_word_embeddings: bool = attrs.field(validator=_boolean)
    norm: NormSpec = attrs.field(validator=_made_of(NormSpec))
    attention: AttentionSpec = attrs.field(validator=_made_of(AttentionSpec))
    rope: RopeSpec = attrs.field(validator=_made_of(RopeSpec))
    mlp: MlpSpec = attrs.field(validator=_made_of(MlpSpec))
    residual: Residual = attrs.field(default="sequential", validator=_one_of(*get_args(Residual)))
    own: Mapping[str, Any] = attrs.field(factory=dict, converter=Own)

    @attention.validator
    def _has_a_window_for_every_layer(self, attribute: attrs.Attribute[Any], value: AttentionSpec) -> None:
        windows = value.sliding_window
        if isinstance(windows, tuple) and len(windows) != self.num_hidden_layers:
            raise _refuse(self, attribute, windows, f"a sliding_window for each of the {self.num_hidden_layers} layers")

    @rope.validator
    def _rotates_no_more_than_a_head(self, attribute: attrs.Attribute[Any], value: RopeSpec) -> None:
        if value.rotary_dim > self.attention.head_dim:
            expected = f"a rotary_dim of at most head_dim, which is {self.attention.head_dim}"
            raise _refuse(self, attribute, value.rotary_dim, expected)

    @property
    def longest_context(self) -> int:
        """Tokens; dynamic scaling is there to go beyond what the model was trained on, by its factor."""
        scaling = self.rope.scaling
        beyond = scaling.factor if isinstance(scaling, DynamicScaling) else 1.0
        return int(self.max_position_embeddings * beyond)
