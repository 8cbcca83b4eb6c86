#!/usr/bin/env bash
# check.sh: what the compiler does not see, in both modules, and a few seconds
# of each fuzz target. All of it runs, then it fails if anything was found.
set -uo pipefail
cd "$(dirname "$0")/.."
bad=0
unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	echo "not formatted, run gofmt -w on: $unformatted"
	bad=1
fi
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
for module in . firmware-tests; do
	(cd $module && go vet ./...) || bad=1
	(cd $module && go run $staticcheck ./...) || bad=1
done
if ! go run ./cmd/sluice config env | cmp - deploy/sluice.env; then
	echo "write it anew: go run ./cmd/sluice config env > deploy/sluice.env"
	bad=1
fi

# fuzz PACKAGE TARGET: go test can fail with "context deadline exceeded" because its
# own time is up in the middle of an input (golang/go#75804, until Go 1.27). What an input does wrong
# is said otherwise, and the input is kept as a file.
fuzz() {
	local out
	out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZTIME:-3s}" "$1" 2>&1) && echo "$out" && return
	echo "$out"
	grep -q '^    context deadline exceeded$' <<<"$out" && ! grep -q 'Failing input' <<<"$out"
}

for package in $(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r dirname | sort -u | grep -v firmware-tests); do
	for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$package"/*_test.go | cut -d' ' -f2 | sort -u); do
		echo "fuzz $package $target"
		fuzz "$package" "$target" || bad=1
	done
done
exit $bad
