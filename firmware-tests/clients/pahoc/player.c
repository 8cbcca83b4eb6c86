// Plays one client of Eclipse Paho for C for a test, see process_test.go. It
// uses the library's synchronous calls, MQTTClient; pahocpp stands on the others.
#include <MQTTClient.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { patience = 20000 }; // milliseconds

static MQTTClient client;
static bool v5;

// answer says the outcome of a request, a code of the library or of the server.
static void answer(int rc) {
	if (rc < 0 || rc >= 0x80)
		printf("error\t%s\n", MQTTClient_strerror(rc) ? MQTTClient_strerror(rc) : MQTTReasonCode_toString(rc));
	else
		printf("ok\n");
}

// outcome is the reason code of a response, which it frees.
static int outcome(MQTTResponse r) {
	int rc = r.reasonCode;
	MQTTResponse_free(r);
	return rc;
}

static void print(MQTTLenString s) { printf("\t%.*s", s.len, s.data); }

static int came(void *context, char *topic, int length, MQTTClient_message *m) {
	MQTTProperties *props = &m->properties;
	int expiry = 0;
	if (MQTTProperties_hasProperty(props, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL))
		expiry = MQTTProperties_getNumericValue(props, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL);
	flockfile(stdout);
	printf("message\t%s\t%.*s\t%d\t%d\t%d", topic, m->payloadlen, (char *)m->payload, m->qos, m->retained, expiry);
	MQTTProperty *type = MQTTProperties_getProperty(props, MQTTPROPERTY_CODE_CONTENT_TYPE);
	print(type ? type->value.data : (MQTTLenString){0, ""});
	for (int i = 0; i < MQTTProperties_propertyCount(props, MQTTPROPERTY_CODE_USER_PROPERTY); i++) {
		MQTTProperty *user = MQTTProperties_getPropertyAt(props, MQTTPROPERTY_CODE_USER_PROPERTY, i);
		print(user->value.data);
		print(user->value.value);
	}
	printf("\n");
	funlockfile(stdout);
	MQTTClient_freeMessage(&m);
	MQTTClient_free(topic);
	return 1;
}

static void add_number(MQTTProperties *props, enum MQTTPropertyCodes code, int value) {
	MQTTProperty p = {.identifier = code, .value.integer4 = value};
	MQTTProperties_add(props, &p);
}

static void add_text(MQTTProperties *props, enum MQTTPropertyCodes code, char *data, char *value) {
	MQTTProperty p = {.identifier = code, .value = {.data = {strlen(data), data}, .value = {strlen(value), value}}};
	MQTTProperties_add(props, &p);
}

// url version id persist ca [topic payload qos retain ...]
static void do_connect(char **f) {
	v5 = !strcmp(f[1], "5.0");
	bool persist = *f[3] == '1';
	if (!strncmp(f[0], "tls", 3))
		memcpy(f[0], "ssl", 3);
	MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
	create.MQTTVersion = v5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
	int rc = MQTTClient_createWithOptions(&client, f[0], f[2], MQTTCLIENT_PERSISTENCE_NONE, NULL, &create);
	if (!rc)
		rc = MQTTClient_setCallbacks(client, NULL, NULL, came, NULL);
	if (rc) {
		answer(rc);
		return;
	}
	MQTTClient_SSLOptions ssl = MQTTClient_SSLOptions_initializer;
	ssl.trustStore = f[4];
	ssl.verify = 1; // the host's name too
	MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
	MQTTClient_connectOptions o = MQTTClient_connectOptions_initializer;
	MQTTClient_connectOptions o5 = MQTTClient_connectOptions_initializer5;
	if (v5)
		o = o5;
	o.MQTTVersion = create.MQTTVersion;
	o.ssl = &ssl;
	if (f[5]) {
		will.topicName = f[5];
		will.message = f[6];
		will.qos = atoi(f[7]);
		will.retained = *f[8] == '1';
		o.will = &will;
	}
	if (v5) {
		MQTTProperties props = MQTTProperties_initializer;
		o.cleanstart = !persist;
		add_number(&props, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, persist ? 3600 : 0);
		rc = outcome(MQTTClient_connect5(client, &o, &props, NULL));
		MQTTProperties_free(&props);
	} else {
		o.cleansession = !persist;
		rc = MQTTClient_connect(client, &o);
	}
	if (rc)
		answer(rc);
	else
		printf("ok\t%d\n", o.returned.sessionPresent);
}

static int do_subscribe(const char *filter, int qos) {
	if (v5)
		return outcome(MQTTClient_subscribe5(client, filter, qos, NULL, NULL));
	return MQTTClient_subscribe(client, filter, qos);
}

// topic payload qos retain expiry content-type [name value]...
static int do_publish(char **f) {
	MQTTClient_deliveryToken token;
	int rc, length = strlen(f[1]), qos = atoi(f[2]), retain = *f[3] == '1';
	if (v5) {
		MQTTProperties props = MQTTProperties_initializer;
		if (strcmp(f[4], "0"))
			add_number(&props, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, atoi(f[4]));
		if (*f[5])
			add_text(&props, MQTTPROPERTY_CODE_CONTENT_TYPE, f[5], "");
		for (int i = 6; f[i]; i += 2)
			add_text(&props, MQTTPROPERTY_CODE_USER_PROPERTY, f[i], f[i + 1]);
		rc = outcome(MQTTClient_publish5(client, f[0], length, f[1], qos, retain, &props, &token));
		MQTTProperties_free(&props);
	} else {
		rc = MQTTClient_publish(client, f[0], length, f[1], qos, retain, &token);
	}
	return rc ? rc : MQTTClient_waitForCompletion(client, token, patience);
}

static int do_disconnect(void) {
	if (v5)
		return MQTTClient_disconnect5(client, patience, MQTTREASONCODE_NORMAL_DISCONNECTION, NULL);
	return MQTTClient_disconnect(client, patience);
}

static void run(const char *command, char **f) {
	if (!strcmp(command, "connect"))
		do_connect(f);
	else if (!strcmp(command, "subscribe"))
		answer(do_subscribe(f[0], atoi(f[1])));
	else if (!strcmp(command, "publish"))
		answer(do_publish(f));
	else
		answer(do_disconnect());
}

int main(void) {
	char *line = NULL;
	size_t size;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (getline(&line, &size, stdin) > 0) {
		char *fields[32] = {0}, *rest = line;
		line[strcspn(line, "\n")] = 0;
		for (int i = 0; i < 31 && rest; i++)
			fields[i] = strsep(&rest, "\t");
		run(fields[0], fields + 1);
	}
	_Exit(0); // without waiting for the library's threads
}
