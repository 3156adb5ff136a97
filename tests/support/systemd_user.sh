#!/usr/bin/env bash
# systemd_user.sh HOME PROJECT PYTHON PREFIX PACKAGES
# A real `systemd --user` of an ordinary user in namespaces of its own, until standard input ends; says "ready" once
# it can be asked. Needs root, cgroup2 in the kernel, systemd and util-linux; no D-Bus. Nothing is left of it.
#
# HOME is a throw-away home directory of any name. Moongate is installed for the user in /mnt/moongate: a virtual
# environment of PYTHON, whose own prefix is PREFIX, with the code of PROJECT and the packages of PACKAGES.
set -euo pipefail
user=61234
source "$(dirname "$0")/own_cgroup.sh"
enter_own_cgroup moongate-test --ipc

home=$1 project=$2 python=$3 prefix=$4 packages=$5

# open_up DIRECTORY: others can reach it at its own place, though a directory above it is closed to them.
open_up() {
  local above=$1 closed=
  while [ "$above" != / ]; do
    above=$(dirname "$above")
    case $(stat -c %A "$above") in *x | *t) ;; *) closed=$above ;; esac
  done
  [ -n "$closed" ] || return 0
  mkdir -p /mnt/aside
  mount --bind "$1" /mnt/aside
  mount -t tmpfs -o mode=755 tmpfs "$closed"
  mkdir -p "$1"
  mount --bind /mnt/aside "$1"
}

mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/user
chown $user:$user /sys/fs/cgroup/user /sys/fs/cgroup/user/cgroup.{procs,threads,subtree_control}

mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir -p /mnt/project /mnt/packages
mount --bind "$project" /mnt/project
mount --bind "$packages" /mnt/packages
open_up "$prefix"
lib=/mnt/moongate/lib/$(basename "$(dirname "$packages")")/site-packages
mkdir -p /mnt/moongate/bin "$lib"
ln -s "$python" /mnt/moongate/bin/python
printf 'home = %s\n' "$(dirname "$python")" >/mnt/moongate/pyvenv.cfg
printf '/mnt/packages\n/mnt/project\n' >"$lib/moongate.pth"
printf '#!/mnt/moongate/bin/python\nfrom cli.main import main\n\nraise SystemExit(main())\n' >/mnt/moongate/bin/gateway
chmod 755 /mnt/moongate/bin/gateway

mkdir -p "$home"
chown $user:$user "$home"
{ cat /etc/passwd; printf 'gwtest:x:%d:%d::%s:/bin/sh\n' $user $user "$home"; } >/mnt/passwd
{ cat /etc/group; printf 'gwtest:x:%d:\n' $user; } >/mnt/group
chmod 644 /mnt/passwd /mnt/group
mount --bind /mnt/passwd /etc/passwd
mount --bind /mnt/group /etc/group

mkdir -p /run/user /run/systemd
mount -t tmpfs -o mode=755 tmpfs /run/user
mkdir -m 700 /run/user/$user
chown $user:$user /run/user/$user
mount -t tmpfs -o mode=755 tmpfs /run/systemd
mkdir /run/systemd/system # how programs tell that systemd runs

(
  echo "$BASHPID" >/sys/fs/cgroup/user/cgroup.procs
  exec setpriv --reuid $user --regid $user --init-groups \
    env -i HOME="$home" USER=gwtest LOGNAME=gwtest SHELL=/bin/sh LANG=C.UTF-8 XDG_RUNTIME_DIR=/run/user/$user \
    PATH=/usr/local/bin:/usr/bin:/bin \
    /lib/systemd/systemd --user --log-target=console --log-level=info >/mnt/manager.log 2>&1 </dev/null
) &
for _ in $(seq 600); do
  [ -S /run/user/$user/systemd/private ] && break
  sleep 0.05
done
[ -S /run/user/$user/systemd/private ] || { cat /mnt/manager.log >&2; exit 1; }
echo ready
cat >/dev/null
