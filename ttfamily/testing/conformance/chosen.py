"""Examples that are chosen, not drawn: the first of every test, so that few examples suffice to find a mistake.

Hypothesis begins with the simplest example there is: one head, one token, every switch off. Weights in the wrong
order, a bias that is dropped and a window that is off by one change nothing there. So before it come examples with
every config key away from its default, several heads and prompts longer than a block of the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from ttfamily.testing.conformance.covering import covering, pool
from ttfamily.testing.strategies import Batch, share_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from hypothesis.strategies import DataObject, SearchStrategy
    from transformers import PretrainedConfig

MOST_CHOSEN = 3
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
Data: TypeAlias = "DataObject | Chosen"
"""What a test of the kit draws its config from: hypothesis, or what was chosen before."""


@attrs.frozen
class Chosen:
    """Stands in for ``st.data()`` in a chosen example: which of the configs that were chosen it is."""

    number: int


class Draws(Protocol):
    """The part of a conformance class that is read here."""

    def configs(
        self, *, layers: int, most_weights: int, trained: SearchStrategy[int] | None
    ) -> SearchStrategy[PretrainedConfig]:
        """Return what to draw configs from."""
        ...


def drawn(count: int, /, **strategies: SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Make a test of the kit: ``count`` examples where the profile has 100, the first of them chosen.

    :param strategies: of the test's parameters beside ``data``, which every test has, each in :data:`VALUES`.
    """
    share = share_of(count)
    chosen = MOST_CHOSEN if share >= MOST_CHOSEN else 1
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


def chosen_config(subject: Draws, number: int, limits: dict[str, Any]) -> PretrainedConfig:
    """Return the config of a chosen example, the same in every run of the same tests.

    :param subject: a conformance class.
    :param limits: of its ``configs``; two layers of few weights each serve every test.
    """
    key = (subject, trained := limits.get("trained"))
    if key not in _CHOSEN:
        found = pool(subject.configs(layers=LAYERS, most_weights=MOST_WEIGHTS, trained=trained))
        _CHOSEN[key] = covering([config for config in found if config.hidden_size <= WIDEST] or found, MOST_CHOSEN)
    return _CHOSEN[key][number]
