"""The scripts of jobs, against the ones that were looked through by people, and under shellcheck."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from mpidriver.batch import Job
from mpidriver.batch._script import render_script, template_folders
from mpidriver.errors import ConfigError
from mpidriver.site import BatchOptions

GOLDEN = Path(__file__).parent / "golden"
SYSTEMS = ("slurm", "pbs", "local")

PLAIN = Job(
    number=7,
    name="pipeline",
    system="slurm",
    repository="/survey/deep",
    command=("pipeline", "/survey/deep"),
    directory="/home/ann",
    nodes=2,
    ranks_per_node=64,
    memory_bytes=180 << 30,
    time_limit_seconds=5400,
)
FULL = Job(
    number=12,
    name="coadd-tracts",
    system="slurm",
    repository="/survey/deep",
    command=("coadd", "/survey/deep", "--tract", "{array}", "--band", "g^r"),
    directory="/home/ann",
    ranks_per_node=8,
    threads=2,
    time_limit_seconds=93784,
    queue="long",
    account="astro-17",
    array=(0, 1, 2, 3),
    drain_seconds=600,
)
SITE = BatchOptions(preamble=("module load openmpi/5", 'source "$HOME/venv/bin/activate"'), umask="0027")
OPTIONS = {"plain": BatchOptions(umask="0022"), "full": SITE}


def render(job, options, system):
    job = dataclasses.replace(job, system=system)
    waits = {} if job.number == 7 else {"after": ["101", "102"], "after_any": ["90"]}
    folders = template_folders(options, Path("/nowhere"), {"HOME": "/nowhere"})
    return render_script(job, options, folders=folders, python="/opt/venv/bin/python", **waits)


CASES = [(system, name) for system in SYSTEMS for name in OPTIONS]


@pytest.mark.parametrize(("system", "name"), CASES)
def test_scripts_are_the_golden_ones(system, name):
    made = render({"plain": PLAIN, "full": FULL}[name], OPTIONS[name], system)
    assert made == (GOLDEN / f"{system}-{name}.sh").read_text()


@pytest.mark.parametrize(("system", "name"), CASES)
def test_golden_scripts_are_clean_under_shellcheck(system, name):
    checker = Path(sys.executable).parent / "shellcheck"
    ignored = "--exclude=SC1091"  # it does not follow the site's own files
    done = subprocess.run(
        [checker, ignored, GOLDEN / f"{system}-{name}.sh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", ["survey", "user"])
def test_a_site_s_template_goes_before_the_own_one(tmp_path, folder):
    home = tmp_path / ("repo/batch" if folder == "survey" else "config/mpidriver")
    home.mkdir(parents=True)
    (home / "slurm.sh.j2").write_text("#!/bin/bash\n#SBATCH --qos=night -n {{ job.ranks }}\n")
    options = BatchOptions(templates="batch" if folder == "survey" else "")
    folders = template_folders(options, tmp_path / "repo", {"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert (
        render_script(PLAIN, options, folders=folders, python="python") == "#!/bin/bash\n#SBATCH --qos=night -n 128\n"
    )


@pytest.mark.parametrize("text", ["{{ job.rank }}", "{% if %}"])
def test_a_wrong_template_is_named(tmp_path, text):
    (tmp_path / "slurm.sh.j2").write_text(text)
    with pytest.raises(ConfigError, match=r"slurm\.sh\.j2"):
        render_script(PLAIN, BatchOptions(), folders=[tmp_path], python="python")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repository", "/survey/with space"),
        ("name", "a\n#SBATCH --uid=0"),
        ("queue", "q; rm -rf"),
        ("directory", "/a'b"),
    ],
)
def test_what_cannot_stand_in_a_directive_is_refused(field, value):
    job = dataclasses.replace(PLAIN, **{field: value})
    with pytest.raises(ConfigError, match=field):
        render_script(job, SITE, folders=template_folders(SITE, Path("/"), {}), python="python")


def test_a_command_of_several_lines_stays_in_its_comment():
    job = dataclasses.replace(PLAIN, command=("pipeline", "a\nrm -rf /"))
    script = render_script(job, SITE, folders=template_folders(SITE, Path("/"), {}), python="python")
    assert not any(line.startswith("rm") for line in script.splitlines())


def test_only_names_of_variables_are_exported():
    options = BatchOptions(export=("SECRET=1",))
    with pytest.raises(ConfigError, match="SECRET=1"):
        render_script(PLAIN, options, folders=template_folders(options, Path("/"), {}), python="python")
