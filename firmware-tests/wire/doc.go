// Package wire is MQTT as bytes, for tests: it writes packets, also wrong ones,
// and reads them with the strictest eye. It is made from the specifications and
// shares nothing with the gateway's codec, so that no fault hides in both.
package wire
