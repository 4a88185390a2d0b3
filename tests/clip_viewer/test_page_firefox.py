"""What matters most about the page, once more in Mozilla's Firefox: the same tests."""

# ruff: noqa: F401
import pytest
from firefox import FIREFOX, launch_firefox
from playwright.sync_api import sync_playwright
from test_page import (
    study,
    test_a_reload_in_the_middle_of_an_answer,
    test_ten_pairs_by_keyboard,
    test_the_server_is_killed_and_comes_back,
    test_two_people_get_different_pairs,
    test_undo_goes_back_as_far_as_one_likes,
    visitor,
)
from test_page_answers import (
    test_a_bar_of_time_is_clicked_and_dragged,
    test_a_note_goes_with_an_answer,
    test_answers_are_listed_opened_changed_and_flagged,
)
from test_page_kinds import test_a_ranking_by_keys_with_a_tie_and_undone
from test_page_offline import test_the_page_opens_and_takes_answers_while_the_server_is_away

pytestmark = pytest.mark.skipif(
    FIREFOX == "none", reason="there is no Firefox; scripts/test installs Debian's"
)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = launch_firefox(playwright)
        assert "Firefox" in browser.browser_type.name.title()
        yield browser
        browser.close()
