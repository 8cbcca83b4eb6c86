package server

import "sluice/firmware-tests/conformance/suite"

// qos is sections 4.1 to 4.6: delivery, order and state.
var qos = []suite.Test{}
