#!/usr/bin/env bash
# release.sh DIR: builds what is committed for every platform into DIR, a second
# time from another directory and with nothing compiled before, and fails if a
# byte differs; prints the sizes, and writes DIR/SHA256SUMS.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
platforms=(
	"amd64"
	"arm64"
	"armv6 GOARCH=arm GOARM=6"
	"armv7 GOARCH=arm GOARM=7"
	"mips GOMIPS=softfloat"
	"mipsle GOMIPS=softfloat"
	"riscv64"
)
VERSION=$(git describe --tags --always)
export VERSION
[ -z "$(git status --porcelain)" ] || echo "not part of the release: what is not committed" >&2
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
for tree in "$work/tree" "$work/some/where/else"; do
	mkdir -p "$tree"
	git archive HEAD | tar -x -C "$tree"
done
rm -rf "$out"
for platform in "${platforms[@]}"; do
	read -r name variables <<<"$platform"
	file=sluice-linux-$name
	# shellcheck disable=SC2086 # several variables
	env GOOS=linux GOARCH="$name" $variables "$work/tree/deploy/build.sh" "$out/$file"
	# shellcheck disable=SC2086
	env GOCACHE="$work/cache" GOOS=linux GOARCH="$name" $variables "$work/some/where/else/deploy/build.sh" "$work/$file"
	cmp "$out/$file" "$work/$file"
	rm -rf "$work/cache" "$work/$file"
	if command -v readelf >/dev/null && readelf -l "$out/$file" | grep -q INTERP; then
		echo "$file is not static" >&2
		exit 1
	fi
done
cd "$out"
sha256sum sluice-* >SHA256SUMS
while read -r sum file; do
	printf '%-22s %9d bytes  %s\n' "$file" "$(stat -c %s "$file")" "$sum"
done <SHA256SUMS
