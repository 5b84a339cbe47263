# shellcheck shell=bash
# What the scripts share: where things are, how they speak, how a pin is read. Sourced, never run.

MYR_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MYR_CACHE=${MYRIAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/myriad}
MYR_PINS=${MYRIAD_PINS:-$MYR_ROOT/scripts/pins.txt}
MYR_SUITE=trixie # the Debian release whose packages are unpacked beside the system, see pins.txt
MYR_LAYOUT=1     # raise it when the layout below .deps/ changes, so that trees of the old form are not reused

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# The processor, in Debian's words: amd64, arm64.
myr_arch() {
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) die "no pinned libraries for the processor $(uname -m) (known: x86_64, aarch64)" ;;
    esac
}

# pin_of NAME ARCH: the fields of its line, "kind name arch package version digest".
pin_of() {
    local line
    line=$(awk -v n="$1" -v a="$2" '!/^#/ && $2 == n && ($3 == a || $3 == "any")' "$MYR_PINS")
    [ "$(wc -w <<<"$line")" -eq 6 ] || die "$MYR_PINS: needs exactly one line of 6 fields for $1 on $2"
    echo "$line"
}

# Names of the pins for ARCH that every tree has, in the order of the file.
pin_names() { awk -v a="$1" '!/^#/ && NF && $1 != "sdist" && $1 != "gobuild" && ($3 == a || $3 == "any") {print $2}' "$MYR_PINS"; }

# A digest as the name of a file: hexadecimal stays, Go's "h1:base64" is the same 32 bytes in another spelling.
digest_hex() {
    case $1 in
    h1:*) printf '%s' "${1#h1:}" | base64 -d | od -An -v -tx1 | tr -d ' \n' ;;
    *) printf '%s' "$1" ;;
    esac
}

# digest_file KIND FILE: what the pin's digest must be. A Go module's is not that of the zip but of its contents.
digest_file() {
    case $1 in
    go | gobuild) python3 "$MYR_ROOT/scripts/fetch-gosum.py" "$2" ;;
    *) sha256sum "$2" | cut -d ' ' -f 1 ;;
    esac
}

# Networks fail for a moment: three tries, then the last output is shown.
try3() {
    local n log=$MYR_TMP/try.log
    for n in 1 2 3; do
        "$@" >"$log" 2>&1 && return 0
        [ "$n" = 3 ] || sleep 2
    done
    tail -n 15 "$log" >&2
    return 1
}

# A private view of Debian $MYR_SUITE, made from the machine's own sources: its state lies in $MYR_TMP/apt, the
# system's package lists and status are neither read nor written. private_apt_open ARCH, then private_apt get|cache ARGS.
private_apt_open() {
    local dir=$MYR_TMP/apt
    rm -rf "$dir"
    mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
    python3 "$MYR_ROOT/scripts/fetch-aptlist.py" "$MYR_SUITE" "$1" >"$dir/list.sources" || return 1
    echo "$1" >"$dir/arch"
    try3 private_apt get update
}
private_apt() {
    local dir=$MYR_TMP/apt verb=$1 arch
    shift
    arch=$(cat "$dir/arch")
    "apt-$verb" -q -o "Dir::Etc::sourcelist=$dir/list.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State="$dir/state" -o Dir::State::status=/dev/null -o Dir::Cache="$dir/cache" \
        -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o APT::Update::Error-Mode=any \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# An existing Go, 1.19 or newer (or 1.$1), or nothing.
find_go() {
    local go
    for go in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go/bin/go; do
        [ -x "$go" ] && GOTOOLCHAIN=local "$go" version 2>/dev/null |
            awk -v minor="${1:-19}" '{split(substr($3, 3), v, "."); exit !(v[1] > 1 || v[2] >= minor)}' && echo "$go" && return 0
    done
    return 1
}
