package server

import "sluice/firmware-tests/conformance/suite"

// disconnect is section 3.14, and section 4.13 of MQTT 5.0.
var disconnect = []suite.Test{}
