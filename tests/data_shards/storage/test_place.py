"""The grammar of places: what each spelling names, and what is refused with what remedy."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_shards.sources.idx import read_bytes
from data_shards.sources.moving_mnist import open_array
from data_shards.sources.sprites import Sprites
from data_shards.storage.place import canonical, check_url, is_elsewhere, is_http, local_path, open_store
from data_shards.writer import build


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "home")


@pytest.mark.parametrize(
    ("url", "parts", "spelling"),
    [
        ("s3://bucket", ("bucket", ""), "s3://bucket"),
        ("s3://bucket/a/b/", ("bucket", "a/b"), "s3://bucket/a/b"),
        ("S3://Bucket/Set", ("Bucket", "Set"), "s3://Bucket/Set"),
        ("s3://bucket/a?b#c%20d", ("bucket", "a?b#c%20d"), "s3://bucket/a?b#c%20d"),
        ("s3://tenant:bucket/a", ("tenant:bucket", "a"), "s3://tenant:bucket/a"),
        ("a/set//", ("", "a/set"), "a/set"),
        ("///", ("", "/"), "/"),
        ("2024", ("", "2024"), "2024"),
        ("a:b.avi", ("", "a:b.avi"), "a:b.avi"),
        ("runs/12:30/x", ("", "runs/12:30/x"), "runs/12:30/x"),
        ("./s3:/b", ("", "./s3:/b"), "./s3:/b"),
        ("./~x", ("", "./~x"), "./~x"),
        ("caf\udce9", ("", "caf\udce9"), "caf\udce9"),
        ("file:///a%20b?c#d/", ("", "/a b?c#d"), "/a b?c#d"),
        ("FILE://LocalHost/a", ("", "/a"), "/a"),
        ("file:/a", ("", "/a"), "/a"),
        ("file:////a", ("", "/a"), "/a"),
        ("~", ("", "HOME"), "HOME"),
        ("~/runs/x/", ("", "HOME/runs/x"), "HOME/runs/x"),
        ("~root", ("", "/root"), "/root"),
    ],
)
def test_spellings_of_a_place(url: str, parts: tuple[str, str], spelling: str, home: str) -> None:
    assert check_url(url) == (parts[0], parts[1].replace("HOME", home))
    assert canonical(url) == spelling.replace("HOME", home)
    assert open_store(url).url == canonical(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3:/bucket/set", "must be .*; write s3://bucket/set "),
        ("S3:bucket/set", "write s3://bucket/set "),
        ("s3:///set", "write s3://set "),
        ("s3a://bucket/set", "write s3://bucket/set "),
        ("s3://", "s3://bucket/prefix"),
        ("s3:", "s3://bucket/prefix"),
        ("s3://127.0.0.1:9000/bucket", "is no bucket's name; .* AWS_ENDPOINT_URL"),
        ("s3://key@bucket/x", "is no bucket's name"),
        ("s3://../x", "is no bucket's name"),
        ("s3://./x", "is no bucket's name"),
        ("s3://bucket/a/../b", "no folders '.' and '..'"),
        (" s3://bucket/x", "begins with a blank"),
        ("file://host/x", "write file:///host/x "),
        ("file:x", "write file:///x "),
        ("file:///", "file:///path"),
        ("https:/h/x", "s3://bucket/prefix"),
        ("http://h/x", "s3://bucket/prefix"),
        ("gs://b/x", "s3://bucket/prefix"),
        ("new+scheme://b/x", "s3://bucket/prefix"),
        ("cache::s3://b/x", "s3://bucket/prefix"),
        ("C:/set", "a folder of that name is ./C:/set"),
        ("pipe:ls", "s3://bucket/prefix"),
        ("pipe:cat x |", "s3://bucket/prefix"),
        ("~nobody-here/x", "nobody's home here; .* write ./~nobody-here/x"),
        ("", "s3://bucket/prefix"),
        ("  ", "s3://bucket/prefix"),
        ("a\nb", "s3://bucket/prefix"),
        ("a\0b", "s3://bucket/prefix"),
    ],
)
def test_what_only_looks_like_a_place_is_refused(url: str, told: str, home: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        open_store(url)
    for remedy in re.findall(r"(?:write|name is) (\S+?)[,;)]?(?= |$)", str(refused.value)):
        assert remedy == "the" or check_url(remedy), f"advice that is refused itself: {remedy}"
    assert "\n" not in str(refused.value)


@given(st.text("s3:/file~a. \n%C@+", max_size=12))
@example("./~/")
@example(" /")
@example("file:///%7Ea")
def test_a_spelling_is_a_place_and_spells_itself(text: str) -> None:
    try:
        parts = check_url(text)
    except ValueError:
        return
    assert check_url(canonical(text)) == parts
    assert canonical(canonical(text)) == canonical(text)


@pytest.mark.parametrize("url", ["set", "set/", "./set", "~/set", "file://HOME/set", "FILE:HOME/set/"])
def test_what_is_complete_lies_where_the_user_said(url: str, home: str) -> None:
    build("sprites", Sprites(size=16, frames=3, objects=1), url.replace("HOME", home), {"train": 1}, seed=0)
    there = Path(home, "set") if "~" in url or "HOME" in url else Path("set")
    assert (there / "manifest.json").is_file()
    assert {entry.name for entry in Path().iterdir()} <= {"home", "set"}, "a folder that nobody asked for"


def test_places_on_this_machine() -> None:
    assert local_path("file:///a%20b/") == Path("/a b")
    with pytest.raises(ValueError, match="got the URL s3://b/x, must be a path on this machine"):
        local_path("s3://b/x")


def test_what_is_elsewhere() -> None:
    assert all(map(is_http, ("http://h", "HTTPS://h/x")))
    assert not any(map(is_http, ("https:/h/x", "https://", "https", "s3://h")))
    assert all(map(is_elsewhere, ("https://h/x", "gs://b/x", "HTTP://h")))
    assert not any(map(is_elsewhere, ("https:/h/x", "S3://b/x", "file:///x", "./a://b", "~/x", "a")))


@pytest.mark.parametrize("place", ["s3:/b/p", "https:/h/x", "~nobody-here/x"])
def test_digits_and_sequences_are_places_too(place: str, home: str) -> None:
    with pytest.raises(ValueError, match=re.escape(place)):
        read_bytes(place, "file")
    with pytest.raises(ValueError, match=re.escape(place)):
        open_array(f"{place}/array.npy")
    Path(home, "file").write_bytes(b"digits")
    assert read_bytes("~", "file") == b"digits"
