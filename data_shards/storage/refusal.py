"""What the error of a request to a bucket means: one list of what can heal; all else is told at once, in a sentence.

Waiting for what cannot heal costs the user ten minutes, and hides what is to be done.
"""

import asyncio
import errno
import os
import re
import socket
import ssl

import aiohttp
from aiohttp.http_exceptions import BadHttpMessage, PayloadEncodingError
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointProviderError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)

# What can heal: the server is slow, busy, starting, or cut off for a while.
PASSING = (
    ConnectTimeoutError,
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
    TimeoutError,
    ConnectionError,
    asyncio.TimeoutError,
    aiohttp.ClientPayloadError,
    aiohttp.ServerDisconnectedError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
)
PASSING_NUMBERS = {
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT),
    *(errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET),
    *(errno.EAGAIN, errno.EADDRNOTAVAIL, errno.ENOBUFS),
}
PASSING_STATUSES = {408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524}
PASSING_CODES = {
    *("SlowDown", "Throttling", "ThrottlingException", "RequestThrottled", "RequestThrottledException"),
    *("RequestLimitExceeded", "TooManyRequests", "TooManyRequestsException", "BandwidthLimitExceeded"),
    *("RequestTimeout", "RequestTimeoutException", "InternalError", "ServiceUnavailable", "OperationAborted"),
}

_DENIED = "access denied ({code}): "
_RENEW = _DENIED + "the session token has expired; renew AWS_SESSION_TOKEN and the keys that belong to it"
_CLOCK = "this machine's clock differs from the server's ({code}); set it right"
REASONS = {
    "ExpiredToken": _RENEW,
    "ExpiredTokenException": _RENEW,
    "TokenRefreshRequired": _RENEW,
    "InvalidToken": _DENIED
    + "AWS_SESSION_TOKEN is none of this server's; renew it, or unset it for keys without one",
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "InvalidAccessKeyId": _DENIED
    + "check AWS_ACCESS_KEY_ID, and AWS_ENDPOINT_URL: the server does not know the key",
    "SignatureDoesNotMatch": _DENIED + "check AWS_SECRET_ACCESS_KEY, which does not fit AWS_ACCESS_KEY_ID",
    "InvalidBucketName": "the server takes this for no bucket's name ({code})",
}
_REGIONS = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_NO_FILE = (errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ENOTDIR)
_NO_BUNDLE = ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB", "BAD_BASE64_DECODE", "NO_START_LINE")
_NO_S3 = "{what}, so it is not an S3 server: check AWS_ENDPOINT_URL, its port, and http or https"


class NoS3Error(Exception):
    """An answer that no S3 server gives."""


def no_s3(what: str) -> str:
    """The reason where the server did `what`, which S3 servers do not."""
    return _NO_S3.format(what=what)


def passes(error: Exception) -> bool:
    """Whether asking again may help."""
    if isinstance(error, ClientError):
        if status_of(error) == 500 and not code_of(error) and _is_page(error):
            return False  # botocore's word for a page with status 200 where XML was expected
        return status_of(error) in PASSING_STATUSES or code_of(error) in PASSING_CODES
    chain = _causes(error)
    for each in chain:
        if isinstance(each, socket.gaierror):
            # A name server that is out says "again". That there is no such name is its answer: mostly a typo.
            return each.errno == socket.EAI_AGAIN
        if isinstance(each, ssl.SSLError) and not isinstance(each, PASSING):
            return False
        if _is_no_http(each):
            return False
    numbers = {each.errno for each in chain if isinstance(each, OSError)}
    # Where a name has several addresses, each with another failure, the numbers are in the text alone.
    numbers |= {int(number) for each in chain for number in re.findall(r"\[Errno (\d+)\]", str(each))}
    return bool(numbers & PASSING_NUMBERS) or any(isinstance(each, PASSING) for each in chain)


def is_no_s3(error: Exception) -> bool:
    """Whether it is an answer that no S3 server gives; of a server that has given others, it is a fault on the way."""
    return any(isinstance(each, NoS3Error) or _is_no_http(each) for each in _causes(error))


def status_of(error: ClientError) -> int:
    """The HTTP status of an answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    """The code of S3 in an answer; empty where there is none, as in every answer to a HEAD."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return "" if code.isdecimal() else code


def reason_of(error: Exception) -> str:
    """What an error that does not pass means, and what to do."""
    if isinstance(error, ClientError):
        return _answered(error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, NoS3Error):
        return no_s3(str(error))
    for each in _causes(error):
        if reason := _on_the_way(each):
            return reason
    if isinstance(error, ValueError | EndpointProviderError):
        return f"{error}: write AWS_ENDPOINT_URL as http://host:port or https://host"
    return f"{type(error).__name__} {error}".strip()


def _on_the_way(error: BaseException) -> str:
    """What kept a request from being answered; empty where that is not known."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "the server"
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {endpoint} is not trusted ({error.verify_message}): set AWS_CA_BUNDLE to the file of "
            "the authority that signed it, and use the name that it was made for"
        )
    if bundle and (getattr(error, "reason", None) in _NO_BUNDLE or getattr(error, "errno", None) in _NO_FILE):
        said = getattr(error, "strerror", None) or error
        return f"AWS_CA_BUNDLE {bundle} cannot be read ({said}): name a file of certificates, or unset it"
    if isinstance(error, ssl.SSLError):
        return (
            f"{endpoint} does not speak TLS as we do ({error.reason}): for a port without TLS, write http://"
        )
    if _is_no_http(error):
        return no_s3(f"{endpoint} does not speak HTTP there")
    if isinstance(error, socket.gaierror):
        return f"{endpoint} is the name of no machine ({error.strerror}): check AWS_ENDPOINT_URL"
    return ""


def _answered(error: ClientError) -> str:
    """What the server's refusal means."""
    status, code = status_of(error), code_of(error)
    if code in REASONS:
        return REASONS[code].format(code=code)
    if status in (301, 302, 307, 308) or code in _REGIONS:
        if region := _region(error):
            return f"the bucket is in the region {region} ({code or status}): set AWS_DEFAULT_REGION={region}"
        return f"the bucket is served elsewhere ({code or status}): check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL"
    if status in (401, 403):
        return f"access denied ({code or status}): check AWS_ACCESS_KEY_ID and its rights"
    if not code and _is_page(error):
        return no_s3("the server answers with a page")
    if not code and not error.operation_name.startswith("Head"):
        return no_s3(f"the server answers {status} without a code of S3")
    said = str(error.response.get("Error", {}).get("Message", "")) if code else ""
    return f"{error.operation_name} refused: {status} {code} {said}".rstrip()


def _is_page(error: ClientError) -> bool:
    """Whether the answer is for a browser."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("content-type", "")).startswith("text/html")


def _region(error: ClientError) -> str:
    """The region that an answer names; empty where it names none."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told = error.response.get("Error", {})
    expected = re.search(r"expecting '([\w-]+)'", str(told.get("Message", "")))
    found = headers.get("x-amz-bucket-region") or told.get("Region") or (expected[1] if expected else "")
    return str(found)


def _is_no_http(error: BaseException) -> bool:
    """Whether an answer is not HTTP from its first line on. One that breaks off in its body is an outage."""
    return isinstance(error, BadHttpMessage) and not isinstance(error, PayloadEncodingError)


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and what it came from, what was first first: libraries dress it up on its way."""
    chain: list[BaseException] = []
    while error is not None:
        chain.insert(0, error)
        error = error.__cause__ or error.__context__
    return chain
