// Package snclient is a client of MQTT-SN 1.2, over any connection that keeps
// datagrams apart.
//
// A client has one request under way and sends it again, every T_RETRY, until
// it is answered or N_RETRY repeats met nothing but silence. Whatever else comes
// meanwhile is dealt with: messages are handed over and acknowledged, topics
// registered, pings answered. So all of it runs in the goroutine that calls;
// one more reads.
//
//	Connect ──▶ Subscribe, Publish ──▶ Await ──▶ Disconnect
//	                  ▲                  │
//	                  └──── Sleep ◀──────┘ wakes, and has what waited
package snclient
