package server

import "sluice/firmware-tests/conformance/suite"

// format is chapters 1, 2 and 7: what all packets have in common.
var format = []suite.Test{}
