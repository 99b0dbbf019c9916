"""A SLURM cluster of one node on this machine's loopback interface, and nothing left of it after.

Debian's packages are enough: no systemd, no account, no setting of the machine is touched. All
daemons run as the user that calls, on free ports, in a folder of their own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "sinfo", "squeue")
_PATIENCE = 60.0
# Debian keeps daemons where only root's PATH looks.
_SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

# linuxproc and task/none need no cgroups, which a container may not hand on; config_overrides lets
# a machine of one core run two jobs; a job that was cancelled must not hold its core for long.
_CONF = """\
ClusterName=ovss
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,defer_batch=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
CompleteWait=0
MinJobAge=300
InactiveLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


class SlurmError(RuntimeError):
    """SLURM cannot be had or does not start; the message says why."""


def install() -> None:
    """Install Debian's packages if programs are missing.

    Raises:
        SlurmError: They are missing and cannot be installed; says the command that does.
    """
    if not _missing():
        return
    how = f"apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SlurmError(f"{', '.join(_missing())} not found; run as root: {how}")
    for words in ("apt-get update", how.replace("install", "install --yes", 1)):
        done = subprocess.run(
            words.split(),
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
    if done.returncode or _missing():
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SlurmError(f"{how} failed: {last}")


def _missing() -> list[str]:
    return [name for name in _PROGRAMS if shutil.which(name, path=_SEARCHED) is None]


class Cluster:
    """A running cluster.

    Attributes:
        folder: Its settings, state and logs.
        environment: What programs of SLURM need to find it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def call(self, *words: str) -> str:
        """Standard output of a program of SLURM.

        Raises:
            SlurmError: It fails.
        """
        done = subprocess.run(
            words,
            check=False,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise SlurmError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def jobs(self, *states: str) -> list[str]:
        """Ids of the jobs in these states (RUNNING, PENDING, …), oldest first; without one, all."""
        wanted = ["--states", ",".join(states)] if states else []
        return sorted(self.call("squeue", "--noheader", "--format=%A", *wanted).split(), key=int)

    def states(self) -> dict[str, str]:
        """Id of each job of this cluster, gone ones too -> its state, such as ``CANCELLED``."""
        lines = self.call("squeue", "--noheader", "--states=all", "--format=%A %T").splitlines()
        return dict(tuple(line.split()) for line in lines)

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        found = sorted(self.folder.glob("*.log"))
        tails = [f"{path.name}:\n" + path.read_text("utf-8", "replace")[-3000:] for path in found]
        return "\n".join(tails)


@contextmanager
def running(cpus: int = 2) -> Iterator[Cluster]:
    """Start a cluster; end its jobs and daemons afterwards, and remove its folder.

    Args:
        cpus: Cores that the node claims to have.

    Raises:
        SlurmError: It does not come up within a minute; the message holds the logs.
    """
    # A short path: that of a socket may have some hundred bytes, and pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _write_settings(folder, cpus)
        cluster = Cluster(folder)
        with ExitStack() as stack:
            try:
                for words in _daemons(folder):
                    stack.enter_context(_daemon(words, cluster))
                    if words[0] == "munged":
                        wait_for((folder / "munge.socket").exists, "munged's socket")
                wait_for(lambda: _is_idle(cluster), "an idle node")
            except SlurmError as error:
                raise SlurmError(f"{error}\n{cluster.logs()}") from None
            # Run first on the way out: jobs end while there are daemons to end them.
            stack.callback(_cancel_all, cluster)
            yield cluster


def _write_settings(folder: Path, cpus: int) -> None:
    import getpass

    folder.chmod(0o755)  # munged wants its socket's folder open to all
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    ports = _free_ports(2)
    text = _CONF.format(
        host=socket.gethostname().partition(".")[0],
        user=getpass.getuser(),
        folder=folder,
        controller_port=ports[0],
        node_port=ports[1],
        cpus=cpus,
        memory=pages // 2**20,
    )
    (folder / "slurm.conf").write_text(text)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        open_ones = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in open_ones:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in open_ones]


def _daemons(folder: Path) -> list[list[str]]:
    munge = {
        "socket": "munge.socket",
        "key-file": "munge.key",
        "pid-file": "munge.pid",
        "log-file": "munge.log",
        "seed-file": "munge.seed",
    }
    return [
        ["munged", "--foreground", "--force", *(f"--{k}={folder / v}" for k, v in munge.items())],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    ]


@contextmanager
def _daemon(words: list[str], cluster: Cluster) -> Iterator[None]:
    """Run a daemon in the foreground of a session of its own."""
    program = shutil.which(words[0], path=_SEARCHED) or words[0]
    with (cluster.folder / f"{words[0]}.out.log").open("wb") as out:
        process = subprocess.Popen(
            [program, *words[1:]],
            env={**os.environ, **cluster.environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_idle(cluster: Cluster) -> bool:
    try:
        return cluster.call("sinfo", "--noheader", "--format=%T") == "idle"
    except (SlurmError, subprocess.TimeoutExpired):  # the controller does not answer yet
        return False


def _cancel_all(cluster: Cluster) -> None:
    jobs = cluster.jobs()
    if jobs:
        cluster.call("scancel", *jobs)
        wait_for(lambda: not cluster.jobs(), "the end of all jobs")


def wait_for(ready: Callable[[], object], what: str, patience: float = _PATIENCE) -> None:
    """Wait until a call gives something true.

    Raises:
        SlurmError: It does not within so many seconds.
    """
    end = time.monotonic() + patience
    while not ready():
        if time.monotonic() > end:
            raise SlurmError(f"waited {patience:.0f} s for {what} in vain")
        time.sleep(0.1)
