#!/usr/bin/env bash
# booted_root.sh SHARED
# A whole system of its own, booted by the real systemd: what it sees as / is this machine's, what it writes there goes
# to memory, and its network is its own loopback. It sees the directory SHARED at /mnt/shared, and may not write there.
# Runs until standard input ends; says "ready" once it has booted. Needs root, cgroup2 and overlayfs in the kernel,
# systemd-container and util-linux. Nothing is left of it.
set -euo pipefail
source "$(dirname "$0")/own_cgroup.sh"
enter_own_cgroup moongate-boot

shared=$1
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mkdir -p /mnt/root/mnt/shared
# Timers and journals of this machine are not part of what is tested.
for unit in timers.target systemd-journal-flush.service systemd-tmpfiles-setup.service ldconfig.service; do
  ln -sf /dev/null "/mnt/root/etc/systemd/system/$unit"
done
rm -f /mnt/root/usr/sbin/policy-rc.d # images of Debian have one, so that packages start no service
UNIFIED_CGROUP_HIERARCHY=1 systemd-nspawn --quiet --private-network --register=no --keep-unit --directory=/mnt/root --machine=moongate \
  --bind-ro="$shared:/mnt/shared" --boot systemd.unit=basic.target >/run/boot.log 2>&1 </dev/null &
nspawn=$!
for _ in $(seq 600); do
  inside=$(pgrep -P "$nspawn" -x systemd || true)
  [ -n "$inside" ] && [ -e "/proc/$inside/root/run/systemd/private" ] && break
  kill -0 "$nspawn" || { cat /run/boot.log >&2; exit 1; }
  sleep 0.05
done
[ -n "$inside" ] || { cat /run/boot.log >&2; exit 1; }
is_booted() { SYSTEMD_IGNORE_CHROOT=1 nsenter --target "$inside" --all systemctl is-active --quiet basic.target; }
for _ in $(seq 600); do
  is_booted && break
  sleep 0.05
done
is_booted || { cat /run/boot.log >&2; exit 1; }
echo ready
cat >/dev/null
