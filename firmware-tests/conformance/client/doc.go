// Package client holds the tests of what binds a client: the gateway's bridge, and
// the commands sluice pub and sluice sub. The server they speak to is a scripted one.
package client

import "sluice/firmware-tests/conformance/suite"

// Tests are all of them.
var Tests []suite.Test
