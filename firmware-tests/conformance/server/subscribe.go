package server

import "sluice/firmware-tests/conformance/suite"

// subscribe is sections 3.8 and 3.9.
var subscribe = []suite.Test{}
