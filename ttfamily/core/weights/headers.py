"""What safetensors files say of their tensors: headers and indexes, checked before any tensor is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import SafetensorError, safe_open

from ttfamily.core.config.json_text import RepeatedKeyError, parse
from ttfamily.errors import CheckpointError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

# https://github.com/huggingface/safetensors#format
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
LARGEST_HEADER = 100_000_000
"""Bytes; the format's own limit. An index of all shards is held to it too."""

_LENGTH_BYTES = 8
_AGAIN = "Download the file again; a broken download is the usual cause."


@attrs.frozen(kw_only=True)
class TensorInfo:
    """What a header says about a tensor; ``file`` is None where there is no data for it."""

    file: Path | None
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_shards(folder: Path) -> dict[str, TensorInfo]:
    """Read the index of a folder and the headers of its shards.

    :raises CheckpointError: if a file is missing or damaged, or two shards hold a tensor with different values.
    """
    places = _read_index(folder / INDEX)
    files = {place: folder / place for place in sorted(set(places.values()))}
    for place, file in files.items():
        _check_place(folder / INDEX, place, file, len(files))
    headers = {place: read_header(file) for place, file in files.items()}
    for name, place in places.items():
        if name not in headers[place]:
            expected = f"the tensor that {INDEX} places in it"
            raise CheckpointError(str(files[place]), got=f"no tensor {name}", expected=expected, fix=_AGAIN)
    tensors: dict[str, TensorInfo] = {}
    for header in headers.values():
        for name in header.keys() & tensors.keys():
            _check_same(name, tensors[name], header[name])
        # A tensor that the index leaves out is kept, to be reported as unused rather than dropped in silence.
        tensors |= header
    return tensors | {name: headers[place][name] for name, place in places.items()}


def _read_index(index: Path) -> dict[str, str]:
    expected = "a JSON object with a weight_map of file names"
    try:
        size = index.stat().st_size
        if size > LARGEST_HEADER:
            raise CheckpointError(str(index), got=f"{size:,} bytes", expected="an index of tensor names", fix=_AGAIN)
        places = parse(index.read_bytes())["weight_map"]
        wrong = [file for file in places.values() if not isinstance(file, str)]
    except RepeatedKeyError as error:
        raise _twice(index, error) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        got = f"a damaged index ({type(error).__name__}: {error})"
        raise CheckpointError(str(index), got=got, expected=expected, fix=_AGAIN) from error
    if wrong:
        got = f"a damaged index ({wrong[0]!r} for a file name)"
        raise CheckpointError(str(index), got=got, expected=expected, fix=_AGAIN)
    return dict(places)


def _check_place(index: Path, place: str, file: Path, shards: int) -> None:
    expected = f"all of its {shards} shards in the same folder"
    # A name with a folder in it would let the index point outside the checkpoint.
    if Path(place).name != place:
        got, fix = f"no shard {place} but a path that leaves the folder", "Take the index from where the model is from."
        raise CheckpointError(str(index), got=got, expected=expected, fix=fix)
    try:
        found = file.is_file()
    except OSError as error:  # a name too long
        got = f"no shard {place} ({error.strerror})"
        raise CheckpointError(str(index), got=got, expected=expected, fix=_AGAIN) from error
    if not found:
        fix = "Download the missing shard; 'hf download' fetches only what is not there yet."
        raise CheckpointError(str(index), got=f"no shard {place}", expected=expected, fix=fix)


def _check_same(name: str, one: TensorInfo, other: TensorInfo) -> None:
    """Refuse a tensor that two shards hold, unless both have the same bytes."""
    same = (one.shape, one.dtype) == (other.shape, other.dtype)
    if same and one.file is not None and other.file is not None:
        first, second = (_bytes(file, name) for file in (one.file, other.file))
        same = first.equal(second)
    if not same:
        places = " and ".join(sorted(str(info.file and info.file.name) for info in (one, other)))
        raise CheckpointError(
            name,
            got=f"different values in {places}",
            expected="each tensor once, or the same values in every shard that holds it",
            fix="Download the checkpoint again into an empty folder: shards of two versions may lie in this one.",
        )


def _bytes(file: Path, name: str) -> torch.Tensor:
    with open_file(file) as opened:
        tensor: torch.Tensor = opened.get_tensor(name)
    return tensor.reshape(-1).view(torch.uint8)


def read_header(file: Path) -> dict[str, TensorInfo]:
    """Read a file's header and check it against the file's length; read no tensor.

    :raises CheckpointError: if the file is no whole safetensors file.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(_LENGTH_BYTES)
            length = _header_length(file, start, size)
            text = stream.read(length)
    except OSError as error:
        got, fix = f"a file that cannot be read ({error.strerror})", "Check its permissions."
        raise CheckpointError(str(file), got=got, expected="a safetensors file", fix=fix) from error
    try:
        header = parse(text)
        header.pop("__metadata__", None)
        end = _LENGTH_BYTES + length + max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        unknown = sorted({_dtype_name(entry) for entry in header.values()} - DTYPES.keys())
        tensors = {
            name: TensorInfo(file=file, shape=tuple(map(int, entry["shape"])), dtype=DTYPES[entry["dtype"]])
            for name, entry in header.items()
            if not unknown
        }
    except RepeatedKeyError as error:
        raise _twice(file, error) from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        got = f"a damaged header ({type(error).__name__}: {error})"
        raise CheckpointError(str(file), got=got, expected="a safetensors header", fix=_AGAIN) from error
    if end != size:
        got = f"{size} bytes, {'cut short' if size < end else 'too many'}"
        raise CheckpointError(str(file), got=got, expected=f"{end} bytes, as its header says", fix=_AGAIN)
    if unknown:
        got, expected = f"tensors of type {', '.join(unknown)}", f"only {', '.join(DTYPES)}"
        fix = "Take a checkpoint in bfloat16; ttfamily quantises on its own (precision=)."
        raise CheckpointError(str(file), got=got, expected=expected, fix=fix)
    open_file(file).__exit__(None, None, None)
    return tensors


def _dtype_name(entry: Any) -> str:
    name = entry["dtype"]
    if not isinstance(name, str):
        raise TypeError("a dtype that is no name")
    return name


def _header_length(file: Path, start: bytes, size: int) -> int:
    if start.startswith(b"version"):
        fix = "Run 'git lfs pull' in the folder."
        raise CheckpointError(str(file), got="a git-lfs pointer", expected="the weights it points at", fix=fix)
    length = int.from_bytes(start, "little")
    if len(start) < _LENGTH_BYTES or _LENGTH_BYTES + length > size:
        got = f"{size} bytes, cut short within the header"
        raise CheckpointError(str(file), got=got, expected="a whole safetensors file", fix=_AGAIN)
    if length > LARGEST_HEADER:  # of a sparse file, which may be as long as it likes
        expected = f"at most {LARGEST_HEADER:,}, the format's limit"
        raise CheckpointError(str(file), got=f"a header of {length:,} bytes", expected=expected, fix=_AGAIN)
    return length


def open_file(file: Path) -> Any:
    """Open a file with safetensors.

    It checks what is left: that shapes, types and offsets agree and leave no gap.

    :raises CheckpointError: if they do not.
    """
    try:
        return safe_open(str(file), framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        got = f"a damaged file ({error})"
        raise CheckpointError(str(file), got=got, expected="a safetensors file", fix=_AGAIN) from error


def _twice(file: Path, error: RepeatedKeyError) -> CheckpointError:
    return CheckpointError(f"{error.key} in {file}", got="this key twice", expected="every key once", fix=_AGAIN)
