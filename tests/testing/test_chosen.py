"""The examples that the kit chooses are not trivial, whatever a family draws, and the same in every run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.errors import FailedHealthCheck
from transformers import LlamaConfig

from tests.families.test_falcon import TestFalcon40B
from tests.families.test_llama import TestLlama
from tests.families.test_mistral import TestMistral
from ttfamily.testing import decoder_configs
from ttfamily.testing.conformance import chosen
from ttfamily.testing.conformance.chosen import LAYERS, MOST_WEIGHTS, Chosen, chosen_config, drawn
from ttfamily.testing.conformance.covering import GROUPED, away_from_default, covering, pool

for each in (TestFalcon40B, TestLlama, TestMistral):
    each.__test__ = False  # their own files run them
QUICK = 3  # chosen examples of a block's test under the quick profile
CLASSES = pytest.mark.parametrize("subject", [TestLlama, TestMistral, TestFalcon40B])


@CLASSES
def test_quick_has_every_key_away_from_its_default(subject: Any) -> None:
    drawn_at_all = pool(subject.configs(layers=LAYERS, most_weights=MOST_WEIGHTS, trained=None))
    away = [{key for key, _ in away_from_default(config)} for config in drawn_at_all]
    had = {key for number in range(QUICK) for key, _ in away_from_default(chosen_config(subject, number, {}))}
    assert had == set().union(*away)
    assert len(had) >= 8


@CLASSES
def test_the_first_has_several_heads_in_groups(subject: Any) -> None:
    config = chosen_config(subject, 0, {})
    grouped = next(getattr(config, key) for key in GROUPED if hasattr(config, key))
    assert config.num_attention_heads > 1
    assert 1 < grouped < config.num_attention_heads


def test_quick_has_a_window_and_none() -> None:
    windows = [chosen_config(TestMistral, number, {}).sliding_window for number in range(QUICK)]
    assert None in windows
    assert any(window is not None and window < 45 for window in windows)  # shorter than the prompts


def test_the_same_are_chosen_every_time() -> None:
    one, other = (covering(pool(TestLlama.configs()), 3) for _ in range(2))
    assert [config.to_dict() for config in one] == [config.to_dict() for config in other]


def test_a_filter_that_rejects_most_leaves_something_to_choose_from() -> None:
    rare = decoder_configs(LlamaConfig).filter(lambda config: config.num_attention_heads % 4 == 0)
    found = pool(rare)
    assert len(found) >= 20
    assert all(config.num_attention_heads % 4 == 0 for config in found)
    with pytest.raises(FailedHealthCheck):
        pool(decoder_configs(LlamaConfig).filter(lambda _: False))


@pytest.mark.parametrize(
    ("share", "few", "phases"),
    [
        (1, 1, (Phase.explicit,)),
        (2, 1, (Phase.explicit, Phase.reuse, Phase.generate)),
        (3, 3, (Phase.explicit,)),
        (10, 3, (Phase.explicit, Phase.reuse, Phase.generate)),
    ],
)
def test_chosen_examples_come_first_and_drawn_ones_fill_up(
    share: int, few: int, phases: tuple[Phase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "share_of", lambda _: share)
    seen: list[Any] = []

    @drawn(10, seed=st.integers(0, 2**31))
    def test(data: Any, seed: int) -> None:
        seen.append(data if isinstance(data, Chosen) else SimpleNamespace(drawn=seed))

    assert test._hypothesis_internal_use_settings.phases == phases
    test()
    assert seen[:few] == [Chosen(number) for number in range(few)]
    assert len(seen) == share


def test_values_of_every_parameter_are_there_for_every_chosen_example() -> None:
    assert all(len(values) == chosen.MOST_CHOSEN for values in chosen.VALUES.values())
    with pytest.raises(KeyError, match="unknown"):
        drawn(10, unknown=st.none())(lambda data, unknown: None)
