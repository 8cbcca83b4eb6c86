// Plays one client of libmosquitto for a test, see process_test.go.
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mosquitto *client;

// answer says the outcome of a request, a code of the library.
static void answer(int rc) {
	if (rc)
		printf("error\t%s\n", mosquitto_strerror(rc));
	else
		printf("ok\n");
}

static void refused(int reason) { printf("error\t%s\n", mosquitto_reason_string(reason)); }

static void connected(struct mosquitto *m, void *u, int reason, int flags, const mosquitto_property *p) {
	if (reason)
		refused(reason);
	else
		printf("ok\t%d\n", flags & 1);
}

static void subscribed(struct mosquitto *m, void *u, int mid, int n, const int *granted, const mosquitto_property *p) {
	if (granted[0] >= 0x80)
		refused(granted[0]);
	else
		printf("ok\n");
}

static void published(struct mosquitto *m, void *u, int mid, int reason, const mosquitto_property *p) {
	if (reason >= 0x80)
		refused(reason);
	else
		printf("ok\n");
}

static void disconnected(struct mosquitto *m, void *u, int rc, const mosquitto_property *p) {
	if (rc == 0) // as asked for
		printf("ok\n");
}

static void came(struct mosquitto *c, void *u, const struct mosquitto_message *m, const mosquitto_property *props) {
	uint32_t expiry = 0;
	char *content_type = NULL, *name, *value;
	mosquitto_property_read_int32(props, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, &expiry, false);
	mosquitto_property_read_string(props, MQTT_PROP_CONTENT_TYPE, &content_type, false);
	flockfile(stdout);
	printf("message\t%s\t%.*s\t%d\t%d\t%u\t%s", m->topic, m->payloadlen, m->payloadlen ? (char *)m->payload : "",
	       m->qos, m->retain, expiry, content_type ? content_type : "");
	bool next = false;
	while ((props = mosquitto_property_read_string_pair(props, MQTT_PROP_USER_PROPERTY, &name, &value, next))) {
		printf("\t%s\t%s", name, value);
		free(name);
		free(value);
		next = true;
	}
	printf("\n");
	funlockfile(stdout);
	free(content_type);
}

// url version id persist ca [topic payload qos retain ...]
static int do_connect(char **f) {
	bool v5 = !strcmp(f[1], "5.0"), persist = *f[3] == '1';
	char wire[8], host[64];
	int port, rc = 0;
	sscanf(f[0], "%7[^:]://%63[^:]:%d", wire, host, &port);
	client = mosquitto_new(f[2], !persist, NULL);
	mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION, v5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
	mosquitto_connect_v5_callback_set(client, connected);
	mosquitto_subscribe_v5_callback_set(client, subscribed);
	mosquitto_publish_v5_callback_set(client, published);
	mosquitto_message_v5_callback_set(client, came);
	mosquitto_disconnect_v5_callback_set(client, disconnected);
	if (!strcmp(wire, "tls"))
		rc = mosquitto_tls_set(client, f[4], NULL, NULL, NULL, NULL);
	if (!rc && f[5])
		rc = mosquitto_will_set(client, f[5], strlen(f[6]), f[6], atoi(f[7]), *f[8] == '1');
	mosquitto_property *props = NULL;
	if (!rc && v5 && persist)
		rc = mosquitto_property_add_int32(&props, MQTT_PROP_SESSION_EXPIRY_INTERVAL, 3600);
	if (!rc)
		rc = mosquitto_connect_bind_v5(client, host, port, 60, NULL, props);
	mosquitto_property_free_all(&props);
	return rc ? rc : mosquitto_loop_start(client);
}

// topic payload qos retain expiry content-type [name value]...
static int do_publish(char **f) {
	mosquitto_property *props = NULL;
	int rc = 0;
	if (strcmp(f[4], "0"))
		rc = mosquitto_property_add_int32(&props, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, atoi(f[4]));
	if (!rc && *f[5])
		rc = mosquitto_property_add_string(&props, MQTT_PROP_CONTENT_TYPE, f[5]);
	for (int i = 6; !rc && f[i]; i += 2)
		rc = mosquitto_property_add_string_pair(&props, MQTT_PROP_USER_PROPERTY, f[i], f[i + 1]);
	if (!rc)
		rc = mosquitto_publish_v5(client, NULL, f[0], strlen(f[1]), f[1], atoi(f[2]), *f[3] == '1', props);
	mosquitto_property_free_all(&props);
	return rc;
}

// run starts a command. Unless it returns an error, a callback answers.
static int run(const char *command, char **f) {
	if (!strcmp(command, "connect"))
		return do_connect(f);
	if (!strcmp(command, "subscribe"))
		return mosquitto_subscribe(client, NULL, f[0], atoi(f[1]));
	if (!strcmp(command, "publish"))
		return do_publish(f);
	return mosquitto_disconnect(client);
}

int main(void) {
	char *line = NULL;
	size_t size;
	setvbuf(stdout, NULL, _IOLBF, 0);
	mosquitto_lib_init();
	while (getline(&line, &size, stdin) > 0) {
		char *fields[32] = {0}, *rest = line;
		line[strcspn(line, "\n")] = 0;
		for (int i = 0; i < 31 && rest; i++)
			fields[i] = strsep(&rest, "\t");
		int rc = run(fields[0], fields + 1);
		if (rc)
			answer(rc);
	}
	_Exit(0); // without waiting for the library's thread
}
