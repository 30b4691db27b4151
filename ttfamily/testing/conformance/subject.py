"""What a conformance class is about: the family, the configs to draw for it, and where Hugging Face has what."""

from __future__ import annotations

import contextlib
import tempfile
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest
from hypothesis import Phase, note, reject, settings

from ttfamily.core.config.hf_config import HfConfig
from ttfamily.errors import LayoutError
from ttfamily.testing.bench import Bench
from ttfamily.testing.configs import MOST_WEIGHTS, decoder_configs
from ttfamily.testing.conformance.chosen import Chosen, chosen_config
from ttfamily.testing.correlation import pcc
from ttfamily.testing.models import config_class_of, loaded, make_model, save_checkpoint
from ttfamily.testing.reference import Sequence
from ttfamily.testing.strategies import random_tokens
from ttfamily.testing.tally import RUN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hypothesis.strategies import SearchStrategy
    from transformers import PretrainedConfig, PreTrainedModel

    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.family import Family
    from ttfamily.model import Model
    from ttfamily.testing.configs import Excluded
    from ttfamily.testing.conformance.chosen import Data

LAYER = ".{layer}"
REFERENCE_PCC, REFERENCE_SCALE = 0.9999, 0.01  # folding rounds weights once more
PROMPT = 40


@attrs.frozen(kw_only=True)
class Trial:
    """A Hugging Face model and the bench that has its blocks.

    :param hf: what :meth:`Subject.reference` made of it.
    :param paths: slot -> where the model has it, for ``layer`` and the blocks in it.
    """

    hf: PreTrainedModel
    bench: Bench
    paths: Mapping[str, str]


@attrs.frozen(repr=False)
class Shown:
    """A config that prints as it would be written down: a failing example is read by people."""

    config: PretrainedConfig

    def __repr__(self) -> str:
        """Return a call of the config's class with what is not its default."""
        keys = sorted(self.config.to_diff_dict().items())
        shown = ", ".join(f"{k}={v!r}" for k, v in keys if k not in ("model_type", "transformers_version"))
        return f"{type(self.config).__name__}({shown})"


class Subject:
    """The base of the kit's classes; :class:`~ttfamily.testing.Conformance` documents what a subclass sets."""

    family: ClassVar[Family]
    keys: ClassVar[Mapping[str, Any]] = {}
    excluded: ClassVar[Excluded] = {}
    config_class: ClassVar[type[PretrainedConfig] | None] = None
    modules: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _there_is_something_to_compare_with(cls) -> None:
        for architecture in cls.family.architectures:
            config_class_of(architecture)

    @classmethod
    def configs(
        cls, *, layers: int = 1, most_weights: int = MOST_WEIGHTS, trained: SearchStrategy[int] | None = None
    ) -> SearchStrategy[PretrainedConfig]:
        """Return what to draw configs from.

        :param layers: decoder layers.
        :param most_weights: elements in one layer; limits which sizes are large together.
        :param trained: ``max_position_embeddings`` of a config with dynamic rope scaling; short ones if None.
        """
        kind = cls.config_class or config_class_of(cls.family.architectures[0])
        limits: dict[str, Any] = {"layers": layers, "most_weights": most_weights, "trained": trained}
        return decoder_configs(kind, **limits, excluded=cls.excluded, **cls.keys)

    @classmethod
    def draw(cls, data: Data, **limits: Any) -> PretrainedConfig:
        """Draw a config within limits, which are those of :meth:`configs`, or take the one of a chosen example."""
        if isinstance(data, Chosen):
            config = chosen_config(cls, data.number, limits)
            note(f"{data!r}: {Shown(config)!r}")
            return config
        return data.draw(cls.configs(**limits).map(Shown)).config

    @classmethod
    def spec_of(cls, config: PretrainedConfig) -> ModelSpec:
        """Read a config as a load would."""
        read = HfConfig.of({**config.to_dict(), "architectures": list(cls.family.architectures[:1])})
        spec = cls.family.spec(read)
        read.finish()
        return spec

    @classmethod
    def paths(cls, spec: ModelSpec) -> dict[str, str]:
        """Return where transformers' model has the first layer's blocks: beside the weights that they read."""
        rules = cls.family.rules(spec)
        where = {
            slot: rules[weight].modules[0].rpartition(".")[0]
            for slot, weight in (("layer.attention", "layer.attention.out"), ("layer.mlp", "layer.mlp.down"))
            if weight in rules
        }
        if "layer.attention_norm" in rules:
            where["layer.attention_norm"] = rules["layer.attention_norm"].modules[0]
        where |= cls.modules
        beside = next((path for path in where.values() if LAYER in path), LAYER)
        where.setdefault("layer", beside.partition(LAYER)[0] + LAYER)
        return {slot: path.format(layer=0) for slot, path in where.items()}

    @classmethod
    def reference(cls, hf: PreTrainedModel) -> PreTrainedModel:
        """Return the model whose modules the blocks are compared with, by default the one that was made.

        Override it where transformers' modules and the family's blocks are not cut in the same places: a family
        that folds a multiplier into a weight, a norm that stands in transformers' layer and in the family's block.

        :param hf: a copy, which may be changed in place.
        :returns: a model with the same logits, which is checked.
        """
        return hf

    @contextmanager
    def trial(self, config: PretrainedConfig, seed: int, mesh: Mesh, users: int, longest: int) -> Iterator[Trial]:
        """Make a model and lay its blocks out on the mesh, for prompts of up to ``longest`` tokens."""
        RUN.example()
        hf = make_model(config, seed)
        reference = hf
        if type(self).reference.__func__ is not Subject.reference.__func__:  # type: ignore[attr-defined]  # a classmethod
            reference = self.reference(deepcopy(hf))
            same_logits(reference, hf, seed)
        with tempfile.TemporaryDirectory() as folder, or_another_shape():
            save_checkpoint(hf, Path(folder))
            bench = Bench(Path(folder), mesh, self.family, max_batch_size=users, max_seq_len=longest + 32)
            yield Trial(hf=reference, bench=bench, paths=self.paths(bench.plan.spec))

    @contextmanager
    def loaded(self, hf: PreTrainedModel, mesh: Mesh, **options: Any) -> Iterator[Model]:
        """Save a model and load it as a user would."""
        RUN.example()
        with contextlib.ExitStack() as stack:
            with or_another_shape():
                model = stack.enter_context(loaded(hf, mesh, family=self.family, **options))
            yield model


def same_logits(reference: PreTrainedModel, hf: PreTrainedModel, seed: int) -> None:
    """Check that a reference computes what the model does, in a prompt and one step after it.

    :raises AssertionError: if it computes something else.
    """
    tokens = random_tokens(hf.config.vocab_size, PROMPT + 1, seed)
    sequences = Sequence(reference), Sequence(hf)
    for part in (tokens[:PROMPT], tokens[PROMPT:]):
        got, want = (sequence.logits(part) for sequence in sequences)
        scale = float(got.norm() / want.norm())
        if not pcc(got, want) >= REFERENCE_PCC or abs(scale - 1) > REFERENCE_SCALE:
            raise AssertionError(
                f"reference() returned another model: its logits have a PCC of {pcc(got, want):.6f} with those of the "
                f"model it was given, want at least {REFERENCE_PCC}, and a norm of {scale:.4f} of theirs, want 1 "
                f"within {REFERENCE_SCALE}; whatever it changes in one place it has to make good in another"
            )


@contextmanager
def or_another_shape() -> Iterator[None]:
    """Let hypothesis draw another example where the plan says, as it should, that a mesh has no programs for one.

    A test that has chosen examples only is skipped, and says so.
    """
    try:
        yield
    except LayoutError as error:
        if Phase.generate not in settings().phases:
            pytest.skip(f"this mesh has no programs for the example that was chosen, and no other is drawn: {error}")
        reject()
