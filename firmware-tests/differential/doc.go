// Package differential plays random conversations at Sluice and at Mosquitto and
// compares what every client gets. What the specification leaves free is levelled
// first: compare.go has the table, with the clauses.
//
//	go test ./differential                      some hundreds of conversations
//	go test ./differential -v -duration=5m      as many as go into five minutes
//	go test ./differential -v -seed=4711        one conversation, again
//
// A conversation is a list of steps. Each is one that a client may take at that
// point (state.go), and is over when both brokers have nothing more to say to
// anybody (player.go). A conversation that ends differently is shrunk and printed.
package differential
