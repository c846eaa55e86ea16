"""The one typed value that an application is made of."""

from flask import Flask

from receiver import service
from receiver.app import create_app_without_web
from receiver.web.auth import Doors
from receiver.web.hooks import Desk
from tests.installation import settings


def test_an_application_keeps_what_it_is_made_of_under_one_name(app: Flask) -> None:
    assert [name for name in app.extensions if name.startswith("signalbox")] == ["signalbox"]


def test_the_service_of_an_application_is_that_of_its_requests(app: Flask) -> None:
    with app.app_context():
        assert service.current() is service.of(app)


def test_a_part_that_is_added_replaces_the_one_of_its_class(app: Flask) -> None:
    own, doors = service.of(app), Doors()
    own.add(doors)
    assert own.part(Doors) is doors
    assert own.part(Desk).inbox is own.inbox


def test_until_a_server_says_otherwise_no_proxy_is_believed_and_no_process_ends(database_url: str) -> None:
    own = service.of(create_app_without_web(settings(database_url)))
    assert own.proxies == ()
    assert not own.ending()
    own.engine.dispose()
