"""Every error that Signalbox raises on purpose, as a tree; each message names what fixes it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from receiver.humanize import span


class SignalboxError(Exception):
    """The root: catch this at an edge to show the message without a traceback."""


class SettingsError(SignalboxError):
    """The environment does not make a working installation; the message lists every problem, and where to fix it."""

    def __init__(self, problems: Mapping[str, Sequence[str]], *, where: str = "in the environment or .env") -> None:
        self.where = where
        self.problems = {name: list(messages) for name, messages in problems.items()}
        lines = [f"  {name}: {' '.join(messages)}" for name, messages in self.problems.items()]
        super().__init__("\n".join([f"Settings to fix ({where}):", *lines]))


class PatternError(SignalboxError):
    """A pattern given to `on` can match no event."""


class HandlerError(SignalboxError):
    """A handler cannot be connected as it is."""


class DuplicateHandlerError(HandlerError):
    """Two different functions have the same handler name, so their jobs could not be distinguished."""


class UnreadableError(SignalboxError):
    """A verified body that is not this provider's message.

    `errors` maps each field to what is wrong with it, for example `{"trigger": ["Missing data."]}`.
    """

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors = {field: list(messages) for field, messages in errors.items()}
        super().__init__(f"unreadable fields: {', '.join(self.errors)}")


class StoreError(SignalboxError):
    """The database did not accept the write. Nothing of it is stored; the sender should retry.

    `is_about_a_row` is True if the database works and one of the rows is wrong.
    """

    def __init__(self, message: str, *, is_about_a_row: bool = False) -> None:
        super().__init__(message)
        self.is_about_a_row = is_about_a_row


class SchemaError(SignalboxError):
    """The tables do not fit this release: `signalbox db upgrade` changes them."""


class HeldError(SchemaError):
    """The tables cannot be changed now: another process holds them. Nobody was kept waiting for it."""


class BackupError(SignalboxError):
    """A backup could not be written, is incomplete, or cannot be put in place. Nothing was changed."""


class WorkerError(SignalboxError):
    """A thread of a worker has ended, or the whole process cannot go on."""


class NotFoundError(SignalboxError):
    """Nothing has this id or name."""


class BinError(SignalboxError):
    """A bin cannot be made or set up in this way.

    `problems` maps each field to what is wrong with it, for example `{"status": ["…"]}`.
    """

    def __init__(self, problems: Mapping[str, Sequence[str]]) -> None:
        self.problems = {field: list(messages) for field, messages in problems.items()}
        super().__init__(" ".join(f"{field}: {' '.join(messages)}" for field, messages in self.problems.items()))


class ForwardError(SignalboxError):
    """A capture could not be forwarded, or must not be forwarded there."""


class BoxError(SignalboxError):
    """Box did not do what it was asked to, or could not be asked.

    `status` is that of its response, 0 if there was none; `existing_id` is the webhook that exists already (409).
    `is_in_doubt` is True if Box may have done it all the same.
    """

    def __init__(self, message: str, *, status: int = 0, existing_id: str | None = None) -> None:
        self.status = status
        self.is_in_doubt = not 400 <= status < 500
        self.existing_id = existing_id
        super().__init__(message)


class RegistrationError(SignalboxError):
    """Box would not accept these registrations; the message lists every problem."""

    def __init__(self, problems: Sequence[str], *, where: str = "") -> None:
        self.problems = list(problems)
        lines = [f"  {problem}" for problem in self.problems] if where else self.problems
        super().__init__("\n".join([f"{where}:", *lines] if where else lines))


class Retry(SignalboxError):
    """Raised by a handler that wants to be run again after a time that it chooses.

    It counts as an attempt: a job that has none left is dead.

        raise Retry(after=timedelta(minutes=5))
    """

    def __init__(self, *, after: timedelta) -> None:
        if not isinstance(after, timedelta):
            raise TypeError(f"Retry(after=…) takes a timedelta, not {type(after).__name__}")
        self.after = max(after, timedelta(0))
        super().__init__(f"again in {span(self.after)}")


class Discard(SignalboxError):
    """Raised by a handler for an event that it will never be able to use: the job is dead at once.

    raise Discard("not one of our folders")
    """
