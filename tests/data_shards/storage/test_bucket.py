"""What a bucket's server can answer, and what may lie in the way: what heals is waited for, all else is told at once.

Against servers that answer every request alike. On a real S3 server: tests/integration/test_store.py.
"""

import re
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, HTTPClientError

from cluster.rehearsal.gate import Gate, Weather
from data_shards.storage.place import open_store
from data_shards.storage.refusal import passes, reason_of
from data_shards.storage.store import NotFound, StorageError
from tests.conftest import require
from tests.fake_s3 import answering, refusal

HTML = "<html><body>console<br></body></html>"
WRONG_REGION = (
    "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-north-1'"
)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)


def told(monkeypatch: pytest.MonkeyPatch, endpoint: str, how: str = "exists") -> str:
    """What a store with ten minutes of patience says at once."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    store = open_store("s3://bucket/set", deadline=600)
    started = time.monotonic()
    with pytest.raises(StorageError) as refused:
        {"exists": lambda: store.exists("x"), "read": lambda: store.read("x"), "list": store.list}.get(
            how, lambda: store.put("x", b"bytes")
        )()
    assert time.monotonic() - started < 20, "it was waited for"
    assert store.retries == 0
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("how", ["exists", "read", "list", "put"])
@pytest.mark.parametrize(
    ("status", "body", "headers", "sentence"),
    [
        (400, refusal("ExpiredToken"), {}, "renew AWS_SESSION_TOKEN"),
        (403, refusal("RequestTimeTooSkewed"), {}, "this machine's clock differs"),
        (400, refusal("AuthorizationHeaderMalformed", WRONG_REGION), {}, "set AWS_DEFAULT_REGION=eu-north-1"),
        (301, refusal("PermanentRedirect"), {"x-amz-bucket-region": "eu-north-1"}, "AWS_DEFAULT_REGION=eu-north-1"),
        (403, refusal("AccessDenied"), {}, r"access denied \(AccessDenied\): check AWS_ACCESS_KEY_ID"),
        (403, refusal("SignatureDoesNotMatch"), {}, r"access denied .*: check AWS_SECRET_ACCESS_KEY"),
        (404, refusal("NoSuchBucket"), {}, "bucket 'bucket' does not exist"),
        (501, refusal("NotImplemented", "Not here."), {}, "refused: 501 NotImplemented Not here."),
        (200, HTML, {"Content-Type": "text/html"}, "not an S3 server: check AWS_ENDPOINT_URL"),
        (200, "<html/>", {"Content-Type": "text/html"}, "not an S3 server"),
        (404, HTML, {"Content-Type": "text/html"}, "not an S3 server"),
        (400, "Client sent an HTTP request to an HTTPS server.", {}, "not an S3 server: .*http or https"),
    ],
)  # fmt: skip
def test_what_a_server_refuses_is_told_at_once(
    how: str, status: int, body: str, headers: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status, body, headers) as endpoint:
        assert re.search(sentence, told(monkeypatch, endpoint, how))


def test_a_head_that_is_refused_is_asked_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    with answering(400, refusal("ExpiredToken"), asked=asked) as endpoint:
        told(monkeypatch, endpoint)
    assert asked.count("GET /bucket/set/x") == 1, asked


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests"), (400, "RequestTimeout")],
)
def test_a_busy_server_is_waited_for(status: int, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(status, refusal(code)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = open_store("s3://bucket/set", deadline=2)
        with pytest.raises(StorageError, match=f"no answer for .* attempts: {status} {code}"):
            store.read("x")
        assert store.retries


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_that_is_not_there_yet_is_waited_for(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{free_port()}")
    store = open_store("s3://bucket/set", deadline=2)
    with pytest.raises(StorageError, match="no answer for"):
        store.read("x")
    assert store.retries


def test_what_speaks_no_http_is_no_s3_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def greet() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        assert "not an S3 server" in told(
            monkeypatch, f"http://127.0.0.1:{listening.getsockname()[1]}", "read"
        )
        thread.join(5)


@pytest.mark.parametrize(
    ("endpoint", "sentence"),
    [
        ("localhost:9000", "localhost:9000: write AWS_ENDPOINT_URL as http://host:port"),
        ("ftp://h", "AWS_ENDPOINT_URL"),
    ],
)
def test_an_endpoint_that_is_no_url(endpoint: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sentence in told(monkeypatch, endpoint)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of localhost, signed by itself, with its key."""
    require("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key -out crt"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True, timeout=60)
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "crt").read_bytes())
    return both


def test_certificates(certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(404, refusal("NoSuchKey"), certificate=certificate) as endpoint:
        assert "is not trusted (self-signed certificate): set AWS_CA_BUNDLE" in told(monkeypatch, endpoint)
        for bundle in (tmp_path / "absent.pem", tmp_path, tmp_path / "empty.pem"):
            (tmp_path / "empty.pem").write_text("")
            monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
            assert f"AWS_CA_BUNDLE {bundle} cannot be read" in told(monkeypatch, endpoint)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.with_name("crt")))
        assert "is not trusted (IP address mismatch" in told(
            monkeypatch, endpoint.replace("localhost", "127.0.0.1")
        )
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(NotFound):
            open_store("s3://bucket/set").read("x")


def test_tls_to_a_port_without(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, HTML) as endpoint:
        assert "write http://" in told(monkeypatch, endpoint.replace("http:", "https:"))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "heals"),
    [
        (caused(EndpointConnectionError(endpoint_url="x"), ConnectionRefusedError(111, "refused")), True),
        (caused(EndpointConnectionError(endpoint_url="x"), OSError(113, "no route")), True),
        (caused(EndpointConnectionError(endpoint_url="x"), OSError("Multiple: [Errno 99] a, [Errno 111] b")), True),
        (caused(EndpointConnectionError(endpoint_url="x"), socket.gaierror(socket.EAI_AGAIN, "again")), True),
        (caused(EndpointConnectionError(endpoint_url="x"), socket.gaierror(socket.EAI_NONAME, "no name")), False),
        (ConnectionClosedError(endpoint_url="x"), True),
        (caused(HTTPClientError(error="x"), OSError(24, "too many open files")), False),
        (caused(HTTPClientError(error="x"), ssl.SSLEOFError(8, "eof")), True),
        (HTTPClientError(error="something new"), False),
        (TimeoutError(), True),
    ],
)  # fmt: skip
def test_what_can_heal_is_a_list(error: Exception, heals: bool) -> None:
    assert passes(error) == heals
    if not heals:
        assert "\n" not in reason_of(error)


def test_a_region_may_be_told_in_any_of_three_ways() -> None:
    def error(details: dict[str, str], headers: dict[str, str]) -> ClientError:
        meta = {"HTTPStatusCode": 400, "HTTPHeaders": headers}
        answer = {"Error": {"Code": "AuthorizationHeaderMalformed"} | details, "ResponseMetadata": meta}
        return ClientError(answer, "GetObject")

    for details, headers in (
        ({"Message": WRONG_REGION}, {}),
        ({"Region": "eu-north-1"}, {}),
        ({}, {"x-amz-bucket-region": "eu-north-1"}),
    ):
        assert "set AWS_DEFAULT_REGION=eu-north-1" in reason_of(error(details, headers))
    assert "check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL" in reason_of(error({}, {}))


@pytest.mark.parametrize("weather", ["resets", "nonsense"])
def test_a_server_that_has_answered_is_asked_again_when_its_answers_go_wrong(
    weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where what lies before it fails for a while; of one that never spoke S3 it is told at once."""
    body = "x" * 100_000
    with answering(200, body, {"ETag": '"1"'}) as endpoint, Gate(endpoint) as gate:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gate.url)
        store = open_store("s3://bucket/set", deadline=60)
        assert store.read("x") == body.encode()
        fine = gate.set(weather)
        threading.Timer(0.5, fine).start()
        assert store.read("x") == body.encode()
    assert store.retries > 0
