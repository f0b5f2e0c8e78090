#!/usr/bin/env bash
# `scripts/setup.sh install` puts alyxfs on your PATH, in an environment of its own; as root, on everybody's.
#
# The other scripts source this file: it installs what the project needs, system packages by apt-get, Python packages
# into .venv.
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
    echo "Installing system packages: ${missing[*]}"  # RUNLEVEL=1: what is a service is not started
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null || fail "apt-get update failed."
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
        || fail "apt-get could not install: ${missing[*]}"
}

# What a fuse file system of Python needs before pip can build its packages; sets `python` unless it is named.
prepare_machine() {
    local packages=(fuse3 libfuse3-dev pkg-config gcc libc6-dev "$@")
    command -v python3 >/dev/null || packages+=(python3)
    [ -n "$python" ] || python=$(command -v python3 || echo /usr/bin/python3)
    case "$("$python" -c 'import sys; print(sys.prefix == "/usr")' 2>/dev/null || echo True)" in
        True) packages+=(python3-venv python3-dev) ;;
    esac
    install_system_packages "${packages[@]}"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "Python 3.10 or newer is needed."
}

# install_alyxfs ROOT [EXTRAS [PYTHON]]: from a copy of the source, which may go afterwards.
install_alyxfs() {
    local root=$1 extras=${2:+[$2]} python=${3:-} place programs
    prepare_machine
    if [ "$(id -u)" = 0 ]; then place=/opt/alyxfs programs=/usr/local/bin; else
        place=${XDG_DATA_HOME:-$HOME/.local/share}/alyxfs/environment programs=$HOME/.local/bin
    fi
    echo "Installing alyxfs into $place"
    "$python" -m venv --clear "$place" || fail "no virtual environment could be made."
    "$place/bin/pip" install --quiet --disable-pip-version-check "$root$extras" || fail "pip could not install alyxfs."
    mkdir -p "$programs"
    ln -sf "$place/bin/alyxfs" "$programs/alyxfs"
    mkdir -p "${programs%/bin}/share/man/man1"
    ln -sf "$place/share/man/man1/alyxfs.1" "${programs%/bin}/share/man/man1/alyxfs.1"
    [ -e /dev/fuse ] || echo "/dev/fuse is missing: load the kernel module fuse before you mount." >&2
    case ":$PATH:" in *":$programs:"*) ;; *) put_on_path "$programs" ;; esac
    echo "alyxfs $("$programs/alyxfs" --version | cut -d' ' -f3) is installed as $programs/alyxfs."
}

# put_on_path DIRECTORY: for the shells that are started from now on; those of Debian and Ubuntu have ~/.local/bin there.
put_on_path() {
    if ! grep -qs '\.local/bin' "$HOME/.profile"; then
        printf '\n# alyxfs and what else is installed for you alone\nPATH="$HOME/.local/bin:$PATH"\n' >> "$HOME/.profile"
    fi
    echo "Log in again, or: export PATH=\"$1:\$PATH\""
}

# set_up ROOT PURPOSE [PYTHON [ENVIRONMENT]]: the machine's python3 and ROOT/.venv unless named.
set_up() {
    local root=$1 purpose=$2 python=${3:-} environment=${4:-$1/.venv} extras stamp
    local packages=()
    extras=demo
    if [ "$purpose" = test ]; then
        extras=demo,test
        packages=(tree rsync zip attr jq vim nano emacs-nox moreutils git perl procps nginx-light groff-base)
    fi
    prepare_machine "${packages[@]}"
    [ -e /dev/fuse ] || fail "/dev/fuse is missing: load the kernel module fuse, or start the container with --device /dev/fuse."
    [ -r /dev/fuse ] && [ -w /dev/fuse ] || fail "/dev/fuse is closed to you: 'sudo chmod 666 /dev/fuse' opens it, as Debian and Ubuntu do."
    command -v fusermount3 >/dev/null || fail "fusermount3 is missing: install the package fuse3."
    stamp=$(cd "$root" && sha256sum pyproject.toml | cut -d' ' -f1)-$extras
    if [ "$(cat "$environment/alyxfs-stamp" 2>/dev/null)" != "$stamp" ]; then
        echo "Installing Python packages into $environment"
        [ -x "$environment/bin/python" ] || "$python" -m venv "$environment" || fail "no virtual environment could be made."
        "$environment/bin/pip" install --quiet --disable-pip-version-check --editable "$root[$extras]" \
            || fail "pip could not install the Python packages."
        echo "$stamp" > "$environment/alyxfs-stamp"
    fi
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    [ "${1:-}" = install ] || fail "say: setup.sh install [EXTRAS [PYTHON]], as: setup.sh install keyring,tables"
    install_alyxfs "$(cd "$(dirname "$0")/.." && pwd)" "${2:-}" "${3:-}"
fi
