// Package codec turns MQTT 3.1, 3.1.1 and 5.0 packets into bytes and back,
// and holds the grammar of topics.
//
// A packet is a fixed header, fields in an order of its type, and for some
// types a payload. This is a PUBLISH of MQTT 5.0:
//
//	32 12            3_ = PUBLISH, _2 = QoS 1; 18 bytes follow (Remaining Length)
//	   0003 612f62   topic name: length, then "a/b"
//	   0007          packet identifier, above QoS 0 only
//	   05            length of the properties, 5.0 only
//	      02 0000003c   02 = Message Expiry Interval, 60 seconds
//	   68656c6c6f    payload: whatever is left, "hello"
//
// Each packet is a type with two verbs, in a file of its own. Decoding looks
// at the bytes it is given: the byte fields of a decoded packet are views of
// them. Encoding appends to a slice and cannot fail. Neither allocates on the
// way of PUBLISH and its acknowledgements.
//
// A property is a field of the packets that may carry it. Codes are those of
// MQTT 5.0 throughout; Append and Decoder translate for the older versions.
//
// # A new property
//
//  1. Give it a name in property.go.
//  2. Add a field to the packets that carry it, and a case to the switch of
//     their decode: the switch is the table of what is allowed where.
//  3. Add it to their Append, and to the packets in the test data.
//
// # Judgements
//
// Where the specifications leave a choice, this package decides:
//
//   - Control characters and Unicode noncharacters are accepted in strings.
//     Devices in the field send them; U+0000 alone is refused.
//   - Remaining Length in more bytes than needed is refused in 5.0, which says
//     so, and accepted before, where no rule forbids it.
//   - A wildcard in a topic name, a Will topic or a response topic is a
//     Protocol Error, not Topic Name invalid: that one is for names that are
//     well formed but unwelcome.
//   - An empty response topic is refused: it is a topic name, and these have
//     at least one character.
//   - A filter in SUBSCRIBE and UNSUBSCRIBE is checked as a string only. A bad
//     one is an answer in SUBACK rather than the end of the connection, so
//     the server calls [ValidFilter].
//   - No Local on a shared subscription ends the connection, as the text says.
//   - Payload Format Indicator and Message Expiry Interval twice in PUBLISH, and
//     an indicator above 1, are Protocol Errors, like their kin.
//   - DUP at QoS 0 is malformed in every version.
//   - AUTH of length 0 is a Protocol Error. The text has it as a short form of
//     Success, but asks for an authentication method too, which it cannot hold.
//   - An unknown protocol name is answered in CONNACK like an unknown level:
//     who speaks some MQTT learns why it is closed.
//   - Whether a payload is the UTF-8 its indicator promises is not looked at.
//   - No matching subscribers is accepted in acknowledgements of both sides,
//     though only a server has a use for it.
//   - MQTT 3.1: the client identifier may be longer than 23 bytes, as almost
//     every server has it. A password needs a user name. Byte 1 of
//     CONNACK is reserved, and ignored. Failure 0x80 in SUBACK, which
//     3.1.1 brought, is written and read.
//
// What depends on the packets before is the caller's to see: a second CONNECT,
// a topic alias that is not set or above the maximum, an expiry raised by
// DISCONNECT, AUTH without a method agreed in CONNECT.
package codec
