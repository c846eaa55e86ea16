"""The quickstart and the README's tour, typed as they stand there, into a copy of the project with real processes."""

from collections.abc import Iterator

import pytest

from tests.acceptance.service import ROOT, needs
from tests.acceptance.walk import Typed, Walk, blocks, missing, typed

LISTED = "1 s  01M8139B6TSY08Y4VQEBQCBD8R  box:FILE.TRASHED     1 done, 2 times"


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """A copy of the project for both pages: what one of them has started, the other finds running."""
    walk = Walk(tmp_path_factory.mktemp("walk"))
    yield walk
    walk.close()


@needs("bash", "git", "make")
@pytest.mark.xdist_group("quickstart")
def test_the_quickstart_can_be_typed_and_says_what_it_shows(walk: Walk) -> None:
    walk.go((ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8"), end="## With a real account")
    assert "hello" in walk.said("make run")


@needs("bash", "git", "make")
@pytest.mark.xdist_group("quickstart")
def test_the_tour_of_the_readme_can_be_typed_and_says_what_it_shows(walk: Walk) -> None:
    tour = (ROOT / "README.md").read_text(encoding="utf-8").replace("```text", "```")  # an excerpt of other events
    walk.go(tour, end="## The way of a delivery")


def test_commands_are_told_from_what_they_print() -> None:
    assert list(typed("make run\nls\n")) == [Typed("make run"), Typed("ls")]
    assert list(typed("$ ls\na\n\n…\nb\n$ pwd\n")) == [Typed("ls", ("a", "b")), Typed("pwd")]


def test_what_stands_after_the_heading_is_left_out_and_a_heading_that_is_gone_is_noticed() -> None:
    page = "```console\nls\n```\n\n## Real\n\n```console\nrm\n```\n"
    assert blocks(page, end="## Real") == [("console", "ls\n")]
    with pytest.raises(AssertionError, match="## Unreal"):
        blocks(page, end="## Unreal")


@pytest.mark.parametrize(
    ("said", "is_there"),
    [
        ("12 s  01M8139B6TSY08Y4VQEBQAAAAA  box:FILE.TRASHED  1 done, 2 times", True),
        ("before\n" + LISTED + "\nafter", True),
        (LISTED.replace("TRASHED", "DELETED"), False),
        (LISTED.replace("2 times", "twice"), False),
        ("", False),
    ],
)
def test_what_a_page_shows_is_compared_but_for_numbers_and_ids(said: str, is_there: bool) -> None:
    assert (missing((LISTED,), said) == []) == is_there


def test_an_ellipsis_stands_for_anything_and_the_order_counts() -> None:
    assert missing(('{"file": "1", …}',), '{"file": "22", "name": "a"}') == []
    assert missing(("b", "a"), "a\nb\n") == ["a"]
