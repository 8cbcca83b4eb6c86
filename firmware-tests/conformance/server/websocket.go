package server

import "sluice/firmware-tests/conformance/suite"

// webSocket is chapter 6.
var webSocket = []suite.Test{}
