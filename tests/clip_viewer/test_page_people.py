import sqlite3
from contextlib import closing

import pytest

from clip_viewer.people import People, Person, write_token
from prefrl.errors import ConfigError


@pytest.fixture
def people(tmp_path, clock):
    return People(tmp_path / "viewer.db", clock=clock)


def test_a_link_works_once(people):
    token = people.invite("anna")
    session, person = people.enter(token)
    assert person == Person("anna", "annotator")
    assert people.of_session(session) == person
    assert people.enter(token) is None
    assert people.enter("") is None
    assert people.of_session("guess") is None


def test_a_link_and_a_session_run_out(people, clock):
    late, token = people.invite("anna"), people.invite("anna")
    session, _ = people.enter(token)
    clock.now += 7 * 86400 + 1
    assert people.enter(late) is None
    assert people.of_session(session) is not None
    clock.now += 30 * 86400
    assert people.of_session(session) is None


def test_who_is_shut_out_may_be_let_in_again(people):
    link, (session, _) = people.invite("anna"), people.enter(people.invite("anna"))
    assert people.revoke("anna")
    assert people.of_session(session) is None
    assert people.enter(link) is None
    assert people.all() == [Person("anna", "annotator", revoked=True)]
    assert people.enter(people.invite("anna")) is not None
    assert people.of_session(session) is None
    assert not people.revoke("nobody")


def test_an_invitation_keeps_the_role_unless_told_otherwise(people):
    people.invite("boss", role="owner")
    people.invite("boss")
    assert people.all() == [Person("boss", "owner")]
    people.invite("boss", role="annotator")
    assert people.all() == [Person("boss", "annotator")]


def test_leaving_ends_one_session(people):
    one, _ = people.enter(people.invite("anna"))
    other, _ = people.enter(people.invite("anna"))
    people.leave(one)
    assert people.of_session(one) is None
    assert people.of_session(other) is not None


def test_who_reads_does_not_wait_for_who_is_about_to_write(people, tmp_path):
    session, anna = people.enter(people.invite("anna"))
    with closing(sqlite3.connect(tmp_path / "viewer.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert people.of_session(session) == anna
        assert people.all() == [anna]
        other.execute("ROLLBACK")


def test_only_hashes_are_kept_and_only_for_the_owner(people, tmp_path):
    token = people.invite("anna")
    session, _ = people.enter(people.invite("bob"))
    path = tmp_path / "viewer.db"
    assert path.stat().st_mode & 0o077 == 0

    for secret in (token, session, write_token(session)):
        assert secret.encode() not in path.read_bytes()
    assert len(token) >= 22  # 128 bits


@pytest.mark.parametrize("name", ["", " ", "oracle", "a" * 65, "a\nb", "a\0b", "\u202e"])
def test_names_that_cannot_be(people, name):
    with pytest.raises(ConfigError, match="expected a name"):
        people.invite(name)


def test_a_write_token_follows_from_its_session_alone():
    assert write_token("a") == write_token("a") != write_token("b")
