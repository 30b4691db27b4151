"""Every head has a place, beside the key/value head that it reads, in groups that decode's kernels hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from ttfamily.core.layout.heads import MAX_KEY_VALUE_HEADS, MAX_QUERY_HEADS, HeadPlan, plan_heads

if TYPE_CHECKING:
    from ttfamily.core.mesh.boards import Arch

DEVICES = st.sampled_from([1, 2, 4, 8, 32])


@st.composite
def heads(draw: st.DrawFn) -> tuple[int, int]:
    key_value = draw(st.integers(1, 96))
    return key_value * draw(st.integers(1, max(1, 256 // key_value))), key_value


def groups(plan: HeadPlan) -> list[tuple[list[int | None], list[int | None]]]:
    """Query and key/value heads of every group of every device."""
    q, k = plan.query_per_group, plan.key_value_per_group
    count = plan.num_devices * plan.groups
    return [(list(plan.query[i * q : (i + 1) * q]), list(plan.key_value[i * k : (i + 1) * k])) for i in range(count)]


@given(counts=heads(), devices=DEVICES)
def test_every_query_head_stands_once_and_reads_its_own_key_value_head(counts: tuple[int, int], devices: int) -> None:
    query_heads, key_value_heads = counts
    plan = plan_heads(query_heads, key_value_heads, devices)
    assert sorted(head for head in plan.query if head is not None) == list(range(query_heads))
    for query, key_value in groups(plan):
        share = len(query) // len(key_value)
        assert share * len(key_value) == len(query)
        for place, head in enumerate(query):
            if head is not None:
                assert key_value[place // share] == head // (query_heads // key_value_heads)


@given(counts=heads(), devices=DEVICES, arch=st.sampled_from(list(MAX_QUERY_HEADS)))
def test_no_group_is_larger_than_decodes_kernels_hold(counts: tuple[int, int], devices: int, arch: Arch) -> None:
    plan = plan_heads(*counts, devices, arch)
    assert plan.query_per_group <= MAX_QUERY_HEADS[arch]
    assert plan.key_value_per_group <= MAX_KEY_VALUE_HEADS


@given(counts=heads(), devices=DEVICES)
def test_every_key_value_head_is_in_a_cache_that_its_readers_share(counts: tuple[int, int], devices: int) -> None:
    plan = plan_heads(*counts, devices)
    everything = [plan.places_of_cache(cache) for cache in sorted(set(plan.cache_of_group))]
    assert set().union(*everything) == set(range(counts[1]))
    for group, cache in enumerate(plan.cache_of_group):
        for device in range(devices):
            _, key_value = groups(plan)[device * plan.groups + group]
            assert all(head is None or head in plan.places_of_cache(cache) for head in key_value)


def test_71_heads_over_one_key_value_head_need_one_padding_head_and_one_cache() -> None:
    one, two = plan_heads(71, 1, 1), plan_heads(71, 1, 2)
    assert (one.groups, one.query_per_group, one.cached_per_device) == (2, 36, 1)
    assert (two.groups, two.query_per_group, two.cached_per_device) == (1, 36, 1)


def test_64_key_value_heads_on_one_chip_are_two_caches() -> None:
    plan = plan_heads(64, 64, 1)
    assert (plan.groups, plan.key_value_per_group, plan.cached_per_device) == (2, 32, 64)
