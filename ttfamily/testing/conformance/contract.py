"""A family's side of the contract: it takes every weight once, and overlooks no config key."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ttfamily.builder import build
from ttfamily.core.config.hf_keys import INERT
from ttfamily.core.config.precision_policy import policy
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.weights import EMBEDDING, Weights
from ttfamily.errors import ConfigError
from ttfamily.testing import strategies
from ttfamily.testing.bench import limits_of, without_limit
from ttfamily.testing.configs import declared_keys
from ttfamily.testing.conformance.chosen import drawn
from ttfamily.testing.conformance.subject import Subject, or_another_shape
from ttfamily.testing.models import make_model, save_checkpoint
from ttfamily.testing.reference import Sequence

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.testing.conformance.chosen import Data

SMALL = 2**18
ACCURACY = policy("accuracy")
PROMPT = 40
FEW = 2  # of whatever a key counts: less than a prompt has
DERIVED = {"layer_types"}  # transformers makes it from other keys


class Counted(Checkpoint):
    """A checkpoint that counts how often each tensor is read."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.reads: Counter[str] = Counter()

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor."""
        self.reads[name] += 1
        return super().tensor(name)


class ContractTests(Subject):
    """Weights and config keys."""

    @drawn(10, seed=strategies.SEEDS)
    def test_every_weight_is_used_exactly_once(self, tt_mesh: Mesh, data: Data, seed: int) -> None:
        config = self.draw(data, layers=2, most_weights=SMALL)
        spec = self.spec_of(config)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Counted.open(save_checkpoint(make_model(config, seed), Path(folder)), tt_mesh.host_device)
            weights = Weights(checkpoint, self.family, spec)
            limits = limits_of(tt_mesh, max_seq_len=128)
            with or_another_shape():
                transformer = build(without_limit(spec, limits), self.family.blocks, tt_mesh, ACCURACY, limits)
            transformer.load(weights)
            weights.finish()
        expected = dict.fromkeys(checkpoint.names, 1)
        if spec.tie_word_embeddings:  # read once more, as the head
            expected[f"{self.family.rules(spec)[EMBEDDING].modules[0]}.weight"] = 2
        reads = {name: checkpoint.reads[name] for name in checkpoint.names}
        assert reads == expected

    @drawn(10, seed=strategies.SEEDS)
    def test_every_config_key_that_matters_is_read_or_refused(self, data: Data, seed: int) -> None:
        config = self.draw(data, most_weights=SMALL)
        spec = self.spec_of(config)
        overlooked = []
        for key in sorted(declared_keys(type(config)) - INERT - DERIVED):
            for other in changed(config, key):
                try:
                    noticed = self.spec_of(other) != spec
                except ConfigError:
                    noticed = True
                if not noticed and differ(config, other, seed):
                    overlooked.append(f"{key} (here {getattr(config, key)!r} and {getattr(other, key)!r})")
        assert not overlooked, (
            f"these keys change what transformers computes and not the spec: {', '.join(overlooked)}; "
            f"read them in {self.family.spec.__module__}.{self.family.spec.__qualname__}, or refuse them there"
        )


def changed(config: PretrainedConfig, key: str) -> list[PretrainedConfig]:
    """Return the config with other values for a key, as far as transformers takes them."""
    value = getattr(config, key, None)
    if isinstance(value, bool):
        others: list[Any] = [not value]
    elif isinstance(value, (int, float)):
        others = [value * 2, FEW]
    else:
        others = [FEW] if value is None else []
    configs = []
    for other in others:
        # Whatever its checks raise: a config that transformers refuses is none.
        with suppress(Exception):
            configs.append(type(config)(**{**config.to_dict(), key: other}))
    return configs


def differ(config: PretrainedConfig, other: PretrainedConfig, seed: int) -> bool:
    """Whether transformers computes something else, with weights from the same seed."""
    prompt = strategies.random_tokens(min(config.vocab_size, other.vocab_size), PROMPT, seed)
    try:
        one, two = (Sequence(make_model(each, seed)).logits(prompt) for each in (config, other))
    except (RuntimeError, ValueError):  # shapes that do not fit, no probability: nobody has such a model
        return False
    return not torch.equal(one, two)
