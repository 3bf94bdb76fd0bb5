"""stdout and stderr that raise nothing."""

from __future__ import annotations

import errno
import io
import os
import sys

import pytest

from tuner.display.streams import Stream, Streams, settle


class Failing(io.StringIO):
    """Fails with this error for as long as it is set."""

    error: OSError | None = OSError(errno.ENOSPC, "No space left on device")

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


def test_a_failure_is_told_once_and_what_fits_later_is_written() -> None:
    heard: list[Exception] = []
    inner = Failing()
    stream = Stream(inner, heard.append)
    print("lost", file=stream)
    print("lost too", file=stream)
    inner.error = None
    print("written", file=stream)
    assert [str(error) for error in heard] == ["[Errno 28] No space left on device"]
    assert inner.getvalue().endswith("written\n")


def test_what_the_encoding_lacks_becomes_an_escape() -> None:
    buffer = io.BytesIO()
    stream = Stream(io.TextIOWrapper(buffer, encoding="ascii", write_through=True), pytest.fail)
    assert stream.write("\u00fc \ud800 a") == 5
    assert buffer.getvalue() == rb"\xfc \ud800 a"


def test_a_closed_stream_is_a_failure_too() -> None:
    heard: list[Exception] = []
    inner = io.StringIO()
    inner.close()
    print("text", file=Stream(inner, heard.append), flush=True)
    assert len(heard) == 1


def test_both_streams_are_sturdy_for_a_while_and_failures_are_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = Failing(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    heard: list[str] = []
    with Streams() as streams:
        print("text")
        assert "stdout: OSError: [Errno 28]" in err.getvalue()
        assert "the run goes on" in err.getvalue()
        streams.tell(heard.append)
        sys.stderr.close()
        print("text", file=sys.stderr)
    assert [text.partition(":")[0] for text in heard] == ["stdout", "stderr"]
    assert (sys.stdout, sys.stderr) == (out, err)


def test_a_process_without_stdout_stays_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with Streams():
        assert sys.stdout is None
        print("text")
    settle()


def test_a_pipe_without_reader_holds_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        pipe.write("text that stays in the buffer")
        settle()
        pipe.flush()
