"""Seals: the reference tool accepts ours and we accept its; one flipped byte fails both."""

from __future__ import annotations

import hashlib
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from lightstage.errors import DamagedDataError, InputError
from lightstage.exchange import asc_mhl
from lightstage.exchange.asc_mhl import check, seal
from lightstage.exchange.mhl_hashes import HASH_FORMATS, hash_bytes
from lightstage.exchange.mhl_history import Author
from tests.exchange.reference_ascmhl import ascmhl

__all__ = ["ascmhl"]

NAMESPACE = {"m": "urn:ASC:MHL:v2.0"}
#: What the reference tool's exit codes mean.
MISMATCH, MISSING, NEW_FILES, ALTERED_MANIFEST = 11, 10, 21, 31


@pytest.fixture
def folder(tmp_path: Path):
    root = tmp_path / "my session & <more>"
    (root / "takes" / "talk" / "aligned.zarr").mkdir(parents=True)
    (root / "takes" / "empty").mkdir()
    (root / "session.json").write_text('{"performer": "Zoë"}')
    (root / "takes" / "talk" / "take.cine").write_bytes(bytes(range(256)) * 400)
    (root / "takes" / "talk" / "Überblick 2.txt").write_text("notes")
    (root / "takes" / "talk" / "aligned.zarr" / "zarr.json").write_text("{}")
    (root / "nothing").write_bytes(b"")
    (root / ".DS_Store").write_text("litter")
    (root / "half.partial").write_text("still being written")
    return root


def flip(path: Path, place=1000):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def manifest_of(report):
    return ET.parse(report.manifest).getroot()


# With the reference tool


@pytest.mark.parametrize("formats", [("xxh64",), ("md5", "c4"), tuple(HASH_FORMATS)])
def test_the_reference_tool_verifies_our_seal(ascmhl, folder, formats):
    report = seal(folder, formats=formats, author=Author("Ann", "ann@studio.com", role="DIT"))
    assert report.whole
    assert len(report.new) == report.files == 5
    for command in (("verify",), ("diff",), ("verify", "-dh")):
        done = ascmhl(*command, folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ERROR" not in done.stdout + done.stderr


def test_one_flipped_byte_fails_theirs_and_ours(ascmhl, folder):
    seal(folder)
    flip(folder / "takes" / "talk" / "take.cine")
    done = ascmhl("verify", folder)
    assert done.returncode == MISMATCH
    assert "take.cine" in done.stderr + done.stdout
    report = check(folder)
    assert report.failed == ["takes/talk/take.cine"]
    assert not report.whole
    assert "take.cine" in report.problems[0]


def test_generations_of_both_tools_follow_each_other(ascmhl, folder):
    seal(folder, formats=["md5"])
    assert ascmhl("create", "-h", "xxh128", folder).returncode == 0
    (folder / "report.html").write_text("new")
    third = seal(folder, formats=["xxh64"])
    assert (third.generations, third.verified, third.new) == (3, 5, ["report.html"])
    assert ascmhl("verify", folder).returncode == 0
    assert ascmhl("create", "-h", "c4", folder).returncode == 0
    report = check(folder)
    assert (report.generations, report.verified, report.new) == (4, 6, [])


def test_directory_hashes_are_those_that_the_reference_tool_computes(ascmhl, folder):
    report = seal(folder, formats=["xxh64", "c4"])
    theirs = ascmhl("create", "-v", "-h", "xxh64", "-h", "c4", folder)
    assert theirs.returncode == 0
    for element in manifest_of(report).iterfind(".//m:directoryhash", NAMESPACE):
        for kind in ("content", "structure"):
            for item in element.find(f"m:{kind}", NAMESPACE):
                assert item.text in theirs.stdout + theirs.stderr


def test_missing_and_new_files_are_found_by_both(ascmhl, folder):
    seal(folder)
    (folder / "late.txt").write_text("late")
    assert ascmhl("verify", folder).returncode == NEW_FILES
    report = check(folder)
    assert report.new == ["late.txt"]
    assert report.whole
    (folder / "late.txt").unlink()
    (folder / "nothing").unlink()
    assert ascmhl("verify", folder).returncode == MISSING
    assert check(folder).missing == ["nothing"]


def test_patterns_left_out_stay_out_in_both(ascmhl, folder):
    first = seal(folder, ignore=["**/aligned.zarr/"])
    assert first.files == 4
    (folder / "takes" / "talk" / "aligned.zarr" / "zarr.json").write_text("{1}")
    assert ascmhl("verify", folder).returncode == 0
    assert check(folder).new == []
    assert seal(folder).verified == 4


def test_an_altered_manifest_is_found_by_both(ascmhl, folder):
    manifest = Path(seal(folder).manifest)
    manifest.write_text(manifest.read_text().replace("nothing", "nothinG"))
    assert ascmhl("verify", folder).returncode == ALTERED_MANIFEST
    with pytest.raises(DamagedDataError, match="was altered"):
        check(folder)


# By ourselves


def test_what_the_manifest_says(folder):
    author = Author("Ann <Lee>", "ann@studio.com", role="DIT")
    report = seal(
        folder, formats=["xxh64", "md5"], author=author, location="Stage 4", comment="a & b"
    )
    name = Path(report.manifest).name
    assert name.startswith("0001_my session & <more>_")
    root = manifest_of(report)
    assert root.tag == "{urn:ASC:MHL:v2.0}hashlist"
    assert root.get("version") == "2.0"
    assert root.find("m:creatorinfo/m:author", NAMESPACE).text == "Ann <Lee>"
    assert root.find("m:creatorinfo/m:author", NAMESPACE).get("role") == "DIT"
    assert root.find("m:creatorinfo/m:comment", NAMESPACE).text == "a & b"
    assert root.find("m:processinfo/m:process", NAMESPACE).text == "in-place"
    files = {
        element.find("m:path", NAMESPACE).text: element
        for element in root.iterfind("m:hashes/m:hash", NAMESPACE)
    }
    data = (folder / "takes/talk/take.cine").read_bytes()
    cine = files["takes/talk/take.cine"]
    assert cine.find("m:path", NAMESPACE).get("size") == str(len(data))
    assert cine.find("m:xxh64", NAMESPACE).text == xxhash.xxh64_hexdigest(data)
    assert cine.find("m:md5", NAMESPACE).text == hashlib.md5(data).hexdigest()
    assert cine.find("m:md5", NAMESPACE).get("action") == "original"
    assert set(files) == {
        *("session.json", "nothing", "takes/talk/take.cine"),
        *("takes/talk/Überblick 2.txt", "takes/talk/aligned.zarr/zarr.json"),
    }
    folders = [e.text for e in root.iterfind("m:hashes/m:directoryhash/m:path", NAMESPACE)]
    assert folders == ["takes/empty", "takes/talk/aligned.zarr", "takes/talk", "takes"]


def test_c4_of_nothing_is_the_published_one():
    # SMPTE ST 2114: the identifier of the empty string
    assert hash_bytes(b"", "c4") == (
        "c459dsjfscH38cYeXXYogktxf4Cd9ibshE3BHUo6a58hBXmRQdZrAkZzsWcbWtDg5oQstpDuni4Hirj75GEmTc1sFT"
    )


@given(st.binary(max_size=200))
def test_a_c4_is_90_letters_and_its_digest_comes_back(data):
    text = hash_bytes(data, "c4")
    assert len(text) == 90
    assert asc_mhl.hash_of_hashes([text], "c4") == hash_bytes(hashlib.sha512(data).digest(), "c4")


def test_a_changed_file_fails_in_the_next_generation_and_is_not_believed_after_it(folder):
    seal(folder)
    flip(folder / "takes" / "talk" / "take.cine")
    second = seal(folder, formats=["sha1"])
    assert second.failed == ["takes/talk/take.cine"]
    actions = {
        item.get("action")
        for element in manifest_of(second).iterfind("m:hashes/m:hash", NAMESPACE)
        if element.find("m:path", NAMESPACE).text.endswith("take.cine")
        for item in element
        if item.get("action")
    }
    assert actions == {"failed"}
    # neither the old hash nor the new format's lets the changed file pass
    assert check(folder).failed == ["takes/talk/take.cine"]
    flip(folder / "takes" / "talk" / "take.cine")
    assert check(folder).whole


def test_structure_tells_a_swap_of_names_that_content_does_not(folder):
    first = seal(folder)
    a, b = folder / "takes/talk/take.cine", folder / "takes/talk/Überblick 2.txt"
    a.rename(folder / "swap")
    b.rename(a)
    (folder / "swap").rename(b)
    roots = [
        {
            kind: report.find(f"m:processinfo/m:roothash/m:{kind}/m:xxh64", NAMESPACE).text
            for kind in ("content", "structure")
        }
        for report in (manifest_of(first), manifest_of(seal(folder)))
    ]
    assert roots[0]["content"] == roots[1]["content"]
    assert roots[0]["structure"] != roots[1]["structure"]


def test_an_interrupted_seal_goes_on_and_a_file_changed_since_is_read_again(folder, monkeypatch):
    whole, count = asc_mhl.hash_file, []

    def stop(path, *rest):
        count.append(path)
        if len(count) == 4:
            raise KeyboardInterrupt
        return whole(path, *rest)

    monkeypatch.setattr(asc_mhl, "hash_file", stop)
    with pytest.raises(KeyboardInterrupt):
        seal(folder)
    assert not (folder / "ascmhl").exists()
    read_before = count[:3]
    changed = read_before[0]
    changed.write_bytes(changed.read_bytes() + b"!")
    count.clear()
    monkeypatch.setattr(
        asc_mhl, "hash_file", lambda path, *rest: count.append(path) or whole(path, *rest)
    )
    assert seal(folder).files == 5
    assert changed in count
    assert not set(read_before[1:]) & set(count)
    monkeypatch.undo()
    assert check(folder).verified == 5
    assert not list(folder.glob("*journal*"))


def test_a_manifest_that_the_chain_does_not_know_is_refused(folder):
    manifest = Path(seal(folder).manifest)
    manifest.with_name("0002_x_2026-01-01_000000Z.mhl").write_text(manifest.read_text())
    with pytest.raises(DamagedDataError, match="0002_x"):
        check(folder)
    (manifest.parent / "ascmhl_chain.xml").unlink()
    with pytest.raises(DamagedDataError, match=r"ascmhl_chain\.xml: is missing"):
        seal(folder)


def test_a_chain_cannot_point_outside(folder):
    seal(folder)
    chain = folder / "ascmhl" / "ascmhl_chain.xml"
    chain.write_text(chain.read_text().replace("<path>0001", "<path>../0001"))
    with pytest.raises(DamagedDataError, match="no name of a manifest"):
        check(folder)
    chain.write_text("<ascmhl")
    with pytest.raises(DamagedDataError, match="not the XML"):
        check(folder)


def test_what_cannot_be_sealed_is_named(folder, tmp_path: Path):
    with pytest.raises(InputError, match="has not been sealed"):
        check(folder)
    with pytest.raises(InputError, match="no such folder"):
        seal(tmp_path / "none")
    with pytest.raises(InputError, match="hashes are xxh64"):
        seal(folder, formats=["crc32"])
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        seal(tmp_path / "void")
    (folder / "link").symlink_to(folder / "takes")
    with pytest.raises(InputError, match=r"link to a folder.*--ignore link/"):
        seal(folder)
    (folder / "link").unlink()
    (folder / "link").symlink_to(folder / "gone")
    with pytest.raises(InputError, match="broken link"):
        seal(folder)
    (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        seal(folder)
    (folder / "pipe").unlink()
    seal(folder / "takes")
    with pytest.raises(InputError, match="seal of its own"):
        seal(folder)


def test_names_that_xml_cannot_hold_are_refused(folder):
    (folder / "bell\x07").write_text("")
    with pytest.raises(InputError, match="cannot hold"):
        seal(folder)
    assert not list(folder.glob("ascmhl/*.mhl"))


def test_a_linked_recording_is_sealed_by_what_it_holds(folder, tmp_path: Path):
    real = tmp_path / "card.cine"
    (folder / "takes/talk/take.cine").rename(real)
    (folder / "takes/talk/take.cine").symlink_to(real)
    seal(folder)
    assert check(folder).whole
    flip(real)
    assert check(folder).failed == ["takes/talk/take.cine"]


def test_reports_are_json(folder):
    report = seal(folder).as_dict()
    assert json.loads(json.dumps(report))["new"] == 5
    assert report["whole"]
