# Sourced by the scripts that start a systemd of their own, which must not see this machine's cgroups.

# enter_own_cgroup NAME [OPTION OF unshare ...]: run this script again, with the same arguments, as the first process of
# a cgroup and namespaces of its own, and end with its code; return in that second run. Nothing is left afterwards.
arguments=("$@")
enter_own_cgroup() {
  local name=$1 mine code=0
  shift
  case ${STAGE:-outside} in
    outside)
      T=$(mktemp -d)
      mkdir "$T/cgroups"
      STAGE=cgroup T=$T exec unshare --mount --propagation private bash "$0" "${arguments[@]}"
      ;;
    cgroup)
      # A manager moves every process of the cgroup that it finds itself in: it must get one of its own first.
      mount -t cgroup2 cgroup2 "$T/cgroups"
      mine=$T/cgroups/$name.$$
      mkdir "$mine"
      (
        echo "$BASHPID" >"$mine/cgroup.procs"
        STAGE=inside exec unshare --cgroup --mount --pid --fork --kill-child --mount-proc "$@" bash "$0" "${arguments[@]}"
      ) || code=$?
      for _ in $(seq 50); do
        find "$mine" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.1
      done
      umount "$T/cgroups"
      rm -rf "$T"
      exit "$code"
      ;;
  esac
}
