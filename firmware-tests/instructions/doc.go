// Package instructions counts what a message costs on ARM, in instructions: those of
// the gateway's own benchmarks, run by QEMU's user emulation with a plugin that counts
// (qemu/count.c). Time is not looked at, so the figures are the same on a loaded
// machine. What the kernel does is not in them.
//
// The figures are kept in figures.tsv. A test fails where one has grown by more than 5 %:
//
//	go test ./instructions                                   the test
//	go test ./instructions -run /gateway/arm$ -v -functions  which functions it goes to
//	go test ./instructions -update                           take what is measured now
//
// amd64 is beside both ARMs to show what is dear there only: 64-bit atomics, and
// barriers, which ARMv6 has no instruction for.
package instructions
