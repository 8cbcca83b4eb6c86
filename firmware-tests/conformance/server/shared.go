package server

import "sluice/firmware-tests/conformance/suite"

// shared is section 4.8.2 of MQTT 5.0, shared subscriptions.
var shared = []suite.Test{}
