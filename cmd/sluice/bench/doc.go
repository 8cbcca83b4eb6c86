// Package bench puts load on an MQTT server and says what came of it: messages lost,
// duplicated and out of order, rates, latencies, and for a server on the same
// machine what the load cost it.
//
//	publishers ──► server ──► subscribers
//	     ▲                        │
//	     └── window ── trackers ◄─┘   every message has its publisher and a number
//
// Few things are measured by what they cost themselves, so the generator is made to
// cost little. A worker is an event loop on a thread of its own; it owns some of
// the connections. A round of it is one wait, one large read for each connection
// that is ready, all the packets in it, and then one write for each connection with
// acknowledgements and new messages. Nothing is allocated for a message.
//
// Memory is bounded: by connection a read buffer's rest and what the kernel did
// not take, by publisher the acknowledgements under way, by subscriber a list of gaps.
package bench
