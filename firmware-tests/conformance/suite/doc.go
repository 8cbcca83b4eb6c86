// Package suite runs conformance tests against a broker on any address.
//
//	statements ──┐
//	             ├─► Run ──► a Result per statement: pass, fail, not run, not observable
//	tests ───────┘    │
//	                  ▼
//	             T: dial, send bytes, hold what comes against the rules
//
// A Test names the statements it checks. It is a conversation in raw bytes, with
// client identifiers and topics of its own, so that all tests can run side by side.
// Whatever packet comes back is held against every rule of form; see package wire.
package suite
