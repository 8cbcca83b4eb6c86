// Package abuse shows that those who behave are served as ever while others do not:
// readers that do not read, segments of one byte, frames of one byte, topics of 65,000
// levels, packets as large as allowed or larger, everybody subscribed to everything.
//
//	go test ./abuse -v                    what it costs the others, and in memory
//	go test ./abuse -v -strict -for 10s   on a machine of one's own: latency has a bound, too
//
// What holds everywhere: nothing that the well-behaved send is lost or comes in
// another order, and the gateway keeps to the memory of a small box.
package abuse
