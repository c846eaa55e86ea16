"""Every option of gunicorn: it works, or is refused at start with what to use instead."""

import subprocess
import sys
from typing import Any

import pytest
from gunicorn.config import KNOWN_SETTINGS, Config
from gunicorn.workers.gthread import ThreadWorker

from config import ROOT
from receiver.web.serving import Worker, refused_options
from tests.waiting import PATIENCE_SECONDS

# What may be set to anything that gunicorn takes. The first are tried together, in real processes, in
# tests/acceptance/test_gunicorn.py, those with an access log, statsd or a logger of one's own by themselves.
WORKS = {
    *("max_requests", "max_requests_jitter", "graceful_timeout", "keepalive", "pidfile", "umask", "worker_tmp_dir"),
    *("reuse_port", "capture_output", "errorlog", "loglevel", "proc_name", "backlog", "enable_stdio_inheritance"),
    *("limit_request_fields", "limit_request_field_size", "http_parser", "casefold_http_method", "reload"),
    *("accesslog", "access_log_format", "disable_redirect_access_to_syslog", "logger_class", "logconfig"),
    *("logconfig_dict", "logconfig_json", "syslog", "syslog_addr", "syslog_prefix", "syslog_facility"),
    *("statsd_host", "statsd_prefix", "dogstatsd_tags", "enable_backlog_metric"),
    *("config", "wsgi_app", "bind", "workers", "reload_engine", "reload_extra_files", "check_config", "print_config"),
    *("chdir", "user", "group", "initgroups", "default_proc_name", "pythonpath"),
    # Who is believed: docs/settings.md.
    *("forwarded_allow_ips", "forwarder_headers", "secure_scheme_headers", "proxy_protocol", "proxy_allow_ips"),
    *("control_socket", "control_socket_mode", "control_socket_disable"),
    # Hooks of one's own, in a file that begins with `from config.gunicorn import *` and calls ours.
    *("on_starting", "on_reload", "when_ready", "pre_fork", "post_fork", "post_worker_init", "worker_int"),
    *("worker_abort", "pre_exec", "pre_request", "post_request", "child_exit", "worker_exit", "nworkers_changed"),
    "on_exit",
}

REFUSED: dict[str, Any] = {
    "preload_app": True,
    "worker_class": "gthread",
    "threads": 4,
    "worker_connections": 0,
    "timeout": 2,
    "limit_request_line": 0,
    "spew": True,
    "sendfile": True,
    "daemon": True,
    "raw_env": ["PORT=9000"],
    "paste": "production.ini",
    "raw_paste_global_conf": ["a=b"],
    "tmp_upload_dir": "/tmp",
    "header_map": "dangerous",
    "protocol": "uwsgi",
    "uwsgi_allow_ips": "*",
    "keyfile": "key.pem",
    "certfile": "cert.pem",
    "ca_certs": "ca.pem",
    "ssl_version": 3,
    "cert_reqs": 2,
    "ciphers": "ALL",
    "suppress_ragged_eofs": False,
    "do_handshake_on_connect": True,
    "ssl_context": lambda config, make: make(),
    "http_protocols": "h2,h1",
    "http2_cleartext": "upgrade",
    "http2_max_concurrent_streams": 5,
    "http2_initial_window_size": 70000,
    "http2_max_frame_size": 20000,
    "http2_max_header_list_size": 70000,
    "permit_obsolete_folding": True,
    "strip_header_spaces": True,
    "permit_unconventional_http_method": True,
    "permit_unconventional_http_version": True,
    "asgi_loop": "asyncio",
    "asgi_lifespan": "off",
    "asgi_disconnect_grace_period": 5,
    "websocket_max_message_size": 5,
    "root_path": "/x",
    "dirty_apps": ["x:y"],
    "dirty_workers": 1,
    "dirty_timeout": 5,
    "dirty_threads": 2,
    "dirty_graceful_timeout": 5,
    "on_dirty_starting": lambda arbiter: None,
    "dirty_post_fork": lambda arbiter, worker: None,
    "dirty_worker_init": lambda worker: None,
    "dirty_worker_exit": lambda arbiter, worker: None,
}


@pytest.fixture
def ours() -> Config:
    """The options as config/gunicorn.py leaves them, as far as they matter here."""
    cfg = Config()
    for name, value in {"worker_class": Worker, "sendfile": False, "limit_request_line": 8190}.items():
        cfg.set(name, value)
    return cfg


def test_of_every_option_it_is_known_whether_it_works() -> None:
    known = {setting.name for setting in KNOWN_SETTINGS}
    assert known == WORKS | set(REFUSED)
    assert not WORKS & set(REFUSED)


def test_the_options_as_they_are_shipped_are_not_refused(ours: Config) -> None:
    assert refused_options(ours) == []


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_that_does_not_go_with_signalbox_is_refused_with_what_to_use_instead(ours: Config, name: str) -> None:
    ours.set(name, REFUSED[name])
    (sentence,) = refused_options(ours)
    option, _, reason = sentence.partition(": ")
    assert option in {name, *(ours.settings[name].cli or ())}
    assert reason.endswith(".")
    assert len(reason) > 20


@pytest.mark.parametrize(
    ("name", "value"), [("worker_connections", 100), ("timeout", 0), ("timeout", 120), ("header_map", "refuse")]
)
def test_other_values_of_such_an_option_are_taken(ours: Config, name: str, value: Any) -> None:
    ours.set(name, value)
    assert refused_options(ours) == []


def test_a_class_of_processes_that_is_made_from_ours_is_taken(ours: Config) -> None:
    ours.set("worker_class", type("Mine", (Worker,), {}))
    assert refused_options(ours) == []
    ours.set("worker_class", ThreadWorker)
    assert refused_options(ours)


@pytest.mark.parametrize("option", ["--preload", "--worker-class gevent", "-D", "--threads 4 --certfile cert.pem"])
def test_gunicorn_does_not_start_with_an_option_that_is_refused(option: str, tmp_path: Any) -> None:
    command = [sys.executable, "-m", "gunicorn", "--config", "config/gunicorn.py", "wsgi:app"]
    environ = {"PORT": "0", "DATABASE_URL": f"sqlite:///{tmp_path}/signalbox.db", "GUNICORN_CMD_ARGS": option}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 1
    said = done.stderr.partition("These options of gunicorn do not go with Signalbox:\n")[2].splitlines()
    assert len(said) == 1 + option.count(" --")
    assert "Traceback" not in done.stderr
