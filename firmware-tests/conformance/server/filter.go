package server

import "sluice/firmware-tests/conformance/suite"

// filters is section 4.7, topic names and topic filters.
var filters = []suite.Test{}
