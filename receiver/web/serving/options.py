"""The options of gunicorn that do not go with Signalbox, and what to use instead."""

from collections.abc import Callable, Sequence
from typing import Any

from gunicorn.config import Config

from receiver.web.serving.worker import Worker

_SUPERVISED = "the log would go nowhere: leave it out, and run web under a supervisor, such as systemd."
_PROXY = "put a proxy in front that ends TLS and speaks HTTP/1.1 to web."
_NO_SAY = "it does nothing here: leave it out."
_SAME_EYES = "a proxy in front would read such requests differently: leave it out."
_ONE_APP = "Signalbox is wsgi:app: leave it out."
_NO_TASKS = "run more of `signalbox worker` instead: it does what takes long."

# What a value that is not the default gets told; the name of the option is said before.
_REFUSED = {
    "preload_app": "locks, threads and connections that the app makes do not survive a fork: leave it out. Each process"
    " loads the app by itself.",
    "threads": "one thread of a web process serves all of its connections: WEB_CONCURRENCY is the number of processes.",
    "daemon": _SUPERVISED,
    "raw_env": "the settings are read before gunicorn sets these: put them into the environment or .env.",
    "spew": "it writes keys and payloads into the log: leave it out.",
    "paste": _ONE_APP,
    "raw_paste_global_conf": _ONE_APP,
    "protocol": "providers speak HTTP: leave it out.",
    "uwsgi_allow_ips": _NO_SAY,
    **dict.fromkeys(
        ("keyfile", "certfile", "ca_certs", "ssl_version", "cert_reqs", "ciphers", "suppress_ragged_eofs"), _PROXY
    ),
    **dict.fromkeys(("do_handshake_on_connect", "ssl_context", "http_protocols", "http2_cleartext"), _PROXY),
    **dict.fromkeys(
        (
            "http2_max_concurrent_streams",
            "http2_initial_window_size",
            "http2_max_frame_size",
            "http2_max_header_list_size",
        ),
        _PROXY,
    ),
    **dict.fromkeys(
        (
            "permit_obsolete_folding",
            "strip_header_spaces",
            "permit_unconventional_http_method",
            "permit_unconventional_http_version",
        ),
        _SAME_EYES,
    ),
    **dict.fromkeys(("asgi_loop", "asgi_lifespan", "asgi_disconnect_grace_period"), _NO_SAY),
    **dict.fromkeys(("websocket_max_message_size", "root_path", "tmp_upload_dir"), _NO_SAY),
    **dict.fromkeys(
        ("dirty_apps", "dirty_workers", "dirty_timeout", "dirty_threads", "dirty_graceful_timeout"), _NO_TASKS
    ),
    **dict.fromkeys(("on_dirty_starting", "dirty_post_fork", "dirty_worker_init", "dirty_worker_exit"), _NO_TASKS),
}

LEAST_TIMEOUT = 5  # seconds; each process says once a second that it lives

# The same for values that are refused where others are not.
_REFUSED_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "worker_class": (
        lambda value: not (isinstance(value, type) and issubclass(value, Worker)),
        "no other class has limits on what clients may take, and more than one connection at a time: leave it out.",
    ),
    "worker_connections": (lambda value: value < 1, "no connection would have a place: give 100 at least."),
    "timeout": (
        lambda value: 0 < value < LEAST_TIMEOUT,
        f"healthy processes would be killed: give {LEAST_TIMEOUT} seconds at least.",
    ),
    "limit_request_line": (lambda value: value == 0, "a request line needs some limit: give 8190 at the most."),
    "header_map": (
        lambda value: value == "dangerous",
        "a header of another name could pass for one that a proxy sets: use `drop` or `refuse`.",
    ),
    "sendfile": (lambda value: value is not False, "it writes past the limits on slow clients: set it to False."),
}


NO_DAEMON = f"--daemon: {_SUPERVISED}"


def refusal(sentences: Sequence[str]) -> str:
    """Give what to say when web does not start because of these."""
    return "\n  ".join(["These options of gunicorn do not go with Signalbox:", *sentences])


def refused_options(cfg: Config) -> list[str]:
    """Give a sentence for each option that is set and does not go with Signalbox: why, and what to use instead."""
    found, plain = [], Config().settings
    for name, setting in cfg.settings.items():
        reason = _reason(name, setting.get(), plain[name].get())
        if reason:
            found.append(f"{setting.cli[-1] if setting.cli else name}: {reason}")
    return found


def _reason(name: str, value: Any, default: Any) -> str | None:
    if name in _REFUSED:
        return None if value == default else _REFUSED[name]
    if name in _REFUSED_VALUES:
        is_refused, reason = _REFUSED_VALUES[name]
        return reason if is_refused(value) else None
    return None
