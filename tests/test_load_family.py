"""``load`` gets its family by look-up, by name or as a value, and never runs a checkpoint's own code."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import ttfamily
from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.weights.rules import column
from ttfamily.discovery import families
from ttfamily.errors import CheckpointError, ConfigError, FamilyConflict, FamilyError, PluginError
from ttfamily.family import Family
from ttfamily.registry import FamilyRegistry, Plugin, ProvidedFamily
from ttfamily.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {
    "architectures": ["DreamForCausalLM"],
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}


class Asked(Exception):  # noqa: N818 -- no error: it says which family load() came to
    """Raised by a family's spec, with the family's name."""


def folder(path: Path, **keys: object) -> Path:
    (path / "config.json").write_text(json.dumps({**CONFIG, **keys}))
    return path


def family(name: str, architecture: str = "DreamForCausalLM") -> Family:
    def spec(config: HfConfig) -> NoReturn:
        raise Asked(name)

    return Family(name=name, architectures=(architecture,), spec=spec, weights={"lm_head": column("h")})


def registry(*names: str) -> FamilyRegistry:
    return FamilyRegistry(
        provided=tuple(
            ProvidedFamily(
                family=family(name),
                plugin=Plugin(name=name, package=f"tt-{name}", version="6.6", module=f"strange_{name}"),
            )
            for name in names
        )
    )


def refused(kind: type[Exception], *parts: str) -> Any:
    return pytest.raises(kind, match=".*".join(map(re.escape, parts)))


def test_the_registry_that_is_passed_is_the_one_that_is_asked(tmp_path: Path) -> None:
    with refused(Asked, "dream"):
        ttfamily.load(folder(tmp_path), registry=registry("dream"))
    with refused(FamilyError, "DreamForCausalLM", "LlamaForCausalLM"):
        ttfamily.load(folder(tmp_path))


def test_a_conflict_names_both_packages_with_versions_and_family_decides(tmp_path: Path) -> None:
    both = registry("dream", "night")
    with refused(FamilyConflict, "tt-dream:dream (version 6.6)", "tt-night:night (version 6.6)", "family="):
        ttfamily.load(folder(tmp_path), registry=both)
    for name in ("night", "tt-night:night"):
        with refused(Asked, "night"):
            ttfamily.load(folder(tmp_path), registry=both, family=name)
    with refused(FamilyError, "family='other'"):
        ttfamily.load(folder(tmp_path), registry=both, family="other")


def test_a_family_value_is_used_without_a_look_up(tmp_path: Path) -> None:
    with refused(Asked, "mine"):
        ttfamily.load(folder(tmp_path), registry=registry("dream"), family=family("mine"))


def test_a_family_value_for_another_architecture_is_refused(tmp_path: Path) -> None:
    with refused(FamilyError, "DreamForCausalLM", "'mine'", "OtherForCausalLM"):
        ttfamily.load(folder(tmp_path), family=family("mine", "OtherForCausalLM"))


@pytest.mark.parametrize(
    ("architecture", "kind", "parts"),
    [
        ("LlamaForCausalLM", ConfigError, ("auto_map", "modeling_dream", "never run", "Install a plugin")),
        ("DreamForCausalLM", FamilyError, ("DreamForCausalLM", "Install a plugin")),
    ],
)
def test_a_checkpoint_that_brings_code_is_refused_and_the_code_is_never_imported(
    tmp_path: Path, architecture: str, kind: type[Exception], parts: tuple[str, ...]
) -> None:
    marker = tmp_path / "imported"
    (tmp_path / "modeling_dream.py").write_text(f"open({str(marker)!r}, 'w')")
    auto_map = {"AutoModelForCausalLM": "modeling_dream.Dream", "AutoConfig": "modeling_dream.DreamConfig"}
    path = folder(tmp_path, architectures=[architecture], auto_map=auto_map)
    with refused(kind, *parts):
        ttfamily.load(path, device="dry", registry=families())
    assert not marker.exists()


def test_the_code_of_a_tokenizer_is_never_run_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "imported"
    (tmp_path / "tokenization_dream.py").write_text(f"open({str(marker)!r}, 'w')")
    auto_map = {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dream"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": auto_map}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with refused(CheckpointError, "tokenizer_config.json", "never run"):
        load_tokenizer(tmp_path, HfConfig.from_folder(tmp_path))
    assert not marker.exists()


def test_a_spec_that_fails_is_named_with_its_family_and_what_failed(tmp_path: Path) -> None:
    def divides(config: HfConfig) -> NoReturn:
        raise ZeroDivisionError(f"{config.take('hidden_size')} by 0")

    own = Family(name="dream", architectures=("DreamForCausalLM",), spec=divides, weights={"lm_head": column("h")})
    with refused(PluginError, "family dream, spec()", "ZeroDivisionError: 64 by 0", "config.json"):
        ttfamily.load(folder(tmp_path), family=own, device="dry")
