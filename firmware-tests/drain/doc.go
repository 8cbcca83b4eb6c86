// Package drain measures what a bridge makes of a backlog: how fast it goes up and
// what that costs, beside Mosquitto bridging the same to the same upstreams; over a
// line with a long round trip; what it takes in memory while it waits; how soon the
// gateway is back; and what an idle bridge wakes for.
//
//	go test -v ./drain                   small, what is not robust is told only
//	go test -v ./drain -messages 1000000
//
// The backlog is made of one publisher's messages at QoS 1, the first and the last of
// them under names of their own: at the upstream the time between these is the drain.
package drain
