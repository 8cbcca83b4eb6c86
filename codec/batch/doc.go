// Package batch puts many messages into the payload of one PUBLISH, compressed, and
// takes them out again. It is the one package that names zstd.
//
// # Format
//
// Whoever wants to send batches to Sluice, or to read its batches, has to know this:
//
//	PUBLISH of MQTT 5, any topic, Content Type "application/vnd.sluice.batch"
//	payload:
//	  version   1 byte    1
//	  packing   1 byte    0: the messages follow as they are; 1: as zstd frames (RFC 8878)
//	  messages            PUBLISH packets of MQTT 5, one behind the other, in order
//
// The packets are whole, with fixed header, topic, QoS, RETAIN, properties and payload.
// Their packet identifier is 1 at QoS 1 and 2, and means nothing; so does DUP. They have
// no Topic Alias and no Subscription Identifier. Their QoS counts no higher than that of
// the PUBLISH that brings them. The Message Expiry Interval is what is left when the batch
// is sent.
//
// A batch is at most 4096 messages, and they are at most 1 MiB before they are packed. If
// there is anything wrong with it nothing of it is taken: it is answered with reason code
// 0x99, Payload format invalid.
//
// Each message has to be allowed as if it came by itself. If some are not, the answer has
// the reason code that the first of them would get, such as 0x87, Not authorized, and a
// user property "sluice-batch" that says which, by their places in the batch from 0: "0 17".
// All others are taken then. A reason code of 0x80 and above without that property, which
// who asks for no problem information never gets, is for the batch as a whole: what is in
// it is to be sent again one by one.
//
// # Dictionaries
//
// What messages have in common need not go over the line at all if both ends have it: a
// file of up to 128 KiB with messages as they usually are, one behind the other, topics
// and all. It is used as a raw content dictionary of zstd. Its identifier, which stands in
// the zstd frame, is the CRC-32C of the file in its lower 31 bits, plus 32768 if that is
// less than 32768.
//
// # Who understands
//
// A server that unpacks batches says so in CONNACK by a user property "sluice-batch". Its
// value is the version, and the identifiers of the dictionaries that it has, in
// hexadecimal, with spaces between: "1 8d5f2a10 0badcafe".
package batch
