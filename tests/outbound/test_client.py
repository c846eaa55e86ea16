"""The client for whatever we ask, against each far end of the table: what it says, and how little it takes."""

import ssl
import subprocess
import sys
import threading
import tracemalloc
from datetime import timedelta

import certifi
import pytest

from receiver.outbound import Client, OutboundError, client
from tests.far_ends import FAR_ENDS, FarEnd, answers, misbehaving, within
from tests.waiting import PATIENCE_SECONDS

MOST = 100_000


@pytest.mark.parametrize("far_end", FAR_ENDS, ids=str)
def test_what_a_far_end_does_is_a_reply_or_an_error_of_one_line_in_little_memory(far_end: FarEnd) -> None:
    with misbehaving(far_end) as url, Client(within=within(far_end), most=MOST) as client:
        tracemalloc.start()
        try:
            reply = client.fetch("POST", f"{url}/hooks/box", body=b"{}")
            said, status = reply.fault, reply.status
            assert len(reply.body) <= MOST
        except OutboundError as error:
            said, status = str(error), 0
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert far_end.says in said
    assert status == far_end.status or far_end.hangs
    assert said.isprintable()
    assert len(said) <= 300
    assert peak < 40 * MOST


def test_a_name_that_is_looked_up_for_ever_ends_at_the_deadline() -> None:
    is_over = threading.Event()

    def hang(_host: str, _port: int) -> list[str]:
        is_over.wait(PATIENCE_SECONDS)
        return []

    client = Client(within=timedelta(seconds=0.1), most=MOST, resolve=hang)
    with pytest.raises(OutboundError, match="did not respond within"):
        client.fetch("GET", "http://slow.example/")
    is_over.set()


LOOKING_UP = """
import gevent.monkey
gevent.monkey.patch_all()
import _socket, time, gevent
from datetime import timedelta
from receiver.outbound import Client, OutboundError

pause = gevent.monkey.get_original("time", "sleep")
turns = []

def blocks(*_asked):
    while len(turns) < 3:
        pause(0.01)
    raise OSError("the others had their turns")

def tick():
    while len(turns) < 3:
        turns.append(1)
        gevent.sleep(0.01)

_socket.getaddrinfo = blocks
gevent.spawn(tick)
try:
    Client(within=timedelta(seconds=60), most=1).fetch("GET", "http://slow.example/")
except OutboundError as error:
    print(len(turns), error)
"""


def test_with_gevent_others_run_while_a_name_is_looked_up() -> None:
    line = [sys.executable, "-c", LOOKING_UP]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.stdout.startswith("3 slow.example has no address"), done.stderr


def test_a_proxy_of_the_environment_is_for_the_world_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = FarEnd("a proxy", answers(b"", status="407 Proxy Authentication Required"))
    with misbehaving(refusing) as proxy, misbehaving(FarEnd("here", answers(b"here"))) as here:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.replace("//", "//user:hunter2@"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with Client(within=timedelta(seconds=PATIENCE_SECONDS), most=MOST) as client:
            assert client.fetch("GET", here).body == b"here"
            assert client.fetch("GET", "http://far.example/").status == 407
            with pytest.raises(OutboundError, match="the proxy of the environment does not lead to"):
                client.fetch("GET", "https://far.example/")


def test_without_authorities_in_the_environment_those_of_certifi_are_trusted() -> None:
    # An image without ca-certificates has none of its own.
    known = ssl.create_default_context(cafile=certifi.where()).get_ca_certs()
    assert client._trusted(None).get_ca_certs() == known != []
