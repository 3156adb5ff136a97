# Sourced by the other scripts. Creates .venv and installs the packages of a lock file, again only after a change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# find_python: print the name of a Python that is new enough.
find_python() {
  local name
  for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "Moongate needs Python 3.11 or newer; none was found. Install it, or set PYTHON to its path." >&2
  exit 1
}

# prepare LOCK: install the packages of LOCK into .venv, checked by hash, and Moongate itself.
prepare() {
  local lock=$1 stamp=.venv/prepared wanted python uv
  wanted=$(cat "$lock" pyproject.toml gateway/__init__.py | cksum) # the last one has the version
  if [ -f "$stamp" ] && grep -qxF "$lock $wanted" "$stamp"; then
    return
  fi
  python=$(find_python)
  echo "Preparing .venv with $("$python" --version) (once, about half a minute) ..." >&2
  if [ ! -x .venv/bin/python ] && ! "$python" -m venv .venv; then
    rm -rf .venv
    echo "Cannot create a virtual environment. On Debian or Ubuntu: apt install python3-venv" >&2
    exit 1
  fi
  local pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
  uv=$(sed -n '/^uv==/,/^    #/p' "$lock")
  # uv takes a sixth of the time; but it does not read pip's settings, so that perhaps it finds no index. Without
  # --python it would take another environment that is active.
  if [ -z "$uv" ] || ! "${pip[@]}" --require-hashes -r /dev/stdin <<<"$uv" ||
    ! .venv/bin/uv pip install --quiet --python .venv/bin/python --compile-bytecode --require-hashes -r "$lock" \
      2>/dev/null; then
    "${pip[@]}" --require-hashes -r "$lock"
  fi
  "${pip[@]}" --no-deps -e .
  touch "$stamp"
  grep -vF "$lock " "$stamp" >"$stamp.new" || true
  echo "$lock $wanted" >>"$stamp.new"
  mv "$stamp.new" "$stamp"
}
