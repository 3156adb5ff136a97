#!/usr/bin/env bash
# container_root.sh ROOT
# The root directory of a container, at ROOT: what it shows is this machine's, and what is written there goes to memory.
# It exists until standard input ends, for processes in this mount namespace only; says "ready" once it is there.
# Needs root, and overlayfs in the kernel.
set -euo pipefail
root=$1
if [ -z "${INSIDE:-}" ]; then
  INSIDE=1 exec unshare --mount --propagation private bash "$0" "$@"
fi
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/upper" "$root/work" "$root/image" "$root/volume"
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" "$root/image"
mount -t tmpfs -o mode=1777 tmpfs "$root/image/tmp"
mount --bind /dev "$root/image/dev"
mount -t proc proc "$root/image/proc"
echo ready
cat >/dev/null
