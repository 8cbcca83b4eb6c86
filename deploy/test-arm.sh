#!/usr/bin/env bash
# test-arm.sh: the tests of codec, store, gateway and the load generator, built for 32- and 64-bit
# ARM, run under QEMU's user emulation.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v qemu-arm-static >/dev/null || deploy/apt.sh qemu-user-static
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
for platform in "arm GOARM=6 qemu-arm-static -cpu arm1176" "arm64 GOARM64=v8.0 qemu-aarch64-static -cpu cortex-a53"; do
	read -r arch variant emulator <<<"$platform"
	for package in codec codec/sn store gateway gateway/access gateway/topic gateway/transport cmd/sluice/bench; do
		binary=$work/${package//\//-}.$arch.test
		env CGO_ENABLED=0 GOOS=linux GOARCH="$arch" "$variant" go test -c -o "$binary" "./$package"
		echo "$arch $package"
		# Not TestKill: it runs itself as a child, which the kernel has to know QEMU for.
		# shellcheck disable=SC2086 # the emulator's flags
		(cd "$package" && $emulator "$binary" -test.short -test.skip '^TestKill' -test.timeout 10m) || bad=1
	done
done
exit $bad
