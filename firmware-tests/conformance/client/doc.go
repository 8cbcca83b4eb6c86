// Package client holds the tests of what binds a client: the gateway's bridge, and
// the commands sluice pub and sluice sub. The server they speak to is a scripted one.
//
//	devices ──► gateway with a bridge ──┐
//	                sluice pub, input ──┼──► server: what the test says
//	               sluice sub, output ◄─┘
//
// A sender is a client that publishes, a receiver one that takes messages: what is
// demanded of either is tried with the bridge and with a command.
package client

import (
	"slices"

	"sluice/firmware-tests/conformance/suite"
)

// Tests are all of them.
var Tests = asClient(slices.Concat(format, connect, connack, publish, qos, flow, subscribe, disconnect, auth, webSocket))

func asClient(tests []suite.Test) []suite.Test {
	for i := range tests {
		tests[i].Side = suite.Client
	}
	return tests
}
