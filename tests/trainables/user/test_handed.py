"""What a function takes along arrives as it was: arrays, tensors, anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.trainable import pickled
from trainables.user.handed import ALIGNMENT, LARGE_BYTES, lay_out, load

N = LARGE_BYTES  # elements: large in every type
FIXED = np.arange(3.0)
FIXED.flags.writeable = False
VALUES: dict[str, Any] = {
    "large": np.arange(N, dtype=np.float64),
    "of none": np.zeros((0, 3)),
    "by columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "every second": np.arange(10)[::2],
    "fixed": FIXED,
    "objects": np.array([1, "a", None], dtype=object),
}
TENSORS: dict[str, torch.Tensor] = {
    "float32": torch.arange(N, dtype=torch.float32).reshape(-1, 4),
    "bfloat16": torch.arange(N).to(torch.bfloat16),
    "bool": torch.arange(N) % 3 == 0,
    "complex64": torch.complex(torch.ones(N), torch.zeros(N)),
    "int64": torch.arange(N).reshape(2, 2, -1),
    "small": torch.arange(3),
    "by channels": torch.rand(4, 8, 128, 128).to(memory_format=torch.channels_last),
    "a parameter": torch.nn.Parameter(torch.rand(N)),
    "conjugate": torch.complex(torch.zeros(N), torch.ones(N)).conj(),
}


def there(value: object) -> Any:
    """The value as a function of another process finds it."""
    return load(lay_out(pickled(lambda: value)))()


@pytest.mark.parametrize("name", VALUES)
def test_an_array_arrives_as_it_was(name: str) -> None:
    value, found = VALUES[name], there(VALUES[name])
    np.testing.assert_array_equal(found, value)
    assert (found.dtype, found.flags.writeable) == (value.dtype, value.flags.writeable)


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_arrives_as_it_was(name: str) -> None:
    value, found = TENSORS[name], there(TENSORS[name])
    assert type(found) is type(value)
    assert torch.equal(found, value)
    assert (found.dtype, found.stride()) == (value.dtype, value.stride())
    assert (found.requires_grad, found.is_conj()) == (value.requires_grad, value.is_conj())
    with torch.no_grad():
        found.zero_()  # it may be changed


def test_anything_else_arrives_as_it_was_and_one_array_stays_one() -> None:
    array = np.zeros(N)
    found = there({"x": ["a", (1.5, None)], "first": array, "again": array})
    assert found["x"] == ["a", (1.5, None)]
    assert found["first"] is found["again"]


def test_bytes_of_arrays_and_tensors_are_not_copied_into_the_pickle() -> None:
    array, tensor = np.ones(N), torch.ones(N)
    data, *buffers = pickled(lambda: (array, tensor))
    assert data.nbytes < 10_000
    assert sorted(buffer.nbytes for buffer in buffers) == [tensor.nbytes, array.nbytes]
    assert any(np.shares_memory(buffer, array) for buffer in buffers)
    assert any(np.shares_memory(buffer, tensor.numpy()) for buffer in buffers)
    handed = lay_out([data, *buffers])
    assert all(first % ALIGNMENT == 0 for first, _ in handed.spans)
    assert Path(handed.path).stat().st_size < data.nbytes + array.nbytes + tensor.nbytes + 300


def test_without_memory_for_files_they_lie_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create")
    array = np.arange(5)
    handed = lay_out(pickled(lambda: array))
    assert not handed.path.startswith("/proc")
    assert load(handed)().tolist() == [0, 1, 2, 3, 4]
