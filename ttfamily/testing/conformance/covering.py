"""Choosing few configs of many, so that every key has a value away from its default in one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FailedHealthCheck, Unsatisfiable

from ttfamily.testing.configs import declared_keys
from ttfamily.testing.strategies import STEP

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from transformers import PretrainedConfig

POOL = ((30, 5), (5, 10), (1, 30))  # configs in one example, examples: the next where a filter rejects most of these
ENOUGH = 20
GROUPED = ("num_key_value_heads", "num_kv_heads")
# What is not trivial about heads -> what it is worth; a value away from its default is worth 2. In groups stands
# first, since weights of one group, and of as many as heads, can be split wrongly and yet be the same.
HEADS = {"several in each of several groups": 6, "several": 1, "not divided by two chips": 1, "no whole tiles": 1}
FEW, MANY = "a number that chosen prompts reach", "a number beyond them"
Feature = tuple[str, Any]
_DEFAULTS: dict[type[PretrainedConfig], PretrainedConfig] = {}


def pool(strategy: SearchStrategy[PretrainedConfig]) -> list[PretrainedConfig]:
    """Draw configs to choose from, the same ones in every run of the same tests.

    Many at once: hypothesis begins with simple examples and goes on with variants of those that it had, but what
    stands in one example is drawn independently.

    :raises hypothesis.errors.FailedHealthCheck: if the strategy has no config, or hardly any.
    """
    found: list[PretrainedConfig] = []
    for at_once, count in POOL:
        try:
            collect(st.lists(strategy, min_size=at_once, max_size=at_once), count, found)
        except (Unsatisfiable, FailedHealthCheck):
            if at_once == 1 and not found:
                raise
        if len(found) >= ENOUGH:
            break
    return found


def collect(strategy: SearchStrategy[list[PretrainedConfig]], count: int, found: list[PretrainedConfig]) -> None:
    """Draw ``count`` examples and add what is in them to ``found``."""

    @seed(0)
    @settings(
        max_examples=count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        # A filter that rejects most is found out early, instead of after a thousand tries.
        suppress_health_check=[check for check in HealthCheck if check is not HealthCheck.filter_too_much],
    )
    @given(strategy)
    def draw(configs: list[PretrainedConfig]) -> None:
        found.extend(configs)

    draw()


def covering(configs: list[PretrainedConfig], count: int) -> list[PretrainedConfig]:
    """Choose the configs that together have the most values away from their defaults, then the most kinds of value.

    :param configs: at least one.
    :returns: ``count`` of them, the first with the most values away from their defaults; one may come twice.
    """
    features = {id(config): (away_from_default(config), shape(config), values(config)) for config in configs}
    covered: set[Feature] = set()
    chosen: list[PretrainedConfig] = []

    def worth(config: PretrainedConfig) -> tuple[float, ...]:
        away, heads, others = (each - covered for each in features[id(config)])
        return (sum(map(weight, away)) + sum(HEADS[what] for _, what in heads), len(others))

    for _ in range(count):
        best = max(configs, key=worth)
        chosen.append(best)
        covered = covered.union(*features[id(best)])
    return chosen


def values(config: PretrainedConfig) -> set[Feature]:
    """Return key and kind of value of everything that a config's class declares."""
    return {(key, kind_of(getattr(config, key, None))) for key in declared_keys(type(config))}


def away_from_default(config: PretrainedConfig) -> set[Feature]:
    """Return those of :func:`values` that are not what the config has by default."""
    default = default_of(type(config))
    keys = {key for key in declared_keys(type(config)) if getattr(config, key, None) != getattr(default, key, None)}
    return {feature for feature in values(config) if feature[0] in keys}


def default_of(config_class: type[PretrainedConfig]) -> PretrainedConfig:
    """Return the config that a class makes of nothing."""
    if config_class not in _DEFAULTS:
        _DEFAULTS[config_class] = config_class()
    return _DEFAULTS[config_class]


def kind_of(value: Any) -> Any:
    """Return what values have in common that a family treats alike: a switch is its state, a number few or many."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        return value.get("rope_type")
    if isinstance(value, (list, tuple)):
        return tuple(sorted({str(each) for each in value}))
    if isinstance(value, (int, float)):
        return FEW if value <= STEP else MANY
    return str(value)


def shape(config: PretrainedConfig) -> set[Feature]:
    """Return what of :data:`HEADS` holds for a config."""
    heads = config.num_attention_heads
    grouped = next((n for key in GROUPED if (n := getattr(config, key, None)) is not None), heads)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    facts = (1 < grouped < heads, heads > 2, heads % 2 == 1, width % STEP != 0)  # noqa: PLR2004
    return {("heads", what) for what, holds in zip(HEADS, facts, strict=True) if holds}


def weight(feature: Feature) -> int:
    """Return what a value away from its default is worth: a window that no prompt reaches is hardly one."""
    _, kind = feature
    return 1 if kind == MANY else 2
