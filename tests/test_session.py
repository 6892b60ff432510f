"""Sessions and takes on disk."""

from __future__ import annotations

import pytest

from lightstage import CaptureSequence, Dome, Session, Take
from lightstage.errors import SessionError


@pytest.fixture
def session(tmp_path):
    return Session.create(
        tmp_path / "day",
        dome=Dome.evenly_spread(12),
        sequence=CaptureSequence(lights=12),
        performer="Ada",
    )


def test_a_session_is_found_again_as_it_was_made(session):
    session.add_take("talk", origin="captured")
    again = Session.open(session.path)
    assert again.manifest.performer == "Ada"
    assert again.dome == session.dome
    assert again.sequence == session.sequence
    assert [take.name for take in again.takes] == ["talk"]
    assert again.only_take().manifest.origin == "captured"


def test_a_take_keeps_a_dome_and_sequence_of_its_own(session):
    other = CaptureSequence(lights=12, olat_per_tracking=3)
    own = session.add_take("own", origin="imported", sequence=other, dome=session.dome)
    shared = session.add_take("shared", origin="captured")
    assert Take.open(own.path).sequence == other
    assert Take.open(own.path).dome == session.dome
    assert not (own.path / "dome.json").exists()
    assert Take.open(shared.path).sequence == session.sequence


def test_a_take_can_be_named_by_its_session_where_there_is_only_one(session):
    session.add_take("talk", origin="captured")
    assert Take.open(session.path).name == "talk"
    session.add_take("turn", origin="captured")
    with pytest.raises(SessionError, match="several takes"):
        Take.open(session.path)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_take_name_is_a_plain_file_name(session, name):
    with pytest.raises(SessionError, match="not a take's name"):
        session.add_take(name, origin="captured")


def test_nothing_is_overwritten(session, tmp_path):
    session.add_take("talk", origin="captured")
    with pytest.raises(SessionError, match="already"):
        session.add_take("talk", origin="captured")
    with pytest.raises(SessionError, match="already"):
        Session.create(session.path, dome=session.dome, sequence=session.sequence)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(SessionError, match="in use"):
        Session.create(tmp_path / "full", dome=session.dome, sequence=session.sequence)


def test_dome_and_sequence_must_fit(tmp_path):
    with pytest.raises(SessionError, match="12 lights, the sequence drives 96"):
        Session.create(tmp_path / "x", dome=Dome.evenly_spread(12), sequence=CaptureSequence())


def test_what_is_not_a_session_is_told(tmp_path, session):
    with pytest.raises(SessionError, match="no such folder"):
        Session.open(tmp_path / "nowhere")
    with pytest.raises(SessionError, match="not a session"):
        Session.open(tmp_path)
    with pytest.raises(SessionError, match="has no take 'x'"):
        session.take("x")
    (session.path / "session.json").write_text('{"schema_version": "new"}')
    with pytest.raises(SessionError, match="schema_version"):
        Session.open(session.path)


def test_a_session_of_a_newer_layout_is_refused(session):
    path = session.path / "session.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(SessionError, match="newer lightstage"):
        Session.open(session.path)
