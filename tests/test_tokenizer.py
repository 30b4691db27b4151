"""Every damaged tokenizer file is one error that names it, and config.json decides nothing but the class."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ttfamily.core.config.hf_config import HfConfig
from ttfamily.errors import CheckpointError, RequestError, TtfamilyError
from ttfamily.tokenizer import encode, load_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
TEXT = "Hello <s> wörld, 12 "
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def byte_level(pre_tokenizer: pre_tokenizers.PreTokenizer | None = None) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return raw


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(), bos_token=BEGIN, eos_token=END)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "model")


def load(folder: Path, **config: object) -> PreTrainedTokenizerBase:
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    tokenizer = load_tokenizer(folder, HfConfig.of({**raw, **config}))
    assert tokenizer is not None
    return tokenizer


def edit(file: Path, **keys: object) -> None:
    old = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**old, **keys}))


def refused(*parts: str) -> Any:
    return pytest.raises(CheckpointError, match=".*".join(map(re.escape, parts)))


def test_it_is_the_tokenizer_that_transformers_makes(folder: Path) -> None:
    ours, theirs = load(folder), AutoTokenizer.from_pretrained(folder)
    assert type(ours) is type(theirs)
    assert encode(ours, TEXT) == theirs(TEXT)["input_ids"]
    assert (ours.chat_template, ours.special_tokens_map) == (theirs.chat_template, theirs.special_tokens_map)
    assert ours.name_or_path == str(folder)


def test_a_folder_without_tokenizer_files_has_none(tmp_path: Path) -> None:
    assert load_tokenizer(tmp_path, HfConfig.of({})) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"[" * 100_000],
                         ids=["empty", "cut", "list", "utf-16", "bom", "nested"])  # fmt: skip
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_a_damaged_file_is_named_and_no_other(folder: Path, name: str, content: bytes) -> None:
    if name == "special_tokens_map.json":  # read where tokenizer_config.json holds no tokens
        (folder / "tokenizer_config.json").write_text("{}")
    (folder / name).write_bytes(content)
    with refused(name, "got", "Download"):
        load(folder)


def test_a_directory_in_a_files_place_is_named(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").mkdir()
    with refused("tokenizer_config.json", "no file"):
        load(folder)


def test_a_link_to_nothing_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder / "nowhere")
    with refused("tokenizer.json", "no file"):
        load(folder)


def test_a_template_that_is_no_utf8_is_named(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe{\x00")
    with refused("chat_template.jinja", "utf-8", "text in UTF-8"):
        load(folder)


def test_a_setting_that_transformers_refuses_is_quoted_in_one_line(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", added_tokens_decoder={"0": "x" * 5000})
    with refused("tokenizer_config.json", "a tokenizer that transformers does not make (") as caught:
        load(folder)
    assert len(str(caught.value)) < 800
    assert str(caught.value).isprintable()


def test_a_garbage_tokenizer_model_does_not_send_for_tiktoken(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\x01garbage" * 10)
    with refused("tokenizer.model: got a vocabulary that transformers does not read", "Download tokenizer.json"):
        load(folder)


def test_a_tokenizer_config_without_a_vocabulary_says_so(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with refused("tokenizer_config.json", "tokenizer.json"):
        load(folder)


@pytest.mark.parametrize("config", [
    {"rms_norm_eps": 1}, {"eos_token_id": ["a"]}, {"dtype": "no type"}, {"quantization_config": 5}, {"auto_map": None},
    {"tie_word_embeddings": None}, {"attention_bias": None}, {"use_cache": None}, {"vocab_size": "many"},
    {"model_type": 5}, {"model_type": "of-nobody"}, {"transformers_version": 5}, {"transformers_version": "new"},
    {"tokenizer_class": 7}, {"rope_scaling": "x"}, {"model_type": None},
])  # fmt: skip
def test_what_config_says_besides_the_class_is_not_the_tokenizers_business(folder: Path, config: Any) -> None:
    expected = encode(load(folder), TEXT)
    edit(folder / "config.json", **config)
    assert encode(load(folder), TEXT) == expected


def test_a_byte_order_mark_in_config_json_is_not_either(folder: Path) -> None:
    expected = encode(load(folder), TEXT)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8-sig")
    assert encode(load(folder), TEXT) == expected


def test_config_still_chooses_the_class(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    for model_type in ("qwen2", "gpt2"):
        edit(folder / "config.json", model_type=model_type)
        ours, theirs = load(folder), AutoTokenizer.from_pretrained(folder)
        assert type(ours) is type(theirs)
    assert type(ours).__name__ == "GPT2Tokenizer"


def test_nothing_is_left_of_the_links(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    load(folder)
    assert list(place.iterdir()) == []


def backtracking(folder: Path, pattern: str) -> Path:
    tokenizer = byte_level(pre_tokenizers.Split(Regex(pattern), "isolated"))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_regular_expression_that_fails_on_plain_text_is_found_at_load(folder: Path) -> None:
    edit(backtracking(folder, r"(\w+\s?)*$") / "tokenizer_config.json", tokenizer_class="TokenizersBackend")
    with refused("tokenizer.json", "retry-limit"):
        load(folder)


def test_one_that_fails_on_a_prompt_is_an_error_of_that_prompt(folder: Path) -> None:
    tokenizer = load(backtracking(folder, r"(a+)+$"))
    assert encode(tokenizer, "b")
    with pytest.raises(RequestError, match=r"tokenizer\.json: .*35 characters .*retry-limit.*pass token ids"):
        encode(tokenizer, "a" * 34 + "!")


def test_half_of_a_surrogate_pair_is_refused_in_a_message_that_can_be_printed(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"prompt: .*'\\ud83d', at character 3") as caught:
        encode(load(folder), "abc\ud83d")
    assert str(caught.value).isascii()


def test_a_word_that_the_vocabulary_lacks_is_an_error_of_the_prompt(folder: Path) -> None:
    raw = Tokenizer(models.WordLevel({"yes": 0, "no": 1}, unk_token=UNKNOWN))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    tokenizer = load(folder)
    assert encode(tokenizer, "no yes") == [1, 0]
    with pytest.raises(RequestError, match=r"prompt: got a text that the tokenizer does not take"):
        encode(tokenizer, "maybe")


KEYS = (
    "tokenizer_class", "model_max_length", "added_tokens_decoder", "chat_template", "extra_special_tokens", "bos_token",
    "eos_token", "unk_token", "padding_side", "truncation_side", "add_bos_token", "auto_map", "split_special_tokens",
    "clean_up_tokenization_spaces", "fast_tokenizer_files", "init_inputs", "model_input_names", "tokenizer_object",
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**33) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def error_of(folder: Path) -> TtfamilyError | None:
    try:
        encode(load(folder), TEXT)
    except TtfamilyError as error:
        return error
    return None


@settings(max_examples=100)
@given(keys=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=2))
def test_whatever_tokenizer_config_holds_a_tokenizer_or_our_error_comes_of_it(keys: Any, sound: Path) -> None:
    file = sound / "tokenizer_config.json"
    before = file.read_text()
    try:
        edit(file, **keys)
        error = error_of(sound)
    finally:
        file.write_text(before)
    assert error is None or str(file) in error.who
