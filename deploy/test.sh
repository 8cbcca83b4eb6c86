#!/usr/bin/env bash
# test.sh: the tests of the gateway, with the race detector, which needs a C
# compiler; then those in firmware-tests, which run the built gateway, and some of
# them again with one that has the race detector in it: its event loops, killed,
# abused and asked for every statement. All of it runs, then it fails if any of it did.
set -euo pipefail
cd "$(dirname "$0")/.."
race=(env CGO_ENABLED=1 go test -race)
if ! command -v "$(go env CC)" >/dev/null && ! deploy/apt.sh gcc libc6-dev; then
	echo "no C compiler: testing without the race detector" >&2
	race=(go test)
fi
bad=0
"${race[@]}" ./... || bad=1
# What these test is built beside them: a cached result would say nothing.
(cd firmware-tests && go test -count=1 ./...) || bad=1
if [ "${race[0]}" = env ]; then
	raced=$(mktemp -d)
	trap 'rm -rf "$raced"' EXIT
	# The first race ends it, which no test takes for an answer.
	CGO_ENABLED=1 go build -race -o "$raced/sluice" ./cmd/sluice &&
		(cd firmware-tests && SLUICE_BINARY=$raced/sluice GORACE=halt_on_error=1 go test -count=1 ./crash ./conformance ./abuse) || bad=1
fi
exit $bad
