"""Machines that are namespaces: each has its own processes, network address, home folder and sshd on port 22.

So a cluster of several nodes runs on one computer as on several: `ray stop`, which ends every Ray process that it can
see, sees those of its own machine, and no port of the computer is taken. They share the file system otherwise.
"""

import os
import pwd
import shutil
import subprocess
import textwrap
import time
from pathlib import Path

import psutil

NEEDED = {
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "rsync": "rsync",
    "ip": "iproute2",
    "unshare": "util-linux",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What the first process of a machine does: its own home folder for the user, its own /tmp/ray, its own sshd.
INIT = """
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/hosts /etc/hosts
mount --bind {folder}/ray /tmp/ray
mkdir -p /run/sshd
hostname {name}
until ip -brief address | grep -q {address}; do sleep 0.1; done
exec {sshd} -D -e -f {folder}/sshd_config
"""


def missing() -> str:
    """What keeps this computer from running machines, and what to do about it; empty: nothing."""
    packages = sorted({package for command, package in NEEDED.items() if not shutil.which(command, path=PATH)})
    if packages:
        return f"apt-get update && apt-get install -y {' '.join(packages)}"
    if os.geteuid() != 0:
        return "run it as root: namespaces, bind mounts and sshd need it"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link", "add", "br0", "type", "bridge"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else ""


class Machine:
    """One machine of a network. `folder` holds its home and logs; the bridge between machines is the first one's."""

    def __init__(self, name: str, address: str, folder: Path, bridge: "Machine | None" = None) -> None:
        self.name, self.address, self.folder, self.home = name, address, folder, folder / "home"
        self._prepare()
        init = INIT.format(name=name, folder=folder, address=address, sshd=shutil.which("sshd", path=PATH))
        namespaces = ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with (folder / "sshd.log").open("w") as log:
            self.process = subprocess.Popen(
                ["unshare", *namespaces, "sh", "-ec", init], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.pid = self._first_process()
        self._connect(bridge)

    def _prepare(self) -> None:
        for part in ("home/.ssh", "ray", "tmp"):
            (self.folder / part).mkdir(parents=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        (self.home / ".ssh").chmod(0o700)
        user = pwd.getpwuid(os.getuid())
        lines = Path("/etc/passwd").read_text().splitlines()
        own = f"{user.pw_name}:x:{user.pw_uid}:{user.pw_gid}::{self.home}:/bin/bash"
        others = [line for line in lines if not line.startswith(f"{user.pw_name}:")]
        (self.folder / "passwd").write_text("\n".join([own, *others]) + "\n")
        # As Debian's installer writes it: the host's own name is a loopback address.
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "host_key")]
        subprocess.run(keygen, check=True)
        settings = f"""
            HostKey {self.folder}/host_key
            AuthorizedKeysFile {self.home}/.ssh/authorized_keys
            PidFile none
            PermitRootLogin prohibit-password
            PasswordAuthentication no
            UsePAM no
            UseDNS no
            StrictModes no
            MaxStartups 100
            PrintMotd no
        """
        (self.folder / "sshd_config").write_text(textwrap.dedent(settings))

    def _first_process(self) -> int:
        for _ in range(100):
            children = psutil.Process(self.process.pid).children()
            if children:
                return children[0].pid
            time.sleep(0.05)
        raise AssertionError(f"{self.name} did not start")

    def _connect(self, bridge: "Machine | None") -> None:
        """A cable from this machine to the bridge, which the first machine holds."""
        self.root("ip", "link", "set", "lo", "up")
        if bridge is None:
            self.root("ip", "link", "add", "br0", "type", "bridge")
            self.root("ip", "link", "set", "br0", "up")
            self.root("ip", "address", "add", f"{self.address}/24", "dev", "br0")
            return
        link = ["ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid)]
        bridge.root(*link)
        bridge.root("ip", "link", "set", self.name, "master", "br0", "up")
        self.root("ip", "link", "set", "eth0", "up")
        self.root("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.root("ip", "route", "add", "default", "via", bridge.address)  # Ray asks the route for its own address

    def root(self, *command: str) -> None:
        """Run a command that changes this machine's network."""
        subprocess.run(["nsenter", "--target", str(self.pid), "--net", *command], check=True)

    def run(self, *command: str, cwd: Path | None = None, path: str = PATH) -> subprocess.CompletedProcess:
        """Run a command on this machine as its user. Output and errors come as one text."""
        environment = {
            "HOME": str(self.home),
            "USER": pwd.getpwuid(os.getuid()).pw_name,
            "PATH": path,
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.folder / "tmp"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        namespaces = ["--mount", "--net", "--uts", "--pid"]
        enter = ["nsenter", "--target", str(self.pid), *namespaces, f"--wdns={cwd or self.home}"]
        return subprocess.run(
            [*enter, *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=540,
            check=False,
        )

    def allow(self, key: Path) -> None:
        """Let the owner of a private key log in."""
        (self.home / ".ssh" / "authorized_keys").write_text(key.with_suffix(".pub").read_text())

    def stop(self) -> None:
        """End the machine: when its first process ends, the kernel ends all others."""
        self.process.kill()
        self.process.wait()
