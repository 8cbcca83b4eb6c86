// Package device is the field's side of the tests: sensors that number what
// they publish, consumers that note what arrives, and a ledger that compares
// the two.
//
//	Sensor ─ PUBLISH "07 000123" ─►  gateway  ─►  ...  ─► Consumer
//	   │                                                     │
//	   └── Ledger.Acknowledged(7, 123)    Ledger.Arrived(7, 123)
//
// Both keep their session for as long as they live, resend what is unfinished
// after every reconnect, in order and with its packet identifier, as
// [MQTT-4.4.0-1] and [MQTT-4.6.0-1] ask of a client, and never give up.
package device
