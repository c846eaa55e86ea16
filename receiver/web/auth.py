"""Who may see the pages and the API: who knows the password or the token, or, in development, this very machine."""

import hmac
import re
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import timedelta
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

from flask import Blueprint, Flask, Response, abort, current_app, redirect, render_template, request, session, url_for
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response as AnyResponse

from receiver.web.answers import Answer

# What answers without a login, and why: providers deliver to hooks, anybody may be recorded in a bin, a platform asks
# for health, and the login needs its page. tests/web/test_auth.py compares this list with every route there is.
OPEN = frozenset({"hooks.receive", "capture.record", "health.alive", "health.ready", "auth.login", "static"})

SESSION_LASTS = timedelta(days=7)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What proxies and tunnels add to a request, by what the names begin and end with; a browser sends none of them.
_PROXYS_OWN = re.compile(r"(x-)?forwarded(-.*)?|via|x-real-ip|cf-.*|.*-forwarded-for|(.*-)?client-?ip", re.IGNORECASE)
FOR_PROGRAMS = ("/api/", "/metrics")

# Everything comes from this host, and nothing in a page runs or styles by itself: what came over the wire stays text.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src {static}; style-src {static}; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_PLAIN_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")

auth = Blueprint("auth", __name__)


class Throttle:
    """Lets a few failures through, for each network and for all together, until they are a minute old.

    Past the limit for all, who has not failed within the minute still gets a try, one every two seconds: strangers
    lock out themselves, and whoever wants to lock out others needs another network for each try. Each process counts
    for itself, so that `WEB_CONCURRENCY` times as many come through.
    """

    PER_ADDRESS = 5
    IN_ALL = 50
    WINDOW_SECONDS = 60.0
    SPACE_SECONDS = 2.0

    def __init__(self) -> None:
        self._failures: deque[tuple[float, str]] = deque()

    def wait_seconds(self, address: str, now: float) -> int:
        """Give how long this address has to wait; 0 when it may try now."""
        while self._failures and self._failures[0][0] <= now - self.WINDOW_SECONDS:
            self._failures.popleft()
        its = [at for at, failed in self._failures if failed == _network(address)]
        free_at = now
        if len(its) >= self.PER_ADDRESS:
            free_at = its[-self.PER_ADDRESS] + self.WINDOW_SECONDS
        elif len(self._failures) >= self.IN_ALL:
            free_at = its[-1] + self.WINDOW_SECONDS if its else self._failures[-1][0] + self.SPACE_SECONDS
        return int(free_at - now) + 1 if free_at > now else 0

    def failed(self, address: str, now: float) -> None:
        self._failures.append((now, _network(address)))


def _network(address: str) -> str:
    """Give what one client has to itself: an address of IPv4, but of IPv6 a whole /64."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:60]
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(ip_network((found, 64), strict=False))
    return address


def register(app: Flask, settings: Mapping[str, Any]) -> None:
    """Put a guard before every route that is not in OPEN, and the headers that keep pages to themselves on all."""
    app.secret_key = settings["SECRET_KEY"]
    app.config.from_mapping(
        SESSION_COOKIE_NAME="signalbox",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings["ENV"] == "production",
        PERMANENT_SESSION_LIFETIME=SESSION_LASTS,
    )
    app.extensions["signalbox.login"] = _fingerprint(settings["ADMIN_PASSWORD"], settings["SECRET_KEY"])
    app.extensions["signalbox.throttle"] = Throttle()
    # The server says whose X-Forwarded-For is to be believed (config/gunicorn.py); until then, nobody's.
    app.extensions["signalbox.proxies"] = ()
    app.register_blueprint(auth)
    app.before_request(guard)
    app.after_request(shield)


def guard() -> AnyResponse | None:
    """Let a request through, or answer it: 401 or the login page, and 403 for what another site's page sent."""
    if request.endpoint in OPEN or request.endpoint is None:
        return None
    if _has_token():
        return None
    if request.method not in SAFE_METHODS and is_cross_origin():
        abort(403, "This request came from a page of another site, and nothing was done.")
    if _is_logged_in() or _is_open_here():
        return None
    return _turn_away()


def _turn_away() -> AnyResponse:
    if current_app.config["ENV"] != "production" and not current_app.config["ADMIN_PASSWORD"]:
        abort(403, "In development the pages open on this machine only. To open them elsewhere, set ADMIN_PASSWORD.")
    if request.path.startswith(FOR_PROGRAMS) and request.endpoint != "documentation.docs":
        is_wrong = request.headers.get("Authorization", "").lower().startswith("bearer ")
        said = _IS_ANOTHER if is_wrong else "Send the API_TOKEN of this installation: Authorization: Bearer …"
        return Answer(401, {"status": "error", "detail": said}, _CHALLENGE).response()
    login = url_for("auth.login", next=request.full_path.rstrip("?") if request.method == "GET" else None)
    if request.headers.get("HX-Request"):
        return Response(status=401, headers={"HX-Redirect": login})
    return redirect(login)


_IS_ANOTHER = "This is not the API_TOKEN of this installation, or it has none. Web reads it when it starts."
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="Signalbox"'}


def _is_logged_in() -> bool:
    wanted: str | None = current_app.extensions["signalbox.login"]
    return wanted is not None and _same(str(session.get("admin", "")), wanted)


def _fingerprint(password: str | None, secret_key: str | None) -> str | None:
    """Give what a session says of the password that opened it, so that another password ends it; None without one."""
    if not password or not secret_key:
        return None
    return hmac.new(secret_key.encode(), b"login:" + password.encode(), sha256).hexdigest()[:32]


def _has_token() -> bool:
    token: str | None = current_app.config["API_TOKEN"]
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and _same(given.strip(), token or "")


def _same(given: str, wanted: str) -> bool:
    """Compare in constant time, whatever the lengths and letters."""
    return hmac.compare_digest(*(sha256(text.encode("utf-8", "surrogateescape")).digest() for text in (given, wanted)))


def is_cross_origin() -> bool:
    """Say whether a browser sent this on behalf of another site's page.

    Browsers say so themselves (Sec-Fetch-Site since 2020-23, Origin before); a program sends neither header, and has
    no cookie that somebody else could use. The same check as Go's http.CrossOriginProtection (1.25).
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    return "Origin" in request.headers and _origin().netloc != request.host


def _origin() -> SplitResult:
    """Give the site whose page sent this, as its browser says: one without a host where that is senseless."""
    try:
        return urlsplit(request.headers.get("Origin", ""))
    except ValueError:
        return urlsplit("null")


def _is_open_here() -> bool:
    """Say whether this is a browser on our own machine, in development; a tunnel or proxy is somebody else."""
    if current_app.config["ENV"] == "production" or any(map(_PROXYS_OWN.fullmatch, request.headers.keys())):
        return False
    return _is_loopback(request.remote_addr or "") and _is_loopback(urlsplit(f"//{request.host}").hostname or "")


def _is_loopback(host: str) -> bool:
    # By name as well: a page of another site may have its own name point here (DNS rebinding), but not this one.
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@auth.route("/login", methods=["GET", "POST"])
def login() -> AnyResponse | tuple[str, int]:
    """Ask for ADMIN_PASSWORD, and remember who knew it."""
    if request.method == "GET":
        return render_template("login.html", next=local_path(request.args.get("next")), problem=None), 200
    if is_cross_origin():
        abort(403, "This request came from a page of another site, and nothing was done.")
    following = local_path(request.form.get("next"))
    if _drops_the_cookie():
        return render_template("login.html", next=following, problem=None, is_in_the_open=True), 403
    throttle: Throttle = current_app.extensions["signalbox.throttle"]
    address, now = _client(), time.monotonic()
    wait = throttle.wait_seconds(address, now)
    if wait:
        raise TooManyRequests(f"Too many wrong passwords. Try again in {wait} seconds.", retry_after=wait)
    password: str | None = current_app.config["ADMIN_PASSWORD"]
    if not password or not _same(request.form.get("password", ""), password):
        throttle.failed(address, now)
        return render_template("login.html", next=following, problem="That is not the password."), 401
    session.clear()
    session["admin"] = current_app.extensions["signalbox.login"]
    session.permanent = True
    return redirect(following)


def _drops_the_cookie() -> bool:
    """Say whether this browser is at a plain http address, where it keeps no cookie that is for HTTPS only.

    It says so itself, whatever stands between; at a loopback address it keeps them all the same.
    """
    if not current_app.config["SESSION_COOKIE_SECURE"]:
        return False
    origin = _origin()
    return origin.scheme == "http" and not _is_loopback(origin.hostname or "")


@auth.post("/logout")
def logout() -> AnyResponse:
    session.clear()
    return redirect(url_for("auth.login"))


def _client() -> str:
    """Give the address that asks; what a proxy says of it is believed only of those that the server trusts."""
    peer = request.remote_addr or ""
    forwarded = request.headers.get("X-Forwarded-For", "")
    if not forwarded or not _is_trusted(peer, current_app.extensions["signalbox.proxies"]):
        return peer
    # The last entry is the one that the proxy itself wrote.
    return forwarded.rpartition(",")[2].strip() or peer


def _is_trusted(peer: str, proxies: Iterable[str]) -> bool:
    # As gunicorn does: `*` is everybody, and at a socket that is a file only programs of this machine call.
    if "*" in proxies or not peer:
        return True
    try:
        return any(ip_address(peer) in ip_network(proxy) for proxy in proxies)
    except ValueError:
        return False


def local_path(given: str | None) -> str:
    """Give a path of ours to go on to; whatever could lead elsewhere is the inbox."""
    if not given or not given.startswith("/") or given.startswith(("//", "/\\")) or not given.isprintable():
        return "/"
    return given


def shield(response: Response) -> Response:
    """Let a page run, style and load what is our own, and nothing else."""
    if request.endpoint in ("hooks.receive", "capture.record"):
        return response
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY.format(static=_static_files()))
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    # Other hosts learn no address. Not `no-referrer`: by that, browsers send `Origin: null` with our own forms, and
    # over plain http nothing else says that they are ours (Fetch standard, "append a request Origin header").
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def _static_files() -> str:
    """Name our own static files alone: a bin answers from this host too, with whatever it was told to."""
    return f"{request.host}/static/" if _PLAIN_HOST.fullmatch(request.host) else "'self'"
