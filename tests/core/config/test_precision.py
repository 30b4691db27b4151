"""Precision policies as values and files, and what a model does with them: weights, caches, budget, logits."""

from __future__ import annotations

import json
import pickle
import re
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig

import ttfamily
from ttfamily.core.config.precision import (
    FIDELITIES,
    FORMATS,
    GROUPS,
    OF_A_LAYER,
    LayerPrecision,
    WeightPrecision,
    ttnn_dtype,
)
from ttfamily.core.config.precision_policy import POLICIES, PrecisionPolicy, policy
from ttfamily.core.layout.programs import compute_kernel
from ttfamily.errors import PlanError
from ttfamily.testing.conformance.logits import MODEL_PCC, expect, run
from ttfamily.testing.correlation import pcc
from ttfamily.testing.models import loaded, make_model
from ttfamily.testing.strategies import Batch
from ttfamily.tiles import TILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.model import Model

DOCS = Path(__file__).parents[3] / "docs" / "precision.md"
PERFORMANCE = POLICIES["performance"]
BF16 = PrecisionPolicy(**dict.fromkeys(GROUPS, "bf16"))


# ---- strategies


WEIGHTS = st.builds(WeightPrecision, st.sampled_from(["bfp8", "bfp4"]), st.sampled_from(FIDELITIES)) | st.sampled_from(
    [WeightPrecision(name) for name in FORMATS] + [WeightPrecision("bf16", "HiFi2")]
)
CACHES = st.sampled_from(FORMATS)
BY_GROUP = {group: CACHES if group == "kv_cache" else WEIGHTS for group in GROUPS}
OWN = st.builds(LayerPrecision, **{group: st.none() | BY_GROUP[group] for group in OF_A_LAYER})


@st.composite
def spans(draw: st.DrawFn, layers: int = 100) -> list[range]:
    """Ranges of layers, some of them single ones, none overlapping another, in any order."""
    cuts = sorted(draw(st.sets(st.integers(0, layers), max_size=8)))
    pieces = [range(a, b) for a, b in pairwise(cuts)]
    return draw(st.permutations([piece for piece in pieces if draw(st.booleans())]))


@st.composite
def policies(draw: st.DrawFn) -> PrecisionPolicy:
    layers = {span: draw(OWN) for span in draw(spans())}
    return PrecisionPolicy(**{group: draw(values) for group, values in BY_GROUP.items()}, layers=layers)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for a policy's file."""
    return tmp_path_factory.mktemp("precision") / "policy.json"


# ---- values


@given(policies())
def test_every_policy_round_trips_through_json(file: Path, precision: PrecisionPolicy) -> None:
    file.write_text(precision.to_json())
    again = PrecisionPolicy.from_json(file)
    assert again == precision
    assert hash(again) == hash(precision)
    assert again.to_json() == precision.to_json()
    assert pickle.loads(pickle.dumps(precision)) == precision  # noqa: S301


@given(policies(), st.integers(0, 120))
def test_a_layer_has_its_own_groups_and_the_models_others(precision: PrecisionPolicy, layer: int) -> None:
    flat = precision.of(layer)
    own = next((own for span, own in precision.layers if layer in span), LayerPrecision())
    assert flat.layers == ()
    for group in GROUPS:
        wanted = getattr(own, group, None)
        assert getattr(flat, group) == (getattr(precision, group) if wanted is None else wanted)


@given(policies(), st.integers(1, 100))
def test_layers_that_the_model_has_not_are_refused(precision: PrecisionPolicy, count: int) -> None:
    if all(span.stop <= count for span, _ in precision.layers):
        precision.check_layers(count)
    else:
        with pytest.raises(PlanError, match=f"layers.*expected 0 to {count - 1}: the model has {count} layers"):
            precision.check_layers(count)


@pytest.mark.parametrize(("format_", "fidelity"), [("bf16", "HiFi3"), ("bfp8", "HiFi2"), ("bfp4", "LoFi")])
def test_the_fidelity_follows_the_format_unless_given(format_: Any, fidelity: str) -> None:
    assert WeightPrecision(format_).fidelity == fidelity
    assert WeightPrecision(format_, "HiFi2").fidelity == "HiFi2"


@pytest.mark.parametrize("policy", POLICIES.values(), ids=[*POLICIES])
def test_no_policy_asks_for_what_wormhole_gets_wrong(policy: PrecisionPolicy) -> None:
    """HiFi4 with float32 sums: tt-metal issue 38306."""
    for group in GROUPS:
        precision = getattr(policy, group)
        if isinstance(precision, WeightPrecision):
            kernel = compute_kernel(precision)
            assert not (kernel.fp32_dest_acc_en and kernel.math_fidelity.name == "HiFi4")


def test_a_fidelity_that_drops_bits_of_bf16_weights_is_refused() -> None:
    with pytest.raises(PlanError, match="fidelity: got LoFi for bf16 weights: it multiplies 5 of their 8 bits"):
        WeightPrecision("bf16", "LoFi")
    assert WeightPrecision("bfp8", "LoFi").fidelity == "LoFi"


def test_layers_are_given_by_number_range_or_text() -> None:
    plain = {"gate_up": "bf16"}
    one = attrs.evolve(PERFORMANCE, layers={0: plain, range(2, 4): plain})
    assert one == attrs.evolve(PERFORMANCE, layers={"2-3": LayerPrecision.of(plain), "0": plain})
    assert [one.of(layer).gate_up.format for layer in range(5)] == ["bf16", "bfp4", "bf16", "bf16", "bfp4"]
    # what is evolved keeps its layers
    assert attrs.evolve(one, qkv="bf16").layers == one.layers


@pytest.mark.parametrize(("make", "parts"), [
    (lambda: WeightPrecision("fp8"), ("format", "'fp8'", "bf16, bfp8, bfp4")),
    (lambda: WeightPrecision(["bf16"]), ("format", "bf16, bfp8, bfp4")),
    (lambda: WeightPrecision("bfp8", "HiFi5"), ("fidelity", "'HiFi5'", "LoFi, HiFi2, HiFi3, HiFi4")),
    (lambda: attrs.evolve(PERFORMANCE, qkv="fp8"), ("weights", "'fp8'", "bf16, bfp8, bfp4")),
    (lambda: attrs.evolve(PERFORMANCE, kv_cache="fp8"), ("kv_cache", "'fp8'", "bf16, bfp8, bfp4")),
    (lambda: attrs.evolve(PERFORMANCE, kv_cache=WeightPrecision("bfp8")), ("kv_cache", "bf16, bfp8, bfp4")),
    (lambda: attrs.evolve(PERFORMANCE, layers={-1: {}}), ("layers.-1", "-1", "0-3")),
    (lambda: attrs.evolve(PERFORMANCE, layers={True: {}}), ("layers.True", "true")),
    (lambda: attrs.evolve(PERFORMANCE, layers={range(0, 8, 2): {}}), ("layers.", "range(0, 8, 2)")),
    (lambda: attrs.evolve(PERFORMANCE, layers={range(3, 3): {}}), ("layers.", "range(3, 3)")),
    (lambda: attrs.evolve(PERFORMANCE, layers={range(4): {}, 3: {}}), ("layers.3", "layer 3, which 0-3 has too")),
    (lambda: attrs.evolve(PERFORMANCE, layers=("0-3",)), ("layers", "('0-3',)")),
    (lambda: attrs.evolve(PERFORMANCE, layers={0: "bf16"}), ("layers.0", "'bf16'", "groups")),
])  # fmt: skip
def test_a_bad_value_is_named(make: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(PlanError, match=".*".join(map(re.escape, parts))):
        make()


# ---- names and files


def test_a_policy_is_a_name_a_value_or_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = attrs.evolve(PERFORMANCE, layers={0: {"qkv": "bf16"}})
    file.write_text(mixed.to_json())
    other = file.with_name("policy")  # a file of another name
    other.write_text(mixed.to_json())
    monkeypatch.setenv("HOME", str(file.parent))
    assert policy("performance") is PERFORMANCE
    assert policy(mixed) is mixed
    for path in (file, str(file), str(other), "~/policy.json"):
        assert policy(path) == mixed


@pytest.mark.parametrize("precision", ["fast", "", "x" * 5000, "fast\0", None, 8])
def test_what_is_neither_is_refused(precision: Any) -> None:
    with pytest.raises(PlanError, match=r"precision: got .*expected one of accuracy, performance, a JSON file"):
        policy(precision)


def test_a_base_gives_what_a_file_leaves_out(file: Path) -> None:
    file.write_text(json.dumps({
        "base": "performance",
        "gate_up": "bfp8",
        "down": {"format": "bfp8", "fidelity": "HiFi3"},
        "layers": {"0-1": {"gate_up": "bf16", "kv_cache": "bf16"}, "31": {"qkv": {"format": "bfp8"}}},
    }))  # fmt: skip
    own = {range(2): {"gate_up": WeightPrecision("bf16"), "kv_cache": "bf16"}, 31: {"qkv": WeightPrecision("bfp8")}}
    wanted = attrs.evolve(PERFORMANCE, gate_up="bfp8", down=WeightPrecision("bfp8", "HiFi3"), layers=own)
    assert PrecisionPolicy.from_json(file) == wanted


def test_the_documented_file_and_value_are_sound(file: Path) -> None:
    page = DOCS.read_text()
    file.write_text(re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])
    read = PrecisionPolicy.from_json(file)
    assert [read.of(layer).gate_up.format for layer in (0, 1, 2)] == ["bf16", "bf16", "bfp8"]
    assert (read.of(31).qkv.format, read.down.fidelity) == ("bf16", "HiFi3")
    exec(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0], {})  # noqa: S102
    for group in GROUPS:
        named = [getattr(POLICIES[name], group) for name in ("accuracy", "performance")]
        cells = " | ".join(value if isinstance(value, str) else value.format for value in named)
        assert re.search(rf"^\| `{group}` \|.*\| {re.escape(cells)} \|$", page, re.MULTILINE)
    for format_ in FORMATS:
        default = WeightPrecision(format_)
        assert f"| `{format_}` | {default.tile_bytes} | {default.fidelity} |" in page


BASE = '"base": "performance"'
BAD_FILES = {
    "syntax": ('{\n"base": }', ("line 2, column 9", "Expecting value", "JSON")),
    "empty": ("", ("line 1, column 1", "Expecting value")),
    "not utf-8": (b"\xff\xfe{", ("decode", "JSON file that can be read")),
    "too deep": ("[" * 100_000, ("policy",)),
    "long number": ('{"base": ' + "9" * 5000 + "}", ("policy",)),
    "no object": ('["performance"]', ("['performance']", "an object")),
    "null": ("null", ("null", "an object")),
    "unknown base": ('{"base": "fast"}', (", base", "'fast'", "accuracy, performance")),
    "base of a wrong type": ('{"base": 1}', (", base", "got 1", "accuracy, performance")),
    "unknown group": (f'{{{BASE}, "gate": "bf16"}}', (", gate:", "unknown", "qkv, out, gate_up")),
    "missing groups": ('{"qkv": "bf16", "kv_cache": "bf16"}', ("out, gate_up, down, lm_head", "base")),
    "unknown format": (f'{{{BASE}, "qkv": "fp8"}}', (", qkv:", "'fp8'", "bf16, bfp8, bfp4")),
    "format of a wrong type": (f'{{{BASE}, "qkv": 8}}', (", qkv:", "got 8", "bf16, bfp8, bfp4")),
    "group without a value": (f'{{{BASE}, "qkv": null}}', (", qkv:", "got null", "bf16, bfp8, bfp4")),
    "unknown format inside": (f'{{{BASE}, "qkv": {{"format": "fp8"}}}}', (", qkv.format:", "'fp8'")),
    "no format inside": (f'{{{BASE}, "qkv": {{"fidelity": "LoFi"}}}}', (", qkv.format:", "nothing", "follows")),
    "unknown fidelity": (
        f'{{{BASE}, "qkv": {{"format": "bfp8", "fidelity": "HiFi5"}}}}', (", qkv.fidelity:", "'HiFi5'", "LoFi, HiFi2"),
    ),
    "fidelity of a wrong type": (
        f'{{{BASE}, "qkv": {{"format": "bfp8", "fidelity": []}}}}', (", qkv.fidelity:", "[]", "LoFi, HiFi2"),
    ),
    "lossy fidelity": (
        f'{{{BASE}, "qkv": {{"format": "bf16", "fidelity": "LoFi"}}}}', (", qkv.fidelity:", "LoFi for bf16", "HiFi3"),
    ),
    "unknown key of a group": (
        f'{{{BASE}, "qkv": {{"format": "bf16", "bits": 8}}}}', (", qkv.bits:", "unknown", "format, fidelity"),
    ),
    "fidelity of the cache": (f'{{{BASE}, "kv_cache": {{"format": "bfp8"}}}}', (", kv_cache:", "bf16, bfp8, bfp4")),
    "layers of a wrong type": (f'{{{BASE}, "layers": []}}', (", layers:", "[]", "0-3")),
    "no layers": (f'{{{BASE}, "layers": null}}', (", layers:", "null", "0-3")),
    "a layer of a wrong type": (f'{{{BASE}, "layers": {{"0": "bf16"}}}}', (", layers.0:", "'bf16'", "groups")),
    "no layer": (f'{{{BASE}, "layers": {{"first": {{}}}}}}', (", layers.first:", "'first'", "0-3")),
    "negative layer": (f'{{{BASE}, "layers": {{"-1": {{}}}}}}', (", layers.-1:", "'-1'", "0-3")),
    "backwards": (f'{{{BASE}, "layers": {{"3-0": {{}}}}}}', (", layers.3-0:", "'3-0'", "0-3")),
    "other digits": (f'{{{BASE}, "layers": {{"\u0663": {{}}}}}}', (", layers.\u0663:", "0-3")),
    "endless": (f'{{{BASE}, "layers": {{"0-{"9" * 5000}": {{}}}}}}', (", layers.0-999", "0-3")),
    "overlap": (
        f'{{{BASE}, "layers": {{"4-9": {{}}, "0-4": {{}}}}}}', (", layers.4-9:", "layer 4, which 0-4 has too", "one"),
    ),
    "overlap within": (f'{{{BASE}, "layers": {{"0-9": {{}}, "5": {{}}}}}}', (", layers.5:", "which 0-9 has too")),
    "the same layer twice": (f'{{{BASE}, "layers": {{"5": {{}}, "5": {{}}}}}}', (", layers.5:", "two entries")),
    "the same group twice": (f'{{{BASE}, "qkv": "bf16", "qkv": "bf16"}}', (", qkv:", "two entries")),
    "the same base twice": (f"{{{BASE}, {BASE}}}", (", base:", "two entries")),
    "layers twice": (f'{{{BASE}, "layers": {{}}, "layers": {{}}}}', (", layers:", "two entries")),
    "unknown group of a layer": (
        f'{{{BASE}, "layers": {{"0-1": {{"gate": "bf16"}}}}}}', (", layers.0-1.gate:", "unknown", "qkv, out, gate_up"),
    ),
    "the head in a layer": (
        f'{{{BASE}, "layers": {{"0-1": {{"lm_head": "bf16"}}}}}}', (", layers.0-1.lm_head:", "belongs to no layer"),
    ),
    "unknown format of a layer": (
        f'{{{BASE}, "layers": {{"7": {{"kv_cache": "fp8"}}}}}}', (", layers.7.kv_cache:", "'fp8'", "bf16, bfp8"),
    ),
    "lossy fidelity of a layer": (
        f'{{{BASE}, "layers": {{"0-1": {{"out": {{"format": "bf16", "fidelity": "LoFi"}}}}}}}}',
        (", layers.0-1.out.fidelity:", "LoFi for bf16"),
    ),
    "layers of a layer": (
        f'{{{BASE}, "layers": {{"0": {{"layers": {{}}}}}}}}', (", layers.0.layers:", "unknown", "qkv, out, gate_up"),
    ),
    "source": (f'{{{BASE}, "source": "x"}}', (", source:", "unknown", "qkv, out")),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_with_the_place_in_it(file: Path, kind: str) -> None:
    text, parts = BAD_FILES[kind]
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PlanError) as caught:
        policy(str(file))
    message = str(caught.value)
    assert re.match(re.escape(str(file)) + ".*".join(("", *map(re.escape, parts))), message, re.DOTALL), message
    assert caught.value.fix


@pytest.mark.parametrize("name", ["nowhere.json", "folder.json"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(PlanError, match=rf"{re.escape(str(tmp_path / name))}: got .*directory.*Check the path"):
        policy(str(tmp_path / name))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*FORMATS, *FIDELITIES, "performance"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*GROUPS, "base", "layers", "format", "fidelity", "0", "0-3", "2-9", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_policy_or_a_plan_error_that_names_the_file(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data))
    with suppress(PlanError):
        assert isinstance(policy(file), PrecisionPolicy)
        return
    with pytest.raises(PlanError) as caught:
        policy(file)
    assert caught.value.who.startswith(str(file))
    assert all((caught.value.got, caught.value.expected, caught.value.fix))


# ---- models


# Widths that fill the DRAM banks of both chips, so that no padding is beside what is counted.
WIDE = {
    "vocab_size": 1536, "hidden_size": 768, "intermediate_size": 1536, "num_attention_heads": 12,
    "num_key_value_heads": 6, "head_dim": 64, "num_hidden_layers": 4, "max_position_embeddings": 512,
}  # fmt: skip
LARGE = {
    **WIDE, "vocab_size": 12288, "hidden_size": 3072, "intermediate_size": 6144, "num_attention_heads": 48,
    "num_key_value_heads": 24,
}  # fmt: skip
SMALL = {
    "vocab_size": 203, "hidden_size": 128, "intermediate_size": 200, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 3, "max_position_embeddings": 256,
}  # fmt: skip
MIXED = attrs.evolve(
    PERFORMANCE,
    gate_up="bfp8",
    lm_head="bf16",
    layers={
        0: {"qkv": "bf16", "out": "bfp4", "kv_cache": "bf16"},
        range(1, 3): {"gate_up": WeightPrecision("bf16", "HiFi2"), "down": WeightPrecision("bfp4", "HiFi4")},
    },
)


def parts(linear: Any) -> Iterator[Any]:
    """A projection's matmuls: several where it is too wide for one."""
    yield from getattr(linear, "parts", [linear])


def check_tensors(model: Model, precision: PrecisionPolicy) -> None:
    """Every weight and cache on the device has the format, every matmul the fidelity, that the policy says."""
    projections = [(model.transformer.lm_head.linear, precision.lm_head)]
    for index, layer in enumerate(model.transformer.layers):
        own = precision.of(index)
        projections += [
            (layer.attention.qkv, own.qkv),
            (layer.attention.out, own.out),
            (layer.mlp.gate, own.gate_up),
            (layer.mlp.up, own.gate_up),
            (layer.mlp.down.linear, own.down),
        ]
        for cache in layer.attention.caches:
            assert cache.keys.dtype == cache.values.dtype == ttnn_dtype(own.kv_cache)
    for projection, wanted in projections:
        for part in parts(projection):
            assert part.weight.tensor.dtype == ttnn_dtype(wanted.format)
            kernels = [part.decode_arguments, *(arguments for _, arguments in part.prefill_arguments.values())]
            assert {kernel["compute_kernel_config"].math_fidelity.name for kernel in kernels} == {wanted.fidelity}


@pytest.fixture(scope="module")
def hf() -> Any:
    """Three layers with random weights."""
    return make_model(LlamaConfig(**SMALL))


def logits_pcc(model: Model, hf: Any) -> float:
    """The least agreement of any user and step with Hugging Face."""
    batch = Batch(tokens=(17, 130))
    got, want = run(model, batch, 0, 8).flatten(0, 1), expect(hf, batch, 0, 8).flatten(0, 1)
    return min(pcc(one, other) for one, other in zip(got, want, strict=True))


def test_what_is_on_the_device_is_what_each_layer_was_given(hf: Any, file: Path) -> None:
    file.write_text(MIXED.to_json())
    with loaded(hf, "n300", precision=file, max_batch_size=2, max_seq_len=256) as model:
        assert model.plan.precision == MIXED
        check_tensors(model, MIXED)
        assert logits_pcc(model, hf) > 0.98


def test_more_bits_agree_better(hf: Any) -> None:
    """bf16 everywhere, then ``accuracy``, then ``performance`` with bf16 in all layers but one, then everywhere."""
    mostly = attrs.evolve(PERFORMANCE, layers={range(1, 3): dict.fromkeys(OF_A_LAYER, "bf16")})
    found = []
    for precision in (BF16, POLICIES["accuracy"], mostly, PERFORMANCE):
        with loaded(hf, "n300", precision=precision, max_batch_size=2, max_seq_len=256) as model:
            check_tensors(model, precision)
            found.append(logits_pcc(model, hf))
    assert found == sorted(found, reverse=True), found
    assert found[0] > 0.9995
    assert found[1] > MODEL_PCC
    assert found[3] > 0.97


@pytest.mark.parametrize("format_", FORMATS)
def test_a_cache_of_any_format(hf: Any, format_: Any) -> None:
    precision = attrs.evolve(BF16, kv_cache=format_)
    with loaded(hf, "n300", precision=precision, max_batch_size=2, max_seq_len=256) as model:
        check_tensors(model, precision)
        assert logits_pcc(model, hf) > {"bf16": 0.9995, "bfp8": 0.999, "bfp4": 0.99}[format_]


def write_config(folder: Path, **sizes: Any) -> Path:
    config = LlamaConfig(**sizes)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    return folder


def cache_bytes(model: Model, precision: PrecisionPolicy) -> int:
    """Bytes on each chip of all keys and values, counted tile by tile: a block is one tile of tokens."""
    plan, total = model.plan, 0
    for index, layer in enumerate(model.transformer.layers):
        tiles = plan.num_blocks * plan.heads.key_value_per_group * plan.head_dim // 32
        total += 2 * len(layer.attention.caches) * tiles * TILE_BYTES[precision.of(index).kv_cache]
    return total


@pytest.mark.parametrize("name", ["n150", "n300"])
@pytest.mark.parametrize("precision", [BF16, PERFORMANCE, MIXED], ids=["bf16", "performance", "mixed"])
def test_the_budget_is_what_the_allocator_holds(tmp_path: Path, name: str, precision: PrecisionPolicy) -> None:
    folder = write_config(tmp_path, **LARGE)
    with ttfamily.load(folder, mesh=name, device="dry", precision=precision, max_batch_size=4) as model:
        held = model.mesh.dram_bytes()[0] - cache_bytes(model, precision)
        assert weight_bytes(model) == pytest.approx(held, rel=0.02)


def weight_bytes(model: ttfamily.Model) -> int:
    """What the blocks say that their weights take on each chip."""
    return sum(model.transformer.budget().weights.values())


def test_layers_count_one_by_one_in_the_budget(tmp_path: Path) -> None:
    """All layers' own groups together cost what the same groups of the whole model do; half of them, half."""
    folder = write_config(tmp_path, **WIDE)
    own = {"gate_up": "bf16", "kv_cache": "bf16"}
    sizes = []
    for precision in (PERFORMANCE, *(attrs.evolve(PERFORMANCE, layers={range(n): own}) for n in (2, 4))):
        with ttfamily.load(folder, mesh="n300", device="dry", precision=precision, max_batch_size=1) as model:
            sizes.append((weight_bytes(model), model.mesh.dram_bytes()[0]))
    for none, half, every in zip(*sizes, strict=True):
        assert 2 * (half - none) == pytest.approx(every - none, rel=1e-3)
        assert every > none
    with ttfamily.load(
        folder, mesh="n300", device="dry", precision=attrs.evolve(PERFORMANCE, **own), max_batch_size=1
    ) as model:
        assert (weight_bytes(model), model.mesh.dram_bytes()[0]) == sizes[2]


def test_a_layer_that_the_model_has_not_is_refused_with_its_file(tmp_path: Path) -> None:
    folder, file = write_config(tmp_path / "model", **WIDE), tmp_path / "policy.json"
    file.write_text('{"base": "performance", "layers": {"2-4": {"qkv": "bf16"}}}')
    pattern = rf"{re.escape(str(file))}, layers.2-4: got layer 4; expected 0 to 3: the model has 4 layers"
    with pytest.raises(PlanError, match=pattern):
        ttfamily.load(folder, device="dry", precision=str(file))
    ttfamily.load(folder, device="dry", max_batch_size=1).close()  # nothing is left open


@pytest.mark.parametrize("format_", FORMATS)
def test_a_prompt_in_chunks_goes_through_a_cache_of_any_format(tmp_path: Path, format_: Any) -> None:
    """Every op of a later chunk takes the cache: ttnn's own checks, on a dry mesh."""
    folder = write_config(tmp_path, **{**WIDE, "max_position_embeddings": 4096})
    precision = attrs.evolve(PERFORMANCE, kv_cache=format_)
    with (
        ttfamily.load(folder, mesh="n300", device="dry", precision=precision, max_batch_size=1) as model,
        pytest.raises(ttfamily.TtfamilyError, match="dry mesh"),
    ):
        model.prefill(torch.zeros(2100, dtype=torch.int64), 0)
