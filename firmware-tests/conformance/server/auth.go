package server

import "sluice/firmware-tests/conformance/suite"

// auth is sections 3.15 and 4.12 of MQTT 5.0, enhanced authentication.
var auth = []suite.Test{}
