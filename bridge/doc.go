// Package bridge carries messages between the gateway and one upstream server.
//
// A bridge is a durable session of the gateway whose link dials out. It holds
// two MQTT connections and hands packets from one to the other:
//
//	gateway ── local, in the process, MQTT 5 ──┐
//	                                           │  PUBLISH 7   t             its name there
//	                                up loop ───┼─────────────────────────────────────▶
//	                                           │  PUBACK 7
//	                              down loop ◀──┼──────────────────────────────────────
//	                                           │
//	upstream ── network, MQTT 5 or 3.1.1 ──────┘
//
// # Who keeps what
//
// Packet identifiers pass through as they are, in both directions, and so do
// acknowledgements: a message that goes up stays in the gateway's queue until
// the upstream has acknowledged it, one that comes down stays with the upstream
// until the gateway has it on disk. The bridge keeps no message and no state
// of QoS 2; either connection may break at any step and both are made anew.
// The upstream is connected first, the gateway only then, so that a queue
// begins to move when there is somewhere to go.
//
// The bridge answers for a side in these cases only:
//   - What the other side can never take (a topic whose name there is empty or
//     longer than 65535 bytes, a packet larger than the receiver's Maximum Packet
//     Size), and what has passed too many bridges, is refused with a reason code, counted and logged, so that the queue goes on.
//     What it can not take now (0x97, quota exceeded) ends the link, and is sent
//     again after a pause.
//   - Where the upstream's Maximum QoS, or the rule's, is lower than the message's,
//     the message goes up at that, and the steps then missing are answered here.
//   - When the upstream has lost its session, the gateway is told to forget the
//     identifiers of QoS 2 messages that it still waits to see released: the
//     new session gives them to new messages. What had gone up and is not
//     acknowledged goes up again as new, without DUP; what was only to be
//     released is done. After a CONNECT without an answer, in which the upstream
//     may have said so, and in a new process, as the last one may have ended just
//     then, the gateway is told that of each identifier which comes with a message
//     that does not come again, by DUP.
//   - When the upstream has a session and the gateway has just made its own, as
//     with a new disk, that session is another's past: the bridge hangs up and
//     asks for a new one, in MQTT 5. Else identifiers of that past would be
//     taken for those of new messages.
//
// # What an upstream does not say
//
// Two faults would have messages wait for ever and nobody know. An upstream that answers QoS 2
// with PUBACK, as RabbitMQ does, can not take a message exactly once. That is not taken for
// less here: the link ends, and for an hour nothing at QoS 2 goes up to that server; then one
// message does, to see. And if an upstream ends the connection for a message that it does not
// take, without a word, that message comes again on each link and nothing behind it moves. A
// message that was the first on three links and not acknowledged on them is sent alone on the
// next; if that ends as well, Status.Err names it. It stays where it is: see suspect.go.
//
// # Topics
//
// A rule's filter is written in the names of the side that the messages come from.
// The first rule that matches a topic says what it is called on the other side: the
// prefix and the topic, or what stands behind the arrow. With Up "sensors/+/temp" to
// "site7/$1/t", sensors/3/temp arrives upstream as site7/3/t. With Down "site7/cmd/#"
// and DownPrefix "cloud/", site7/cmd/1 arrives here as cloud/site7/cmd/1. What waits
// since its filter was taken out goes under the prefix. A filter taken out of Down is
// unsubscribed where a server's session may have it, as far as Config.File tells.
//
// A rule's QoS is the highest. Nothing is raised: QoS 0 has no packet identifier to
// pass through. On the way up, what matches a later rule as well, at a higher QoS,
// waits in the gateway at that one, and the steps then missing are answered here. On the
// way down it is that of the subscription, and the upstream keeps to it.
//
// A rule with EndToEnd changes nothing here: it is the gateway that lets the publisher
// wait for the acknowledgements that pass through. What a bridge answers in place of the
// upstream then is a refusal, or said where the rule that counts lowers the QoS to 0.
//
// A Response Topic goes by the rules of the other way, backwards: what is published
// there then comes back here under the name it had. One that no rule makes is carried
// as it is, and counted.
//
// # Loops
//
// What came down does not go up again with the same bridge, since the gateway obeys
// No Local; nor does what went up come down, from an upstream of MQTT 5. From one of
// 3.1.1 it does if a filter of Down matches it, but is known again and dropped: see
// echoes, and what they can not do. CheckTopics refuses rules that lead through
// several bridges to one server and back. Against circles that no one gateway sees,
// each bridge counts itself in a user property, sluice-hops, and drops what has passed
// Config.MaxHops. MQTT 3.1.1 does not carry the count: a circle of such bridges only,
// through servers with different addresses, is not noticed.
//
// # Retained messages
//
// RETAIN is carried as it was published, or as the rule says. What is retained on a
// side goes over once for each session of the upstream: when that is new, all that the
// filters of both ways match; later what a filter matches that was added since. The
// gateway does not give back what this bridge brought, and what an upstream of MQTT 5
// gives back of what this bridge sent is known by the mark beside its hops: either might
// be older than what is there. An upstream of 3.1.1 has to be subscribed to anew by
// each process, and sends what it retains each time; where a bridge brings down what it
// sends up, that may be older than what is here.
//
// # Properties
//
// Between MQTT 5 and MQTT 5 all properties of a message pass, the Response Topic
// renamed, sluice-hops counted. The Message Expiry Interval is what is left of it: the
// gateway counts it down while the message waits, and drops what has expired.
//
// An upstream that sends more than Receive Maximum is hung up on, but not in a session
// that it resumes: Mosquitto 2.0 then sends again all that was under way and goes
// on with new messages, and would do so each time. What is too much waits here.
//
// # Several servers
//
// Of a list of servers the bridge connects to the first that accepts. While it is
// with a later one it looks aside, as another client, whether an earlier one takes
// clients again; then it finishes what is under way upwards and goes back. A server
// may send it on to another (Server Reference, alternate server), for as long as
// that link lasts or for as long as the process does, within an allow-list.
//
// Exactly once is a promise of two sessions: the gateway's, and that of the server. As
// long as both go on it holds, over every break and change of servers: the nodes
// of a cluster that shares sessions are one server to the bridge. Where the next
// server does not share the session, nobody can know what of the window (see Speed; down
// MaxInflight messages) the last one had taken: that is sent again as new, and may
// arrive at both. Nothing is lost: the session of a server that has been left is
// behind, and identifiers which it still holds are released before they are used
// again. Which server's session goes on is told by Session Present, and outlives the
// process in Config.File: see lineage in server.go. A session found at several servers
// is behind at each of them once another server has begun a new one. A change of URL or
// ClientID is a change of servers as well; Finish ends what is under way before it.
//
// # Keep-alive
//
// An upstream that owes an answer is given AckTimeout to say anything at all; one
// that owes nothing is asked by PINGREQ after three quarters of the keep-alive.
// That is the upstream's, if it names one. With AutoKeepAlive the bridge asks for
// the longest there is, and is silent for as long as it finds the path to survive:
// see quiet.go.
//
// # Speed
//
// How many messages are under way to the upstream at a time, at QoS 1 and 2, the bridge finds
// out, within what the upstream grants: see pace.go. The gateway is told by Config.Window.
//
// While the upstream owes half a window of acknowledgements, those that come go to the
// gateway together, within a millisecond: then many messages follow in one write, and
// the upstream still has the other half to go on with. A small step costs each side
// a system call and a change of tasks, several times what a message does.
//
// # Batches
//
// What matches a rule with Batch waits, at QoS 0 and 1, for others to go up with it in
// one publish, compressed; package batch has the format. It is sent when its first message
// has waited for the rule's time or half of its expiry interval, when it holds half of
// the window or 256 KiB, or when a message that has to go by itself comes behind, so that
// order is kept. A batch is published under the prefix and sluice-batch, with the packet
// identifier of its first message at QoS 1. None of its messages is acknowledged to the
// gateway before the upstream has acknowledged the batch: when a link ends, all of them
// come again on the next, perhaps cut in another way. So messages at QoS 2, of which
// none may come twice, are never batched.
//
// Batches go to upstreams of MQTT 5 that say in CONNACK that they take them, as a gateway
// does where Config.Batches.Unpack is set, or unasked. An upstream may refuse some of the
// messages and say which: these are lost, each for itself. If a batch is refused as a whole
// the link ends, and for an hour messages go by themselves: each is then taken or refused
// on its own.
//
// # Versions
//
// A bridge asks for MQTT 5. An upstream that refuses it (reason 0x84 or return
// code 1) or hangs up on the CONNECT is asked at once for 3.1.1 and, if that is
// answered, on every reconnect of the next hour; the first one after that asks
// for 5 again. To 3.1.1 go no properties: of message expiry, content type, response
// topic and the like the upstream then hears nothing.
package bridge
