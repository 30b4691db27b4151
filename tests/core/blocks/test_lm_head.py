"""A head too wide for one matmul; the conformance kit compares the others."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import LlamaConfig

from ttfamily.core.blocks.linear import WideLinear
from ttfamily.testing.bench import Bench, activations, put_whole, read_logits
from ttfamily.testing.correlation import assert_pcc
from ttfamily.testing.models import make_model, save_checkpoint

if TYPE_CHECKING:
    from ttfamily.core.mesh.mesh import Mesh


def test_a_large_vocabulary_goes_through_in_parts(mesh: Mesh) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=130_001, num_hidden_layers=1, max_position_embeddings=1024, **sizes)
    model = make_model(config)
    with tempfile.TemporaryDirectory() as folder:
        on = Bench(save_checkpoint(model, Path(folder)), mesh, max_batch_size=3)
        head = on.lm_head()
    assert isinstance(head.linear, WideLinear)
    x = activations(3, config.hidden_size, 0)
    got = read_logits(on.plan, head.decode(put_whole(on.plan, x)), 3)
    assert_pcc(got, model.lm_head(x), 0.999)
