package server

import "sluice/firmware-tests/conformance/suite"

// ping is sections 3.12 and 3.13.
var ping = []suite.Test{}
