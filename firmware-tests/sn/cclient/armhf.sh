#!/usr/bin/env bash
# armhf.sh DIRECTORY: puts mbedTLS for 32-bit ARM, static libraries and headers, into
# DIRECTORY/usr. The machine's own packages and architectures stay as they are: apt is
# given a root of its own, with the machine's sources.
set -euo pipefail
mkdir -p "$1"
root=$(cd "$1" && pwd)
work=$(mktemp -d "$root/new.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,cache}
: >"$work/status"
apt=(apt-get -qq
	-o APT::Architecture=armhf -o APT::Architectures=armhf -o APT::Sandbox::User=root
	-o Dir::State="$work" -o Dir::State::lists="$work/lists" -o Dir::State::status="$work/status"
	-o Dir::Cache="$work/cache")
"${apt[@]}" update || echo "some sources have nothing for armhf: going on with the others" >&2
cd "$work"
"${apt[@]}" download libmbedtls-dev
dpkg-deb -x libmbedtls-dev_*.deb "$work/files"
mv -T "$work/files/usr" "$root/usr" 2>/dev/null || [ -d "$root/usr" ] # another was faster
