package server

import "sluice/firmware-tests/conformance/suite"

// publish is sections 3.3 to 3.7.
var publish = []suite.Test{}
