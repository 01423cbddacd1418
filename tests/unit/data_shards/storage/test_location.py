import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.errors import StorageError
from data_shards.storage.location import is_url, parse_url

_part = st.text("abcXYZ019-_.= +", min_size=1, max_size=8).filter(lambda part: part not in "..")


@given(st.sampled_from(["s3", "gs", "az"]), st.lists(_part, min_size=1), st.booleans())
def test_a_plain_url_is_taken_apart(scheme: str, parts: list[str], slash: bool) -> None:
    path = "/".join(parts)
    location = parse_url(f"{scheme}://{path}{'/' * slash}")
    assert location == (scheme, path)
    assert location.url == f"{scheme}://{path}"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://169.254.169.254/latest", "kind 'http' is not read"),
        ("file:///etc/passwd", "kind 'file'"),
        ("S3://bucket", "kind 'S3'"),
        ("s3://", "no bucket"),
        ("s3:///a", "no bucket"),
        ("s3://bucket/../a", "a part that is"),
        ("s3://bucket//a", "a part that is"),
        ("s3://bucket/./a", "a part that is"),
        ("s3://bucket/%2e%2e/a", "'%'"),
        ("s3://bucket/a?versionId=1", r"'\?'"),
        ("s3://bucket/a#b", "'#'"),
        ("s3://bucket/a*", r"'\*'"),
        ("s3://bucket/a\0", "x00"),
        ("s3://bucket/a\n", r"\\n"),
        ("s3://bucket\\a", "holds"),
        ("simplecache::s3://bucket/a", "kind 'simplecache::s3'"),
        ("s3://key:secret@bucket/a", "holds credentials"),
        ("s3://key:se/cret@bucket/a", "holds credentials"),
        ("s3://key:se/c?ret+K@bucket/a", "holds credentials"),
        ("s3://key:se/../cret", "holds credentials"),
        ("http://key:secret@bucket/a", "holds credentials"),
    ],
)
def test_a_url_that_may_mean_something_else_is_refused(url: str, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught:
        parse_url(url)
    assert not any(part in str(caught.value) for part in ("key", "secret", "cret", "se/"))


def test_paths_are_no_urls() -> None:
    for path in ("/a/b", "a", "a:b", "./s3:/x", "C:/x"):
        assert not is_url(path)
    assert is_url("s3://a")
    assert is_url("file:///a")
