"""Who may see the pages and the API: who knows the password or the token, or, in development, this very machine."""

import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, abort, current_app, redirect, render_template, request, session, url_for
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response as AnyResponse

from receiver import service, signals
from receiver.web.auth import logins
from receiver.web.auth.from_here import is_from_here, is_loopback
from receiver.web.auth.throttle import Throttle, address_of, network_of
from receiver.web.responses import Answer

# What answers without a login, and why: providers deliver to hooks, anybody may be recorded in a bin, a platform asks
# for health, and the login needs its page. tests/web/test_auth.py compares this list with every route there is.
OPEN = frozenset({"hooks.receive", "capture.record", "health.alive", "health.ready", "auth.login", "static"})

SESSION_LASTS = timedelta(days=7)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FOR_PROGRAMS = ("/api/", "/metrics")

# Everything comes from this host, and nothing in a page runs or styles by itself: what came over the wire stays text.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src {static}; style-src {static}; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_PLAIN_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")

auth = Blueprint("auth", __name__)


@dataclass(slots=True)
class Doors:
    """What a process remembers of who tried to come in: by password, and by token."""

    MOST_KNOWN = 10_000

    clock: Callable[[], float] = time.monotonic
    passwords: Throttle = field(default_factory=Throttle)
    tokens: Throttle = field(default_factory=Throttle)
    # Where the right token came from: its programs go on while somebody else there, or anywhere, tries wrong ones.
    had_it_right: dict[str, None] = field(default_factory=dict)
    has_ended_others: bool = False

    def note_token_of(self, network: str) -> None:
        self.had_it_right[network] = None
        if len(self.had_it_right) > self.MOST_KNOWN:
            del self.had_it_right[next(iter(self.had_it_right))]


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
    service.of(app).login = _fingerprint(settings["ADMIN_PASSWORD"], settings["SECRET_KEY"])
    service.of(app).add(Doors())
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
        _is_wrong_token()  # counted here too: a guess would otherwise be told from the right token at any speed
        abort(403, "This request came from a page of another site, and nothing was done.")
    if _is_logged_in() or _is_open_here():
        return None
    return _turn_away()


def _turn_away() -> AnyResponse:
    has_wrong_token = _is_wrong_token()
    if current_app.config["ENV"] != "production" and not current_app.config["ADMIN_PASSWORD"]:
        abort(403, "In development the pages open on this machine only. To open them elsewhere, set ADMIN_PASSWORD.")
    if request.path.startswith(FOR_PROGRAMS) and request.endpoint != "documentation.docs":
        said = _IS_ANOTHER if has_wrong_token else "Send the API_TOKEN of this installation: Authorization: Bearer …"
        return Answer(401, {"status": "error", "detail": said}, _CHALLENGE).response()
    login = url_for("auth.login", next=request.full_path.rstrip("?") if request.method == "GET" else None)
    if request.headers.get("HX-Request"):
        return Response(status=401, headers={"HX-Redirect": login})
    return redirect(login)


_IS_ANOTHER = "This is not the API_TOKEN of this installation, or it has none. Web reads it when it starts."
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="Signalbox"'}


def _is_logged_in() -> bool:
    wanted = service.current().login
    if wanted is None or "admin" not in session:
        return False
    _end_logins_of_other_passwords(wanted)
    # The release before has no logins on the server: until its last process is gone, a cookie is good for both.
    return _same(str(session["admin"]), wanted) and logins.is_open(
        _engine(), str(session.get("login", "")), opened_by=wanted, now=datetime.now(UTC)
    )


def permit() -> Callable[[], bool]:
    """Return what says, later and outside of this request, whether who sent it may still see what it shows."""
    wanted = service.current().login
    engine, shown = _engine(), str(session.get("login", ""))
    if wanted is None or "login" not in session:
        return lambda: True
    return lambda: logins.is_open(engine, shown, opened_by=wanted, now=datetime.now(UTC))


def _end_logins_of_other_passwords(wanted: str) -> None:
    """End them when this process first meets a login: they stay ended when the password is changed back."""
    doors = _doors()
    if not doors.has_ended_others:
        logins.end_others(_engine(), opened_by=wanted, now=datetime.now(UTC))
        doors.has_ended_others = True


def _engine() -> sa.Engine:
    return service.current().engine


def _doors() -> Doors:
    return service.current().part(Doors)


def _fingerprint(password: str | None, secret_key: str | None) -> str | None:
    """Give what a session says of the password that opened it, so that another password ends it; None without one."""
    if not password or not secret_key:
        return None
    return hmac.new(secret_key.encode(), b"login:" + password.encode(), sha256).hexdigest()[:32]


def _has_token() -> bool:
    """Say whether the right token came, from where it may: guesses from new networks have to wait, right or wrong."""
    token, given = current_app.config["API_TOKEN"], _bearer()
    if not token or given is None or not _same(given, token):
        return False
    doors, network = _doors(), network_of(_client())
    if network not in doors.had_it_right and doors.tokens.wait_seconds(network, doors.clock()):
        return False
    doors.note_token_of(network)
    return True


def _is_wrong_token() -> bool:
    """Say whether a token came that opens nothing, and count it; 429 where too many did."""
    given = _bearer()
    if given is None or not current_app.config["API_TOKEN"]:
        return given is not None
    doors, address = _doors(), _client()
    network, now = network_of(address), doors.clock()
    wait = doors.tokens.wait_seconds(network, now, is_known=network in doors.had_it_right)
    if wait:
        _tell("token", "locked_out", address, wait_seconds=wait)
        raise TooManyRequests(f"Too many wrong tokens. Try again in {wait} seconds.", retry_after=wait)
    doors.tokens.failed(network, now)
    _tell("token", "wrong", address)
    return True


def _bearer() -> str | None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _tell(by: str, outcome: str, address: str, **more: int) -> None:
    signals.login_tried.send(None, by=by, outcome=outcome, address=address_of(address), **more)


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
    """Say whether the pages need no login: in development, on this machine, where no password is set."""
    settings = current_app.config
    if settings["ENV"] == "production" or settings["ADMIN_PASSWORD"]:
        return False
    return is_from_here(request.remote_addr or "", request.host, request.headers.keys())


@auth.route("/login", methods=["GET", "POST"])
def login() -> AnyResponse | tuple[str, int]:
    """Ask for ADMIN_PASSWORD, and remember who knew it."""
    if request.method != "POST":
        return render_template("login.html", next=local_path(request.args.get("next")), problem=None), 200
    if is_cross_origin():
        abort(403, "This request came from a page of another site, and nothing was done.")
    following = local_path(request.form.get("next"))
    if _drops_the_cookie():
        return render_template("login.html", next=following, problem=None, is_in_the_open=True), 403
    if not _knows_the_password():
        return render_template("login.html", next=following, problem="That is not the password."), 401
    _begin_session()
    return redirect(following)


def _knows_the_password() -> bool:
    """Say whether the right password came; 429 where this network has to wait, right or wrong."""
    doors, address = _doors(), _client()
    network, now = network_of(address), doors.clock()
    wait = doors.passwords.wait_seconds(network, now)
    if wait and logins.has_come_from(_engine(), network, now=datetime.now(UTC)):
        wait = doors.passwords.wait_seconds(network, now, is_known=True)
    if wait:
        _tell("password", "locked_out", address, wait_seconds=wait)
        raise TooManyRequests(f"Too many wrong passwords. Try again in {wait} seconds.", retry_after=wait)
    password: str | None = current_app.config["ADMIN_PASSWORD"]
    is_right = bool(password) and _same(request.form.get("password", ""), password or "")
    if not is_right:
        doors.passwords.failed(network, now)
    _tell("password", "opened" if is_right else "wrong", address)
    return is_right


def _begin_session() -> None:
    wanted = service.current().login or ""  # who knows the password is here, so there is one
    _end_logins_of_other_passwords(wanted)
    network, now = network_of(_client()), datetime.now(UTC)
    session.clear()
    session["admin"] = wanted
    session["login"] = logins.begin(_engine(), opened_by=wanted, network=network, now=now)
    session.permanent = True


def _drops_the_cookie() -> bool:
    """Say whether this browser is at a plain http address, where it keeps no cookie that is for HTTPS only.

    It says so itself, whatever stands between; at a loopback address it keeps them all the same.
    """
    if not current_app.config["SESSION_COOKIE_SECURE"]:
        return False
    origin = _origin()
    return origin.scheme == "http" and not is_loopback(origin.hostname or "")


@auth.post("/logout")
def logout() -> AnyResponse:
    """End the login here, and not in this browser alone: a copy of its cookie opens nothing either."""
    if "login" in session:
        logins.end(_engine(), str(session["login"]), now=datetime.now(UTC))
    session.clear()
    return redirect(url_for("auth.login"))


def _client() -> str:
    """Give the address that asks; what a proxy says of it is believed only of those that the server trusts."""
    peer = request.remote_addr or ""
    forwarded = request.headers.get("X-Forwarded-For", "")
    if not forwarded or not _is_trusted(peer, service.current().proxies):
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
