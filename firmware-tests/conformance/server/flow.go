package server

import "sluice/firmware-tests/conformance/suite"

// flow is section 4.9 of MQTT 5.0, flow control.
var flow = []suite.Test{}
