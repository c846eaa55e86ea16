"""What gunicorn needs to serve Signalbox, for every installation: `config/gunicorn.py` begins with it."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from receiver.environment import load
from receiver.errors import SettingsError
from receiver.runtime.folder import use_folder
from receiver.web.serving.options import NO_DAEMON, refusal, refused_options
from receiver.web.serving.worker import Worker


def configure(folder: Path) -> dict[str, Any]:
    """Return the options of gunicorn, by name, for the installation in a folder.

    A bad setting, or an option that does not go with Signalbox, ends the process with a sentence.
    gunicorn reads its configuration again at SIGHUP, and so does this the settings.
    """
    use_folder(folder)
    try:
        settings = load(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    # A daemon has lost the terminal by the time that `on_starting` could say anything on it.
    if {"-D", "--daemon"} & {*sys.argv[1:], *shlex.split(os.environ.get("GUNICORN_CMD_ARGS", ""))}:
        sys.exit(refusal([NO_DAEMON]))
    host = settings["HOST"]
    options = {
        "chdir": str(folder),
        "bind": f"[{host}]:{settings['PORT']}" if ":" in host else f"{host}:{settings['PORT']}",
        "workers": settings["WEB_CONCURRENCY"],
        "worker_class": Worker,
        # The most connections of a process, as far as the limit on open files allows; then those that only wait give
        # way.
        "worker_connections": 4000,
        # As many as Linux lets wait to be accepted, unless it is told otherwise (net.core.somaxconn).
        "backlog": 4096,
        # Seconds. A delivery takes milliseconds: 25 are enough to finish those begun, and Heroku kills after 30.
        "timeout": 30,
        "graceful_timeout": 25,
        # An open but idle connection holds up a restart for this long.
        "keepalive": 5,
        # The longest that gunicorn takes: bins record requests of any kind.
        "limit_request_line": 8190,
        # It would write to the connection by itself, past the worker's limits.
        "sendfile": False,
        "forwarder_headers": "",
        # Each delivery is logged by the app. The control socket would be a file in the home directory.
        "accesslog": None,
        "loglevel": settings["LOG_LEVEL"],
        "control_socket_disable": True,
        "on_starting": on_starting,
        "post_worker_init": post_worker_init,
    }
    # In production TLS ends at a proxy that is the only way in, so its X-Forwarded-Proto is believed, and by the login
    # its X-Forwarded-For. It has no say on paths, which gunicorn would otherwise let it set by header.
    if settings["ENV"] == "production" and host not in {"127.0.0.1", "::1", "localhost"}:
        options["forwarded_allow_ips"] = os.environ.get("FORWARDED_ALLOW_IPS", "*")
    return options


def on_starting(server: Any) -> None:
    """Stop where an option does not go with Signalbox, and name what to use instead."""
    refused = refused_options(server.cfg)
    if refused:
        sys.exit(refusal(refused))


def post_worker_init(worker: Any) -> None:
    """Tell the app whom it may believe, when its process was told to end, and that it may answer deliveries by itself.

    The last only where nothing of gunicorn's, and no middleware, looks at answers (docs/decisions/0016).
    """
    from gunicorn.glogging import Logger
    from gunicorn.workers.base_async import ALREADY_HANDLED

    # Imported here: at the top they would load SQLAlchemy before gevent has patched the sockets.
    from receiver import service
    from receiver.web.hooks import ShortWay

    def is_last() -> bool:
        return not worker.alive or not worker.cfg.keepalive

    service.of(worker.wsgi).ending = lambda: not worker.alive
    service.of(worker.wsgi).proxies = tuple(worker.cfg.forwarded_allow_ips)
    short_way = worker.wsgi.wsgi_app
    looked_at = (
        worker.log.access_log_enabled
        or worker.cfg.statsd_host
        or type(worker.log) is not Logger
        or worker.cfg.settings["post_request"].get() is not worker.cfg.settings["post_request"].default
    )
    if isinstance(short_way, ShortWay) and not looked_at:
        short_way.answer_past_gunicorn(ALREADY_HANDLED, is_ending=is_last)
