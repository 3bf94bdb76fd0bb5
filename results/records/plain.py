"""Records for formats that know numbers and text alone: spreadsheets, JSON, CSV."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc


def as_plain(table: pa.Table) -> pa.Table:
    """The same rows: bytes as hexadecimal digits, maps as JSON, times as ISO text in UTC."""
    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type):
            values = [None if v is None else v.hex() for v in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(values, pa.string()))
        elif pa.types.is_map(field.type):
            maps = table.column(place).to_pylist()
            values = [None if pairs is None else json.dumps(dict(pairs)) for pairs in maps]
            table = table.set_column(place, field.name, pa.array(values, pa.string()))
        elif pa.types.is_timestamp(field.type):
            text = pc.strftime(table.column(place), format="%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(place, field.name, text)
    return table
