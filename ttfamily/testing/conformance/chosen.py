"""Examples that are chosen, not drawn: the first of every test, so that few examples suffice to find a mistake.

Hypothesis begins with the simplest example there is: one head, one token, every switch off. Weights in the wrong
order, a bias that is dropped and a window that is off by one change nothing there. So before it come examples with
every config key away from its default, several heads and prompts longer than a block of the cache.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st

from ttfamily.testing.configs import declared_keys
from ttfamily.testing.strategies import STEP, Batch, share_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from hypothesis.strategies import DataObject, SearchStrategy
    from transformers import PretrainedConfig

    from ttfamily.testing.conformance.subject import Subject

MOST_CHOSEN = 3
POOL = 100  # configs to choose from
LAYERS, WIDEST = 2, 512
MOST_WEIGHTS = 2**18  # of a layer of a chosen config: seconds are enough for a test of it
# Parameter of a test -> its values in the chosen examples.
VALUES: dict[str, tuple[Any, ...]] = {
    "seed": (1, 2, 3),
    "users": (3, 5, 2),
    "tokens": (45, 70, 9),
    "batch": (Batch(tokens=(45, 0, 50)), Batch(tokens=(33, 64, 0, 7)), Batch(tokens=(96,))),
    "counts": ([45, 50], [33, 64, 7], [96, 1]),
    "order": ((2, 0, 5, 1, 4, 3), (5, 4, 3, 2, 1, 0), (1, 2, 3, 4, 5, 0)),
    "count": (45, 33, 64),
    "first": (50, 20, 33),
    "second": (45, 64, 7),
    "two": ((45, 50), (33, 64), (7, 96)),
}
GROUPED = ("num_key_value_heads", "num_kv_heads")
Feature = tuple[str, Any]
Data: TypeAlias = "DataObject | Chosen"
"""What a test of the kit draws its config from: hypothesis, or what was chosen before."""


@attrs.frozen
class Chosen:
    """Stands in for ``st.data()`` in a chosen example: which of the configs that were chosen it is."""

    number: int


def drawn(count: int, /, **strategies: SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Make a test of the kit: ``count`` examples where the profile has 100, the first of them chosen.

    :param strategies: of the test's parameters beside ``data``, which every test has, each in :data:`VALUES`.
    """
    share = share_of(count)
    chosen = min(MOST_CHOSEN, max(1, share - 1))
    phases = [Phase.explicit, *((Phase.reuse, Phase.generate) if share > chosen else ())]

    def decorate(test: Any) -> Any:
        test = given(data=st.data(), **strategies)(test)
        for number in reversed(range(chosen)):
            values = {name: VALUES[name][number] for name in strategies}
            test = example(data=Chosen(number), **values)(test)
        return settings(
            max_examples=max(1, share - chosen),
            phases=phases,
            deadline=None,  # it would measure the machine, and a mesh's first program
            suppress_health_check=(
                HealthCheck.too_slow,
                HealthCheck.differing_executors,
                HealthCheck.data_too_large,
                HealthCheck.nested_given,  # the pool is drawn within the first example that needs it
            ),
        )(test)

    return decorate


_CHOSEN: dict[Hashable, list[PretrainedConfig]] = {}


def chosen_config(subject: type[Subject], number: int, limits: dict[str, Any]) -> PretrainedConfig:
    """Return the config of a chosen example, the same in every run.

    :param subject: a conformance class.
    :param limits: of its ``configs``; two layers of few weights each serve every test.
    """
    trained = limits.get("trained")
    key = (subject, trained)
    if key not in _CHOSEN:
        strategy = subject.configs(layers=LAYERS, most_weights=MOST_WEIGHTS, trained=trained)
        found = pool(strategy)
        _CHOSEN[key] = covering([config for config in found if config.hidden_size <= WIDEST] or found, MOST_CHOSEN)
    return _CHOSEN[key][number]


def pool(strategy: SearchStrategy[PretrainedConfig]) -> list[PretrainedConfig]:
    """Draw configs to choose from, the same ones every time."""
    found: list[PretrainedConfig] = []

    @seed(0)
    @settings(
        max_examples=POOL,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(config: PretrainedConfig) -> None:
        found.append(config)

    collect()
    return found


def covering(configs: list[PretrainedConfig], count: int) -> list[PretrainedConfig]:
    """Choose the configs that together have the most values away from their defaults, then the most values, small ones.

    :param configs: at least one.
    :returns: ``count`` of them, the first with the most values away from their defaults; one may come twice.
    """
    features = {id(config): (away_from_default(config), shape(config), values(config)) for config in configs}
    covered: set[Feature] = set()
    chosen: list[PretrainedConfig] = []

    def worth(config: PretrainedConfig) -> tuple[float, ...]:
        away, odd, others = (len(each - covered) for each in features[id(config)])
        return (2 * away + odd, others, -size(config))

    for _ in range(count):
        best = max(configs, key=worth)
        chosen.append(best)
        covered = covered.union(*features[id(best)])
    return chosen


def values(config: PretrainedConfig) -> set[Feature]:
    """Return key and kind of value of everything that a config's class declares: numbers are alike."""
    return {(key, kind_of(getattr(config, key, None))) for key in declared_keys(type(config))}


def away_from_default(config: PretrainedConfig) -> set[Feature]:
    """Return those of :func:`values` that are not what the config has by default."""
    default = default_of(type(config))
    keys = {key for key in declared_keys(type(config)) if getattr(config, key, None) != getattr(default, key, None)}
    return {feature for feature in values(config) if feature[0] in keys}


@cache
def default_of(config_class: type[PretrainedConfig]) -> PretrainedConfig:
    """Return the config that a class makes of nothing."""
    return config_class()


def kind_of(value: Any) -> Any:
    """Return what two values have in common that a family treats alike: a number is a number, a switch is its state."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        return value.get("rope_type")
    if isinstance(value, (list, tuple)):
        return tuple(sorted({str(each) for each in value}))
    return type(value).__name__


def shape(config: PretrainedConfig) -> set[Feature]:
    """Return what is not trivial about the heads: several, in groups, not as many as chips, not as wide as tiles."""
    heads = config.num_attention_heads
    grouped = next((n for key in GROUPED if (n := getattr(config, key, None)) is not None), heads)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    facts: Iterable[tuple[str, bool]] = (
        ("several heads", heads > 2),  # noqa: PLR2004
        ("groups of heads", 1 < grouped < heads),
        ("heads that two chips do not divide", heads % 2 == 1),
        ("heads of no whole tiles", width % STEP != 0),
    )
    return {("heads", name) for name, holds in facts if holds}


def size(config: PretrainedConfig) -> float:
    """Return how large a config's numbers are, together: a small window cuts more off a prompt than a large one."""
    numbers = (getattr(config, key, None) for key in declared_keys(type(config)))
    return sum(math.log(number) for number in numbers if isinstance(number, int) and number > 1)
