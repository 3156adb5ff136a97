#!/usr/bin/env bash
# ordinary_account.sh USER DIRECTORY... -- COMMAND...
# Run a command as the ordinary account with this number, who can reach the directories at their own places though one
# above them is closed to others. Needs root. What it mounts is seen by the command and its children only.
set -euo pipefail
if [ -z "${INSIDE:-}" ]; then
  INSIDE=1 exec unshare --mount --propagation private bash "$0" "$@"
fi
unset INSIDE
user=$1
shift
reached=()
while [ "$1" != -- ]; do
  reached+=("$1")
  shift
done
shift

# find_closed DIRECTORY: print the topmost directory above it that is closed to others, if there is one.
find_closed() {
  local above=$1 closed=
  while [ "$above" != / ]; do
    above=$(dirname "$above")
    case $(stat -c %A "$above") in *x | *t) ;; *) closed=$above ;; esac
  done
  echo "$closed"
}

mount -t tmpfs -o mode=755 tmpfs /mnt
closed=() hidden=()
for number in "${!reached[@]}"; do
  above=$(find_closed "${reached[$number]}")
  [ -n "$above" ] || continue
  mkdir "/mnt/$number"
  mount --bind "${reached[$number]}" "/mnt/$number"
  hidden+=("$number")
  closed+=("$above")
done
for above in "${closed[@]}"; do
  mountpoint -q "$above" && [ "$(stat -f -c %T "$above")" = tmpfs ] || mount -t tmpfs -o mode=755 tmpfs "$above"
done
for number in "${hidden[@]}"; do
  mkdir -p "${reached[$number]}"
  mount --bind "/mnt/$number" "${reached[$number]}"
done
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
