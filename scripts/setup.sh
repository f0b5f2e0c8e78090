#!/usr/bin/env bash
# Installs what the project needs: system packages by apt-get, Python packages into .venv. Sourced by the other scripts.
# ALYXFS_GROUPS names what is wanted: "run" (the drive and its demo) or "test" (all that the tests use, too).

fail() { echo "alyxfs: $*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else
        command -v sudo >/dev/null || fail "system packages are missing and there is no sudo: run as root: $*"
        sudo "$@"
    fi
}

install_system_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || fail "these packages are missing, and this is neither Debian nor Ubuntu: ${missing[*]}"
    echo "Installing system packages: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null || fail "apt-get update failed."
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
        || fail "apt-get could not install: ${missing[*]}"
}

set_up() {
    local root=$1 purpose=$2 python extras stamp
    local packages=(fuse3 libfuse3-dev pkg-config gcc libc6-dev)
    command -v python3 >/dev/null || packages+=(python3)
    python=$(command -v python3 || echo /usr/bin/python3)
    case "$("$python" -c 'import sys; print(sys.prefix == "/usr")' 2>/dev/null || echo True)" in
        True) packages+=(python3-venv python3-dev) ;;
    esac
    extras=demo
    if [ "$purpose" = test ]; then
        extras=demo,test
        packages+=(tree rsync zip attr jq vim nano emacs-nox moreutils git perl procps)
    fi
    install_system_packages "${packages[@]}"
    [ -e /dev/fuse ] || fail "/dev/fuse is missing: load the kernel module fuse, or start the container with --device /dev/fuse."
    [ -r /dev/fuse ] && [ -w /dev/fuse ] || fail "/dev/fuse is closed to you: 'sudo chmod 666 /dev/fuse' opens it, as Debian and Ubuntu do."
    command -v fusermount3 >/dev/null || fail "fusermount3 is missing: install the package fuse3."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "Python 3.10 or newer is needed."
    stamp=$(cd "$root" && sha256sum pyproject.toml | cut -d' ' -f1)-$extras
    if [ "$(cat "$root/.venv/alyxfs-stamp" 2>/dev/null)" != "$stamp" ]; then
        echo "Installing Python packages into .venv"
        [ -x "$root/.venv/bin/python" ] || "$python" -m venv "$root/.venv" || fail "no virtual environment could be made."
        "$root/.venv/bin/pip" install --quiet --disable-pip-version-check --editable "$root[$extras]" \
            || fail "pip could not install the Python packages."
        echo "$stamp" > "$root/.venv/alyxfs-stamp"
    fi
}
