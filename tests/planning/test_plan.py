"""The report of a plan, and the command that shows it."""

from __future__ import annotations

import json
import math
import re
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from transformers import FalconConfig, LlamaConfig, MistralConfig

from ttfamily.cli import main
from ttfamily.commands.plan import read_config
from ttfamily.errors import LayoutError
from ttfamily.loading import choose_family
from ttfamily.planning.hardware import WORMHOLE
from ttfamily.planning.lines import Lines
from ttfamily.planning.planner import plan_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PretrainedConfig

    from ttfamily.planning.report import Report

LAYERS = 2  # of each shape below
SHAPES: dict[str, PretrainedConfig] = {
    "llama-3.2-1b": LlamaConfig(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=LAYERS, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, tie_word_embeddings=True, architectures=["LlamaForCausalLM"],
    ),
    "llama-3.1-8b": LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=LAYERS,
        num_attention_heads=32, num_key_value_heads=8, architectures=["LlamaForCausalLM"],
    ),
    "llama-3.1-70b": LlamaConfig(
        vocab_size=128256, hidden_size=8192, intermediate_size=28672, num_hidden_layers=LAYERS,
        num_attention_heads=64, num_key_value_heads=8, architectures=["LlamaForCausalLM"],
    ),
    "mistral-7b": MistralConfig(
        vocab_size=32768, hidden_size=4096, intermediate_size=14336, num_hidden_layers=LAYERS, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=32768, architectures=["MistralForCausalLM"],
    ),
    "falcon-7b": FalconConfig(
        vocab_size=65024, hidden_size=4544, num_hidden_layers=LAYERS, num_attention_heads=71,
        architectures=["FalconForCausalLM"],
    ),
    "falcon-40b": FalconConfig(
        vocab_size=65024, hidden_size=8192, num_hidden_layers=LAYERS, num_attention_heads=128, num_kv_heads=8,
        new_decoder_architecture=True, architectures=["FalconForCausalLM"],
    ),
}  # fmt: skip
BANKS, TILE = 12, 32
# Whose columns of tiles are close to a multiple of the banks; 64 columns on 12 banks, say, are read as 72.
UNPADDED = {
    "n150": ("llama-3.1-8b", "llama-3.1-70b", "mistral-7b", "falcon-40b"),
    "n300": ("llama-3.1-8b", "mistral-7b", "falcon-40b"),
    "2x4": ("llama-3.1-70b",),
}
BYTES_OF_TILE = {"bfp8": 1088, "bfp4": 576}


def planned(folder: Path, **options: Any) -> Report:
    config = read_config(str(folder))
    return plan_model(config, choose_family(config, None, None), name="model", **options)


@pytest.mark.parametrize(("mesh", "precision"), [("n150", "performance"), ("n300", "accuracy")])
def test_llama_8b_reads_no_more_than_it_must_and_is_no_faster_than_its_memory(
    mesh: str, precision: str, folder: Callable[..., Path]
) -> None:
    report = planned(folder("8b"), mesh=mesh, precision=precision)
    for reads in report.reads:
        assert 1 <= reads.ratio <= 1.03
    assert report.token is not None
    assert report.token.seconds > report.reads[0].floor / WORMHOLE.dram_peak
    assert sum(report.memory.values()) == report.dram_bytes
    assert "other" not in report.memory  # every byte that the allocator counts is some tensor's
    (comparison,) = report.comparisons
    assert comparison.precision == precision
    assert 0.85 <= comparison.tokens_per_s_ratio <= 1.5
    most = {each.users: each.tokens for each in report.contexts}
    assert most[1] == report.context
    assert all(fewer >= more for fewer, more in zip(most.values(), list(most.values())[1:], strict=False))


@pytest.mark.parametrize("mesh", ["n150", "n300", "t3k", "2x4", "galaxy", "t3k/dp2"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_family_reads_what_lies_in_memory_once_on_every_mesh(
    mesh: str, shape: str, folder: Callable[..., Path]
) -> None:
    made = folder(SHAPES[shape])
    if (mesh, shape) == ("galaxy", "falcon-7b"):  # 142 tiles in 4 parts
        with pytest.raises(LayoutError, match=r"does not fall into 4 parts of whole tiles.*1x2, 1x4, 1x8"):
            planned(made, mesh=mesh)
        return
    report = planned(made, mesh=mesh, precision="performance", context=1024)
    assert all(1 <= reads.padded_ratio <= 1.03 for reads in report.reads)
    assert all(cut.padding >= 0 for cut in report.cuts)
    assert "other" not in report.memory
    assert report.comparisons == ()  # nothing is published for so few layers


@pytest.mark.parametrize(("mesh", "shape"), [(mesh, shape) for mesh, shapes in UNPADDED.items() for shape in shapes])
def test_what_fills_the_banks_is_read_close_to_the_unpadded_floor(
    mesh: str, shape: str, folder: Callable[..., Path]
) -> None:
    report = planned(folder(SHAPES[shape], num_hidden_layers=8), mesh=mesh, precision="performance", context=1024)
    assert all(1 <= reads.ratio <= 1.03 for reads in report.reads)


@pytest.mark.parametrize(("mesh", "rows", "columns"), [("n150", 1, 1), ("n300", 2, 1), ("t3k", 8, 1), ("galaxy", 8, 4)])
@pytest.mark.parametrize("shape", ["llama-3.1-8b", "llama-3.1-70b"])
def test_weights_are_padded_by_nothing_but_whole_tiles_in_every_bank(
    shape: str, mesh: str, rows: int, columns: int, folder: Callable[..., Path]
) -> None:
    """:param rows: chips that share heads and the intermediate size; ``columns`` those that share the hidden size."""
    config = SHAPES[shape]
    held = {cut.slot: cut.held for cut in planned(folder(config), mesh=mesh, precision="performance").cuts}
    hidden, wide = config.hidden_size // columns, config.intermediate_size // rows
    heads, key_value_heads = config.num_attention_heads // rows, config.num_key_value_heads // rows
    head_dim = config.hidden_size // config.num_attention_heads

    def in_banks(k: int, n: int, format_: str) -> int:
        return k // TILE * math.ceil(n / TILE / BANKS) * BANKS * BYTES_OF_TILE[format_]

    assert held["layer.attention.qkv"] == LAYERS * in_banks(hidden, (heads + 2 * key_value_heads) * head_dim, "bfp8")
    assert held["layer.attention.out"] == LAYERS * in_banks(heads * head_dim, hidden, "bfp8")
    assert held["layer.mlp.gate_up"] == LAYERS * 2 * in_banks(hidden, wide, "bfp4")
    assert held["layer.mlp.down"] == LAYERS * in_banks(wide, hidden, "bfp8")


def test_a_report_has_the_l1_of_both_phases(folder: Callable[..., Path]) -> None:
    report = planned(folder("8b", num_hidden_layers=2), mesh="n300", users=2, context=4096)
    assert report.core_bytes == 1_499_136 - 105_824
    for phase, attention in (("decode", "paged_"), ("prefill", "")):
        uses = {use.op: use for use in report.core_memory[phase]}
        flash = uses[f"transformer.{attention}scaled_dot_product_attention{'_decode' if attention else ''}"]
        assert flash.buffers is not None
        assert uses["linear"].buffers is not None
        assert all(use.together <= report.core_bytes for use in uses.values())
    # Semaphores lie above decode's activations, not among them; prefill has nothing else there but the head's.
    assert max(use.tensors for use in report.core_memory["decode"]) < 100_000
    assert max(use.tensors for use in report.core_memory["prefill"]) < 50_000


def test_a_report_has_the_layer_and_its_collectives(folder: Callable[..., Path]) -> None:
    report = planned(folder("small"), mesh="n300", users=2, context=256)
    assert report.ops_per_layer["linear"] == 5
    assert report.ops_per_layer["all_reduce"] == 2
    gather, reduce = (each for each in report.collectives if each.phase == "decode")
    assert (gather.op, gather.count, gather.bytes) == ("all_gather", 1, 32 * 512 * 2)  # of the embedding's columns
    assert (reduce.op, reduce.per_layer, reduce.bytes) == ("all_reduce", 2, 32 * 512 * 2)
    assert reduce.link_bytes == 32 * 512 * 2  # half in the reduce-scatter, half in the all-gather
    cuts = {cut.slot: cut for cut in report.cuts}
    assert cuts["layer.mlp.gate_up"].share == 2 * 2 * 512 * 1024 // 2 * 1088 // 1024
    assert all(cut.held > 0 for cut in report.cuts)
    again = json.loads(report.to_json())
    assert again["tokens_per_s_user"] == report.tokens_per_s_user
    assert again["reads"][0]["ratio"] == pytest.approx(report.reads[0].ratio, abs=1e-4)


# ---- the command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line, and return its exit code."""

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ttfamily", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0)

    return call


class Page(HTMLParser):
    """Checks that what is opened is closed, and collects what a page asks for."""

    EMPTY = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing(
    folder: Callable[..., Path], run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = folder("small")
    out = place / "plan.html"
    assert run("plan", str(place / "config.json"), "--mesh", "n150", "--seq", "512", "--html", str(out)) == 0
    assert capsys.readouterr().out == ""
    text = out.read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.tags.count("svg") == 4  # memory, and three times
    assert not {"src", "href"} & set(page.attributes)
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    bars = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for bar in bars:
        assert sum(map(float, re.findall(r'<rect[^>]* width="([0-9.]+)"', bar))) == pytest.approx(1000, abs=0.2)


def test_the_terminal_shows_every_table_and_json_has_the_same_numbers(
    folder: Callable[..., Path], run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(folder("small"))
    assert run("plan", place, "--mesh", "n300", "--seq", "256", "--batch", "2") == 0
    out = capsys.readouterr().out
    for title in (
        "Weights:",
        "DRAM of each",
        "L1 of",
        "longest context",
        "Collectives",
        "DRAM traffic",
        "Ops of",
        "Predicted",
    ):
        assert title in out
    assert run("plan", place, "--mesh", "n300", "--seq", "256", "--batch", "2", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["users"], values["context"], values["chips"]) == (2, 256, 2)
    assert f"{values['tokens_per_s_user']:.1f} tokens/s/user" in out


def test_numbers_stand_to_the_right_and_words_that_begin_with_one_do_not() -> None:
    rows = (("decode", "8 chips, ring", "64", "1.0 MiB", "97.1 %"), ("prefill", "2 chips, line", "1", "12 KiB", ""))
    lines = Lines(title="", columns=("phase", "along", "count", "tensor", "share"), rows=rows)
    assert [lines.is_numeric(column) for column in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("./nowhere",), "no such folder"),
        (("{folder}", "--mesh", "n151"), "n151"),
        (("{folder}", "--precision", "best"), "best"),
        (("{folder}", "--seq", "1000000"), "max_seq_len"),
        (("{folder}", "--batch", "33"), "max_batch_size"),
        (("{folder}", "--html", "{folder}/missing/plan.html"), "--html"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_block(
    arguments: tuple[str, ...], says: str, folder: Callable[..., Path], run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(folder("small"))
    assert run("plan", *(argument.replace("{folder}", place) for argument in arguments)) == 1
    err = capsys.readouterr().err
    assert says in err
    assert "to do" in err
    assert "Traceback" not in err


# A prime number of tiles lies on one core; the longest row of a layer norm's statistics is a core's too.
@pytest.mark.parametrize(
    ("mesh", "hidden", "block", "shape"),
    [
        ("n150", 32 * 509, "layer 0 attention.out", "[32, 32] @ [32, 16288] in decode"),
        ("2x4", 16384, "layer 0 attention_norm", "a row of 8192 in a norm over 2 devices"),
    ],
)
def test_what_does_not_fit_a_core_is_named_with_its_shape_its_bytes_and_the_limit(
    mesh: str, hidden: int, block: str, shape: str, folder: Callable[..., Path]
) -> None:
    sizes = {"hidden_size": hidden, "head_dim": 32, "num_attention_heads": 1, "num_key_value_heads": 1}
    with pytest.raises(LayoutError) as error:
        planned(folder("small", **sizes), mesh=mesh)
    assert error.value.who == block
    needed = re.fullmatch(rf"{re.escape(shape)}: ([\d,]+) bytes of L1 on a core at the least", error.value.got)
    assert needed is not None, error.value.got
    assert int(needed[1].replace(",", "")) > 1_499_136
    assert error.value.expected == "at most 1,499,136 bytes"
    assert "more chips" in error.value.fix
