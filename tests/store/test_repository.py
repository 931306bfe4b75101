"""The repository and where its datasets lie."""

import pytest

from mpidriver.errors import DataError, RepositoryError
from mpidriver.store import Repository


def test_create_then_open(tmp_path):
    made = Repository.create(tmp_path / "repo", config='name = "x"\n')
    opened = Repository.open(tmp_path / "repo")
    assert made == opened
    assert opened.config_path.read_text() == 'name = "x"\n'


def test_a_repository_is_not_made_twice(tmp_path):
    Repository.create(tmp_path)
    with pytest.raises(RepositoryError, match="is a repository already"):
        Repository.create(tmp_path)


@pytest.mark.parametrize(("name", "what"), [("absent", "no such directory"), ("", "not a repository")])
def test_opening_something_else_says_what_would_do(tmp_path, name, what):
    with pytest.raises(RepositoryError, match=f"{what}.*mpidriver init"):
        Repository.open(tmp_path / name)


@pytest.mark.parametrize(
    ("dataset", "data_id", "path"),
    [
        ("raw", {"exposure": 12, "detector": 3, "band": "r"}, "raw/000000000012-003-r.fits"),
        ("frame_catalogue", {"exposure": 12, "detector": 3, "band": "r"}, "frames/000000000012/003-cat.fits"),
        (
            "warp",
            {"tract": 7, "patch": (2, 5), "band": "i", "exposure": 180804092331, "detector": 37},
            "warps/00007/2,5/i/180804092331-037.fits",
        ),
        ("coadd", {"tract": 7, "patch": "2,5", "band": "i"}, "coadds/00007/2,5/i.fits"),
        ("cube-Q", {"tract": 7, "patch": "2,5"}, "faraday/00007/2,5/cube-Q.fits"),
        ("FDF_real_dirty", {"tract": 7, "patch": "2,5"}, "faraday/00007/2,5/FDF_real_dirty.fits"),
        ("rm_catalogue", {"tract": 7}, "catalogues/rm-00007.fits"),
        ("survey_catalogue", {}, "catalogues/objects.fits"),
    ],
)
def test_datasets_lie_where_the_layout_says(tmp_path, dataset, data_id, path):
    repository = Repository(tmp_path)
    assert repository.path(dataset, **data_id) == tmp_path / path
    assert repository.relative(repository.path(dataset, **data_id)) == path
    assert repository.resolve(path) == tmp_path / path


@pytest.mark.parametrize(
    ("dataset", "data_id", "what"),
    [
        ("coad", {}, "unknown dataset 'coad'; known: .*, coadd, "),
        ("coadd", {"tract": 1, "patch": "0,0"}, "needs 'band'"),
        ("coadd", {"tract": 1, "patch": "0,0", "band": "../x"}, "cannot be part of a file name"),
        ("coadd", {"tract": 1, "patch": "0,0", "band": "z DECam"}, "cannot be part of a file name"),
    ],
)
def test_wrong_datasets_are_clear_errors(tmp_path, dataset, data_id, what):
    with pytest.raises(DataError, match=what):
        Repository(tmp_path).path(dataset, **data_id)


def test_paths_outside_stay_absolute(tmp_path):
    assert Repository(tmp_path / "repo").relative("/data/raw.fits") == "/data/raw.fits"
