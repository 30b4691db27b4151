"""Memory and program configs, computed from shapes, the mesh's grid, its DRAM banks and an L1 budget.

The static buffers of a matmul are counted as ttnn 0.81.1 allocates them (compared with its own
out-of-memory messages on the mock cluster): what does not fit is found when the model is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import ttnn

from ttfamily.errors import LayoutError
from ttfamily.matmul_buffers import DEST_TILES, decode_buffers, prefill_buffers
from ttfamily.tiles import BF16_TILE_BYTES, TILE, largest_divisor, round_up, tiles

if TYPE_CHECKING:
    from ttfamily.core.config.precision import WeightPrecision
    from ttfamily.core.mesh.mesh import Mesh

ROW_TILES = 1  # decode: up to 32 users are the rows of one tile
ROTATION_TILES = 17  # cosine and sine of one user at head_dim 256, and the swap tile
COLLECTIVES_BYTES = 32 << 10  # at the top of L1, where their semaphores lie
MAX_INNER_TILES = 8
MAX_FOLD_ROWS = 2048
MAX_PADDING = 1.05  # weights may grow by 5 % to spread over more cores

MatmulArguments = dict[str, Any]


@attrs.frozen
class Programs:
    """Makes the configs for one mesh."""

    mesh: Mesh

    # ---- cores

    @property
    def decode_grid(self) -> tuple[int, int]:
        """The cores that decode's activations lie on: as many columns as a power of two, which divides most widths."""
        x, y = self.mesh.grid
        return 1 << x.bit_length() - 1, y

    def core_counts(self) -> list[int]:
        """Core counts that fill a rectangle row by row, which several kernels take for granted."""
        x, y = self.decode_grid
        return [n for n in range(1, x * y + 1) if n <= x or n % x == 0]

    def shard_tiles(self, width: int) -> int:
        """Tiles on a core of a decode activation of that width."""
        return tiles(width) // self.cores_of(width)

    def cores_of(self, width: int) -> int:
        """The most cores that ``width`` spreads over in whole tiles, none left out."""
        return max(n for n in self.core_counts() if tiles(width) % n == 0)

    def spread(self, width: int) -> int:
        """Pad ``width`` (in whole tiles, by 5 % at most) so that it spreads over as many cores as it can."""
        padded = [(n, round_up(tiles(width), n) * TILE) for n in self.core_counts()]
        return max((n, w) for n, w in padded if n == 1 or w <= MAX_PADDING * width)[1]

    def core_range(self, cores: int) -> ttnn.CoreRangeSet:
        """The first ``cores`` cores, row by row."""
        return ttnn.num_cores_to_corerangeset(cores, ttnn.CoreCoord(*self.decode_grid), row_wise=True)

    # ---- memory

    def width_sharded(self, width: int, cores: int) -> ttnn.MemoryConfig:
        """A decode activation, ``[1, 1, 32, width]``: L1, every core a slice of the width."""
        return self._l1_sharded((TILE, width // cores), cores, ttnn.ShardStrategy.WIDTH)

    def spread_out(self, width: int) -> ttnn.MemoryConfig:
        """A decode activation of that width: L1, over the most cores."""
        return self.width_sharded(width, self.cores_of(width))

    def user_sharded(self, users: int, rows: int, width: int) -> ttnn.MemoryConfig:
        """Heads in decode, ``[1, users, rows, width]``: L1, one core a user."""
        return self._l1_sharded((round_up(rows, TILE), width), users, ttnn.ShardStrategy.HEIGHT)

    def _l1_sharded(self, shard: tuple[int, int], cores: int, strategy: ttnn.ShardStrategy) -> ttnn.MemoryConfig:
        return ttnn.create_sharded_memory_config(
            shard,
            self.core_range(cores),
            strategy,
            ttnn.ShardOrientation.ROW_MAJOR,
            use_height_and_width_as_shard_shape=True,
        )

    def bank_sharded(self, height: int, width: int) -> ttnn.MemoryConfig:
        """A weight of a decode matmul: DRAM, every bank a slice of the width (tech report 4.4)."""
        banks = self.mesh.dram_banks
        grid = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(banks - 1, 0))})
        shard = ttnn.ShardSpec(grid, (height, self._bank_tiles(width) * TILE), ttnn.ShardOrientation.ROW_MAJOR)
        return ttnn.MemoryConfig(ttnn.TensorMemoryLayout.WIDTH_SHARDED, ttnn.BufferType.DRAM, shard)

    def _bank_tiles(self, width: int) -> int:
        return -(-tiles(width) // self.mesh.dram_banks)

    @property
    def room(self) -> int:
        """Bytes of a core's L1 for tensors and programs: what firmware and semaphores leave."""
        return len(self.mesh.l1) - (COLLECTIVES_BYTES if self.mesh.has_collectives else 0)

    @property
    def prefill_room(self) -> int:
        """The same in prefill, whose tensors are in DRAM: only the swap tile of decode's rotation stays."""
        return self.room - BF16_TILE_BYTES

    def too_large(self, who: str, shape: str, needed: int) -> LayoutError:
        """Say that what ``who`` does with ``shape`` needs more of a core's L1 than there is.

        :param needed: bytes, of which there is :attr:`room`.
        """
        total = self.mesh.l1.stop - self.room + needed
        return LayoutError(
            who,
            got=f"{shape}: {total:,} bytes of L1 on a core at the least",
            expected=f"at most {self.mesh.l1.stop:,} bytes",
            fix="Use a mesh with more chips, or a smaller weight format.",
        )

    # ---- matmuls

    def decode_matmul(
        self,
        who: str,
        k: int,
        n: int,
        precision: WeightPrecision,
        *,
        live_tiles: int,
        cores_in: int | None = None,
        activation: ttnn.UnaryWithParam | None = None,
    ) -> MatmulArguments:
        """DRAM-sharded matmul ``[32, k] @ [k, n]``, activations width-sharded.

        :param live_tiles: tiles on a core that live tensors hold, other than input and output.
        :param cores_in: that the input is sharded over; as many as ``k`` allows if None.
        :raises LayoutError: if no block of the inner dimension fits in L1.
        """
        cores_in, cores_out = cores_in or self.cores_of(k), self.cores_of(n)
        inner, per_bank = tiles(k) // cores_in, self._bank_tiles(n)
        resident = (inner + tiles(n) // cores_out + live_tiles + ROTATION_TILES) * BF16_TILE_BYTES

        def needed(block: int) -> int:
            return resident + decode_buffers(block, per_bank, precision.tile_bytes)

        room = self.room
        fitting = [d for d in range(1, inner + 1) if inner % d == 0 and needed(d) <= room]
        if not fitting:
            raise self.too_large(who, f"[{TILE}, {k}] @ [{k}, {n}] in decode", needed(1))
        return {
            "program_config": ttnn.MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig(
                in0_block_w=max(fitting),
                per_core_M=ROW_TILES,
                per_core_N=tiles(n) // cores_out,
                fused_activation=activation,
            ),
            "compute_kernel_config": compute_kernel(precision),
            "memory_config": ttnn.L1_WIDTH_SHARDED_MEMORY_CONFIG,
            "dtype": ttnn.bfloat16,
        }

    def prefill_matmul(
        self,
        who: str,
        rows: int,
        k: int,
        n: int,
        precision: WeightPrecision,
        activation: ttnn.UnaryWithParam | None = None,
    ) -> tuple[int, MatmulArguments]:
        """2-D matmul ``[rows, k] @ [k, n]``, activations in DRAM, over as many columns of cores as there are banks.

        :returns: the rows that go through at once (longer prompts are folded into a batch of as many
            rows each) and the arguments.
        :raises LayoutError: if no blocking fits in L1.
        """
        # No more columns of cores than banks: a core reads on into the next bank, but never leaves a bank unfinished.
        x, y = min(self.mesh.grid[0], self.mesh.dram_banks), self.mesh.grid[1]
        per_core_n = -(-tiles(n) // x)
        folds = [fold for fold in range(TILE, min(rows, MAX_FOLD_ROWS) + 1, TILE) if rows % fold == 0]

        def needed(fold: int, block: int) -> int:
            return prefill_buffers(-(-tiles(fold) // y), block, per_core_n, precision.tile_bytes)

        inner, room = [d for d in range(1, MAX_INNER_TILES + 1) if tiles(k) % d == 0], self.prefill_room
        fitting = [(min(d, 4), f, d) for f in folds for d in inner if needed(f, d) <= room]
        if not fitting:
            raise self.too_large(who, f"[{rows}, {k}] @ [{k}, {n}] in prefill", needed(min(folds), 1))
        _, fold, block = max(fitting)
        return fold, {
            "program_config": ttnn.MatmulMultiCoreReuseMultiCastProgramConfig(
                compute_with_storage_grid_size=(x, y),
                in0_block_w=block,
                out_subblock_h=1,
                out_subblock_w=largest_divisor(per_core_n, DEST_TILES),
                per_core_M=-(-tiles(fold) // y),
                per_core_N=per_core_n,
                transpose_mcast=False,
                fused_activation=activation,
                fuse_batch=False,
            ),
            "compute_kernel_config": compute_kernel(precision),
            "memory_config": ttnn.DRAM_MEMORY_CONFIG,
            "dtype": ttnn.bfloat16,
        }

    def columns_at_once(self, who: str, k: int, n: int, precision: WeightPrecision, *, live_tiles: int) -> int:
        """The widest part of ``n`` columns, in whole tiles, whose matmuls fit in L1 in both phases.

        :raises LayoutError: if not even one tile's width does.
        """
        unit = self.cores_of(n) * TILE
        for parts in range(1, tiles(n) + 1):
            width = min(round_up(-(-n // parts), unit), n)
            try:
                self.decode_matmul(who, k, width, precision, live_tiles=live_tiles)
                self.prefill_matmul(who, TILE, k, width, precision)
            except LayoutError:
                if width <= unit:
                    raise
            else:
                return width
        raise AssertionError


def compute_kernel(precision: WeightPrecision) -> ttnn.WormholeComputeKernelConfig:
    """The precision's math fidelity, with sums in float32."""
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=getattr(ttnn.MathFidelity, precision.fidelity),
        math_approx_mode=False,
        fp32_dest_acc_en=True,
        packer_l1_acc=True,
    )
