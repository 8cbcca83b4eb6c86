// A device that does what it is told, for a test:
//
//	device HOST PORT T_RETRY N_RETRY [IDENTITY KEY]
//
// with an address in numbers, milliseconds, and for DTLS a pre-shared key in hex.
// Commands come from the standard input, answers and messages go to the standard
// output, each a line of fields with a tab between:
//
//	connect  id clean duration [will-topic will-QoS will-retain will-message]
//	register  topic
//	subscribe  name|short|predefined topic QoS
//	unsubscribe  name|short|predefined topic
//	publish  name|short|predefined topic QoS retain data
//	willtopic  [topic QoS retain]
//	willmessage  data
//	ping
//	sleep  seconds
//	wake  id
//	deaf  milliseconds
//	forget
//	open
//	disconnect
//
//	ok  [id, after register; QoS, after subscribe]
//	error  return code, or a word
//	message  topic QoS retain data
//	refused  return code
//	gone
//
// A name is registered before it is published to. While it sleeps it hears nothing. It
// ends when its input does.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "link.h"

enum { FIELDS = 8 };

static char **args;
static char *f[FIELDS]; // the fields of the command
static int asleep;
static int told; // what goes with an ok

static enum kind kind_of(const char *word) {
	return !strcmp(word, "short") ? SHORT : !strcmp(word, "predefined") ? PREDEFINED : NAME;
}

static int do_connect(void) {
	struct will will = {0};
	if (*f[4])
		will = (struct will){.topic = f[4], .qos = atoi(f[5]), .retain = atoi(f[6]), .message = f[7]};
	asleep = 0;
	return client_connect(f[1], atoi(f[2]), atoi(f[3]), &will);
}

static int do_register(void) { return client_register(f[1], &told); }
static int do_subscribe(void) { return client_subscribe(kind_of(f[1]), f[2], atoi(f[3]), &told); }

static int do_unsubscribe(void) {
	return client_unsubscribe(kind_of(f[1]), f[2]);
}

static int do_publish(void) {
	return client_publish(kind_of(f[1]), f[2], atoi(f[3]), atoi(f[4]), f[5]);
}

static int do_willtopic(void) {
	return client_will_topic(f[1], atoi(f[2]), atoi(f[3]));
}

static int do_willmessage(void) {
	return client_will_message(f[1]);
}

static int do_ping(void) {
	return client_ping();
}

static int do_sleep(void) {
	int outcome = client_sleep(atoi(f[1]));
	asleep = outcome == 0;
	return outcome;
}

// miss loses what came while the receiver was off.
static void miss(void) {
	uint8_t b[1500];
	while (link_receive(b, sizeof b, 0) > 0)
		;
}

static int do_wake(void) {
	miss();
	return client_wake(f[1]);
}

static int do_deaf(void) {
	poll(NULL, 0, atoi(f[1]));
	miss();
	return 0;
}

static int do_forget(void) {
	client_forget();
	return 0;
}

static int do_open(void) {
	return link_open(args[1], args[2], args[5], args[5] ? args[6] : NULL) ? SILENT : 0;
}

static int do_disconnect(void) {
	asleep = 0;
	return client_disconnect();
}

static const struct {
	const char *name;
	int (*run)(void);
} commands[] = {
	{"connect", do_connect},         {"register", do_register},   {"subscribe", do_subscribe},
	{"unsubscribe", do_unsubscribe}, {"publish", do_publish},     {"willtopic", do_willtopic},
	{"willmessage", do_willmessage}, {"ping", do_ping},           {"sleep", do_sleep},
	{"wake", do_wake},               {"deaf", do_deaf},           {"forget", do_forget},
	{"open", do_open},               {"disconnect", do_disconnect},
};

static void answer(int outcome) {
	switch (outcome) {
	case 0:
		printf("ok\t%d\n", told);
		break;
	case SILENT:
		printf("error\tsilent\n");
		break;
	case GONE:
		printf("error\tgone\n");
		break;
	case UNKNOWN:
		printf("error\tunknown topic\n");
		break;
	default:
		printf("error\t%d\n", outcome);
	}
}

// obey runs a command.
static void obey(char *line) {
	line[strcspn(line, "\n")] = 0;
	for (int i = 0; i < FIELDS; i++)
		f[i] = line ? strsep(&line, "\t") : "";
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(f[0], commands[i].name)) {
			told = 0;
			answer(commands[i].run());
			return;
		}
	printf("error\tno such command\n");
}

int main(int argc, char **argv) {
	static char line[4096];
	if (argc < 5) {
		fprintf(stderr, "device HOST PORT T_RETRY N_RETRY [IDENTITY KEY]\n");
		return 2;
	}
	args = argv;
	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0); // so that poll sees what is not read yet
	client_tune(atoi(argv[3]), atoi(argv[4]));
	if (link_open(argv[1], argv[2], argc > 6 ? argv[5] : NULL, argc > 6 ? argv[6] : NULL))
		return 3;
	for (;;) {
		struct pollfd p[] = {{.fd = 0, .events = POLLIN}, {.fd = link_fd(), .events = POLLIN}};
		if (poll(p, asleep ? 1 : 2, -1) < 0)
			return 1;
		if (!asleep && p[1].revents)
			client_hear();
		if (p[0].revents) {
			if (!fgets(line, sizeof line, stdin))
				return 0;
			obey(line);
			if (!asleep)
				client_hear(); // what the link has taken from the system already
		}
	}
}
