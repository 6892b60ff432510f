"""``lightstage report`` as a user types it: what the page says, on sound and on spoilt takes."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import lightstage.cli
from lightstage import ReflectanceFields, Session
from lightstage.aligned_store import olat_shard
from lightstage.cine import CineFile, CineWriter
from lightstage.preprocess.import_take import import_take
from lightstage.preprocess.source import open_source
from lightstage.relighting.combine import exposure_for
from lightstage.report.set_pictures import before_and_after, set_pictures
from lightstage.stage_calibration import CalibratedLight, ColourResult, GainsResult, LightsResult

SAMPLE = Path(__file__).resolve().parents[2] / "sample_sessions" / "talking"
NASTY = "<script>alert('x')</script> & \"Co\""
#: What is done to the sample's recording, by step.
DROPPED, REPEATED, SWAPPED = [37, 61, 62, 63, 90], 75, 50
JITTER_US = 3.0
FIRST_NUMBER = -20
#: From … to.
TO = "\N{EN DASH}"


class Page(HTMLParser):
    """The page as a reader's program sees it."""

    VOID = frozenset({"meta", "img", "input", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.rows: list[list[str]] = []
        self.facts: list[tuple[str, str]] = []
        self._cell: list[str] | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"th", "td", "h1", "h2", "h3", "h4", "dt", "dd"}:
            self._cell = []

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"
        words = " ".join("".join(self._cell or []).split())
        if tag in {"th", "td"}:
            self.rows[-1].append(words)
        elif tag == "dt":
            self.facts.append((words, ""))
        elif tag == "dd":
            self.facts[-1] = (self.facts[-1][0], words)
        elif re.fullmatch("h[1-4]", tag):
            self.headings.append((int(tag[1]), words))

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if self._cell is not None:
            self._cell.append(data)

    @property
    def prose(self) -> str:
        return " ".join(" ".join(self.words).split())

    def row(self, first: str) -> list[str]:
        (found,) = [row for row in self.rows if row and row[0] == first]
        return found

    def fact(self, name: str) -> list[str]:
        return [value for key, value in self.facts if key == name]


def run(*arguments):
    return CliRunner().invoke(
        lightstage.cli.main, [str(a) for a in arguments], prog_name="lightstage"
    )


def report(session, *options):
    """Run the command; return its JSON and the page."""
    result = run("report", session, "--json", *options)
    assert result.exit_code == 0, (result.output, result.exception)
    figures = json.loads(result.stdout)
    return figures, Page(Path(figures["output"]).read_text(encoding="utf-8"))


def refused(result, exit_code=2):
    """Assert that a command ended with one paragraph and the exit code; return the paragraph."""
    assert result.exit_code == exit_code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.stderr.strip()


def spoil(recording, path, jitter_us):
    """Write the recording with faults; return the microseconds that were added to each stamp."""
    rng = np.random.default_rng(5)
    with CineFile(recording) as cine:
        order = [step for step in range(len(cine)) if step not in DROPPED]
        pictures = dict(zip(order, order, strict=True))
        pictures[REPEATED] = REPEATED - 1
        pictures[SWAPPED], pictures[SWAPPED + 1] = SWAPPED + 1, SWAPPED
        late_us = rng.normal(0.0, jitter_us, len(order))
        with CineWriter(
            path,
            width=cine.width,
            height=cine.height,
            frame_count=len(order),
            frame_rate_hz=1000.0,
            exposure_us=700.0,
            cfa="GBRG",
            black_level=4,
            white_level=254,
            first_frame_number=FIRST_NUMBER,
        ) as writer:
            for step, late in zip(order, late_us, strict=True):
                stamp = 1_704_110_400_000_000_000 + step * 1_000_000 + round(late * 1e3)
                writer.write(cine[pictures[step]], stamp)
    return np.array(order), late_us


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The sample session, its performer's name spoilt, with a spoilt take beside the sound one."""
    path = Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("report") / "s"))
    manifest = json.loads((path / "session.json").read_text())
    (path / "session.json").write_text(json.dumps({**manifest, "performer": NASTY, "note": NASTY}))
    recording = path / "takes" / "talk" / "take.cine"
    spoilt = path / "spoilt.cine"
    spoil(recording, spoilt, JITTER_US)
    sample = Session.open(path)
    import_take(
        path, spoilt, name="spoilt", dome=sample.dome, sequence=sample.sequence, storage="copy"
    )
    spoilt.unlink()
    return path


@pytest.fixture(scope="module")
def page(session):
    return report(session)


def test_every_fault_is_listed_by_its_step_or_frame(page):
    figures, html = page
    spoilt, talk = figures["takes"]
    assert (talk["name"], talk["good"]) == ("talk", True)
    assert talk["dropped_steps"] == talk["repeated_frames"] == talk["swapped_frames"] == []
    assert not figures["good"] and not spoilt["good"]
    # the picture of the step that a repetition replaced is lost, too
    assert spoilt["dropped_steps"] == sorted([*DROPPED, REPEATED])
    kept = [step for step in range(110) if step not in DROPPED]
    number = {step: index + FIRST_NUMBER for index, step in enumerate(kept)}
    assert spoilt["repeated_frames"] == [number[REPEATED]]
    assert spoilt["swapped_frames"] == [number[SWAPPED], number[SWAPPED + 1]]
    assert spoilt["extra_frames"] == spoilt["unknown_frames"] == []
    assert html.row("lost steps")[1:] == ["6", f"37, 61{TO}63, 75, 90 (steps)"]
    assert html.row("repeated")[1:] == ["1", f"{number[REPEATED]} (frames)"]
    swapped = f"{number[SWAPPED]}{TO}{number[SWAPPED + 1]} (frames)"
    assert html.row("out of order")[1:] == ["2", swapped]
    assert html.row(f"61{TO}63")[1:3] == ["3", str(number[60])]


def test_jitter_on_the_page_is_what_was_put_in(session, page, tmp_path):
    figures, html = page
    order, late_us = spoil(session / "takes" / "talk" / "take.cine", tmp_path / "again.cine", 3.0)
    timed = ~np.isin(order, [REPEATED, SWAPPED, SWAPPED + 1])
    steps, late = order[timed], late_us[timed]
    expected = late - np.polyval(np.polyfit(steps, late, 1), steps)
    spoilt = figures["takes"][0]
    assert spoilt["jitter_us"] == pytest.approx(expected.std(), abs=0.01)
    assert spoilt["worst_deviation_us"] == pytest.approx(np.abs(expected).max(), abs=0.05)
    shown = html.fact("jitter (standard deviation)")[0]
    assert float(shown.removesuffix(" µs")) == pytest.approx(expected.std(), abs=0.01)


def test_set_figures_are_those_of_the_store(session, page):
    figures, html = page
    talk = figures["takes"][1]
    fields = ReflectanceFields.open(session / "takes" / "talk")
    assert talk["sets"] == len(fields)
    for name in ("residual", "residual_unaligned", "motion_px"):
        assert talk[f"mean_{name}"] == pytest.approx(fields.read_values(name).mean(), abs=1e-4)
    assert talk["mean_confidence"] == pytest.approx(
        fields.read_values("confidence").mean(), abs=1e-4
    )
    lights = [
        attributes["alt"]
        for tag, attributes in html.tags
        if tag == "img" and re.fullmatch(r"Light \d+", attributes["alt"])
    ]
    assert lights == [f"Light {number}" for number in range(fields.lights)]
    # alignment brings the mean of all lights nearer to the frame with all of them on
    assert talk["mean_of_lights_error_after"] < talk["mean_of_lights_error_before"]


def test_before_alignment_is_the_mean_of_the_recorded_frames(session, tmp_path):
    """Against a store that was made without alignment."""
    plain = Path(shutil.copytree(session, tmp_path / "plain"))
    result = run("preprocess", plain / "takes" / "talk", "--align", "none", "--workers", 1, "-q")
    assert result.exit_code == 0, result.output
    expected = ReflectanceFields.open(plain / "takes" / "talk").read_olat(0).mean(axis=0)
    fields = ReflectanceFields.open(session / "takes" / "talk")
    shown = set_pictures(fields, 0)
    assert np.allclose(shown.mean, fields.read_olat(0).mean(axis=0), atol=1e-6)
    with open_source(Session.open(session).take("talk")) as source:
        compared = before_and_after(fields, shown, source)
    factor = exposure_for(shown.mean)
    assert np.allclose(compared.before, expected * factor, atol=2e-4 * factor)
    assert np.allclose(compared.after, shown.mean * factor, atol=1e-5 * factor)


def test_the_page_needs_nothing_else(page):
    _, html = page
    for tag, attributes in html.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "xlink:href", "action", "data"}:
                assert value.startswith(("data:image/", "#")), value[:80]
    assert "url(" not in html.text and "@import" not in html.text
    assert not re.search(r"(https?:)?//\w", re.sub(r"base64,[A-Za-z0-9+/=]+", "", html.text))


def test_what_users_typed_is_text(page):
    _, html = page
    assert html.fact("performer") == [NASTY]
    assert "<script" not in html.text


def test_pictures_are_pictures_with_words_for_them(page):
    _, html = page
    pictures = [attributes for tag, attributes in html.tags if tag == "img"]
    assert len(pictures) > 40
    for attributes in pictures:
        assert attributes["alt"]
        data = base64.b64decode(attributes["src"].split("base64,")[1], validate=True)
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None and min(decoded.shape[:2]) >= 8
    plots = [attributes for tag, attributes in html.tags if tag == "svg"]
    assert len(plots) >= 10
    assert all(p["role"] == "img" and p["aria-label"] for p in plots)
    assert ("html", {"lang": "en"}) in html.tags


def test_headings_descend_a_level_at_a_time_and_verdicts_come_first(page):
    _, html = page
    levels = [level for level, _ in html.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert html.headings[0] == (1, "s look at this")
    takes = [words for level, words in html.headings if level == 2]
    assert takes == ["spoilt look at this", "talk good", "Stage"]
    for part in ("lights", "gains", "colour"):
        assert f"{part} : not calibrated" in html.prose


def test_calibration_is_told_where_there_is_one(session, tmp_path):
    copy = Path(shutil.copytree(session, tmp_path / "s"))
    lights = len(Session.open(copy).dome)
    nominal = Session.open(copy).dome.directions
    # light 3 was found 5 degrees from where dome.json has it, the last one not at all
    turned = nominal.copy()
    axis = np.cross(nominal[3], [0.0, 1.0, 0.0])
    turned[3] = np.cos(np.radians(5)) * nominal[3] + np.sin(np.radians(5)) * np.cross(
        axis / np.linalg.norm(axis), nominal[3]
    )
    found = [
        CalibratedLight(direction=tuple(d.tolist()), uncertainty_deg=0.1, verdict="seen")
        for d in turned[:-1]
    ]
    lost = CalibratedLight(verdict=f"hidden {NASTY}")
    folder = copy / "calibration"
    folder.mkdir()
    LightsResult(lights=(*found, lost), source="ball", method="mirror ball").save(
        folder / "lights.json"
    )
    gains = tuple((1.0 + 0.01 * k, 1.0, 1.0 - 0.01 * k) for k in range(lights))
    GainsResult(gains=gains, verdicts=("good",) * lights).save(folder / "gains.json")
    ColourResult(
        white_balance=(1.5, 1.0, 1.25), colour_matrix=(1, 0, 0, 0, 1, 0, 0, 0, 1), delta_e=(1, 3)
    ).save(folder / "colour.json")
    _, html = report(copy, "--take", "spoilt")
    assert html.fact("found") == [f"{lights - 1} of {lights} lights"]
    assert html.fact("not found") == [f"hidden {NASTY}: {lights - 1}"]
    assert html.fact("from dome.json")[0].endswith("worst 5")
    assert html.fact("more than 2 degrees off it") == ["3"]
    assert html.fact("white balance") == ["1.5, 1, 1.25"]
    assert html.fact("CIEDE2000 of the patches") == ["mean 2.00, worst 3.00"]
    assert "not calibrated" not in html.prose
    (folder / "gains.json").write_text("{")
    figures, html = report(copy, "--take", "spoilt")
    assert "gains.json" in figures["problems"][0]


def test_damage_is_reported_and_does_not_end_the_report(session, tmp_path):
    copy = Path(shutil.copytree(session, tmp_path / "s"))
    whole = copy / "takes" / "talk"
    for name in ("cut", "gone", "lost_set", "damaged_sets", "unfinished", "garbled", "short"):
        shutil.copytree(whole, copy / "takes" / name)
    takes = copy / "takes"
    cine = (takes / "cut" / "take.cine").read_bytes()
    (takes / "cut" / "take.cine").write_bytes(cine[: len(cine) // 2])
    (takes / "gone" / "take.cine").unlink()
    olat_shard(takes / "lost_set" / "aligned.zarr", 1).unlink()
    for index in range(2):
        shard = olat_shard(takes / "damaged_sets" / "aligned.zarr", index)
        shard.write_bytes(shard.read_bytes()[:1000])
    metadata = takes / "unfinished" / "aligned.zarr" / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"finished": true', '"finished": false'))
    (takes / "garbled" / "capture.json").write_text('{"good": false, "faults": 7, "camera": []}')
    (takes / "garbled" / "sequence.json").write_text("no json")
    shutil.rmtree(takes / "short" / "aligned.zarr")
    with CineFile(whole / "take.cine") as cine_file, CineWriter(
        takes / "short" / "new.cine", width=128, height=96, frame_count=3, frame_rate_hz=1000.0,
        exposure_us=700.0, cfa="GBRG",
    ) as writer:  # fmt: skip
        for index in range(3):
            writer.write(cine_file[index], 10**18 + index * 10**6)
    (takes / "short" / "new.cine").replace(takes / "short" / "take.cine")
    figures, html = report(copy)
    told = {take["name"]: " ".join(take["reasons"]) for take in figures["takes"]}
    assert told["talk"] == ""
    assert "take.cine" in told["cut"]
    assert "no recording" in told["gone"]
    assert "images of sets 1 are gone" in told["lost_set"]
    assert "set 0" in told["damaged_sets"] and "set 1" in told["damaged_sets"]
    assert "unfinished" in told["unfinished"]
    assert "capture.json says" in told["garbled"] and "sequence.json" in told["garbled"]
    assert "3 frames" in told["short"]
    assert all(name in html.prose for name in told)
    # what can still be read is shown
    assert "frames" in next(take for take in figures["takes"] if take["name"] == "unfinished")
    assert "sets" in next(take for take in figures["takes"] if take["name"] == "gone")


@pytest.mark.parametrize(
    "record",
    [
        {
            "good": False,
            "camera": {NASTY: NASTY, "x": [1, {NASTY: None}]},
            "safety": {"report": {"findings": 7}, "acknowledgement": {NASTY: 1}},
            "preflight": [1, NASTY, {"severity": NASTY, "text": [1]}],
            "faults": [{"text": NASTY}, 3],
            "warnings": [NASTY, 4],
            "counts": None,
            "leds": NASTY,
        },
        {"safety": {"report": {"findings": NASTY}}, "preflight": NASTY},
        [NASTY],
    ],
)
def test_a_record_that_someone_edited_is_text_whatever_it_holds(session, tmp_path, record):
    take = Path(shutil.copytree(session / "takes" / "talk", tmp_path / "takes" / "talk"))
    for name in ("session.json", "dome.json", "sequence.json"):
        shutil.copy(session / name, tmp_path / name)
    (take / "capture.json").write_text(json.dumps(record))
    _, html = report(tmp_path)
    assert "<script" not in html.text
    assert "lightstage" in html.prose


def test_virtual_fields_look_the_same(session, page, tmp_path):
    copy = Path(shutil.copytree(session, tmp_path / "s"))
    assert run("convert", copy / "takes" / "talk", "--to", "virtual", "-q").exit_code == 0
    figures, html = report(copy, "--take", "talk")
    (virtual,), before = figures["takes"], page[0]["takes"][1]
    assert {**virtual, "name": ""} == {**before, "name": ""}
    assert "virtual" in html.fact("sets")[0]


def test_a_take_alone_and_chosen_takes(session, tmp_path):
    figures, _ = report(session, "--take", "talk", "-o", tmp_path / "new" / "one.html")
    assert [take["name"] for take in figures["takes"]] == ["talk"]
    assert figures["output"] == str(tmp_path / "new" / "one.html")
    figures, html = report(session / "takes" / "spoilt", "-o", tmp_path / "two.html")
    assert [take["name"] for take in figures["takes"]] == ["spoilt"]
    assert html.fact("performer") == [NASTY]
    assert not list(tmp_path.rglob("*.partial"))


def test_an_empty_session_is_a_page_too(session, tmp_path):
    copy = Path(shutil.copytree(session, tmp_path / "s"))
    shutil.rmtree(copy / "takes")
    figures, html = report(copy)
    assert figures["takes"] == [] and "no takes yet" in html.prose


def test_what_a_person_reads_on_the_terminal(session, tmp_path):
    result = run("report", session, "-o", tmp_path / "page.html")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "spoilt: look at this" in result.stderr and "talk: good" in result.stderr
    assert "6 steps of the sequence that no frame shows" in result.stderr
    assert run("report", session, "-o", tmp_path / "page.html", "-q").stderr == ""


def test_wrong_arguments_are_refused(session, tmp_path):
    assert "there is no such folder" in refused(run("report", tmp_path / "none"))
    assert "has no take 'x'" in refused(run("report", session, "--take", "x"))
    recording = session / "takes" / "talk" / "take.cine"
    before = recording.stat().st_size
    assert "HTML" in refused(run("report", session, "-o", recording))
    assert recording.stat().st_size == before
    (tmp_path / "file").write_text("")
    assert refused(run("report", session, "--take", "talk", "-o", tmp_path / "file" / "a.html"))


@pytest.mark.slow
def test_faults_of_a_simulated_take_are_all_listed(tmp_path):
    """Against the simulator's own truth, on rendered frames of a performer who talks."""
    from lightstage.simulation.take_steps import EXTRA, REPEATED, SWAPPED, read_steps

    options = (
        "--seconds", 0.5, "--size", "128x96", "--drops", 0.03, "--repeats", 0.01, "--swaps", 0.01,
        "--extra", 0.01, "--seed", 6, "-q",
    )  # fmt: skip
    result = run("simulate-take", tmp_path / "s", *options)
    assert result.exit_code == 0, result.output
    figures, html = report(tmp_path / "s")
    (take,) = figures["takes"]
    truth = read_steps(tmp_path / "s" / "takes" / "talk" / "truth_steps.zarr")
    replaced = truth.beat[truth.fault == REPEATED].round().astype(int)
    lost = np.concatenate([truth.dropped_steps, replaced])
    # what was lost after the last frame nobody can see
    assert take["dropped_steps"] == sorted(lost[lost < truth.step_index.max()].tolist())
    for name, fault in (("repeated", REPEATED), ("swapped", SWAPPED), ("extra", EXTRA)):
        assert take[f"{name}_frames"] == np.flatnonzero(truth.fault == fault).tolist()
    assert html.row("lost steps")[1] == str(len(take["dropped_steps"]))
