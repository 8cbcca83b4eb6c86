package server

import "sluice/firmware-tests/conformance/suite"

// unsubscribe is sections 3.10 and 3.11.
var unsubscribe = []suite.Test{}
