// Messages of MQTT-SN 1.2 in bytes: section 5 of the specification.
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stddef.h>
#include <stdint.h>

enum type {
	CONNECT = 0x04,
	CONNACK = 0x05,
	WILLTOPICREQ = 0x06,
	WILLTOPIC = 0x07,
	WILLMSGREQ = 0x08,
	WILLMSG = 0x09,
	REGISTER = 0x0A,
	REGACK = 0x0B,
	PUBLISH = 0x0C,
	PUBACK = 0x0D,
	PUBCOMP = 0x0E,
	PUBREC = 0x0F,
	PUBREL = 0x10,
	SUBSCRIBE = 0x12,
	SUBACK = 0x13,
	UNSUBSCRIBE = 0x14,
	UNSUBACK = 0x15,
	PINGREQ = 0x16,
	PINGRESP = 0x17,
	DISCONNECT = 0x18,
	WILLTOPICUPD = 0x1A,
	WILLTOPICRESP = 0x1B,
	WILLMSGUPD = 0x1C,
	WILLMSGRESP = 0x1D,
};

enum flag { DUP = 0x80, RETAIN = 0x10, WILL = 0x08, CLEAN = 0x04 };
enum kind { NAME = 0, PREDEFINED = 1, SHORT = 2 };

static inline uint8_t qos_flags(int qos) { return (uint8_t)((qos & 3) << 5); }
static inline int flags_qos(uint8_t flags) { return (flags >> 5 & 3) == 3 ? -1 : flags >> 5 & 3; }

// A message: built up by begin and put, or taken from a datagram by parse.
struct message {
	uint8_t bytes[1400];
	size_t length; // of bytes
	size_t body;   // where the body begins
};

void begin(struct message *m, enum type type);
void put_byte(struct message *m, int v);
void put_word(struct message *m, int v);
void put_text(struct message *m, const char *text);

// finish writes the length, in three bytes if it takes them.
void finish(struct message *m);

// parse looks at a datagram that is in m: 0 if it is a message as long as it says.
int parse(struct message *m, size_t length);

enum type type_of(const struct message *m);
size_t body_length(const struct message *m);

// Fields of the body, at an offset: 0 if it is too short.
int byte_at(const struct message *m, size_t at);
int word_at(const struct message *m, size_t at);

// text_at copies what is left from an offset on, and ends it with a 0.
void text_at(const struct message *m, size_t at, char *text, size_t size);

// message_id is that of an answer, -1 if its type has none.
int message_id(const struct message *m);

// return_code is that of an answer, 0 if its type has none.
int return_code(const struct message *m);

#endif
