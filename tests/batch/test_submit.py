"""submit, jobs and cancel with batch systems that only note what they are told."""

import json
import os
import stat

import pytest
from survey import run

from mpidriver.batch._records import JobFolder, all_jobs
from mpidriver.drivers.advise import advise, survey_workload
from mpidriver.drivers.pipeline import open_context
from mpidriver.store import open_state

SMALL = ["--bands", "r", "--exposures", "1", "--detectors", "1x1", "--detector-size", "200", "--channels", "0"]
SIZE = ["--nodes", "2", "--ranks-per-node", "2", "--time", "30", "--memory", "2GiB"]
SLURM = ["--system", "slurm", "--launcher", "mpirun"]


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """A tiny survey of which all quanta of one stage were timed."""
    root = tmp_path_factory.mktemp("submit") / "reduced"
    assert run("simulate", root, *SMALL, "--quiet").code == 0
    assert run("single-frame", root, "--quiet").code == 0
    return root


@pytest.fixture
def repo(tmp_path):
    """An empty repository."""
    root = tmp_path / "repo"
    assert run("init", root).code == 0
    return root


@pytest.fixture
def systems(tmp_path, monkeypatch):
    """A folder on PATH for commands of a batch system, each a shell line that is logged beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "config" / "astropy").mkdir(parents=True)  # or astropy complains
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def add(name, line):
        path = folder / name
        path.write_text(f'#!/bin/bash\necho "$0 $*" >> {folder}/said\n{line}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    add("said", "")
    for name in ("sinfo", "squeue", "scancel", "sbatch", "qsub", "qstat", "qdel"):
        add(name, "echo nothing is known >&2; exit 1")
    return add


def listed(repo, *more):
    return json.loads(run("jobs", repo, "--json", *more).text)["jobs"]


@pytest.mark.parametrize(
    ("system", "command", "answer", "number"),
    [
        ("slurm", "sbatch", "4711", "4711"),
        ("slurm", "sbatch", "4712;cluster", "4712"),
        ("pbs", "qsub", "4713.server", "4713.server"),
    ],
)
def test_a_job_is_recorded_with_the_number_that_the_system_gave(repo, systems, system, command, answer, number):
    systems(command, f"echo '{answer}'")
    ended = run("submit", "--system", system, "--launcher", "mpirun", *SIZE, "--json", "--", "pipeline", repo)
    assert ended.code == 0, ended.text
    assert json.loads(ended.text)["scheduler_id"] == number
    folder = JobFolder(repo / "jobs" / "0001")
    assert folder.submitted()[0] == number
    job = folder.job()
    assert (job.ranks, job.time_limit_seconds, job.memory_bytes) == (4, 1800, 2 << 30)
    assert f"-m mpidriver.batch {folder.path}" in folder.script.read_text()
    assert [one["state"] for one in listed(repo, "--offline")] == ["waiting"]


def test_a_refusal_is_told_and_recorded(repo, systems):
    systems("sbatch", "echo 'Invalid partition name specified' >&2; exit 1")
    ended = run("submit", *SLURM, *SIZE, "--", "pipeline", repo)
    assert ended.code == 4
    assert "Invalid partition name" in ended.text
    assert [(one["state"], "Invalid partition" in one["why"]) for one in listed(repo)] == [("rejected", True)]


def test_a_system_that_is_not_here_is_named(repo, systems):
    systems("sbatch", "echo 12")
    assert run("submit", *SLURM, *SIZE, "--", "pipeline", repo).code == 0
    ended = run("cancel", repo, "1", PATH="/nowhere")
    assert ended.code == 4
    assert "scancel" in ended.text


def test_a_dry_run_leaves_nothing_behind(repo, systems):
    ended = run("submit", *SLURM, *SIZE, "--dry-run", "--", "pipeline", repo)
    assert ended.code == 0, ended.text
    assert ended.text.startswith("#!/bin/bash\n")
    assert "#SBATCH --ntasks=4\n" in ended.text
    assert not (repo / "jobs").exists()


def test_jobs_of_one_repository_follow_each_other(repo, systems):
    """Its state database takes one run at a time, so the second would fail."""
    systems("sbatch", "echo 31")
    assert run("submit", *SLURM, *SIZE, "--", "coadd", repo).code == 0
    dry = run("submit", *SLURM, *SIZE, "--dry-run", "--", "multiband", repo).text
    assert "#SBATCH --dependency=afterany:31\n" in dry
    asked = run("submit", *SLURM, *SIZE, "--after", "coadd", "--dry-run", "--", "multiband", repo).text
    assert "#SBATCH --dependency=afterok:31\n" in asked
    assert "--kill-on-invalid-dep=yes" in asked


def test_nothing_is_submitted_after_what_has_failed(repo, systems):
    systems("sbatch", "echo 31")
    assert run("submit", *SLURM, *SIZE, "--", "coadd", repo).code == 0
    folder = all_jobs(repo)[0]
    folder.end(folder.begin("n1", "31"), 4, "no ranks", requeued=False)
    ended = run("submit", *SLURM, *SIZE, "--after", "1", "--", "multiband", repo)
    assert ended.code == 2
    assert "job 1 would never run: it is failed: code 4: no ranks" in ended.text


def test_what_the_scheduler_says_is_a_hint(repo, systems):
    systems("sbatch", "echo 31")
    systems("squeue", "echo '31|N/A|PENDING|Priority'")
    assert run("submit", *SLURM, *SIZE, "--", "coadd", repo).code == 0
    assert [(one["state"], one["why"]) for one in listed(repo)] == [("waiting", "Slurm: PENDING, Priority")]
    systems("squeue", "exit 1")
    assert "squeue" in run("jobs", repo).text
    systems("squeue", "echo '31|N/A|CANCELLED|DependencyNeverSatisfied'")
    assert "DependencyNeverSatisfied" in run("jobs", repo).text


def test_cancel_tells_the_system_and_the_record(repo, systems, tmp_path):
    systems("qsub", "echo 31.server")
    systems("qdel", "exit 0")
    assert run("submit", "--system", "pbs", *SIZE, "--", "coadd", repo).code == 0
    assert "was waiting" in run("cancel", repo, "31.server").text
    assert "qdel 31.server" in (tmp_path / "bin" / "said").read_text()
    assert listed(repo)[0]["state"] == "cancelled"
    assert "was cancelled" in run("cancel", repo, "1").text


def test_options_come_from_the_user_s_file_then_the_survey_then_the_command_line(repo, systems, tmp_path):
    site = tmp_path / "config" / "mpidriver" / "site.toml"
    site.parent.mkdir()
    site.write_text('[batch]\nsystem = "slurm"\nqueue = "short"\naccount = "astro"\nlauncher = "mpirun"\n')
    text = (repo / "survey.toml").read_text().replace('queue = ""', 'queue = "long"')
    (repo / "survey.toml").write_text(text)
    script = run("submit", *SIZE, "--dry-run", "--", "coadd", repo).text
    assert "--partition=long" in script
    assert "--account=astro" in script
    assert "--partition=now" in run("submit", *SIZE, "--queue", "now", "--dry-run", "--", "coadd", repo).text
    site.write_text("[batch]\nqeue = 'x'\n")
    ended = run("submit", *SIZE, "--dry-run", "--", "coadd", repo)
    assert ended.code == 2
    assert "did you mean 'queue'" in ended.text


def test_ranks_time_and_memory_come_from_what_quanta_took(reduced, systems):
    ended = run("submit", *SLURM, "--dry-run", "--", "single-frame", reduced)
    assert ended.code == 0, ended.text
    directives = dict(line[8:].partition("=")[::2] for line in ended.text.splitlines() if line.startswith("#SBATCH --"))
    context = open_context(reduced)
    with open_state(context.repository, readonly=True) as state:
        one = advise(survey_workload(context, state, verb="single-frame")).recommended
    assert int(directives["--ntasks"]) == one.ranks
    hours, minutes, seconds = map(int, directives["--time"].split(":"))
    assert 1.25 * one.wall_seconds + 120 < 3600 * hours + 60 * minutes + seconds < 1.25 * one.wall_seconds + 330
    memory = int(directives["--mem"].removesuffix("M")) * 2**20
    assert 1.3 * one.node_memory_bytes <= memory < 1.3 * one.node_memory_bytes + (64 << 20)


def test_a_node_is_not_asked_for_more_cores_than_it_has(repo, systems):
    systems("sinfo", "echo 'long*|64|256000|9|1-infinite|infinite'; echo 'small|8|32000|9|1-infinite|infinite'")
    ended = run("submit", *SLURM, *SIZE, "--queue", "small", "--cores-per-rank", "5", "--dry-run", "--", "coadd", repo)
    assert ended.code == 2
    assert "10 cores a node are wanted, a node has 8" in ended.text
    assert run("submit", *SLURM, *SIZE, "--cores-per-rank", "5", "--dry-run", "--", "coadd", repo).code == 0


def test_a_queue_is_not_asked_for_more_than_it_gives(repo, systems):
    systems(
        "sinfo",
        "echo 'long*|64|256000|3|1-infinite|infinite'; echo 'long*|96|512000|1|1-infinite|infinite'; "
        "echo 'quick|64|256000|9|1-2|30:00'",
    )
    given = [*SLURM, "--ranks-per-node", "2", "--memory", "1GiB", "--dry-run"]
    for queue, nodes, time, words in [
        ("long", 4, "1-00:00:00", ""),
        ("long", 5, "10", "5 nodes are wanted, the queue gives 4"),
        ("quick", 2, "30", ""),
        ("quick", 3, "30", "3 nodes are wanted, the queue gives 2"),
        ("quick", 2, "31", "31 min are wanted, the queue gives 30"),
    ]:
        ended = run("submit", *given, "--queue", queue, "--nodes", nodes, "--time", time, "--", "coadd", repo)
        assert ended.code == (2 if words else 0), ended.text
        assert words in ended.text


def test_a_job_that_takes_longer_than_the_queue_allows_comes_back_into_it(reduced, systems):
    systems("sinfo", "echo 'debug*|1|256000|2|1-infinite|2:00'")
    ended = run("submit", *SLURM, "--dry-run", "--", "pipeline", reduced)
    assert ended.code == 0, ended.text
    assert "#SBATCH --time=00:02:00" in ended.text


def test_a_protocol_that_srun_does_not_speak_is_found_before_anything_is_submitted(repo, systems):
    systems("srun", "echo 'MPI plugin types are...'; echo none; echo pmi2")
    ended = run("submit", "--system", "slurm", *SIZE, "--dry-run", "--", "coadd", repo)
    assert ended.code == 2
    assert "does not speak pmix" in ended.text
    assert "--launcher mpirun" in ended.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "what is to run"),
        (["--", "status", "{repo}"], "run it here"),
        (["--", "pipeline", "-n", "4", "{repo}"], "--ranks-per-node"),
        (["--", "pipeline", "{repo}", "--dry-run"], "before `--`"),
        (["--", "pipeline", "{repo}", "--nonsense"], "--nonsense"),
        (["--array", "0..3", "--", "pipeline", "{repo}"], "{array}"),
        (["--array", "x", "--", "coadd", "{repo}", "--tract", "{array}"], "0..9^12"),
        (["--time", "soon", "--", "coadd", "{repo}"], "--time"),
        (["--after", "9", "--", "coadd", "{repo}"], "no job '9'"),
        (["--", "coadd", "{repo}/absent"], "absent"),
    ],
)
def test_mistakes_are_found_before_anything_is_submitted(repo, systems, arguments, words):
    systems("sbatch", "echo 1")
    given = [*SLURM, *SIZE, *arguments]  # the last --time counts
    ended = run("submit", *(word.replace("{repo}", str(repo)) for word in given))
    assert ended.code in (2, 3)
    assert words in ended.text
    assert not (repo / "jobs").exists()
