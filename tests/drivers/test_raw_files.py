"""Raw files that are written again after ingest: noticed by the drivers, replaced by a second ingest."""

import os

import numpy as np
import pytest

from mpidriver.drivers._raw_files import refresh_frames
from mpidriver.drivers._stage import Context
from mpidriver.drivers.config import SurveyConfig, config_text
from mpidriver.drivers.ingest import ingest
from mpidriver.pool import Pool
from mpidriver.store import FrameUpdate, Repository, open_state, write_image

TAN = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 20.5, "CRPIX2": 10.5,
    "CDELT1": -1e-3, "CDELT2": 1e-3, "CUNIT1": "deg", "CUNIT2": "deg", "DETECTOR": 0, "FILTER": "r", "GAIN": 1.5,
    "EXPTIME": 30.0, "MJD-OBS": 60000.5, "RDNOISE": 4.0, "SATURATE": 60000.0,
}  # fmt: skip


class Survey:
    """A repository with three raw frames, of one file each."""

    def __init__(self, folder):
        self.folder = folder
        repository = Repository.create(folder / "repo", config=config_text(SurveyConfig()))
        self.context = Context(str(repository.root), SurveyConfig())
        self.state = open_state(repository)
        self.files = [self.write(number) for number in range(3)]

    def write(self, number, *, level=0, **header):
        path = self.folder / f"{number}.fits"
        image = np.full((20, 40), level, "u2")
        write_image(path, image, header={**TAN, "EXPID": number, **header})
        return path

    def ingest(self, *files, **how):
        with Pool() as pool:
            return ingest(self.context.repository, self.context.config, self.state, list(files), pool=pool, **how)

    def refresh(self, selected=lambda _: True):
        with Pool() as pool:
            return refresh_frames(self.context, self.state, selected, pool=pool)


@pytest.fixture(params=[False, True], ids=["linked", "copied"])
def survey(tmp_path, request):
    made = Survey(tmp_path)
    assert made.ingest(*made.files, copy=request.param).new == 3
    made.raw = [made.context.repository.root / frame.path for frame in made.state.frames()]
    yield made
    made.state.close()


def test_nothing_is_read_as_long_as_nothing_has_changed(survey, monkeypatch):
    before = survey.state.frames()
    monkeypatch.delattr("mpidriver.drivers._raw_files.files_digest")
    monkeypatch.delattr("mpidriver.drivers._raw_files.read_frames")
    assert survey.refresh() == []
    assert survey.state.frames() == before


def test_a_file_that_was_only_touched_keeps_what_was_found_out_of_it(survey):
    survey.state.update_frames([FrameUpdate(1, 0, "r", "WCS", None, {"seeing": 1.5})])
    before = survey.state.frame(1, 0)
    os.utime(survey.raw[1], ns=(1, 1))
    assert survey.refresh() == []
    after = survey.state.frame(1, 0)
    assert after.stamp != before.stamp
    assert (after.digest, after.quality) == (before.digest, {"seeing": 1.5})


def test_new_content_is_read_again_and_what_was_found_out_is_gone(survey):
    survey.state.update_frames([FrameUpdate(1, 0, "r", "WCS", None, {"seeing": 1.5})])
    before = survey.state.frames()
    written = survey.write(1, level=7, GAIN=2.5)
    os.replace(written, survey.raw[1].resolve())
    assert survey.refresh(lambda ids: ids.exposure != 1) == []
    assert survey.refresh() == [f"changed since ingested, read again: {before[1].path}"]
    after = survey.state.frames()
    assert (after[1].gain, after[1].quality, after[1].path) == (2.5, {}, before[1].path)
    assert after[1].digest != before[1].digest
    assert [after[0], after[2]] == [before[0], before[2]]
    assert survey.refresh() == []


def test_what_cannot_be_read_or_holds_another_frame_is_named_and_left(survey):
    before = survey.state.frames()
    os.replace(survey.write(0, level=7, EXPID=70), survey.raw[0].resolve())
    survey.raw[1].resolve().write_bytes(b"garbage")
    survey.raw[2].resolve().unlink()
    notes = sorted(survey.refresh())
    assert len(notes) == 2
    assert notes[0].startswith("changed since it was ingested, and cannot be read: ")
    assert "raw/1.fits: not readable as FITS" in notes[0]
    assert notes[1].endswith(
        "does not hold exposure 0, detector 0, band r any more; enter what it holds with `mpidriver ingest`"
    )
    assert survey.state.frames() == before


def test_a_second_ingest_takes_new_content_of_the_same_file_and_no_other(tmp_path):
    survey = Survey(tmp_path)
    survey.ingest(*survey.files)
    survey.write(1, level=7, GAIN=2.5)
    report = survey.ingest(*survey.files)
    assert (report.new, report.changed, report.known, report.rejected) == (0, 1, 2, [])
    assert survey.state.frame(1, 0).gain == 2.5
    report = survey.ingest(*survey.files)
    assert (report.new, report.changed, report.known, report.rejected) == (0, 0, 3, [])
    other = tmp_path / "other.fits"
    survey.write(2, level=9).rename(other)
    survey.write(2)
    assert "is there already with other content" in survey.ingest(other).rejected[0][1]
    survey.state.close()
