"""Servers that speak S3 or Google Cloud Storage, each in a process of its own, with a bucket."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from results.storage.place import EMULATOR, open_filesystem
from tests.conftest import ROOT


@contextmanager
def serving_s3() -> Iterator[subprocess.Popen[str]]:
    """s3://bucket, empty; everything here and started from here finds it."""
    with _serving("tests.fakes.storage.s3_server") as (process, address):
        urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT")).close()
        variables = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "CANARY" * 6,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with _named(variables):
            yield process


@contextmanager
def serving_google() -> Iterator[subprocess.Popen[str]]:
    """gs://bucket, empty; everything here and started from here finds it."""
    with _serving("tests.fakes.storage.gs_server") as (process, address):
        with _named({EMULATOR: address}):
            yield process


@contextmanager
def _serving(module: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=20)


@contextmanager
def _named(variables: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        open_filesystem.cache_clear()
        yield
    open_filesystem.cache_clear()
