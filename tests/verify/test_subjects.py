"""The small models: every family that is installed has one, and they are the same in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from ttfamily.discovery import families
from ttfamily.family import Family
from ttfamily.plugins.llama import LLAMA
from ttfamily.verify.subjects import CHUNK, LONG_PROMPT, PROMPT, SIZES, subjects

if TYPE_CHECKING:
    from pathlib import Path


def test_every_built_in_family_has_a_model_for_each_of_its_graphs() -> None:
    built_in = [each.family for each in families().provided if each.plugin.package == "ttfamily"]
    assert [subject.name for subject in subjects(built_in)] == [
        "falcon",
        "falcon new_decoder_architecture",
        "llama",
        "llama attention_bias mlp_bias",
        "mistral",
    ]


def test_a_family_of_which_transformers_has_no_model_is_named_and_the_others_are_run() -> None:
    stranger = Family(name="dream", architectures=("DreamForCausalLM",), spec=LLAMA.spec, weights=LLAMA.weights)
    refused: list[str] = []
    found = list(subjects([stranger, LLAMA], lambda name, error: refused.append(f"{name}: {error}")))
    assert {subject.family for subject in found} == {LLAMA}
    assert [each.split(" no ")[0].split(":")[0] for each in refused] == ["dream"]
    assert "DreamForCausalLM" in refused[0]


def test_a_model_is_the_same_whoever_makes_it(tmp_path: Path) -> None:
    def weights(name: str) -> dict[str, torch.Tensor]:
        (plain, _) = subjects([LLAMA])
        return load_file(plain.save(tmp_path / name) / "model.safetensors")

    one, other = weights("one"), weights("other")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_is_written_once(tmp_path: Path) -> None:
    (plain, _) = subjects([LLAMA])
    folder = plain.save(tmp_path / "one")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert plain.save(folder) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("family", families().families, ids=lambda family: family.name)
def test_prompts_reach_a_later_chunk_and_leave_a_window(family: Family) -> None:
    assert LONG_PROMPT > CHUNK > PROMPT > SIZES["sliding_window"]
    for subject in subjects([family]):
        assert getattr(subject.config, "sliding_window", None) in (None, SIZES["sliding_window"])
