"""How the empty view is served: as Signalbox is, but by gunicorn's own gevent worker."""

from config import gunicorn as ours

OPTIONS = ("chdir", "bind", "workers", "backlog", "timeout", "graceful_timeout", "keepalive", "limit_request_line")
OTHERS = ("accesslog", "loglevel", "control_socket_disable", "forwarder_headers")

globals().update({name: getattr(ours, name) for name in (*OPTIONS, *OTHERS)})
worker_class = "gevent"
