"""Which URIs are understood, what is never repeated of them, and what an error means."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest

from results.storage.place import BucketError, Place, is_remote, within
from tests.fakes.storage.bucket import Bucket, use_bucket


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return use_bucket(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket/runs", "bucket/runs"),
        ("s3://my.bucket-1", "my.bucket-1"),
        ("S3://bucket//a/b c/", "bucket/a/b c"),
        ("gs://bucket/läufe", "bucket/läufe"),
    ],
)
def test_a_uri_is_a_bucket_and_a_folder(uri: str, path: str) -> None:
    place = Place.parse(uri)
    assert (place.scheme, place.path) == (uri[:2].lower(), path)
    assert Place.parse(str(place)) == place
    assert pickle.loads(pickle.dumps(place)) == place  # it travels to the workers


@pytest.mark.parametrize("path", ["runs", "/tmp/s3", "s3:/bucket", "C:\\runs", Path("s3://b")])
def test_a_path_is_no_uri(path: object) -> None:
    assert not is_remote(path)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("s3://KEY:CANARY@bucket/x", "no user, password"),
        ("s3://CANARY@bucket", "no user, password"),
        ("s3://bucket/x?secret_key=CANARY", "no user, password"),
        ("s3://bucket/x#CANARY", "no user, password"),
        ("CANARY+s3://bucket", "unknown storage"),
    ],
)
def test_what_may_be_secret_is_refused_and_not_repeated(uri: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        Place.parse(uri)
    assert "CANARY" not in str(refused.value).replace("canary", "CANARY") or "+" in uri
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("ftp://host/x", r"unknown storage.*known: s3://, gs://"),
        ("s4://bucket/x", r"did you mean"),
        ("file:///tmp/x", "write the path itself"),
        ("s3://", "write s3://BUCKET/FOLDER"),
        ("s3:///x", "write s3://BUCKET/FOLDER"),
        ("s3://bucket/../x", "write s3://BUCKET/FOLDER"),
        ("s3://bucket/a\nb", "write s3://BUCKET/FOLDER"),
        ("s3://-bucket/a", "write s3://BUCKET/FOLDER"),
    ],
)
def test_what_is_no_folder_of_a_bucket_is_refused(uri: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Place.parse(uri)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (
            "When listing objects under key 'x' in bucket 'b': AWS Error NO_SUCH_BUCKET during "
            "ListObjectsV2 operation: The specified bucket does not exist",
            "no such bucket",
        ),
        (
            "When uploading: AWS Error ACCESS_DENIED during PutObject operation: Access Denied "
            "(AWS_ACCESS_KEY_ID=CANARY)",
            "no right to it",
        ),
        (
            "AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 6, Couldn't "
            "resolve host name",
            "cannot be reached",
        ),
        ("something\nnew " + 500 * "x", "something new xxx"),
    ],
)
def test_an_error_is_one_line_that_says_what_it_means(
    bucket: Bucket, error: str, meaning: str
) -> None:
    def fail(kind: str, path: str) -> None:
        raise OSError(error)

    bucket.fails = fail
    for ask in (Place("s3", "b/x").entries, lambda: Place("s3", "b").write("x", b"")):
        with pytest.raises(BucketError, match=meaning) as told:
            ask()
        assert "\n" not in str(told.value)
        assert "CANARY" not in str(told.value)
        assert len(str(told.value)) < 300


def test_names_of_strangers_that_would_leave_the_copy_are_not_seen(bucket: Bucket) -> None:
    for name in ("b/x/../../evil", "b/x/..", "b/x/a\nb", "b/x/good"):
        bucket.files[name] = (b"", 0)
    assert Place("s3", "b/x").entries() == ({"good": (0, 0)}, [])


def test_a_folder_of_states_is_asked_again_while_patience_lasts(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    left = [3]

    def fail(kind: str, path: str) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError("AWS Error SLOW_DOWN")

    bucket.fails = fail
    assert Place("s3", "b/x", patience=60.0).names() == []
    left[0] = 1
    with pytest.raises(BucketError, match="not well"):
        Place("s3", "b/x").names()


def test_a_claim_is_made_once(bucket: Bucket) -> None:
    place = Place("s3", "b/x")
    assert [place.claim("attempt-0001"), place.claim("attempt-0001")] == [True, False]
    assert place.names() == ["attempt-0001"]


def test_a_storage_that_does_not_answer_is_left_after_the_time_given() -> None:
    begun = time.monotonic()
    with pytest.raises(BucketError, match=r"s3://b/x: no answer within 0\.1 s"):
        within(0.1, lambda: time.sleep(1.0), Place("s3", "b/x"))
    assert time.monotonic() - begun < 0.9
