"""How the empty view is served: as Signalbox is, but by gunicorn's own gevent worker."""

from typing import Any

from config.gunicorn import *  # noqa: F403

worker_class = "gevent"
worker_connections = 1000  # gunicorn's own


def on_starting(_server: Any) -> None:
    """Refuse nothing: another kind of process is what this is for."""


def post_worker_init(_worker: Any) -> None:
    """Tell the view nothing: it has no short way."""
