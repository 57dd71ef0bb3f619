"""Parts of files over HTTP, by the standard library alone: Blender has it."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPException, HTTPResponse
from socket import gaierror
from time import monotonic
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from ....version import VERSION
from ...errors import CheckpointError
from ...location import shown
from ..datafile import bad
from .source import BLOCK, DroppedError, Patience, Source

# A server that gives no parts may give this much of a file, in bytes, to be read from its start.
WHOLE = 32 << 20
_PIECE = 1 << 16
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)
_NO_PART = re.compile(r"bytes \*/(\d{1,19})", re.ASCII)


class Web:
    """Sends requests; the token goes to one origin only, never along with a redirect to another.

    Parameters
    ----------
    patience : Patience
    token, home : str
        The token, and a URL of the server that it is for.
    """

    def __init__(self, patience: Patience, token: str = "", home: str = "") -> None:
        self.patience = patience
        self._token, self._home = token, _origin(home)
        self._opener = self._make_opener()

    def _make_opener(self) -> OpenerDirector:
        return build_opener(HTTPSHandler(context=_authorities()), _Redirects(self))

    def sign(self, request: Request) -> None:
        """Add the token where the request goes to the server that it is for."""
        if self._token and _origin(request.full_url) == self._home:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")

    def ask(self, url: str, wanted: str = "") -> HTTPResponse:
        """Send a request for a file or for some bytes of it, ``"bytes=0-99"``.

        Raises
        ------
        FileNotFoundError, PermissionError
            The server says so.
        DroppedError
            Another attempt may do.
        CheckpointError
            None will.
        """
        headers = {"User-Agent": f"weightwalk/{VERSION}", "Accept-Encoding": "identity"}
        try:
            request = Request(url, headers=headers | ({"Range": wanted} if wanted else {}))
            self.sign(request)
            response: HTTPResponse = self._opener.open(request, timeout=self.patience.stall)
        except HTTPError as error:
            with error:
                if error.code == 416 and _NO_PART.fullmatch(error.headers["Content-Range"] or ""):
                    raise _NoPartError(_whole(error.headers)) from None
                raise _refusal(url, error) from None
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise _bad(url, "the server's certificate cannot be verified") from None
            absent = isinstance(error.reason, ConnectionRefusedError | gaierror)
            raise DroppedError(_why(error.reason, self.patience), absent=absent) from None
        except (OSError, HTTPException) as error:
            raise DroppedError(_why(error, self.patience)) from None
        except ValueError:
            raise _bad(url, "this cannot be a URL") from None
        if (response.headers["Content-Encoding"] or "identity").lower() != "identity":
            response.close()
            raise _bad(url, "the server only gives the file compressed, of which parts are no use")
        return response

    @property
    def signs(self) -> bool:
        """Whether there is a token."""
        return bool(self._token)

    def all_of(self, response: HTTPResponse, limit: int) -> Iterator[bytes]:
        """Yield all of an answer; more than `limit` bytes are a `CheckpointError`."""
        until = monotonic() + 3 * self.patience.block
        while True:
            try:
                piece = response.read1(_PIECE)
            except (OSError, HTTPException) as error:
                raise DroppedError(_why(error, self.patience)) from None
            limit -= len(piece)
            if limit < 0:
                raise _bad(response.geturl(), "the server's answer is too long")
            if monotonic() > until:
                raise DroppedError("the bytes come too slowly")
            if not piece:
                return
            yield piece

    def stream(self, response: HTTPResponse, count: int) -> Iterator[bytes]:
        """Yield so many bytes as they come; a block must come within the time for one."""
        until, left, since = monotonic() + self.patience.block, count, 0
        while left:
            try:
                piece = response.read1(min(left, _PIECE))
            except (OSError, HTTPException) as error:
                raise DroppedError(_why(error, self.patience)) from None
            if not piece:
                raise DroppedError("the connection ended too early")
            left -= len(piece)
            since += len(piece)
            yield piece
            if since >= BLOCK:
                until, since = monotonic() + self.patience.block, 0
            elif monotonic() > until:
                raise DroppedError("the bytes come too slowly")


@cache
def _authorities() -> ssl.SSLContext:
    """Return who says which server is which; to read them takes longer than a request."""
    context = ssl.create_default_context()
    try:
        import certifi  # Blender brings it; its own OpenSSL may know no authorities

        context.load_verify_locations(certifi.where())
    except (ImportError, OSError):
        pass
    return context


class WebFile(Source):
    """A file on a web server.

    Attributes
    ----------
    first : bytes
        Its first block, or "" where that was not asked for.
    """

    def __init__(self, web: Web, url: str, known: tuple[int, str] | None = None) -> None:
        """Ask for the first block and with it for the size, unless size and stamp are known."""
        self._web, self._url = web, url
        self._target = ""  # where it was redirected to
        self._version: str | None = None
        self.first = b""
        if known is not None:
            self.size, self.tag = known
        else:
            first = b"".join(self._opening())
            # A server may give less than was asked for; a part of a block is not kept.
            self.first = first if len(first) == min(BLOCK, self.size) else b""
            self.tag = self._version or ""

    def _opening(self) -> Iterator[bytes]:
        try:
            response = self._ask(0, BLOCK)
        except _NoPartError as empty:
            self.size = empty.size
            if self.size:
                raise _bad(self._url, "the server refuses to give its first bytes") from None
            return
        with response:
            if response.status == 206:
                begin, end, self.size = self._part(response)
                if begin or end > BLOCK:
                    raise _bad(self._url, "the server gives other bytes than were asked for")
            else:
                self.size = end = self._length_without_parts(response)
            yield from self._web.stream(response, min(end, BLOCK))

    def parts(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `begin` up to `end`, or fewer."""
        try:
            response = self._ask(begin, end)
        except _NoPartError:
            raise _bad(self._url, "the file was cut since it was opened") from None
        with response:
            if response.status == 206:
                first, last, size = self._part(response)
                if size != self.size:
                    raise _bad(self._url, "the file has changed since it was opened")
                if first != begin or not begin < last <= end:
                    raise _bad(self._url, "the server gives other bytes than were asked for")
                yield from self._web.stream(response, last - begin)
                return
            if self._length_without_parts(response) != self.size:
                raise _bad(self._url, "the file has changed since it was opened")
            skip = begin
            for piece in self._web.stream(response, end):
                if skip < len(piece):
                    yield piece[skip:]
                skip = max(skip - len(piece), 0)

    def _ask(self, begin: int, end: int) -> HTTPResponse:
        """Ask where the last answer came from, which spares a redirect for each part."""
        try:
            response = self._web.ask(self._target or self._url, f"bytes={begin}-{end - 1}")
        except (FileNotFoundError, PermissionError):
            if not self._target:
                raise
            self._target = ""  # such links are good for an hour or so
            raise DroppedError("the link to the file has expired") from None
        try:
            if response.status not in {200, 206}:
                raise _bad(self._url, f"the server answers with status {response.status}")
            self._check_version(response)
        except BaseException:
            response.close()
            raise
        where = response.geturl()
        self._target = "" if where == self._url else where
        return response

    def _check_version(self, response: HTTPResponse) -> None:
        version = response.headers["ETag"] or response.headers["Last-Modified"] or ""
        if self._version is None:
            self._version = version
        elif version != self._version:
            raise _bad(self._url, "the file has changed since it was opened")

    def _part(self, response: HTTPResponse) -> tuple[int, int, int]:
        """Return which bytes an answer holds, its end excluded, and the size of the file."""
        told = _CONTENT_RANGE.fullmatch(response.headers["Content-Range"] or "")
        if told is None:
            raise _bad(self._url, "the server does not say which bytes it gives")
        first, last, size = map(int, told.groups())
        length = response.headers["Content-Length"]
        if length is not None and length != str(last + 1 - first):
            raise _bad(
                self._url, f"the server promises {last + 1 - first:,} bytes, but sends others"
            )
        return first, last + 1, size

    def _length_without_parts(self, response: HTTPResponse) -> int:
        """Return the length of an answer that holds the whole file, where that is small enough."""
        length = response.headers["Content-Length"] or ""
        if not length.isdecimal() or not 0 <= int(length[:20]) <= WHOLE:
            raise _bad(
                self._url,
                "the server gives no parts of files (it ignores range requests); "
                "download the file and open it from there",
            )
        return int(length)


class _NoPartError(Exception):
    """The file has not so many bytes, but `size`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to web servers only; the token stays behind unless it is for the target."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def redirect_request(  # noqa: PLR0917 (as the library calls it)
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        """Return the request to the new address."""
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in {"http", "https"} or (before, after) == ("https", "http"):
            raise _bad(req.full_url, f"the server redirects to {after}://, which is not followed")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if request is not None:
            self._web.sign(request)
        return request


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port


def _bad(url: str, what: str) -> CheckpointError:
    """Return the error for a URL, which may be signed: as where a redirect has led."""
    return bad(shown(url), what)


def _whole(headers: Message) -> int:
    told = _NO_PART.fullmatch(headers["Content-Range"] or "")
    return int(told[1]) if told else 0


def _refusal(url: str, error: HTTPError) -> Exception:
    """Return what an answer that is no success means."""
    url = shown(url)
    if error.code in {404, 410}:
        return FileNotFoundError(errno.ENOENT, "there is no such file", url)
    if error.code in {401, 403}:
        return PermissionError(errno.EACCES, f"the server refuses access, status {error.code}", url)
    what = f"the server answers with status {error.code}"
    return (
        DroppedError(what, _retry_after(error.headers)) if error.code in _AGAIN else _bad(url, what)
    )


def _retry_after(headers: Message) -> float:
    """Return the seconds that a server wants one to wait, or 0."""
    told = (headers["Retry-After"] or "").strip()
    if told.isdecimal():
        return float(told[:9])
    try:
        when = parsedate_to_datetime(told)
        return max((when - datetime.now(when.tzinfo or UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _why(reason: object, patience: Patience) -> str:
    if isinstance(reason, TimeoutError):
        return f"nothing came for {patience.stall:g} s"
    if isinstance(reason, OSError):
        return f"the connection failed ({reason.strerror or reason})"
    return "the connection ended too early"
