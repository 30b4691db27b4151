from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

import ttfamily
from ttfamily.demo import run as demo
from ttfamily.demo.checkpoint import checkpoint
from ttfamily.demo.compare import Agreement, agreement, compare, pcc
from ttfamily.demo.corpus import MODULES, documents
from ttfamily.demo.recipe import Recipe
from ttfamily.demo.tokens import encode_all, train_tokenizer
from ttfamily.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Self

TINY = Recipe(
    vocab_size=301,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    steps=2,
    batch_size=2,
    sequence_length=16,
    shard_size="100KB",
)
TEXTS = documents()[:12]


def ignore(done: int, loss: float) -> None: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(TINY, TEXTS, tmp_path_factory.mktemp("cache"), ignore)[0]


class ReferenceModel:
    """Hugging Face itself behind the two methods of a loaded model; ``change`` may spoil its logits."""

    def __init__(self, folder: Path, change: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.change = change
        self.slots: dict[int, list[int]] = {}

    def prefill(self, tokens: torch.Tensor, slot: int) -> torch.Tensor:
        self.slots[slot] = tokens.tolist()
        return self._logits(slot)

    def decode(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        rows = []
        for slot, (token, position) in enumerate(zip(tokens.tolist(), positions.tolist(), strict=True)):
            if position < 0:
                rows.append(torch.full((TINY.vocab_size,), math.nan))
                continue
            assert position == len(self.slots[slot])
            self.slots[slot].append(token)
            rows.append(self._logits(slot))
        return torch.stack(rows)

    @torch.inference_mode()
    def _logits(self, slot: int) -> torch.Tensor:
        return self.change(self.model(torch.tensor([self.slots[slot]])).logits[0, -1])


def test_the_corpus_is_the_same_every_time_and_begins_with_the_zen() -> None:
    texts = documents()
    assert texts == documents()
    assert texts[0].startswith("The Zen of Python")
    assert demo.PROMPT in texts[0]
    assert len(texts) > 2 * demo.USERS


def test_a_python_without_sources_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{MODULES[0]}\.py.*sources"):
        documents(tmp_path)


def test_a_changed_recipe_or_text_has_another_name() -> None:
    name = TINY.name(TEXTS)
    assert re.fullmatch(r"demo-llama-[0-9a-f]{12}", name)
    assert name == attrs.evolve(TINY).name(list(TEXTS))
    assert len({name, attrs.evolve(TINY, seed=1).name(TEXTS), TINY.name(TEXTS[1:])}) == 3


def test_the_recipe_asks_something_of_every_part() -> None:
    recipe = Recipe()
    assert recipe.vocab_size % 32
    assert recipe.num_key_value_heads < recipe.num_attention_heads
    assert recipe.original_max_position_embeddings < recipe.max_position_embeddings


@given(text=st.text())
def test_the_tokenizer_gives_back_every_text(text: str, tokenizer: Any) -> None:
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(TEXTS, TINY.vocab_size, 1024)


def test_documents_stand_between_begin_and_end(tokenizer: Any) -> None:
    assert len(tokenizer) == TINY.vocab_size
    tokens = encode_all(tokenizer, ["one", "two"]).tolist()
    assert tokens.count(tokenizer.bos_token_id) == tokens.count(tokenizer.eos_token_id) == 2
    assert tokens[0] == tokenizer.bos_token_id
    assert tokens[-1] == tokenizer.eos_token_id


def test_the_checkpoint_is_one_that_hugging_face_reads(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.dtype == torch.bfloat16
    assert model.config.rope_parameters["rope_type"] == "llama3"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert len(list(folder.glob("*.safetensors"))) > 1
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    assert chat == "<|begin|>Hello\n\n"


def test_a_checkpoint_is_made_once_and_only_once(folder: Path) -> None:
    def fail(done: int, loss: float) -> None:
        pytest.fail("trained again")

    assert checkpoint(TINY, TEXTS, folder.parent, fail) == (folder, True)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_training_repeats_bit_by_bit_and_leaves_torchs_generator_alone(folder: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    again, was_there = checkpoint(TINY, TEXTS, tmp_path, ignore)
    assert not was_there
    assert torch.equal(before, torch.get_rng_state())
    for file in folder.glob("*.safetensors"):
        assert file.read_bytes() == (again / file.name).read_bytes()


def test_an_interrupted_training_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint(TINY, TEXTS, tmp_path, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_train_at_once_the_first_wins(folder: Path, tmp_path: Path) -> None:
    def other_process_was_faster(done: int, loss: float) -> None:
        target = tmp_path / folder.name
        if not target.exists():
            target.mkdir()
            (target / "theirs").touch()

    made, _ = checkpoint(TINY, TEXTS, tmp_path, other_process_was_faster)
    assert [path.name for path in tmp_path.iterdir()] == [made.name]
    assert (made / "theirs").exists()


def test_a_cache_that_cannot_be_written_to_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cache folder: got .*TTFAMILY_CACHE"):
        checkpoint(TINY, TEXTS, tmp_path / "file" / "below", ignore)


def tokens_of(folder: Path, users: int = 3, length: int = 24) -> torch.Tensor:
    return demo.held_in(AutoTokenizer.from_pretrained(folder), TEXTS, users=users, length=length)


def test_hugging_face_agrees_with_itself(folder: Path) -> None:
    model = ReferenceModel(folder)
    result = compare(model, folder, tokens_of(folder), decode_steps=4, max_batch_size=5)
    assert result.tokens == 3 * 5
    assert result.top1 == result.top5 == 1
    assert min(result.prefill_pcc, result.decode_pcc, result.lowest_pcc) > 0.999999
    assert result.passed
    assert [len(model.slots[u]) for u in range(3)] == [24, 23, 22]


@pytest.mark.parametrize("change", [torch.neg, lambda x: x.roll(1, -1), lambda x: x * math.nan])
def test_a_model_that_is_off_does_not_pass(folder: Path, change: Any) -> None:
    model = ReferenceModel(folder, change)
    assert not compare(model, folder, tokens_of(folder), decode_steps=4, max_batch_size=3).passed


def test_a_model_that_is_off_in_decode_alone_does_not_pass() -> None:
    expected = torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(0))
    got = expected.clone()
    got[:, 1:] *= -1
    result = agreement(got, expected)
    assert result.prefill_pcc == pytest.approx(1)
    assert result.decode_pcc == pytest.approx(-1)
    assert result.top1 == pytest.approx(0.2)
    assert not result.passed


def test_top5_counts_a_choice_among_the_first_five() -> None:
    expected = torch.arange(40.0).expand(1, 2, 40)
    got = torch.zeros(1, 2, 40)
    got[0, 0, 35] = 1  # Hugging Face's fifth
    got[0, 1, 34] = 1  # its sixth
    result = agreement(got, expected)
    assert (result.top1, result.top5) == (0, 0.5)


def test_pcc_is_pearsons() -> None:
    x = torch.tensor([1.0, 2, 3, 4])
    assert pcc(2 * x + 5, x) == pytest.approx(1)
    assert pcc(-x, x) == pytest.approx(-1)
    assert math.isnan(pcc(x * math.nan, x))


def test_too_few_slots_or_tokens_are_refused(folder: Path) -> None:
    model = ReferenceModel(folder)
    with pytest.raises(RequestError, match="3 texts; expected at most 2"):
        compare(model, folder, tokens_of(folder), decode_steps=4, max_batch_size=2)
    with pytest.raises(RequestError, match="texts of 24 tokens; expected at least 25"):
        compare(model, folder, tokens_of(folder), decode_steps=22, max_batch_size=3)
    with pytest.raises(RequestError, match="expected 100"):
        tokens_of(folder, users=100)


GOOD = Agreement(prefill_pcc=0.999, decode_pcc=0.999, lowest_pcc=0.99, top1=0.99, top5=1.0, tokens=200)


@pytest.mark.parametrize(
    ("field", "value"), [("prefill_pcc", 0.98), ("decode_pcc", 0.98), ("top1", 0.94), ("top5", 0.98)]
)
def test_every_number_decides(field: str, value: float) -> None:
    assert GOOD.passed
    worse = attrs.evolve(GOOD, **{field: value})
    assert not worse.passed
    console = Console(file=io.StringIO(), width=100)
    console.print(demo.agreement_table(worse, title="a title"))
    assert console.file.getvalue().count("too low") == 1  # type: ignore[attr-defined]


class SpeakingModel(ReferenceModel):
    """What the demo needs of a model, with Hugging Face inside."""

    last_run = None

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(folder)  # type: ignore[arg-type]
        self.options = options
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def generate(self, prompt: str, **options: Any) -> Iterator[str]:
        yield from (" ugly", ".")


def test_the_demo_trains_speaks_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTFAMILY_CACHE", str(tmp_path))
    monkeypatch.setattr(demo, "Recipe", lambda: TINY)
    monkeypatch.setattr(ttfamily, "load", SpeakingModel)
    console = Console(file=io.StringIO(), width=100)
    assert demo.run(console, mesh="n300", device="auto", precision="accuracy")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"^Training a small Llama \(once\)\nTrained a small Llama \(loss \d\.\d\d\): ", text)
    assert "Loading it onto n300\n" in text
    assert "\nComparing with Hugging Face in float32\n" in text
    assert "Beautiful is better than ugly.\n" in text
    assert "200 teacher-forced tokens" in text
    assert "The demo passed." in text


def test_a_demo_that_finds_its_checkpoint_does_not_speak_of_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "Recipe", lambda: TINY)
    monkeypatch.setattr(demo, "cache_folder", lambda: folder.parent.parent)
    (folder.parent.parent / "demo").symlink_to(folder.parent)
    console = Console(file=io.StringIO(), width=1000)
    assert demo._checkpoint(console, TEXTS).name == folder.name
    assert console.file.getvalue().startswith("Found a small Llama: ")  # type: ignore[attr-defined]


def test_a_dry_demo_is_refused() -> None:
    with pytest.raises(RequestError, match="dry"):
        demo.run(Console(file=io.StringIO()), mesh="n300", device="dry", precision="accuracy")
