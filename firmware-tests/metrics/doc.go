// Package metrics reads what a running gateway tells over HTTP, with Prometheus' own parser and
// linter, and compares it with what was done to the gateway.
package metrics
