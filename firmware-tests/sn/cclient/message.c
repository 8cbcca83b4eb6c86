#include "message.h"

#include <string.h>

// Room for the long length is kept in front; finish closes it if it is not needed.
enum { LONG = 4, SMALL = 2 };

void begin(struct message *m, enum type type) {
	m->body = m->length = LONG;
	m->bytes[LONG - 1] = (uint8_t)type;
}

void put_byte(struct message *m, int v) {
	if (m->length < sizeof m->bytes)
		m->bytes[m->length++] = (uint8_t)v;
}

void put_word(struct message *m, int v) {
	put_byte(m, v >> 8);
	put_byte(m, v);
}

void put_text(struct message *m, const char *text) {
	for (; *text; text++)
		put_byte(m, *text);
}

void finish(struct message *m) {
	size_t n = m->length - LONG; // of the body
	if (n + SMALL < 256) {
		memmove(m->bytes + 1, m->bytes + LONG - 1, n + 1);
		m->body = SMALL;
		m->length = n + SMALL;
		m->bytes[0] = (uint8_t)m->length;
		return;
	}
	m->bytes[0] = 1;
	m->bytes[1] = (uint8_t)(m->length >> 8);
	m->bytes[2] = (uint8_t)m->length;
}

int parse(struct message *m, size_t length) {
	m->length = length;
	if (length >= LONG && m->bytes[0] == 1) {
		m->body = LONG;
		return (size_t)(m->bytes[1] << 8 | m->bytes[2]) == length ? 0 : -1;
	}
	m->body = SMALL;
	return length >= SMALL && m->bytes[0] == length ? 0 : -1;
}

enum type type_of(const struct message *m) { return m->bytes[m->body - 1]; }

size_t body_length(const struct message *m) { return m->length - m->body; }

int byte_at(const struct message *m, size_t at) { return at < body_length(m) ? m->bytes[m->body + at] : 0; }

int word_at(const struct message *m, size_t at) { return byte_at(m, at) << 8 | byte_at(m, at + 1); }

void text_at(const struct message *m, size_t at, char *text, size_t size) {
	size_t n = body_length(m) > at ? body_length(m) - at : 0;
	if (n > size - 1)
		n = size - 1;
	memcpy(text, m->bytes + m->body + at, n);
	text[n] = 0;
}

int message_id(const struct message *m) {
	switch (type_of(m)) {
	case REGACK:
	case PUBACK:
		return word_at(m, 2);
	case SUBACK:
		return word_at(m, 3);
	case UNSUBACK:
	case PUBREC:
	case PUBCOMP:
		return word_at(m, 0);
	default:
		return -1;
	}
}

int return_code(const struct message *m) {
	switch (type_of(m)) {
	case CONNACK:
	case WILLTOPICRESP:
	case WILLMSGRESP:
		return byte_at(m, 0);
	case REGACK:
	case PUBACK:
		return byte_at(m, 4);
	case SUBACK:
		return byte_at(m, 5);
	default:
		return 0;
	}
}
