"""The class of the web processes: `worker_class` in config/gunicorn.py."""

import errno
import resource
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from gevent.server import StreamServer
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

from receiver import signals
from receiver.web.serving.connections import Connection, Connections, End, Limits
from receiver.web.serving.requests import StrictParser

if TYPE_CHECKING:
    from receiver.web.responses import Answer

SPARE_FILES = 256  # for the database, the log, what is being accepted
MORE_THAN_PLACES = 256  # accepted while those that make room for them are still on their way out
FEW, MANY = 200, 100  # connections: up to so many, one is accepted at a time, then so many
FRAMING_TIMES = 8  # a body of one-byte chunks is six times as long on the wire, one in a form four times

_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)
_STATUSES = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.ForbiddenProxyRequest: 403,
}
_OURS = (errors.ConfigurationProblem, errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)


class Server(StreamServer):  # type: ignore[misc]
    """Accepts connections: one at a time while there are few, so that all processes get their share.

    gunicorn has it so always where there are more processes than one. But gevent comes back to accept only when all
    that is ready has run, and beside thousands of connections that is too seldom: the system's queue overflows.
    """

    def __init__(self, connections: Connections, *args: Any, **options: Any) -> None:
        self._connections = connections
        super().__init__(*args, **options)

    @property
    def max_accept(self) -> int:
        return 1 if len(self._connections) < FEW else MANY


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker, in which no client holds a place or memory for longer than it may.

    Other numbers are a subclass: `class Mine(Worker): limits = Limits(head=timedelta(seconds=5))`.
    """

    limits: ClassVar[Limits] = Limits()
    connections: Connections

    def init_process(self) -> None:
        self.connections = Connections(
            self.limits,
            places=_places(self.cfg.worker_connections),
            idle_seconds=self.cfg.keepalive,
        )
        self.connections.farewell = _farewell
        self.worker_connections = self.connections.places + MORE_THAN_PLACES
        self.server_class = self._server
        super().init_process()

    def _server(self, listener: Any, *, spawn: Any, **_for_pywsgi: Any) -> Server:
        return Server(self.connections, listener, handle=partial(self.handle, listener), spawn=spawn)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.connections.allow_bodies(FRAMING_TIMES * self.wsgi.config["MAX_BODY_BYTES"])

    def notify(self) -> None:
        """Do once a second what gunicorn calls this for, and look after the connections."""
        super().notify()
        ended = self.connections.look()
        if ended:
            signals.connections_ended.send(ended={why.value: count for why, count in ended.items()})

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve the requests of one connection, as gunicorn's AsyncWorker.handle without timers, TLS and HTTP/2."""
        connection = self.connections.admit(client)
        try:
            self._converse(listener, connection, addr)
        except OSError as error:
            if error.errno not in _GONE and not isinstance(error, errors.NoMoreData):
                self.log.exception("Socket error processing request.")
        except Exception as error:  # noqa: BLE001 - gunicorn's own place for what nobody else caught
            self.handle_error(connection.request, connection, addr, error)
        finally:
            connection.close()

    def _converse(self, listener: Any, connection: Connection, addr: Any) -> None:
        name = listener.getsockname()
        parser = StrictParser(self.cfg, connection, addr)
        said_by_proxy: dict[str, Any] = {}
        for request in parser:
            connection.take(request)
            said_by_proxy = request.proxy_protocol_info or said_by_proxy
            request.proxy_protocol_info = said_by_proxy
            try:
                self.handle_request(name, request, connection, addr)
            except StopIteration:
                break
        else:
            return
        if request.unread_bytes():
            connection.linger()

    def handle_error(self, req: Any, client: Connection, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be read, or that broke what serves it."""
        from receiver.web.responses import Answer

        status = _status_of(exc)
        if status == 500:
            self.log.exception("Error handling request %s", getattr(req, "uri", "that was not read"))
            said = "Something went wrong here. The log has it."
        else:
            self.connections.ends[End.MALFORMED] += 1
            said = f"This request cannot be read. {exc}"
        try:
            client.sendall(_last_word(Answer(status, {"status": "error", "detail": said})))
        except OSError:
            return
        client.linger()


def _status_of(error: BaseException) -> int:
    if isinstance(error, _OURS) or not isinstance(error, errors.ParseException):
        return 500
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 400)


def _farewell(why: End) -> bytes:
    from receiver.web.responses import RETRY_AFTER_SECONDS, Answer

    if why in (End.CROWDED, End.MEMORY):
        said = {"status": "unavailable", "detail": "Too much is under way here. Please send it again."}
        return _last_word(Answer(503, said, {"Retry-After": str(RETRY_AFTER_SECONDS)}))
    return _last_word(Answer(408, {"status": "error", "detail": "This request did not arrive whole in time."}))


def _last_word(answer: "Answer") -> bytes:
    from receiver.web.responses import http_date

    return answer.written(http_date(int(time.time())), stays_open=False)


def _places(wanted: int) -> int:
    """Give how many connections a process may have, and let it have as many files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + MORE_THAN_PLACES + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(wanted, soft - MORE_THAN_PLACES - SPARE_FILES))
    return wanted
