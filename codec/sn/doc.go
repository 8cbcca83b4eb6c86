// Package sn turns the messages of MQTT-SN 1.2 into bytes and back: MQTT for
// devices that sleep, over datagrams.
//
// A message is a length, a type, and fields in an order of its type. This is a
// PUBLISH:
//
//	0b         11 bytes in all, this one counted
//	0c         PUBLISH
//	20         flags: QoS 1, the topic id is a normal one
//	0005       topic id, or the two bytes of a short topic name
//	0007       message id, 0 at QoS 0 and -1
//	32312e35   data: whatever is left, "21.5"
//
// From 256 bytes on, the length takes three bytes: 01 and two of length, which
// counts all three. Strings have no length of their own: one ends where its
// message does, and so a message has one at most.
//
// A datagram is one message, or one that a forwarder wrapped: a header that
// ends with the node's address, and the node's message behind it, which the
// header's length does not count:
//
//	06 fe 00 aabbcc   6 bytes, encapsulation, control, wireless node id
//	02 16             PINGREQ, of the node
//
// [CutForward] takes the two apart.
//
// Each message is a type with two verbs, in a file of its own. Decoding looks
// at the datagram it is given: the byte fields of a decoded message are views of
// it. Encoding appends to a slice and cannot fail. Neither allocates.
//
// # What Decode refuses
//
// An error of [Decoder.Decode] and [CutForward] is a fault of form: the datagram
// is not a message, there is nothing to answer and nobody to answer it to. Drop
// it in silence. These are: a length other than the datagram's, a field cut
// short or bytes behind the last one, a reserved type, no topic where there has
// to be one, a predefined topic id or a short name that is not two bytes, an
// encapsulation in an encapsulation.
//
// What can be parsed is handed on, even where its content breaks a rule, since
// most of these rules have an answer of their own, which only the state of the
// session gives:
//
//   - a CONNECT with another ProtocolID than 1, or a ClientID of no bytes or of
//     more than 23,
//   - a MessageID of 0 where there has to be one, a TopicID of 0 or 0xffff,
//   - TopicIDType 3, which is reserved: in SUBSCRIBE and UNSUBSCRIBE the bytes
//     are then in Topic,
//   - QoS -1 with a normal topic id, in SUBSCRIBE, or in a Will, where it is 3,
//   - a topic that is not UTF-8, or has a wildcard where none may be, also in a
//     short name,
//   - a reserved ReturnCode,
//   - a message that the sender's side never sends, such as a CONNACK from a
//     client.
//
// # Judgements
//
// Where the specification leaves a choice, this package decides:
//
//   - The long form of the length is read in messages of less than 256 bytes,
//     and never written for them.
//   - Flags without a meaning in a message are ignored, and written as 0.
//   - WILLTOPIC and WILLTOPICUPD with flags and no topic are read as the empty
//     ones, which delete the Will: there is nothing else they could mean.
//   - The header of an encapsulation has a length of one byte.
package sn
