#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "link.h"

enum { TOPICS = 512, TEXT = 1400 };

static int t_retry = 10000, n_retry = 4;
static int last_id;         // message id of the last request
static int gone;            // the gateway has sent DISCONNECT
static long long left;      // when we last did
static char *names[TOPICS]; // of topics that the gateway or we registered
static int ids[TOPICS];     // theirs
static struct message in, out;

// Of messages at QoS 2 by message id: taken and not released, and when it was released. The
// network may bring a copy after that.
static uint8_t held[65536];
static long long released[65536];

void client_tune(int retry, int retries) {
	t_retry = retry;
	n_retry = retries;
}

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static int next_id(void) {
	last_id = last_id % 65535 + 1;
	return last_id;
}

// remember notes a topic's id, in place of what had either.
static void remember(int id, const char *name) {
	int at = 0;
	while (at < TOPICS - 1 && names[at] && ids[at] != id && strcmp(names[at], name))
		at++;
	free(names[at]);
	names[at] = strdup(name);
	ids[at] = id;
}

void client_forget(void) {
	for (int i = 0; i < TOPICS; i++) {
		free(names[i]);
		names[i] = NULL;
	}
}

static const char *name_of(int id) {
	for (int i = 0; i < TOPICS && names[i]; i++)
		if (ids[i] == id)
			return names[i];
	return NULL;
}

static int id_of(const char *name) {
	for (int i = 0; i < TOPICS && names[i]; i++)
		if (!strcmp(names[i], name))
			return ids[i];
	return 0;
}

static void send_ack(enum type type, int topic, int id, int code) {
	static struct message ack;
	begin(&ack, type);
	if (type == PUBACK || type == REGACK)
		put_word(&ack, topic);
	put_word(&ack, id);
	if (type == PUBACK || type == REGACK)
		put_byte(&ack, code);
	finish(&ack);
	link_send(ack.bytes, ack.length);
}

// take_publish prints a message, once if it is at QoS 2, and answers it.
static void take_publish(void) {
	char data[TEXT], number[32];
	int flags = byte_at(&in, 0), topic = word_at(&in, 1), id = word_at(&in, 3), qos = flags_qos((uint8_t)flags);
	const char *name = number;
	switch (flags & 3) {
	case NAME:
		if (!(name = name_of(topic))) {
			send_ack(PUBACK, topic, id, 2);
			return;
		}
		break;
	case SHORT:
		snprintf(number, sizeof number, "%c%c", topic >> 8, topic & 255);
		break;
	default:
		snprintf(number, sizeof number, "%d", topic);
	}
	text_at(&in, 5, data, sizeof data);
	int again = held[id] || (released[id] && now() - released[id] < t_retry);
	if (qos != 2 || !again)
		printf("message\t%s\t%d\t%d\t%s\n", name, qos, !!(flags & RETAIN), data);
	if (qos == 1)
		send_ack(PUBACK, topic, id, 0);
	if (qos == 2) {
		held[id] |= !again;
		send_ack(PUBREC, 0, id, 0);
	}
}

// take deals with a message that is no answer to a request.
static void take(void) {
	char text[TEXT];
	switch (type_of(&in)) {
	case PUBLISH:
		take_publish();
		break;
	case PUBREL:
		if (held[word_at(&in, 0)])
			released[word_at(&in, 0)] = now();
		held[word_at(&in, 0)] = 0;
		send_ack(PUBCOMP, 0, word_at(&in, 0), 0);
		break;
	case REGISTER:
		text_at(&in, 4, text, sizeof text);
		remember(word_at(&in, 0), text);
		send_ack(REGACK, word_at(&in, 0), word_at(&in, 2), 0);
		break;
	case PINGREQ:
		begin(&out, PINGRESP);
		finish(&out);
		link_send(out.bytes, out.length);
		break;
	case PUBACK: // of a message at QoS 0
		if (return_code(&in))
			printf("refused\t%d\n", return_code(&in));
		break;
	case DISCONNECT:
		if (left && now() - left < t_retry)
			break; // a copy of the answer to ours
		gone = 1;
		printf("gone\n");
		break;
	default: // a late repeat
		break;
	}
}

// hear takes the next datagram into in, waiting for it: 1 if there was a message.
static int hear(int milliseconds) {
	size_t n = link_receive(in.bytes, sizeof in.bytes, milliseconds);
	return n > 0 && parse(&in, n) == 0;
}

void client_hear(void) {
	while (hear(0))
		take();
}

// ask sends the request again and again until an answer comes, of type either or or,
// to message id, if it is not -1. The answer is in in; the outcome is its return
// code. A request with flags gets DUP when it is repeated.
static int ask(struct message *request, enum type either, enum type or, int id) {
	finish(request);
	gone = 0;
	for (int try = 0; try <= n_retry; try++) {
		link_send(request->bytes, request->length);
		if (type_of(request) == PUBLISH || type_of(request) == SUBSCRIBE)
			request->bytes[request->body] |= DUP;
		for (long long until = now() + t_retry, left; (left = until - now()) > 0;) {
			if (!hear((int)left))
				continue;
			enum type type = type_of(&in);
			if ((type == either || type == or) && (id < 0 || message_id(&in) < 0 || message_id(&in) == id))
				return return_code(&in);
			take();
			if (gone)
				return GONE;
			if (type == PUBLISH || type == REGISTER || type == PUBREL)
				try = 0; // it is there
		}
	}
	return SILENT;
}

static struct message request;

static struct message *will_topic(enum type type, const char *topic, int qos, int retain) {
	begin(&request, type);
	if (*topic) {
		put_byte(&request, qos_flags(qos) | (retain ? RETAIN : 0));
		put_text(&request, topic);
	}
	return &request;
}

static struct message *will_message(enum type type, const char *message) {
	begin(&request, type);
	put_text(&request, message);
	return &request;
}

int client_connect(const char *id, int clean, int duration, const struct will *will) {
	begin(&request, CONNECT);
	put_byte(&request, (clean ? CLEAN : 0) | (will->topic ? WILL : 0));
	put_byte(&request, 1);
	put_word(&request, duration);
	put_text(&request, id);
	if (!will->topic)
		return ask(&request, CONNACK, CONNACK, -1);
	int outcome = ask(&request, WILLTOPICREQ, CONNACK, -1);
	if (outcome == 0 && type_of(&in) == WILLTOPICREQ)
		outcome = ask(will_topic(WILLTOPIC, will->topic, will->qos, will->retain), WILLMSGREQ, CONNACK, -1);
	if (outcome == 0 && type_of(&in) == WILLMSGREQ)
		outcome = ask(will_message(WILLMSG, will->message), CONNACK, CONNACK, -1);
	return outcome;
}

int client_register(const char *topic, int *id) {
	begin(&request, REGISTER);
	put_word(&request, 0);
	put_word(&request, next_id());
	put_text(&request, topic);
	int outcome = ask(&request, REGACK, REGACK, last_id);
	if (outcome == 0)
		remember(*id = word_at(&in, 0), topic);
	return outcome;
}

// put_topic appends the id of a topic that is not a name.
static void put_topic(enum kind kind, const char *topic) {
	if (kind == SHORT)
		put_word(&request, topic[0] << 8 | (uint8_t)topic[1]);
	else
		put_word(&request, atoi(topic));
}

int client_subscribe(enum kind kind, const char *topic, int qos, int *granted) {
	begin(&request, SUBSCRIBE);
	put_byte(&request, qos_flags(qos) | kind);
	put_word(&request, next_id());
	if (kind == NAME)
		put_text(&request, topic);
	else
		put_topic(kind, topic);
	int outcome = ask(&request, SUBACK, SUBACK, last_id);
	*granted = flags_qos((uint8_t)byte_at(&in, 0));
	if (outcome == 0 && kind == NAME && word_at(&in, 1))
		remember(word_at(&in, 1), topic);
	return outcome;
}

int client_unsubscribe(enum kind kind, const char *topic) {
	begin(&request, UNSUBSCRIBE);
	put_byte(&request, kind);
	put_word(&request, next_id());
	if (kind == NAME)
		put_text(&request, topic);
	else
		put_topic(kind, topic);
	return ask(&request, UNSUBACK, UNSUBACK, last_id);
}

int client_publish(enum kind kind, const char *topic, int qos, int retain, const char *data) {
	begin(&request, PUBLISH);
	put_byte(&request, qos_flags(qos) | (retain ? RETAIN : 0) | kind);
	if (kind != NAME)
		put_topic(kind, topic);
	else if (id_of(topic))
		put_word(&request, id_of(topic));
	else
		return UNKNOWN;
	put_word(&request, qos > 0 ? next_id() : 0);
	put_text(&request, data);
	if (qos <= 0) {
		finish(&request);
		link_send(request.bytes, request.length);
		return 0;
	}
	int outcome = ask(&request, PUBACK, qos == 2 ? PUBREC : PUBACK, last_id);
	if (outcome || type_of(&in) == PUBACK)
		return outcome;
	begin(&request, PUBREL);
	put_word(&request, last_id);
	return ask(&request, PUBCOMP, PUBCOMP, last_id);
}

int client_will_topic(const char *topic, int qos, int retain) {
	return ask(will_topic(WILLTOPICUPD, topic, qos, retain), WILLTOPICRESP, WILLTOPICRESP, -1);
}

int client_will_message(const char *message) {
	return ask(will_message(WILLMSGUPD, message), WILLMSGRESP, WILLMSGRESP, -1);
}

int client_wake(const char *id) {
	begin(&request, PINGREQ);
	put_text(&request, id);
	return ask(&request, PINGRESP, PINGRESP, -1);
}

int client_ping(void) { return client_wake(""); }

static int leave(int duration) {
	begin(&request, DISCONNECT);
	if (duration)
		put_word(&request, duration);
	int outcome = ask(&request, DISCONNECT, DISCONNECT, -1);
	left = now();
	return outcome;
}

int client_sleep(int duration) { return leave(duration); }

int client_disconnect(void) { return leave(0); }
