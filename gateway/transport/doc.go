// Package transport carries the bytes of devices, whatever the wire: to the
// protocol engine, its [Handler], every connection is a [Conn].
//
//	                              tcp, tls, ws, wss,    Serve                 Dial
//	                              unix (Linux)          (and all elsewhere)
//	                                   │                      │                │
//	driver                          polled                 stream           inside
//	                             on an event loop     reading goroutine,  the client's
//	                                   │              writing while       own calls
//	                                   │              there is output
//	                                   └──────────┬───────────┴────────────────┘
//	input:  read, TLS ──► Conn.input ──► PROXY header ──► WebSocket ──► Handler.Receive
//	output: Begin, append, End ──► Conn.out ──► take (WebSocket frames) ──► TLS, write
//
// Datagrams come to a [DatagramHandler], from an [Endpoint]: a [UDP] socket
// with all its peers, or a session of DTLS with its only one.
//
//	UDP ──┬──────────────────────────────────────────────────► DatagramHandler
//	      └──► dtlsListener ──► dtlsPipe ──► pion/dtls ──► dtlsSession ──┘
//	           by address       what may                   (dtlsTrial until the
//	                            be believed                 handshake is over)
//
// # Event loops
//
// A loop waits in epoll for its share of the connections. In
// each round it reads once from every connection that has something, and then
// attends to every connection that got output by it, with one write that does
// not block; what the socket does not take waits until it is writable. A
// connection of another loop is put on that loop's list, and the loop is woken
// if it sleeps.
//
// Connections that bring or are sent much do not get all that in one round. They stand in
// one of two lines, of readers and of writers, and have turns, a few in each round.
//
// A TCP connection is accepted when its client has sent something, which one that speaks
// MQTT does at once. The loop that accepts it answers that, and hands it to the one whose
// turn it is, which it wakes only if something is left to be done.
//
// TLS is done on the loop as well: crypto/tls is given what was read, and what it
// writes is gathered. Only for the handshake, before which a PROXY header may come, the
// connection is lent to a goroutine, of which there are at most 128.
//
// A UDP socket has a goroutine of its own that takes up to 32 datagrams at once,
// and sends after each such batch what it was answered with, again at once.
//
// # Memory
//
// An idle connection on a loop holds nothing but its Conn, and 7 KB of crypto/tls where
// that is. There is one read
// buffer per loop; what the handler could not use yet, an incomplete packet,
// is kept with the Conn, in a buffer that grows with the bytes that have come
// and never with what they announce. Output lies in pooled buffers of up
// to 128 KB, unless one packet is larger, that go back when written. A stream holds a read buffer of 512 bytes, up to 16 KiB under
// load.
//
// # Locks and ownership
//
// The order is: Transport.mu, locks of the driver for callbacks (serial), locks
// of the handler, Conn.mu, locks of a loop. So the handler may call everything
// on any Conn while it holds its own locks; it is called with none of a Conn,
// and never twice at a time for one.
//
// Only its loop closes a descriptor, and only the reading goroutine of a stream
// leaves it; Close, Pause, Resume and End from elsewhere note what is wanted
// and poke the driver. A Conn goes through three states, forwards only:
//
//	open ── Close, error, end of input ──► closing ── output is gone, or 2 s ──► closed
//
// Receive is called in the first only, Closed on the way into the third. After
// that the socket waits, within the same two seconds, for the peer to close: if
// it were closed with bytes unread, the peer would be sent a reset, and might
// lose the reason that it was told last.
package transport
