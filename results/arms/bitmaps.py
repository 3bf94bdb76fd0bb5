"""How many test images does a bitmap of right and wrong ones hold, and which were right?

A bitmap is padded to whole bytes: by itself it tells the number of images only to within 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.records.schema import Row

SAME_ACCURACY = 1e-6  # float32 shares differ by 6e-8; those of n and n + 1 images by 1/n

# Run and length in bytes: what bitmaps of the same number of images share.
BitmapSize = tuple[str, int]


def bitmap_size(row: Row) -> BitmapSize:
    """The size of this trial's bitmap; 0 bytes without one."""
    return row["run_id"], len(row["test_correct"] or b"")


def num_images(
    rows: Iterable[Row], manifests: Mapping[str, Mapping[str, Any]]
) -> dict[BitmapSize, int]:
    """Test images behind every size of bitmap: as the manifest tells, else from the accuracies.

    0 where nobody knows: a training of the user's own tells its number by no word, and its
    accuracies fit none or several numbers.
    """
    groups: dict[BitmapSize, list[Row]] = {}
    for row in rows:
        if row["test_correct"]:
            groups.setdefault(bitmap_size(row), []).append(row)
    return {
        (run_id, num_bytes): _num_behind(own, num_bytes, manifests.get(run_id, {}).get("num_test"))
        for (run_id, num_bytes), own in groups.items()
    }


def unpack(row: Row, size: int) -> NDArray[np.float64]:
    """Was each test image classified correctly? correct_I in 0..1."""
    packed = np.frombuffer(row["test_correct"], dtype=np.uint8)
    return np.unpackbits(packed, count=size).astype(np.float64)


def _num_behind(rows: Sequence[Row], num_bytes: int, told: int | None) -> int:
    """As told, else the one number that makes every row's share of ones its accuracy."""
    possible = range(8 * num_bytes - 7, 8 * num_bytes + 1)
    if told is not None and told in possible:
        return told
    shares = [
        (int.from_bytes(row["test_correct"]).bit_count(), row["test_accuracy"])
        for row in rows
        if row["status"] == "completed" and row["test_accuracy"] is not None
    ]
    fitting = [
        num for num in possible if all(abs(ones / num - a) <= SAME_ACCURACY for ones, a in shares)
    ]
    return fitting[0] if len(fitting) == 1 else 0
