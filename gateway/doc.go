// Package gateway is the MQTT server that devices speak to: sessions, routing,
// retained messages, wills. It knows no sockets and no files.
//
// The way of one PUBLISH:
//
//	device socket
//	  │ transport: bytes, whatever the wire
//	  ▼
//	conn.receive        codec.Decoder makes packets of bytes: views, valid until the next packet
//	  ▼
//	conn.publish        quota, alias, QoS 2 duplicate, access                       publish.go
//	  ▼
//	Server.route        who wants it; cached by topic until a subscription changes  route.go
//	  ▼
//	session.deliver     sent at once if the window is open, else it waits in the queue; deliver.go
//	  │                 for a durable session it is staged for the disk as well
//	  ▼
//	store               one commit for all that was staged meanwhile
//	  ▼
//	conn.releaseAcks    PUBACK and PUBREC leave when every durable recipient has the message   acks.go
//	                    on disk, or has acknowledged it already, whichever comes first;
//	                    where a rule says so, when an upstream has it, and not before    receipt.go
//
// There are few ideas. A session is what the server knows of a client; it outlives
// connections, has no goroutine and does no I/O. A conn is what is attached to a
// session now. A store.Queue is the durable order of messages that wait for one
// session. An offline device and a bridge whose upstream is out of reach are the
// same thing: a session whose queue waits.
//
// # Locking
//
// All protocol state is guarded by Server.mu: one lock, held for the packets of one
// read and never across I/O. Below it come the locks of transport.Conn (its output)
// and store.DB (what is staged); neither calls back while it holds its own.
//
// # Time
//
// Server.now is read once per call from outside. It is the store's clock: monotonic,
// it stands still while the program is down and goes on after a restart, so that
// expiries survive a box whose wall clock jumps by years when NTP arrives.
//
// # Judgements
//
// Where the specifications leave a choice open, this package has made it:
//   - An invalid topic filter, a share name included, is answered by SUBACK 0x8F in
//     MQTT 5: what else the client has goes on. A 3.1 or 3.1.1 client is closed, since
//     there a filter breaks a rule like any other.
//   - $share works for 3.1.1 clients too.
//   - Overlapping subscriptions of one client get one copy of a message, at the
//     highest QoS, with all subscription identifiers.
//   - QoS 2 messages are routed on PUBLISH, not on PUBREL.
//   - A retained message at QoS 0 is on disk within a second: nobody is told that it is,
//     and of a value that changes all the time only the last is worth a write.
//   - QoS 0 messages are not kept for a client that is away, nor for one that does
//     not read; both are counted.
//   - A 3.1.1 client that may not publish to a topic gets its acknowledgement, since
//     3.1.1 has no other answer than closing; the message is dropped and counted.
//   - Devices may not publish to topics that begin with $, but to $CONTROL/ if they are
//     let in with an account that may write there, or where there are no accounts, from
//     this machine. What they publish there is for the gateway only.
//   - Where a publisher waits for an upstream, acknowledgements of its other messages go
//     before in MQTT 5 and MQTT-SN, and wait behind in 3.1.1, whose order binds servers
//     too. What the upstream refuses is told with its reason; to a 3.1.1 client it is
//     acknowledged, dropped and counted. A PUBLISH with DUP under the identifier of one
//     that waits, on the same connection, is that one.
//   - A QoS 2 message for a durable session is sent only once it is on disk. Its
//     packet identifier lives on in the receiver until PUBREL, so a crash must not
//     forget that it was used.
//   - Enhanced authentication is SCRAM-SHA-256 by the accounts. Any other method, and
//     any where there are no accounts, is answered by CONNACK 0x8C. Who names the
//     method without data is asked for the first message by an AUTH with empty data.
//   - The user is who SCRAM proves. A User Name in the same CONNECT has to be the same,
//     and so has an authorization identity; a Password beside is not looked at.
//   - A wrong proof is answered like a wrong password, by CONNACK 0x86; an account that
//     is not there like a wrong proof. DISCONNECT has 0x87 for both.
//   - Who authenticates again stays who they are: another user is refused with 0x87. No
//     time is set for it, as the client goes on under its first proof meanwhile.
//   - AUTH with another method than in CONNECT, or out of turn, is a Protocol Error.
package gateway
