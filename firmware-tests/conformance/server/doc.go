// Package server holds the tests of what binds a server, a file for each part of the
// specifications.
package server

import "slices"

// Tests are all of them.
var Tests = slices.Concat(
	format, connect, connack, publish, qos, flow, subscribe, unsubscribe, filters, shared, ping, disconnect, auth, webSocket,
)
