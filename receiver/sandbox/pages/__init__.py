"""The sandbox's own pages: its drive, what can be done there, and what happened to each delivery.

The sandbox serves them itself, beside Box's API and its controls: `open_pages(create_sandbox(plan))`.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, request

from receiver.sandbox.box_errors import SandboxRefusal
from receiver.web import page
from receiver.web.auth import SAFE_METHODS, is_cross_origin, shield

_FOLDER = page.STATIC.parent
_FROM_A_BROWSER = ("Origin", "Sec-Fetch-Site")


def open_pages(sandbox: Flask, *, host: str = "127.0.0.1", inbox: str | None = None) -> None:
    """Let a sandbox that listens on `host` serve its pages; `inbox` is where the installation's own are."""
    from receiver.sandbox.pages.drive import drive
    from receiver.sandbox.pages.faults import faults

    sandbox.template_folder = str(_FOLDER / "templates")
    sandbox.static_folder = str(_FOLDER / "static")
    sandbox.add_url_rule("/static/<path:filename>", "static", sandbox.send_static_file)
    sandbox.config["INBOX"] = inbox
    page.prepare(sandbox)
    sandbox.register_blueprint(drive)
    sandbox.register_blueprint(faults)
    sandbox.before_request(lambda: _guard(host, ("drive", "faults")))
    sandbox.after_request(shield)


def _guard(host: str, its_pages: tuple[str, ...]) -> None:
    """Refuse requests and reads by pages of other sites: the sandbox has no password.

    Programs send no Origin, and may use any host name. A browser must use a number, localhost, or the name that we
    listen on, because another site may point its own name here (DNS rebinding).
    """
    if request.method not in SAFE_METHODS and is_cross_origin():
        raise SandboxRefusal(403, "This request came from a page of another site, and nothing was done.")
    is_browsers = request.blueprint in its_pages or any(name in request.headers for name in _FROM_A_BROWSER)
    if is_browsers and not _is_us(urlsplit(f"//{request.host}").hostname or "", host):
        raise SandboxRefusal(
            403, "In a browser the sandbox is called by its number or as localhost: http://127.0.0.1:8100."
        )


def _is_us(named: str, host: str) -> bool:
    if named in ("localhost", host):
        return True
    try:
        ip_address(named)
    except ValueError:
        return False
    return True
