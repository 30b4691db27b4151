"""The host sampler draws from the distribution that Hugging Face's logits processors make."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from ttfamily.engine.sampling import Sampling, probabilities, sample

SEEDS = st.integers(0, 2**31)


@given(
    seed=SEEDS,
    temperature=st.floats(0.1, 3.0),
    top_k=st.none() | st.integers(1, 300),
    top_p=st.none() | st.floats(0.01, 1.0),
)
def test_the_distribution_is_that_of_hugging_face(
    seed: int, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    logits = torch.randn(200, generator=torch.Generator().manual_seed(seed)) * 4
    scores = TemperatureLogitsWarper(temperature)(None, logits[None])
    if top_k is not None:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p is not None and top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    got = probabilities(logits, Sampling(temperature=temperature, top_k=top_k, top_p=top_p))
    # A token exactly at the edge of top_p may fall to either side, by the order of a float sum.
    kept = (got > 0) == (scores[0].softmax(-1) > 0)
    assert kept.sum() >= len(kept) - 1
    if kept.all():
        torch.testing.assert_close(got, scores[0].softmax(-1))


@given(seed=SEEDS)
def test_temperature_zero_takes_the_most_likely_token(seed: int) -> None:
    logits = torch.randn(500, generator=torch.Generator().manual_seed(seed))
    assert sample(logits, Sampling(), torch.Generator()) == logits.argmax()


@given(seed=SEEDS)
def test_one_candidate_leaves_no_choice(seed: int) -> None:
    logits = torch.randn(500, generator=torch.Generator().manual_seed(seed))
    for narrow in (Sampling(temperature=2.0, top_k=1), Sampling(temperature=2.0, top_p=1e-6)):
        assert sample(logits, narrow, narrow.generator()) == logits.argmax()


@given(
    seed=SEEDS,
    temperature=st.sampled_from([5e-324, 1e-320, 1e-45, 1e-40, 1e-38, 1e-30, 1e-10]),
    shift=st.sampled_from([-50.0, 0.0, 50.0]),
)
def test_a_temperature_or_top_p_too_small_for_a_choice_takes_the_most_likely(
    seed: int, temperature: float, shift: float
) -> None:
    logits = torch.randn(500, generator=torch.Generator().manual_seed(seed))
    logits += shift - logits.max()
    for narrow in (Sampling(temperature=temperature), Sampling(temperature=1.0, top_p=temperature)):
        assert sample(logits, narrow, narrow.generator()) == logits.argmax()
        assert probabilities(logits, narrow).sum() == 1


def test_a_seed_repeats_its_draws_and_thirty_two_seeds_differ() -> None:
    logits = torch.zeros(10_000)

    def draws(seed: int | None) -> list[int]:
        how = Sampling(temperature=1.0, seed=seed)
        generator = how.generator()
        return [sample(logits, how, generator) for _ in range(4)]

    assert draws(7) == draws(7)
    assert len({tuple(draws(seed)) for seed in range(32)}) == 32
    assert draws(None) != draws(None)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    how = Sampling(temperature=1.0, seed=0)
    generator = how.generator()
    counts = torch.bincount(torch.tensor([sample(logits, how, generator) for _ in range(4000)]), minlength=3)
    assert (counts / 4000 - torch.tensor([0.5, 0.3, 0.2])).abs().max() < 0.03


@pytest.mark.parametrize("field", ["temperature", "top_k", "top_p"])
def test_a_value_out_of_range_is_named(field: str) -> None:
    from ttfamily.errors import RequestError

    with pytest.raises(RequestError, match=field):
        Sampling(**{field: -1})
