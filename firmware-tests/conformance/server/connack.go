package server

import "sluice/firmware-tests/conformance/suite"

// connack is section 3.2.
var connack = []suite.Test{}
