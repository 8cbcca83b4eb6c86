// Package crash kills the gateway with SIGKILL under load, again and again, and
// counts what was acknowledged against what arrives: at a consumer that stays,
// and at one that is away most of the time.
//
//	go test ./crash -kills=100 -seed=7
package crash
