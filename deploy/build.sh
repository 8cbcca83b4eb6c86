#!/usr/bin/env bash
# build.sh FILE: builds sluice as FILE, for the platform in GOOS, GOARCH and so
# on: static, stripped, the same bytes wherever the sources are. VERSION, if set,
# is what sluice version says; else it is told by git.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
mkdir -p "$(dirname "$out")"
# HTTP/2 is for TLS, which HTTP has not here: 350 KB less.
CGO_ENABLED=0 go build -tags nethttpomithttp2 -trimpath -buildvcs=false \
	-ldflags "-s -w -buildid= -X main.release=$version" -o "$out" ./cmd/sluice
