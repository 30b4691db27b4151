"""One call of each op that is like no other: from an op's name to a function of a Draw, which makes its operands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ttnn

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (1, 1, 32, 64)
T = ttnn.TILE_LAYOUT


def _height(cores: int) -> ttnn.MemoryConfig:
    """64 x 64 cut into rows over some cores."""
    return ttnn.create_sharded_memory_config(
        (1, 1, 64, 64), ttnn.CoreGrid(y=1, x=cores), ttnn.ShardStrategy.HEIGHT, ttnn.ShardOrientation.ROW_MAJOR
    )


def _half(d: Any) -> ttnn.Tensor:
    """The second half of a tensor, on one core."""
    by_rows, order = ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.ShardOrientation.ROW_MAJOR
    whole = d.real(1, 1, 64, 64)
    return ttnn.interleaved_to_sharded_partial(whole, ttnn.CoreCoord(1, 1), [32, 64], 2, 1, by_rows, order)


def _by_users(x: ttnn.Tensor) -> ttnn.Tensor:
    """One core for each of two users."""
    two = ttnn.CoreGrid(y=2, x=1)
    return ttnn.to_memory_config(x, ttnn.create_sharded_memory_config(tuple(x.shape), two, ttnn.ShardStrategy.BLOCK))


ONE_CORE = ttnn.MatmulMultiCoreReuseMultiCast1DProgramConfig(
    compute_with_storage_grid_size=(1, 1),
    in0_block_w=1,
    out_subblock_h=1,
    out_subblock_w=1,
    per_core_M=1,
    per_core_N=1,
    fuse_batch=True,
    fused_activation=None,
    mcast_in0=True,
)


OTHER: dict[str, Callable[[Any], Any]] = {
    # with three operands, or parameters
    "addalpha": lambda d: ttnn.addalpha(d.real(), d.real(), 0.5),
    "subalpha": lambda d: ttnn.subalpha(d.real(), d.real(), 0.5),
    "addcmul": lambda d: ttnn.addcmul(d.real(), d.real(), d.real(), value=2.0),
    "addcdiv": lambda d: ttnn.addcdiv(d.real(), d.real(), d.real(low=1.0), value=2.0),
    "lerp": lambda d: ttnn.lerp(d.real(), d.real(), 0.25),
    "mac": lambda d: ttnn.mac(d.real(), d.real(), d.real()),
    "where": lambda d: ttnn.where(d.bits(), d.real(), d.real()),
    "snake_beta": lambda d: ttnn.snake_beta(d.real(), d.real(*SHAPE, low=0.5), d.real(*SHAPE, low=0.5)),
    "polyval": lambda d: ttnn.polyval(d.real(), [1.0, 2.0, 3.0]),
    "bitwise_not": lambda d: ttnn.bitwise_not(d.whole()),
    "bitcast": lambda d: ttnn.bitcast(d.real(dtype=ttnn.float32), ttnn.int32),
    "logical_not_": lambda d: ttnn.logical_not_(d.bits()),
    "outer": lambda d: ttnn.outer(d.real(1, 1, 32, 1), d.real(1, 1, 1, 32)),
    "geglu": lambda d: ttnn.geglu(d.real(), -1),
    "glu": lambda d: ttnn.glu(d.real(), -1),
    "reglu": lambda d: ttnn.reglu(d.real(), -1),
    "swiglu": lambda d: ttnn.swiglu(d.real(), -1),
    "clamped_silu_glu": lambda d: ttnn.clamped_silu_glu(d.real(), d.real(), 2.0),
    "normalize_global": lambda d: ttnn.normalize_global(d.real()),
    "normalize_hw": lambda d: ttnn.normalize_hw(d.real()),
    "quantize": lambda d: ttnn.quantize(d.real(), 0.05, 3, dtype=ttnn.int32),
    "dequantize": lambda d: ttnn.dequantize(d.whole(low=-50, high=50), 0.05, 3, dtype=ttnn.bfloat16),
    "requantize": lambda d: ttnn.requantize(d.whole(low=-50, high=50), 0.05, 3, 0.1, 2, dtype=ttnn.int32),
    # backward, with parameters
    "addcmul_bw": lambda d: ttnn.addcmul_bw(d.real(), d.real(), d.real(), d.real(), 2.0),
    "addcdiv_bw": lambda d: ttnn.addcdiv_bw(d.real(), d.real(), d.real(), d.real(low=1.0), 2.0),
    "addalpha_bw": lambda d: ttnn.addalpha_bw(d.real(), d.real(), d.real(), 0.5),
    "subalpha_bw": lambda d: ttnn.subalpha_bw(d.real(), d.real(), d.real(), 0.5),
    "clamp_bw": lambda d: ttnn.clamp_bw(d.real(), d.real(), -1.001, 1.001),
    "clip_bw": lambda d: ttnn.clip_bw(d.real(), d.real(), -1.001, 1.001),
    "div_no_nan_bw": lambda d: ttnn.div_no_nan_bw(d.real(), d.real(), 2.0),
    "concat_bw": lambda d: ttnn.concat_bw(d.real(1, 1, 32, 128), d.real(), d.real(), 3),
    "embedding_bw": lambda d: ttnn.embedding_bw(
        d.whole(1, 32, dtype=ttnn.uint32, rm=True), d.real(64, 32), d.real(1, 1, 32, 32)
    ),
    "lerp_bw": lambda d: ttnn.lerp_bw(d.real(), d.real(), d.real(), 0.25),
    "polygamma_bw": lambda d: ttnn.polygamma_bw(d.real(), d.real(low=1.0, high=4.0), 1),
    "pow_bw": lambda d: ttnn.pow_bw(d.real(), d.real(low=1.0, high=2.0), 2.0),
    "prod_bw": lambda d: ttnn.prod_bw(d.real(1, 1, 32, 1), d.real(1, 1, 32, 64, low=0.9, high=1.1), dim=3),
    "rdiv_bw": lambda d: ttnn.rdiv_bw(d.real(), d.real(low=1.0), 2.0),
    "repeat_bw": lambda d: ttnn.repeat_bw(d.real(2, 1, 32, 64), d.real(1, 1, 32, 64), (2, 1, 1, 1)),
    "rpow_bw": lambda d: ttnn.rpow_bw(d.real(), d.real(), 2.0),
    "threshold_bw": lambda d: ttnn.threshold_bw(d.real(), d.real(), 0.5, 2.0),
    "where_bw": lambda d: ttnn.where_bw(d.real(), d.bits(), d.real(), d.real()),
    # reductions
    "argmax": lambda d: ttnn.argmax(d.real(rm=True), dim=-1, keepdim=True),
    "max": lambda d: ttnn.max(d.real(), dim=-1, keepdim=True),
    "min": lambda d: ttnn.min(d.real(), dim=-2, keepdim=True),
    "mean": lambda d: ttnn.mean(d.real(), dim=-1),
    "sum": lambda d: ttnn.sum(d.real(), dim=(-2, -1), keepdim=True),
    "var": lambda d: ttnn.var(d.real(), dim=-1, keepdim=True),
    "std": lambda d: ttnn.std(d.real(), dim=-1, keepdim=True),
    "var_hw": lambda d: ttnn.var_hw(d.real()),
    "std_hw": lambda d: ttnn.std_hw(d.real()),
    "prod": lambda d: ttnn.prod(d.real(1, 1, 32, 64, low=0.9, high=1.1), dim=3),
    "cumsum": lambda d: ttnn.cumsum(d.real(), dim=-1),
    "cumprod": lambda d: ttnn.cumprod(d.real(low=0.9, high=1.1), dim=-1),
    "ema": lambda d: ttnn.ema(d.real(), 0.5),
    "topk": lambda d: ttnn.topk(d.real(), 16, dim=-1, largest=True, sorted=True),
    "sort": lambda d: ttnn.sort(d.real(), dim=-1, descending=True),
    # moving
    "assign": lambda d: ttnn.assign(d.real(), memory_config=ttnn.L1_MEMORY_CONFIG),
    "copy": lambda d: ttnn.copy(d.real(), d.real()),
    "chunk": lambda d: ttnn.chunk(d.real(), 2, 3),
    "split": lambda d: ttnn.split(d.real(), 32, 3),
    "squeeze": lambda d: ttnn.squeeze(d.real(), 0),
    "unsqueeze": lambda d: ttnn.unsqueeze(d.real(), 0),
    "stack": lambda d: ttnn.stack([d.real(), d.real()], 0),
    "narrow": lambda d: ttnn.narrow(d.real(24, 1, 32, 32), 0, 12, 12),
    "view": lambda d: ttnn.view(d.real(1, 1, 64, 64), (1, 2, 32, 64)),
    "expand": lambda d: ttnn.expand(d.real(), (1, 4, 32, 64)),
    "repeat": lambda d: ttnn.repeat(d.real(), (1, 2, 1, 1)),
    "repeat_interleave": lambda d: ttnn.repeat_interleave(d.real(), 2, 1),
    "roll": lambda d: ttnn.roll(d.real(), 3, 3),
    "reshape_on_device": lambda d: ttnn.reshape_on_device(d.real(1, 1, 64, 64), 1, 2, 32, 64),
    "pad": lambda d: ttnn.pad(d.real(), [(0, 0), (0, 1), (0, 32), (0, 0)], 1.5),
    "move": lambda d: ttnn.move(d.real()),
    "reallocate": lambda d: ttnn.reallocate(d.real()),
    "gather": lambda d: ttnn.gather(d.real(), 3, d.whole(1, 1, 32, 32, high=64, dtype=ttnn.uint16)),
    "scatter": lambda d: ttnn.scatter(d.real(rm=True), 3, d.distinct(32, 64), d.real(1, 1, 32, 32, rm=True)),
    "scatter_add": lambda d: ttnn.scatter_add(d.real(rm=True), 3, d.distinct(32, 64), d.real(1, 1, 32, 32, rm=True)),
    "tosa_gather": lambda d: ttnn.tosa_gather(d.real(1, 32, 32), d.whole(1, 32, dtype=ttnn.uint32)),
    "tosa_scatter": lambda d: ttnn.tosa_scatter(
        d.real(1, 64, 32), d.whole(1, 32, high=64, dtype=ttnn.uint32), d.real(1, 32, 32)
    ),
    "index_fill": lambda d: ttnn.index_fill(d.real(rm=True), 3, d.same([3, 5, 9, 30]), 2.5),
    "indexed_fill": lambda d: ttnn.indexed_fill(
        d.same([2, 0]), d.real(4, 1, 32, 64, rm=True), d.real(2, 1, 32, 64, rm=True)
    ),
    "nonzero": lambda d: ttnn.nonzero(d.whole(1, 1, 1, 64, high=2, dtype=ttnn.uint32, rm=True)),
    "tilize_with_val_padding": lambda d: ttnn.tilize_with_val_padding(
        d.real(1, 1, 30, 60, rm=True), [1, 1, 32, 64], 0.0
    ),
    "tilize_with_zero_padding": lambda d: ttnn.tilize_with_zero_padding(d.real(1, 1, 30, 60, rm=True)),
    "untilize_with_unpadding": lambda d: ttnn.untilize_with_unpadding(d.real(), [0, 0, 29, 59]),
    "fill_implicit_tile_padding": lambda d: ttnn.fill_implicit_tile_padding(d.real(1, 1, 30, 60), 0.0),
    "fill_cache": lambda d: ttnn.fill_cache(d.real(2, 1, 64, 32), d.real(1, 1, 32, 32), 1),
    "update_cache": lambda d: ttnn.update_cache(d.real(32, 1, 64, 32), d.real(1, 1, 32, 32), 5),
    "kv_cache.fill_cache_for_user_": lambda d: ttnn.kv_cache.fill_cache_for_user_(
        d.real(2, 1, 64, 32), d.real(1, 1, 32, 32), 1
    ),
    "kv_cache.update_cache_for_token_": lambda d: ttnn.kv_cache.update_cache_for_token_(
        d.real(32, 1, 64, 32), d.real(1, 1, 32, 32), 5, 0
    ),
    "plus_one": lambda d: ttnn.plus_one(d.whole(32, rm=True)),
    "bcast": lambda d: ttnn.bcast(d.real(), d.real(1, 1, 1, 64), ttnn.BcastOpMath.ADD, ttnn.BcastOpDim.H),
    "fold": lambda d: ttnn.fold(d.real(1, 4, 4, 16, rm=True), 2, 2),
    "composite_example": lambda d: ttnn.composite_example(d.real()),
    # made from nothing
    "zeros_like": lambda d: ttnn.zeros_like(d.real()),
    "ones_like": lambda d: ttnn.ones_like(d.real()),
    "full_like": lambda d: ttnn.full_like(d.real(), 2.5),
    "full": lambda d: ttnn.full(SHAPE, 2.5, layout=T, device=d.mesh.device),
    "ones": lambda d: ttnn.ones(SHAPE, layout=T, device=d.mesh.device),
    "arange": lambda d: ttnn.arange(0, 64, 2, device=d.mesh.device, dtype=ttnn.int32),
    "moreh_full": lambda d: ttnn.moreh_full(SHAPE, 2.5, d.mesh.device, layout=T),
    "moreh_full_like": lambda d: ttnn.moreh_full_like(d.real(), 2.5),
    "moreh_arange": lambda d: ttnn.moreh_arange(0, 64, 2, d.mesh.device),
    # normalisation and softmax
    "softmax": lambda d: ttnn.softmax(d.real(), dim=-1),
    "softmax_in_place": lambda d: ttnn.softmax_in_place(d.real()),
    "scale_mask_softmax": lambda d: ttnn.scale_mask_softmax(d.real(), 0.5, d.bits(1, 1, 32, 64)),
    "scale_mask_softmax_in_place": lambda d: ttnn.scale_mask_softmax_in_place(d.real(), 0.5, d.bits(1, 1, 32, 64)),
    "batch_norm": lambda d: ttnn.batch_norm(
        d.real(2, 3, 32, 32), running_mean=d.real(1, 3, 1, 1), running_var=d.real(1, 3, 1, 1, low=0.5), eps=1e-3
    ),
    "group_norm": lambda d: ttnn.group_norm(
        d.real(1, 1, 32, 64),
        num_groups=2,
        epsilon=1e-5,
        inplace=False,
        core_grid=ttnn.CoreGrid(y=1, x=1),
        input_mask=ttnn.create_group_norm_input_mask(64, 2, 1, ttnn.bfloat8_b).to(d.mesh.device),
    ),
    # matmuls and attention
    "addmm": lambda d: ttnn.addmm(d.real(32, 32), d.real(32, 64), d.real(64, 32), alpha=0.5, beta=2.0),
    "transformer.attention_softmax": lambda d: ttnn.transformer.attention_softmax(
        d.real(1, 2, 32, 64), head_size=32, attention_mask=d.bits(1, 1, 1, 64)
    ),
    "transformer.attention_softmax_": lambda d: ttnn.transformer.attention_softmax_(
        d.real(1, 2, 32, 64), head_size=32, attention_mask=d.bits(1, 1, 1, 64)
    ),
    "transformer.concatenate_heads": lambda d: ttnn.transformer.concatenate_heads(d.real(1, 2, 32, 64)),
    "transformer.split_query_key_value_and_split_heads": lambda d: (
        ttnn.transformer.split_query_key_value_and_split_heads(d.real(1, 32, 192), num_heads=2)
    ),
    "transformer.scaled_dot_product_attention_decode": lambda d: ttnn.transformer.scaled_dot_product_attention_decode(
        d.real(1, 2, 8, 32), d.real(2, 1, 64, 32), d.real(2, 1, 64, 32), cur_pos=[5, 40]
    ),
    "transformer.joint_scaled_dot_product_attention": lambda d: ttnn.transformer.joint_scaled_dot_product_attention(
        *(d.real(1, 2, 64, 32) for _ in range(3)),
        *(d.real(1, 2, 32, 32) for _ in range(3)),
        joint_strategy="rear",
        program_config=ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(8, 7), q_chunk_size=32, k_chunk_size=32),
    ),
    "transformer.flash_mla_prefill": lambda d: ttnn.transformer.flash_mla_prefill(
        d.real(1, 2, 64, 64), d.real(1, 1, 64, 64), 32
    ),
    "experimental.rotary_embedding": lambda d: ttnn.experimental.rotary_embedding(
        d.real(1, 1, 32, 64), d.real(1, 1, 128, 64), d.real(1, 1, 128, 64), 5
    ),
    "experimental.broadcast_to": lambda d: ttnn.experimental.broadcast_to(
        d.real(1, 1, 32, 64), ttnn.Shape([1, 3, 32, 64])
    ),
    # moreh
    "moreh_abs_pow": lambda d: ttnn.moreh_abs_pow(d.real(), 2.0),
    "moreh_bmm": lambda d: ttnn.moreh_bmm(d.real(1, 32, 64), d.real(1, 64, 32)),
    "moreh_bmm_backward": lambda d: ttnn.moreh_bmm_backward(
        d.real(1, 32, 32),
        d.real(1, 32, 64),
        d.real(1, 64, 32),
        are_required_outputs=[True, True],
        input_grad=d.real(1, 32, 64),
        mat2_grad=d.real(1, 64, 32),
    ),
    "moreh_cumsum": lambda d: ttnn.moreh_cumsum(d.real(2, 2, 32, 64), 1),
    "moreh_cumsum_backward": lambda d: ttnn.moreh_cumsum_backward(d.real(2, 2, 32, 64), 1),
    "moreh_dot": lambda d: ttnn.moreh_dot(d.real(1, 1, 1, 64), d.real(1, 1, 1, 64)),
    "moreh_getitem": lambda d: ttnn.moreh_getitem(d.real(4, 32, 64, rm=True), [d.same([2, 0], ttnn.int32)], [0]),
    "moreh_group_norm": lambda d: ttnn.moreh_group_norm(
        d.real(1, 4, 32, 32), 2, 1e-5, are_required_outputs=(True, True, True)
    ),
    "moreh_layer_norm": lambda d: ttnn.moreh_layer_norm(d.real(1, 2, 32, 64), 1, 1e-5),
    "moreh_linear": lambda d: ttnn.moreh_linear(d.real(1, 1, 32, 64), d.real(32, 64)),
    "moreh_logsoftmax": lambda d: ttnn.moreh_logsoftmax(d.real(), 3),
    "moreh_logsoftmax_backward": lambda d: ttnn.moreh_logsoftmax_backward(d.real(), d.real(), 3),
    "moreh_matmul": lambda d: ttnn.moreh_matmul(d.real(1, 1, 32, 64), d.real(1, 1, 32, 64), transpose_other=True),
    "moreh_mean": lambda d: ttnn.moreh_mean(d.real(), dim=3, keepdim=True),
    "moreh_mean_backward": lambda d: ttnn.moreh_mean_backward(
        d.real(1, 1, 32, 1), dim=3, keepdim=True, input_grad_shape=ttnn.Shape(SHAPE)
    ),
    "moreh_norm": lambda d: ttnn.moreh_norm(d.real(), 2.0, dim=3, keepdim=True),
    "moreh_softmax": lambda d: ttnn.moreh_softmax(d.real(), 3),
    "moreh_softmax_backward": lambda d: ttnn.moreh_softmax_backward(d.real(), d.real(), 3),
    "moreh_softmin": lambda d: ttnn.moreh_softmin(d.real(), 3),
    "moreh_softmin_backward": lambda d: ttnn.moreh_softmin_backward(d.real(), d.real(), 3),
    "moreh_sum": lambda d: ttnn.moreh_sum(d.real(), dim=3, keepdim=True),
    "moreh_sum_backward": lambda d: ttnn.moreh_sum_backward(d.real(1, 1, 32, 1), input=d.real(), dim=3, keepdim=True),
    "moreh_adamw": lambda d: ttnn.moreh_adamw(d.real(), d.real(), d.real(), d.real(low=0.1), step=1),
    "moreh_sgd": lambda d: ttnn.moreh_sgd(d.real(), d.real(), lr=0.1, momentum_initialized=False),
    "moreh_clip_grad_norm": lambda d: ttnn.moreh_clip_grad_norm([d.real(), d.real()], 1.0),
    "moreh_dot_backward": lambda d: ttnn.moreh_dot_backward(
        d.real(1, 1, 1, 1),
        d.real(1, 1, 1, 64),
        d.real(1, 1, 1, 64),
        input_grad=d.real(1, 1, 1, 64),
        other_grad=d.real(1, 1, 1, 64),
    ),
    "moreh_linear_backward": lambda d: ttnn.moreh_linear_backward(
        d.real(1, 1, 32, 32),
        d.real(1, 1, 32, 64),
        d.real(32, 64),
        are_required_outputs=[True, True, False],
        input_grad=d.real(1, 1, 32, 64),
        weight_grad=d.real(32, 64),
    ),
    "moreh_matmul_backward": lambda d: ttnn.moreh_matmul_backward(
        d.real(1, 1, 32, 32),
        d.real(1, 1, 32, 64),
        d.real(1, 1, 64, 32),
        input_a_grad=d.real(1, 1, 32, 64),
        input_b_grad=d.real(1, 1, 64, 32),
    ),
    "moreh_layer_norm_backward": lambda d: ttnn.moreh_layer_norm_backward(
        d.real(1, 2, 32, 64),
        d.real(1, 2, 32, 64),
        d.real(1, 2, 32),
        d.real(1, 2, 32, low=0.5),
        1,
        input_grad=d.real(1, 2, 32, 64),
    ),
    "moreh_norm_backward": lambda d: ttnn.moreh_norm_backward(
        d.real(), d.real(1, 1, 32, 1, low=1.0), d.real(1, 1, 32, 1), 2.0, dim=3, keepdim=True
    ),
    "moreh_nll_loss": lambda d: ttnn.moreh_nll_loss(d.real(32, 64), d.whole(32, high=64), "sum"),
    "moreh_nll_loss_backward": lambda d: ttnn.moreh_nll_loss_backward(
        d.whole(32, high=64), d.real(1), False, input_grad_tensor=d.real(32, 64)
    ),
    "moreh_nll_loss_unreduced_backward": lambda d: ttnn.moreh_nll_loss_unreduced_backward(
        d.whole(32, high=64), d.real(32), input_grad_tensor=d.real(32, 64)
    ),
    "moreh_group_norm_backward": lambda d: ttnn.moreh_group_norm_backward(
        d.real(1, 4, 32, 32),
        d.real(1, 4, 32, 32),
        d.real(1, 1, 1, 2),
        d.real(1, 1, 1, 2, low=0.5),
        2,
        are_required_outputs=[True, False, False],
    ),
    # pooling and others
    "upsample": lambda d: ttnn.upsample(d.real(1, 4, 4, 32, rm=True), 2),
    "moe": lambda d: ttnn.moe(d.real(1, 1, 32, 64), d.bits(1, 1, 1, 64), d.bits(1, 1, 1, 32), 32),
    "fill_rm": lambda d: ttnn.fill_rm(1, 1, 32, 32, 16, 16, d.real(1, 1, 32, 32, rm=True), 2.0, 1.0),
    "fill_ones_rm": lambda d: ttnn.fill_ones_rm(1, 1, 32, 32, 16, 16, d.real(1, 1, 32, 32, rm=True)),
    "from_buffer": lambda d: ttnn.from_buffer(list(range(64)), ttnn.Shape([1, 64]), ttnn.int32, d.mesh.device),
    "reshard": lambda d: ttnn.reshard(ttnn.interleaved_to_sharded(d.real(1, 1, 64, 64), _height(2)), _height(1)),
    "interleaved_to_sharded_partial": lambda d: ttnn.interleaved_to_sharded_partial(
        d.real(1, 1, 64, 64),
        ttnn.CoreCoord(1, 1),
        [32, 64],
        2,
        1,
        ttnn.TensorMemoryLayout.HEIGHT_SHARDED,
        ttnn.ShardOrientation.ROW_MAJOR,
    ),
    "composite_example_multiple_return": lambda d: ttnn.composite_example_multiple_return(d.real()),
    "experimental.slice_write": lambda d: ttnn.experimental.slice_write(
        d.real(1, 1, 32, 32, rm=True), d.real(1, 1, 64, 32, rm=True), [0, 0, 32, 0], [1, 1, 64, 32], [1, 1, 1, 1]
    ),
    "transformer.flash_multi_latent_attention_decode": lambda d: ttnn.transformer.flash_multi_latent_attention_decode(
        d.real(1, 1, 32, 64), d.real(1, 1, 64, 64), head_dim_v=32, cur_pos=[40]
    ),
    "transformer.chunked_flash_mla_prefill": lambda d: ttnn.transformer.chunked_flash_mla_prefill(
        d.real(1, 2, 32, 64), d.real(4, 1, 32, 64), 32, d.same([[2, 0, 1, 3]], ttnn.int32), 32
    ),
    "transformer.fused_recurrent_gated_delta_rule": lambda d: ttnn.transformer.fused_recurrent_gated_delta_rule(
        *(d.real(1, 1, 2, 32) for _ in range(3)), d.real(1, 1, 2), d.real(1, 1, 2)
    ),
    "moreh_fold": lambda d: ttnn.moreh_fold(d.real(1, 32, 63, rm=True), None, [10, 10], [2, 4], [1, 1], [0, 0], [1, 1]),
    "sharded_to_interleaved_partial": lambda d: ttnn.sharded_to_interleaved_partial(
        _half(d), d.real(1, 1, 64, 64), 2, 1, memory_config=ttnn.DRAM_MEMORY_CONFIG
    ),
    "sparse_matmul": lambda d: ttnn.sparse_matmul(
        d.real(1, 1, 32, 64),
        d.real(1, 4, 64, 32),
        sparsity=ttnn.to_layout(d.bits(1, 1, 1, 4), ttnn.ROW_MAJOR_LAYOUT),
        program_config=ONE_CORE,
    ),
    "transformer.gated_delta_attn_seq": lambda d: ttnn.transformer.gated_delta_attn_seq(
        *(d.real(2, 2, 128, 128, dtype=ttnn.float32) for _ in range(6)),
        d.real(2, 2, 1, 1, dtype=ttnn.float32),
        d.real(2, 2, 128, 32, dtype=ttnn.float32),
    ),
    "transformer.chunk_gated_delta_rule": lambda d: ttnn.transformer.chunk_gated_delta_rule(
        *(d.real(1, 64, 2, 32) for _ in range(3)),
        d.real(1, 64, 2, low=-1.0, high=0.0),
        d.real(1, 64, 2, low=0.0, high=1.0),
    ),
    "transformer.paged_flash_multi_latent_attention_decode": lambda d: (
        ttnn.transformer.paged_flash_multi_latent_attention_decode(
            d.real(1, 1, 32, 64),
            d.real(4, 1, 32, 64),
            head_dim_v=32,
            page_table_tensor=d.same([[2, 0, 1, 3]], ttnn.int32),
            cur_pos_tensor=d.same([40], ttnn.int32),
        )
    ),
    "experimental.create_qkv_heads_from_separate_tensors": lambda d: (
        ttnn.experimental.create_qkv_heads_from_separate_tensors(
            _by_users(d.real(2, 1, 32, 64)),
            _by_users(d.real(2, 1, 32, 128)),
            num_heads=2,
            num_kv_heads=2,
            transpose_k_heads=False,
            memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
        )
    ),
    "experimental.indexed_fused_update_cache": lambda d: ttnn.experimental.indexed_fused_update_cache(
        d.real(2, 1, 64, 32),
        d.real(1, 1, 32, 32),
        d.real(2, 1, 64, 32),
        d.real(1, 1, 32, 32),
        d.same([list(range(40, 72))], ttnn.int32),
    ),
}
