#!/usr/bin/env bash
# container_run.sh ROOT USER GROUP DIRECTORY COMMAND...
# Run a command as the first process of a container, in the mount namespace of container_root.sh: with processes and a
# loopback of its own, a root that it cannot write, a new /tmp, and the volume at DIRECTORY.
set -euo pipefail
root=$1/image user=$2 group=$3 directory=$4
volume=$1/volume
shift 4
ip link set lo up
mount --bind "$volume" "$root$directory"
mount -t proc proc "$root/proc"
mount -o remount,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
exec chroot "$root" setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --inh-caps=-all \
  env --chdir="$directory" "$@"
